"""Whether the gradients of a network vanish or explode, layer by layer over the epochs."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray
from torch import Tensor

from fer.figures.style import (
    GREY,
    INK,
    LARGE,
    NORMAL,
    PAGE_WIDTH,
    SHADES,
    SMALL,
    TINY,
    array,
    new_figure,
    percent,
    scale_epochs,
    tidy,
    write_title,
)

DASHES: list[Any] = ["solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5))]
"""Neighbouring layers, alike in colour, differ in their dashes."""


ZERO = (
    "Bar at 0: gradients below the smallest bin; exactly 0 for weights whose inputs are all 0 (padding, "
    "neurons that are off)"
)
"""Note below the histograms if there is such a bar."""

LETTERS = 22
"""Letters of the note in an inch."""

LEAST_EXPLAINED = 0.01
"""Smallest share of an epoch's gradients in the bar at zero that is explained."""


def gradient_figure(
    norms: Mapping[str, Sequence[float]], epochs: Sequence[int], title: str = "Gradient norm by layer"
) -> Figure:
    """Draw the norm of each layer's gradient over the epochs, on a logarithmic axis.

    Layers go from dark (nearest the input) to light. A norm of exactly zero, which such an axis cannot
    show, is a triangle at the bottom; an infinite one a triangle at the top; NaN is skipped.

    Args:
        norms: For each layer, in the network's order, its norms, 0 or more, one an epoch.
        epochs: The epochs, as many as the norms.
        title: Above the figure.

    Returns:
        The figure, with one axes.

    Raises:
        ValueError: No layer, or norms that are not as many as the epochs.
    """
    _check_layers(norms)
    num_columns = _num_legend_columns(len(norms))
    # Long names in several columns would leave the axes no room: 0.06 inches a letter, 0.5 for the line.
    width = max(6.2, 3.5 + num_columns * (0.06 * max(map(len, norms)) + 0.5))
    figure = new_figure(width, max(3.0, 0.16 * math.ceil(len(norms) / num_columns) + 0.9))
    axes = figure.add_subplot()
    colours = colormaps["viridis"](np.linspace(0, 0.88, len(norms)))
    has_zero = has_infinite = False
    for index, (layer, column) in enumerate(norms.items()):
        values = array(column).astype(np.float64)
        if len(values) != len(epochs):
            msg = f"{layer} has {len(values)} norms for {len(epochs)} epochs"
            raise ValueError(msg)
        xs = np.asarray(epochs, dtype=np.float64)
        is_shown = np.isfinite(values) & (values > 0)
        marker = "o" if is_shown.sum() == 1 else None
        look: dict[str, Any] = {"color": colours[index], "markersize": 4}
        axes.plot(
            xs[is_shown],
            values[is_shown],
            label=layer,
            linestyle=DASHES[index % len(DASHES)],
            linewidth=1.3,
            marker=marker,
            **look,
        )
        is_zero, is_infinite = values == 0, np.isposinf(values)
        _mark_edge(axes, xs[is_zero], 0.015, "v", look)
        _mark_edge(axes, xs[is_infinite], 0.985, "^", look)
        has_zero, has_infinite = has_zero or bool(is_zero.any()), has_infinite or bool(is_infinite.any())

    axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel("gradient norm")
    axes.set_title(title, fontsize=LARGE, fontweight="bold", color=INK, loc="left")
    scale_epochs(axes, epochs)
    tidy(axes)
    handles = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    for is_there, marker, label in ((has_zero, "v", "exactly zero"), (has_infinite, "^", "infinite")):
        if is_there:
            handles.append(Line2D([], [], color=GREY, linestyle="none", marker=marker, label=label))
    figure.legend(
        handles=handles,
        loc="outside right upper",
        ncols=num_columns,
        fontsize=SMALL,
        frameon=False,
        handlelength=2.8,
    )
    return figure


def gradient_histograms(
    histograms: Mapping[str, tuple[Tensor | NDArray[Any], Tensor | NDArray[Any]]],
    epochs: Sequence[int],
    title: str = "Gradients by layer",
) -> Figure:
    """Draw the distribution of each layer's gradients over the epochs, a heat map a layer.

    A column is one epoch and adds up to 1, so that layers of different size compare. The vertical axis
    is linear up to the smallest edge above zero and logarithmic beyond, in both directions.

    Args:
        histograms: For each layer, in the network's order, counts of shape ``(E, B)`` and the edges of
            the bins, ascending, shape ``(B + 1,)``.
        epochs: The E epochs, ascending.
        title: Above the figure.

    Returns:
        The figure, with an axes for each layer and one for the scale of the shades.

    Raises:
        ValueError: No layer, or shapes that do not fit each other or the epochs.

    Source: Onghena and Belo, "Deep Learning: Computer Vision", Fig. 8 to 11, the gradients during
    training.
    """
    _check_layers(histograms)
    shares = {}
    for layer, (counts, edges) in histograms.items():
        shares[layer] = (_shares(layer, array(counts), array(edges), len(epochs)), array(edges))
    top = max(float(values.max()) for values, _ in shares.values())

    num_columns = min(len(shares), 3)
    num_rows = math.ceil(len(shares) / num_columns)
    figure = new_figure(min(PAGE_WIDTH, 1.6 + 1.9 * num_columns), 0.9 + 1.5 * num_rows)
    panels = figure.subplots(num_rows, num_columns, sharex=True, squeeze=False)
    mesh = None
    for axes, (layer, (values, edges)) in zip(panels.flat, shares.items(), strict=False):
        mesh = axes.pcolormesh(
            _epoch_edges(epochs),
            edges,
            values.T,
            cmap=SHADES,
            norm=PowerNorm(0.5, vmin=0, vmax=top or 1),
            rasterized=True,
        )
        _scale_symmetric(axes, edges)
        axes.set_title(layer, fontsize=NORMAL, color=INK, pad=3)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
        tidy(axes)
        axes.grid(visible=False)
    for axes in panels.flat[len(shares) - num_columns : len(shares)]:
        axes.tick_params(labelbottom=True)  # the panel below may be missing
        axes.set_xlabel("epoch")
    for axes in panels.flat[len(shares) :]:
        axes.set_visible(False)
    figure.supylabel("gradient", fontsize=NORMAL)
    write_title(figure, title)
    if mesh is not None:
        bar = figure.colorbar(mesh, ax=panels, aspect=30, pad=0.02)
        bar.ax.yaxis.set_major_locator(MaxNLocator(5))
        bar.ax.yaxis.set_major_formatter(percent())
        bar.set_label("share of the epoch's gradients", fontsize=SMALL)
        bar.ax.tick_params(labelsize=TINY, length=2)
        bar.outline.set_linewidth(0.5)
    if max(_share_at_zero(*each) for each in shares.values()) > LEAST_EXPLAINED:
        note = textwrap.fill(ZERO, int(LETTERS * figure.get_figwidth()))
        figure.supxlabel(note, x=0.01, ha="left", fontsize=TINY, color=GREY)
    return figure


def _share_at_zero(shares: NDArray[np.float64], edges: NDArray[Any]) -> float:
    """Return the largest share, in any epoch, of the bin around zero; 0 if zero is an edge."""
    around = (edges[:-1] < 0) & (edges[1:] > 0)
    return float(shares[:, around].max(initial=0))


def _check_layers(layers: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` if there is no layer to draw."""
    if not layers:
        msg = "there is no layer to draw"
        raise ValueError(msg)


def _num_legend_columns(num_layers: int) -> int:
    """Return the columns of a legend that stays about as high as its axes."""
    return math.ceil(num_layers / 20)


def _mark_edge(
    axes: Axes, epochs: NDArray[np.float64], height: float, marker: str, look: dict[str, Any]
) -> None:
    """Mark epochs at some height of the axes, 0 to 1, where the value itself cannot be drawn."""
    if len(epochs):
        heights = np.full(len(epochs), height)
        axes.plot(
            epochs,
            heights,
            transform=axes.get_xaxis_transform(),
            linestyle="none",
            marker=marker,
            clip_on=False,
            **look,
        )


def _shares(layer: str, counts: NDArray[Any], edges: NDArray[Any], num_epochs: int) -> NDArray[np.float64]:
    """Return counts as shares of their epoch, or raise ``ValueError``; an empty epoch is all zero."""
    if counts.shape != (num_epochs, len(edges) - 1) or num_epochs == 0:
        msg = f"{layer}: counts of shape {counts.shape} do not fit {num_epochs} epochs and {len(edges)} edges"
        raise ValueError(msg)
    totals = counts.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = counts / np.maximum(totals, 1)
    return shares


def _epoch_edges(epochs: Sequence[int]) -> NDArray[np.float64]:
    """Return the edges between epochs, halfway, and as far outside the first and the last."""
    centres = np.asarray(epochs, dtype=np.float64)
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    between = (centres[1:] + centres[:-1]) / 2
    first = centres[0] - (between[0] - centres[0])
    last = centres[-1] + (centres[-1] - between[-1])
    return np.concatenate([[first], between, [last]])


def _scale_symmetric(axes: Axes, edges: NDArray[Any]) -> None:
    """Scale an axis linearly about zero, logarithmically beyond, with few powers of ten as ticks."""
    sizes = np.abs(edges[edges != 0])
    smallest, largest = float(sizes.min()), float(sizes.max())
    axes.axhline(0, color=GREY, linewidth=0.4)
    if largest < 10 * smallest:
        return
    axes.set_yscale("symlog", linthresh=smallest, linscale=0.4)
    first, last = math.ceil(math.log10(smallest) - 1e-9), math.floor(math.log10(largest) + 1e-9)
    powers = [10.0**power for power in range(last, first, -max(1, math.ceil((last - first) / 2)))]
    ticks = sorted({0.0, *powers, *(-power for power in powers)})
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if edges[0] <= tick <= edges[-1]]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _power(value)))


def _power(value: float) -> str:
    """Return a power of ten as matplotlib's mathematical text."""
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    return f"${sign}10^{{{round(math.log10(abs(value)))}}}$"
