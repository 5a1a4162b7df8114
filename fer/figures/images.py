"""Images on a sheet: a contact sheet, and sample predictions."""

import math
import textwrap
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor

from fer.figures.bands import text_width
from fer.figures.style import (
    GREEN,
    GREY,
    INK,
    LARGE,
    NORMAL,
    PALE,
    SMALL,
    TINY,
    VERMILLION,
    array,
    images_array,
    inch_canvas,
    shorten,
    show_image,
)
from fer.labels import EXPRESSIONS
from fer.metrics import NO_CLASS, predicted_classes

MOST_BARS = 10
"""Classes whose probabilities are drawn beside an image."""

LONGEST_NAME = 12
"""Characters of a class name beside a bar."""

LONGEST_ANSWER = 19
"""Characters of a class name above an image."""

MARGIN = 0.12
"""Between images and around them, in inches."""

TITLE_HEIGHT = 0.3
"""Kept free above the images for a title, in inches."""


def image_grid(
    images: Tensor | NDArray[np.uint8],
    captions: Sequence[str] = (),
    title: str = "Images",
    num_columns: int | None = None,
    image_width: float = 0.9,
) -> Figure:
    """Draw a contact sheet, with a small caption below each image.

    Args:
        images: 0 to 255, uint8, shape ``(N, H, W)`` or ``(N, H, W, C)`` with C of 1 or 3.
        captions: N texts, or none; each is wrapped to its image's width, three lines at most.
        title: Above the images.
        num_columns: Images in a row; left out, eight or so that the sheet is about square.
        image_width: In inches.

    Returns:
        The figure; its size follows from the images.

    Raises:
        ValueError: No images, or the captions are not as many.
    """
    frames = images_array(images)
    if captions and len(captions) != len(frames):
        msg = f"{len(captions)} captions for {len(frames)} images"
        raise ValueError(msg)
    columns = num_columns or min(len(frames), max(8, math.ceil(math.sqrt(len(frames)))))
    num_rows = math.ceil(len(frames) / columns)
    texts = [_wrap(caption, image_width, TINY) for caption in captions]
    num_lines = max((text.count("\n") + 1 for text in texts), default=0)
    top = MARGIN + (TITLE_HEIGHT if title else 0)
    cell_width = image_width + MARGIN
    image_height = image_width * frames.shape[1] / frames.shape[2]
    cell_height = image_height + MARGIN + num_lines * _line_height(TINY)

    width = _sheet_width(MARGIN + columns * cell_width, title)
    figure, axes = inch_canvas(width, top + num_rows * cell_height)
    _write_title(axes, title)
    for index, frame in enumerate(frames):
        x = MARGIN + index % columns * cell_width
        y = top + index // columns * cell_height
        show_image(axes, frame, x, y, image_width)
        if texts:
            _write(axes, x + image_width / 2, y + image_height + 0.03, texts[index], TINY, ha="center")
    return figure


def predictions_figure(
    images: Tensor | NDArray[np.uint8],
    labels: Tensor | Sequence[int],
    probabilities: Tensor | NDArray[np.float32],
    class_names: Sequence[str] = EXPRESSIONS,
    title: str = "Sample predictions",
    num_columns: int | None = None,
) -> Figure:
    """Draw sample predictions: the image, what it was taken for, and the probability of each class.

    A right answer has a tick and a thin green frame, a wrong one a cross, a thick broken vermillion
    frame and the truth below it. Probabilities that are not finite are a wrong answer without bars. Among
    the bars the true class is written in bold. With more than :data:`MOST_BARS` classes only the likeliest
    and the true one have bars.

    Args:
        images: 0 to 255, uint8, shape ``(N, H, W)`` or ``(N, H, W, C)`` with C of 1 or 3.
        labels: True labels, 0 to K - 1, shape ``(N,)``.
        probabilities: Of each class, 0 to 1, shape ``(N, K)``.
        class_names: K names.
        title: Above the images.
        num_columns: Predictions in a row; left out, three at most.

    Returns:
        The figure; its size follows from the images.

    Raises:
        ValueError: No images, or the shapes do not fit each other.
    """
    frames = images_array(images)
    truths, shares = array(labels), array(probabilities)
    if shares.shape != (len(frames), len(class_names)) or truths.shape != (len(frames),):
        msg = (
            f"{len(frames)} images and {len(class_names)} class names do not fit labels of shape "
            f"{truths.shape} and probabilities of shape {shares.shape}"
        )
        raise ValueError(msg)
    columns = num_columns or min(len(frames), 3)
    num_rows = math.ceil(len(frames) / columns)
    image_width, bars_width = 0.9, 1.02
    names_width = 0.1 + max(text_width(shorten(name, LONGEST_NAME), TINY, "bold") for name in class_names)
    image_height = image_width * frames.shape[1] / frames.shape[2]
    bars_height = max(image_height, 0.125 * min(len(class_names), MOST_BARS))
    header, footer = 0.33, 0.14
    top = MARGIN + (TITLE_HEIGHT if title else 0)
    cell_width = image_width + bars_width + 2 * MARGIN
    cell_height = header + bars_height + 1.5 * MARGIN

    width = _sheet_width(MARGIN + columns * cell_width, title)
    figure, axes = inch_canvas(width, top + num_rows * cell_height + footer)
    _write_title(axes, title)
    predictions = predicted_classes(torch.as_tensor(shares)).tolist()
    for index, frame in enumerate(frames):
        x = MARGIN + index % columns * cell_width
        y = top + index // columns * cell_height
        truth, predicted = int(truths[index]), predictions[index]
        is_right = truth == predicted
        answer = "not finite"
        if predicted != NO_CLASS:
            name = shorten(class_names[predicted], LONGEST_ANSWER)
            answer = f"{name} {100 * shares[index, predicted]:.0f} %"
        verdict = f"{'✓' if is_right else '✗'} {answer}"
        colour = GREEN if is_right else VERMILLION
        baseline = y + (0.27 if is_right else 0.14)  # room for the truth below
        axes.text(x, baseline, verdict, fontsize=NORMAL, fontweight="bold", color=colour)
        if not is_right:
            truth_text = f"truth: {shorten(class_names[truth], LONGEST_ANSWER)}"
            axes.text(x, baseline + 0.13, truth_text, fontsize=SMALL, color=INK)
        show_image(axes, frame, x, y + header, image_width)
        _frame(axes, (x, y + header), (image_width, image_height), is_right=is_right)
        place = (x + image_width + MARGIN / 2, y + header)
        if predicted != NO_CLASS:
            size = (bars_width - MARGIN / 2, bars_height)
            _draw_bars(axes, shares[index], truth, predicted, class_names, place, size, names_width)
    note = "✓ right, ✗ wrong; bars: probability of each class, 0 to 1; bold: true class"
    _write(axes, MARGIN, top + num_rows * cell_height, note, TINY, color=GREY)
    return figure


def _frame(axes: Axes, place: tuple[float, float], size: tuple[float, float], *, is_right: bool) -> None:
    """Frame an image: green, thin and solid if the answer is right, else vermillion, thick and broken."""
    axes.add_patch(
        Rectangle(
            place,
            *size,
            fill=False,
            edgecolor=GREEN if is_right else VERMILLION,
            linewidth=1.4 if is_right else 2.6,
            linestyle="solid" if is_right else (0, (2.2, 1.1)),
        )
    )


def _draw_bars(
    axes: Axes,
    shares: NDArray[np.floating],
    truth: int,
    predicted: int,
    class_names: Sequence[str],
    place: tuple[float, float],
    size: tuple[float, float],
    names_width: float,
) -> None:
    """Draw the probabilities of one image as bars from 0 to 1, the true class named in bold."""
    left, top = place[0] + names_width, place[1]
    full = size[0] - names_width
    shown = _labels_shown(shares, truth)
    step = size[1] / len(shown)
    for row, label in enumerate(shown):
        share = shares[label]
        name = shorten(class_names[label], LONGEST_NAME)
        centre = top + (row + 0.5) * step
        colour = GREY if label != predicted else GREEN if label == truth else VERMILLION
        weight = "bold" if label == truth else "normal"
        axes.text(
            left - 0.03, centre, name, fontsize=TINY, ha="right", va="center", color=INK, fontweight=weight
        )
        axes.barh(centre, full, left=left, height=0.62 * step, color=PALE, linewidth=0)
        axes.barh(centre, full * float(share), left=left, height=0.62 * step, color=colour, linewidth=0)


def _labels_shown(shares: NDArray[np.floating], truth: int) -> list[int]:
    """Return the labels that have bars, in order: all, or the likeliest and the true one."""
    if len(shares) <= MOST_BARS:
        return list(range(len(shares)))
    likeliest = [int(label) for label in (-shares).argsort(kind="stable") if label != truth]
    return sorted([truth, *likeliest[: MOST_BARS - 1]])


def _write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    size: float,
    ha: str = "left",
    weight: str = "normal",
    color: str = INK,
) -> None:
    """Write a text whose top is at ``y`` inches."""
    axes.text(x, y, text, fontsize=size, ha=ha, va="top", fontweight=weight, color=color, linespacing=1.1)


def _write_title(axes: Axes, title: str) -> None:
    """Write the title of a sheet, if it has one."""
    if title:
        _write(axes, MARGIN, MARGIN, title, LARGE, weight="bold")


def _sheet_width(width: float, title: str) -> float:
    """Return the inches a sheet must be wide for its images and for its title."""
    return max(width, 2 * MARGIN + len(title) * 0.68 * LARGE / 72)


def _line_height(size: float) -> float:
    """Return the inches between two lines of a type of some points."""
    return 1.25 * size / 72


def _wrap(text: str, width: float, size: float) -> str:
    """Wrap a text to some inches, three lines at most, the rest shown by an ellipsis."""
    num_characters = max(1, int(width * 72 / (0.58 * size)))
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, num_characters)]
    if len(lines) > 3:
        lines = [*lines[:2], lines[2][: num_characters - 1] + "…"]
    return "\n".join(lines)
