"""What each layer makes of one face: its feature maps."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from fer.figures.style import GREY, INK, LARGE, PALE, SMALL, TINY, images_array, inch_canvas, show_image

CELL: Final = 0.5
"""Width and height that a map has at most, in inches."""

GAP: Final = 0.05
"""Between maps, in inches."""

MARGIN: Final = 0.12
"""At the edges, in inches."""


def feature_maps_figure(
    image: NDArray[np.uint8],
    maps: Mapping[str, NDArray[np.floating]],
    title: str = "Feature maps of one image",
    *,
    max_maps: int = 16,
) -> Figure:
    """Draw the feature maps of each layer for one image, a row a layer, the image first.

    Each map goes from black, its smallest value, to white, its largest. Maps of a single position have no
    such range: they share their layer's. A map that is the same everywhere, such as that of a dead neuron,
    is crossed out.

    Args:
        image: What the network saw, 0 to 255, uint8, shape ``(H, W)``, ``(H, W, 1)`` or ``(H, W, 3)``.
        maps: By layer its C maps, shape ``(C, H, W)``; values that are not finite are black.
        title: Above the rows.
        max_maps: Of a layer with more, so many are shown, evenly chosen; 1 or more.

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

    shown = {layer: _evenly(len(values), max_maps) for layer, values in maps.items()}
    most = max(map(len, shown.values()))
    top = MARGIN + (0.3 if title else 0.0)
    names = 0.1 + max(0.65, *(0.62 * SMALL / 72 * len(layer) for layer in maps))
    begin = MARGIN + names + CELL + 3 * GAP
    step, row = CELL + GAP, CELL + 0.18
    width = max(begin + most * step + MARGIN, 2 * MARGIN + len(title) * 0.68 * LARGE / 72, 5.0)
    figure, axes = inch_canvas(width, top + row * len(maps) + 0.16)
    look: dict[str, Any] = {"va": "top", "color": INK}
    if title:
        axes.text(MARGIN, MARGIN, title, fontsize=LARGE, fontweight="bold", **look)
    for index, (layer, values) in enumerate(maps.items()):
        y = top + index * row
        num, height, length = values.shape
        axes.text(MARGIN, y + 0.1, layer, fontsize=SMALL, fontweight="bold", **look)
        axes.text(
            MARGIN, y + 0.24, f"({num}, {height}\N{MULTIPLICATION SIGN}{length})", fontsize=TINY, **look
        )
        _show(axes, frame, MARGIN + names, y)
        for place, neuron in enumerate(shown[layer]):
            x = begin + place * step
            scaled = _scaled(values[neuron], values)
            axes.text(x + CELL / 2, y + CELL + 0.03, f"{neuron}", ha="center", fontsize=TINY, **look)
            if scaled is None:
                axes.add_patch(Rectangle((x, y), CELL, CELL, facecolor=PALE, linewidth=0))
                axes.plot([x, x + CELL], [y, y + CELL], color=GREY, linewidth=0.6)
                axes.plot([x, x + CELL], [y + CELL, y], color=GREY, linewidth=0.6)
            else:
                _show(axes, scaled, x, y)
    note = "black to white: a map's own range (of one position: its layer's); crossed out: no range"
    axes.text(MARGIN, top + row * len(maps), note, **look | {"fontsize": TINY, "color": GREY})
    return figure


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
