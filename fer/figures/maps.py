"""What each layer makes of one face: its feature maps."""

import math
import textwrap
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from fer.figures.style import GREY, INK, LARGE, PALE, SMALL, TINY, images_array, inch_canvas, show_image

CELL: Final = 0.6
"""Width and height that a map has at most, in inches."""

GAP: Final = 0.05
"""Between maps, in inches."""

MARGIN: Final = 0.12
"""At the edges, in inches."""

IN_ROW: Final = 8
"""Most maps side by side, so that the figure is no wider than :data:`fer.figures.style.PAGE_WIDTH`."""

NOTE: Final = (
    "Below a map: the number of its neuron. Black to white: the map's own range, or its layer's if the map "
    "has one position only. Crossed out: constant map."
)


def feature_maps_figure(
    image: NDArray[np.uint8],
    maps: Mapping[str, NDArray[np.floating]],
    title: str = "Feature maps of one image",
    *,
    max_maps: int = 16,
) -> Figure:
    """Draw the feature maps of each layer for one image, the image first.

    Each map goes from black, its smallest value, to white, its largest. Maps of a single position have no
    such range: they share their layer's. A map that is the same everywhere, such as that of a dead neuron,
    is crossed out.

    Args:
        image: What the network saw, 0 to 255, uint8, shape ``(H, W)``, ``(H, W, 1)`` or ``(H, W, 3)``.
        maps: By layer its C maps, shape ``(C, H, W)``; values that are not finite are black.
        title: Above the layers.
        max_maps: Of a layer with more, so many are shown, evenly spaced, as the layer's heading says; 1 or
            more.

    Returns:
        The figure; the number of its neuron stands below each map.

    Raises:
        ValueError: No layer, or shapes that are none of the above.

    Source: after Narayan and Ge, "Emotion Detection through Static Images using Pruned Convolutional Neural
    Networks", figure 1.
    """
    if not maps:
        msg = "there is no layer to draw"
        raise ValueError(msg)
    frame = images_array(np.asarray(image)[None])[0]
    for layer, values in maps.items():
        if values.ndim != 3 or values.size == 0:
            msg = f"{layer}: feature maps of shape {values.shape}, and not of shape (C, H, W)"
            raise ValueError(msg)

    begin, step, row = MARGIN + CELL + 3 * GAP, CELL + GAP, CELL + 0.17
    width = begin + IN_ROW * step - GAP + MARGIN
    wide = partial(textwrap.fill, width=int((width - 2 * MARGIN) * 72 / (0.6 * TINY)))
    shown = {layer: _evenly(len(values), max_maps) for layer, values in maps.items()}
    headings = {layer: wide(_describe(maps[layer], len(shown[layer]))) for layer in maps}
    top = MARGIN + (0.3 if title else 0.0)
    heights = {
        layer: 0.33 + 0.11 * headings[layer].count("\n") + row * math.ceil(len(shown[layer]) / IN_ROW)
        for layer in maps
    }
    note = wide(NOTE)
    figure, axes = inch_canvas(width, top + sum(heights.values()) + 0.11 * note.count("\n") + 0.2)
    look: dict[str, Any] = {"va": "top", "color": INK, "linespacing": 1.15}
    if title:
        axes.text(MARGIN, MARGIN, title, fontsize=LARGE, fontweight="bold", **look)
    y = top
    for layer, values in maps.items():
        axes.text(MARGIN, y, layer, fontsize=SMALL, fontweight="bold", **look)
        axes.text(MARGIN, y + 0.13, headings[layer], fontsize=TINY, **look)
        first = y + heights[layer] - row * math.ceil(len(shown[layer]) / IN_ROW) - 0.06
        _show(axes, frame, MARGIN, first)
        for place, neuron in enumerate(shown[layer]):
            line, column = divmod(place, IN_ROW)
            left, above = begin + column * step, first + line * row
            scaled = _scaled(values[neuron], values)
            axes.text(left + CELL / 2, above + CELL + 0.03, f"{neuron}", ha="center", fontsize=TINY, **look)
            if scaled is None:
                axes.add_patch(Rectangle((left, above), CELL, CELL, facecolor=PALE, linewidth=0))
                axes.plot([left, left + CELL], [above, above + CELL], color=GREY, linewidth=0.6)
                axes.plot([left, left + CELL], [above + CELL, above], color=GREY, linewidth=0.6)
            else:
                _show(axes, scaled, left, above)
        y += heights[layer]
    axes.text(MARGIN, y + 0.04, note, **look | {"fontsize": TINY, "color": GREY})
    return figure


def _describe(values: NDArray[np.floating], num_shown: int) -> str:
    """Return in words how many maps a layer has, of which size, and which of them are shown.

    >>> _describe(np.zeros((3, 6, 6)), 3).split(": ")[1]
    'all are shown'
    >>> _describe(np.zeros((256, 1, 1)), 16).split(": ")[1]
    '16 are shown, evenly spaced from the first to the last'
    """
    num, height, length = values.shape
    size = f"{num:,} neuron{'s' * (num > 1)}, each a map of {height}\N{MULTIPLICATION SIGN}{length}"
    if num_shown == num:
        return f"{size}: all are shown"
    return f"{size}: {num_shown} are shown, evenly spaced from the first to the last"


def _evenly(num: int, most: int) -> list[int]:
    """Return at most so many of the first integers, evenly chosen, with the first and the last.

    >>> _evenly(9, 3)
    [0, 4, 8]
    """
    return [round(index) for index in np.linspace(0, num - 1, min(num, most)).tolist()]


def _scaled(values: NDArray[np.floating], layer: NDArray[np.floating]) -> NDArray[np.uint8] | None:
    """Return a map as an image, or nothing if it has no range; a single position has its layer's."""
    source = layer if values.size == 1 else values
    finite = source[np.isfinite(source)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    if low == high:
        return None
    scaled = np.nan_to_num((values.astype(np.float64) - low) / (high - low), nan=0, posinf=0, neginf=0)
    return np.asarray(np.round(255 * scaled), dtype=np.uint8)


def _show(axes: Axes, image: NDArray[np.uint8], x: float, y: float) -> None:
    """Draw an image in the middle of a cell, as large as fits."""
    height, width = image.shape[:2]
    share = CELL / max(height, width)
    left, top = x + (CELL - width * share) / 2, y + (CELL - height * share) / 2
    show_image(axes, image, left, top, width * share)
    size = (width * share, height * share)
    axes.add_patch(Rectangle((left, top), *size, fill=False, edgecolor=GREY, linewidth=0.4))
