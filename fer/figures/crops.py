"""Faces found in images: each image with its box and landmarks, and beside it the crop."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from fer.figures.style import (
    GREEN,
    GREY,
    INK,
    LARGE,
    ORANGE,
    SMALL,
    TINY,
    VERMILLION,
    inch_canvas,
    show_image,
)

MARGIN: Final = 0.12
"""Around the sheet and between cells, in inches."""

ROW_HEIGHT: Final = 1.05
"""Of an image and its crop, in inches."""

IMAGE_WIDTH: Final = 1.45
"""Most that an image takes, in inches; a wider one is less high."""

LABEL_HEIGHT: Final = 0.3
"""Of the two lines above an image, in inches."""


@dataclass(frozen=True, eq=False)
class CropPanel:
    """One image on a sheet of crops.

    Attributes:
        image: RGB, uint8, shape ``(H, W, 3)``.
        crop: RGB, uint8, shape ``(size, size, 3)``; None where there is none.
        policy: What was done, in a word.
        caption: Name of the image.
        box: Left, top, right and bottom of the face in ``image``, in pixels; None where none is found.
        landmarks: Points ``(x, y)`` in ``image``, in pixels.
    """

    image: NDArray[np.uint8]
    crop: NDArray[np.uint8] | None
    policy: str
    caption: str = ""
    box: tuple[float, float, float, float] | None = None
    landmarks: Sequence[tuple[float, float]] = ()


def crops_figure(panels: Sequence[CropPanel], title: str = "", num_columns: int | None = None) -> Figure:
    """Draw a contact sheet of images and crops, those in which no face is found first.

    A face has a green box and orange landmarks. An image without one has a thick broken vermillion
    frame, and its policy is written in vermillion and in bold.

    Args:
        panels: One or more.
        title: Above the sheet.
        num_columns: Images in a row; left out, as many as make the sheet about square, six at most.

    Returns:
        The figure; its size follows from the number of images.

    Raises:
        ValueError: There are no panels.
    """
    if not panels:
        msg = "a sheet of crops needs one image or more"
        raise ValueError(msg)
    ordered = sorted(panels, key=lambda panel: panel.box is not None)
    columns = num_columns or min(6, math.ceil(math.sqrt(len(ordered))))
    num_rows = math.ceil(len(ordered) / columns)
    cell_width = IMAGE_WIDTH + ROW_HEIGHT + 2 * MARGIN
    cell_height = LABEL_HEIGHT + ROW_HEIGHT + MARGIN
    top = MARGIN + (0.3 if title else 0)
    width = max(MARGIN + columns * cell_width, 2 * MARGIN + len(title) * 0.6 * LARGE / 72)
    figure, axes = inch_canvas(width, top + num_rows * cell_height)
    if title:
        axes.text(MARGIN, MARGIN, title, fontsize=LARGE, fontweight="bold", color=INK, va="top")
    for index, panel in enumerate(ordered):
        row, column = divmod(index, columns)
        _draw(axes, panel, MARGIN + column * cell_width, top + row * cell_height)
    return figure


def _draw(axes: Axes, panel: CropPanel, left: float, top: float) -> None:
    """Draw one image with its crop."""
    is_found = panel.box is not None
    colour = GREEN if is_found else VERMILLION
    height, width = panel.image.shape[:2]
    inches = min(ROW_HEIGHT / height, IMAGE_WIDTH / width)  # a pixel's
    below = top + LABEL_HEIGHT
    name: dict[str, Any] = {"fontsize": TINY, "color": GREY, "va": "top", "parse_math": False}
    axes.text(left, top, _shorten(panel.caption, IMAGE_WIDTH + ROW_HEIGHT), **name)
    weight = "normal" if is_found else "bold"
    axes.text(left, top + 0.12, panel.policy, fontsize=SMALL, color=colour, fontweight=weight, va="top")
    show_image(axes, panel.image, left, below, width * inches)
    if panel.box is None:
        _frame(axes, (left, below), (width * inches, height * inches), is_found=False)
    else:
        x0, x1 = np.clip(panel.box[::2], 0, width) * inches
        y0, y1 = np.clip(panel.box[1::2], 0, height) * inches
        _frame(axes, (left + x0, below + y0), (x1 - x0, y1 - y0), is_found=True)
        for x, y in panel.landmarks:
            axes.plot(left + inches * x, below + inches * y, ".", color=ORANGE, markersize=2.5)
    beside = left + IMAGE_WIDTH + MARGIN / 2
    if panel.crop is not None:
        show_image(axes, panel.crop, beside, below, ROW_HEIGHT)
        return
    middle = (beside + ROW_HEIGHT / 2, below + ROW_HEIGHT / 2)
    axes.text(*middle, "no crop", fontsize=SMALL, color=GREY, ha="center", va="center")


def _frame(axes: Axes, place: tuple[float, float], size: tuple[float, float], *, is_found: bool) -> None:
    axes.add_patch(
        Rectangle(
            place,
            *size,
            fill=False,
            edgecolor=GREEN if is_found else VERMILLION,
            linewidth=1.2 if is_found else 2.2,
            linestyle="solid" if is_found else (0, (2.2, 1.1)),
        )
    )


def _shorten(text: str, width: float) -> str:
    """Return a text that fits some inches in the smallest type: its end, which tells files apart."""
    num_characters = int(width * 72 / (0.6 * TINY))
    return text if len(text) <= num_characters else "…" + text[1 - num_characters :]
