"""How distinct the neurons of each layer are in one epoch."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fer.figures.style import (
    BLUE,
    GREY,
    INK,
    LARGE,
    NORMAL,
    PAGE_WIDTH,
    PALE,
    SMALL,
    TINY,
    VERMILLION,
    inch_canvas,
    new_figure,
    tidy,
    write_title,
)
from fer.neurons.angles import COMPLEMENTARY_ABOVE, SIMILAR_BELOW

DEGREE: Final = "\N{DEGREE SIGN}"

DEGREES: Final = f"{{x:g}}{DEGREE}"
"""How an angle is written on an axis."""

DIVERGING: Final = LinearSegmentedColormap.from_list(
    "diverging", ["#00263F", BLUE, "#7DBBE0", "#F7F7F7", "#F4B27F", VERMILLION, "#9C3A00"]
)
"""Dark blue through white to vermillion. Blue and orange differ for the colour-blind, and the blue end is
nearly black, the other one grey, when printed without colour."""

MAX_SHOWN: Final = 1024
"""Neurons of a heat map: it has fewer pixels, and clustering takes time as their square."""

LOOSEST: Final = 0.95
"""Mean sine of the angles of two clusters up to which they are one: they are 18 degrees off a right angle."""

BIN: Final = 3
"""Width of a histogram's bins, in degrees: the usual lines at 15 and 165 lie between two."""


def matrix_figure(
    degrees: Mapping[str, NDArray[np.floating]], title: str = "Angle between every two neurons"
) -> Figure:
    """Draw the angle between every two neurons of each layer, neurons that are nearly alike side by side.

    Neurons without an angle are left out and counted. Of a layer with more than :data:`MAX_SHOWN` others
    every second, third and so on is shown, as its title says.

    Args:
        degrees: By layer the angles of its C neurons, shape ``(C, C)``, NaN in the rows of those without.
        title: Above the figure.

    Returns:
        The figure, with a heat map for each layer and one scale for all.

    Raises:
        ValueError: No layer, or what is no square matrix.
    """
    check_layers(degrees)
    figure, panels = _small_multiples(len(degrees), (1.0, 1.0), margins=(1.1, 0.4))
    norm = Normalize(0, 180)
    scale = ScalarMappable(norm, DIVERGING)
    for axes, (layer, matrix) in zip(panels, degrees.items(), strict=True):
        _check_square(layer, matrix)
        is_there = ~np.isnan(matrix.diagonal())
        there = np.flatnonzero(is_there)
        step = math.ceil(len(there) / MAX_SHOWN)
        shown = there[:: max(step, 1)]
        notes = []
        if len(there) < len(matrix):
            notes.append(f"{len(matrix) - len(there):,} dead or constant")
        if step > 1:
            notes.append(f"1 in {step} shown")
        first = f"{layer}: {_count(len(matrix), 'neuron')}"
        axes.set_title("\n".join([first, ", ".join(notes)]).strip(), fontsize=SMALL, color=INK, pad=3)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color=GREY, linewidth=0.5)
        if len(there) < 2:
            say(axes, "fewer than two neurons\nhave an angle")
            axes.set_box_aspect(1)
            continue
        block = matrix[np.ix_(shown, shown)].astype(np.float32)
        order = cluster_order(block)
        axes.imshow(block[np.ix_(order, order)], cmap=DIVERGING, norm=norm, interpolation_stage="data")
    bar = figure.colorbar(scale, ax=panels, aspect=30, pad=0.02, shrink=0.9)
    bar.set_ticks([0, SIMILAR_BELOW, 45, 90, 135, COMPLEMENTARY_ABOVE, 180])
    bar.ax.yaxis.set_major_formatter(DEGREES)
    bar.ax.hlines([SIMILAR_BELOW, COMPLEMENTARY_ABOVE], *bar.ax.get_xlim(), color="white", linewidth=1)
    bar.ax.tick_params(labelsize=TINY, length=2, color=GREY)
    bar.set_label("angle between two neurons", fontsize=SMALL)
    bar.outline.set(linewidth=0.5, edgecolor=GREY)
    write_title(figure, title)
    return figure


def cluster_order(degrees: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return an order of neurons in which those that are alike, or each other's negative, are side by side.

    By average linkage on the sine of the angle, which is 0 for both. In each cluster those come first that
    are on the side of its most central neuron, then their opposites, so that the two do not mix.

    Args:
        degrees: Angles of C neurons, none of them NaN, shape ``(C, C)``.

    Returns:
        The neurons' indices, shape ``(C,)``.
    """
    if len(degrees) < 3:
        return np.arange(len(degrees))
    from scipy.cluster.hierarchy import fcluster, leaves_list, linkage  # not above: it is slow to import
    from scipy.spatial.distance import squareform

    sines = np.sin(np.deg2rad(degrees))
    tree = linkage(squareform(sines, checks=False), method="average")
    clusters = fcluster(tree, LOOSEST, criterion="distance")
    order: list[int] = []
    for _, same in groupby(leaves_list(tree), key=lambda neuron: int(clusters[neuron])):
        members = np.array(list(same))
        centre = members[sines[np.ix_(members, members)].sum(axis=0).argmin()]
        order.extend(members[np.argsort(degrees[centre, members] > 90, kind="stable")])
    return np.array(order)


def histogram_figure(
    degrees: Mapping[str, NDArray[np.floating]],
    title: str = "Distribution of the angles between neurons",
    *,
    similar_below: float = SIMILAR_BELOW,
    complementary_above: float = COMPLEMENTARY_ABOVE,
) -> Figure:
    """Draw how the angles of each layer's pairs of neurons are distributed.

    Args:
        degrees: By layer the angles of its C neurons, shape ``(C, C)``; pairs of NaN are left out.
        title: Above the figure.
        similar_below: Degrees below which a pair is counted as similar.
        complementary_above: Degrees above which a pair is counted as complementary.

    Returns:
        The figure, with a panel for each layer.

    Raises:
        ValueError: No layer, or what is no square matrix.
    """
    check_layers(degrees)
    figure, panels = _small_multiples(len(degrees), (1.25, 0.85), margins=(0.4, 0.5))
    edges = np.arange(0, 181, BIN)
    for axes, (layer, matrix) in zip(panels, degrees.items(), strict=True):
        _check_square(layer, matrix)
        pairs = _pairs(matrix)
        pairs = pairs[~np.isnan(pairs)]
        axes.set_title(f"{layer}: {_count(len(pairs), 'pair')}", fontsize=SMALL, color=INK, pad=3)
        axes.set_xlim(0, 180)
        axes.set_xticks([0, 45, 90, 135, 180])
        axes.xaxis.set_major_formatter(DEGREES)
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_formatter("{x:g} %")
        tidy(axes)
        if len(pairs) == 0:
            axes.set_yticks([])
            say(axes, "no pair has an angle")
            continue
        bins = np.minimum(pairs // BIN, len(edges) - 2).astype(np.intp)
        shares = 100 * np.bincount(bins, minlength=len(edges) - 1) / len(pairs)
        axes.stairs(shares, edges, fill=True, color=BLUE)
        axes.set_ylim(0, 1.45 * shares.max())  # room for the numbers
        sides = (
            (similar_below, 0, int((pairs < similar_below).sum()), "below", "left", 3),
            (complementary_above, 180, int((pairs > complementary_above).sum()), "above", "right", -3),
        )
        for line, end, num, word, side, shift in sides:
            axes.axvspan(*sorted((line, end)), color=PALE, alpha=0.6, zorder=0, linewidth=0)
            axes.axvline(line, color=VERMILLION, linewidth=0.9, linestyle=(0, (4, 2)))
            text = f"{word} {line:g}{DEGREE}\n{100 * num / len(pairs):.2f} %\n{_count(num, 'pair')}"
            axes.annotate(
                text,
                (line, 0.97),
                (shift, 0),
                axes.get_xaxis_transform(),
                "offset points",
                ha=side,
                va="top",
                fontsize=TINY,
                color=INK,
                linespacing=1.15,
                bbox={"facecolor": "white", "linewidth": 0, "pad": 0.5},  # the grid lies behind
            )
    figure.supxlabel("angle between two neurons", fontsize=NORMAL)
    figure.supylabel(f"share of pairs in each {BIN}{DEGREE}", fontsize=NORMAL)
    write_title(figure, title)
    return figure


def pairs_figure(
    degrees: Mapping[str, NDArray[np.floating]],
    title: str = "Pairs of neurons nearest 0° and 180°",
    *,
    count: int = 5,
) -> Figure:
    """Draw for each layer a table of the pairs of neurons nearest 0 and nearest 180 degrees.

    Pairs below :data:`SIMILAR_BELOW` and above :data:`COMPLEMENTARY_ABOVE` are bold. A note says which are,
    or that none is.

    Args:
        degrees: By layer the angles of its C neurons, shape ``(C, C)``; pairs of NaN are left out.
        title: Above the tables.
        count: Pairs in a table, at most, 1 or more.

    Raises:
        ValueError: No layer, or what is no square matrix.

    Source: after Jain, "Network Reduction Technique Based on Neuron Distinctiveness for Classifying
    Faces-Emotion via Transfer Learning", table 3.
    """
    check_layers(degrees)
    margin, line, gap = 0.15, 0.15, 0.32
    half, top = 1.4, 0.32 if title else 0.0
    num_columns = min(2, len(degrees))
    block_width, block_height = 2 * half + gap, (count + 2) * line + gap
    num_rows = math.ceil(len(degrees) / num_columns)
    width = max(margin + num_columns * block_width, 2 * margin + len(title) * 0.68 * LARGE / 72)
    figure, axes = inch_canvas(width, margin + top + num_rows * block_height + 0.12)
    write: dict[str, Any] = {"va": "baseline", "color": INK, "fontsize": SMALL}
    shown: list[float] = []
    if title:
        axes.text(margin, margin + 0.12, title, **write | {"fontsize": LARGE, "fontweight": "bold"})
    for index, (layer, matrix) in enumerate(degrees.items()):
        _check_square(layer, matrix)
        left = margin + index % num_columns * block_width
        y = margin + top + index // num_columns * block_height + line
        axes.text(left, y - 0.05, f"{layer}: {_count(len(matrix), 'neuron')}", fontweight="bold", **write)
        axes.plot([left, left + 2 * half], [y] * 2, color=INK, linewidth=0.8)
        tables = {edge: nearest_pairs(matrix, edge, count) for edge in (0.0, 180.0)}
        if not tables[0.0]:
            axes.text(left, y + line, "no pair has an angle", **write | {"color": GREY})
            continue
        for place, (edge, pairs) in zip((left, left + half), tables.items(), strict=True):
            cells = [("", "neurons", f"nearest {edge:g}{DEGREE}", False)]
            for i, j, angle in pairs:
                is_bold = angle < SIMILAR_BELOW or angle > COMPLEMENTARY_ABOVE
                cells.append((f"{i}", f"{j}", f"{angle:.2f}{DEGREE}", is_bold))
                shown.append(angle)
            for row, (*texts, is_bold) in enumerate(cells):
                look = {"fontsize": TINY, "color": GREY} if row == 0 else {}
                for text, right in zip(texts, (0.32, 0.66, 1.3), strict=True):
                    weight = "bold" if is_bold else "normal"
                    at = y + (row + 1) * line - 0.03
                    axes.text(place + right, at, text, ha="right", fontweight=weight, **write | look)
    bottom = margin + top + num_rows * block_height
    axes.text(margin, bottom, _bold_note(shown), **write | {"fontsize": TINY, "color": GREY})
    return figure


def _bold_note(shown: Sequence[float]) -> str:
    """Return what is bold among some angles; empty if there are none.

    >>> _bold_note([3.0, 170.0]), _bold_note([3.0, 90.0]), _bold_note([90.0])
    ('bold: below 15° or above 165°', 'bold: below 15°', 'no pair is below 15° or above 165°')
    """
    similar, complementary = f"below {SIMILAR_BELOW:g}{DEGREE}", f"above {COMPLEMENTARY_ABOVE:g}{DEGREE}"
    bold = [similar] * any(angle < SIMILAR_BELOW for angle in shown)
    bold += [complementary] * any(angle > COMPLEMENTARY_ABOVE for angle in shown)
    if bold:
        return f"bold: {' or '.join(bold)}"
    return f"no pair is {similar} or {complementary}" if shown else ""


def nearest_pairs(degrees: NDArray[np.floating], edge: float, count: int = 5) -> list[tuple[int, int, float]]:
    """Return the pairs i < j of neurons whose angle is nearest to some angle, the nearest first.

    Args:
        degrees: Angles of C neurons, shape ``(C, C)``; pairs of NaN are left out.
        edge: In degrees.
        count: How many at most, 1 or more. Of equally near pairs those of the lowest indices come first.

    >>> nearest_pairs(np.array([[0, 90, 8], [90, 0, 20], [8, 20, 0]]), 0, 2)
    [(0, 2, 8.0), (1, 2, 20.0)]
    """
    pairs = _pairs(degrees)
    distances = np.abs(pairs - edge)
    num = min(count, int(np.isfinite(distances).sum()))
    if num == 0:
        return []
    near = np.flatnonzero(distances <= np.partition(distances, num - 1)[num - 1])
    near = near[np.argsort(distances[near], kind="stable")][:num]
    # Row i has C - 1 - i pairs, which begin where those of the rows before end.
    begins = np.concatenate([[0], np.cumsum(np.arange(len(degrees) - 1, 0, -1))])
    rows = np.searchsorted(begins, near, side="right") - 1
    columns = near - begins[rows] + rows + 1
    return [(int(i), int(j), float(degrees[i, j])) for i, j in zip(rows, columns, strict=True)]


def _pairs(degrees: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return what stands above the diagonal, row by row; a mask would take three times as long."""
    return np.concatenate([row[index + 1 :] for index, row in enumerate(degrees)])


def check_layers(layers: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` if there is no layer to draw."""
    if not layers:
        msg = "there is no layer to draw"
        raise ValueError(msg)


def _check_square(layer: str, matrix: NDArray[Any]) -> None:
    """Raise ``ValueError`` if there is not an angle for each two neurons."""
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) == 0:
        msg = f"{layer}: angles of shape {matrix.shape}, and not of shape (C, C)"
        raise ValueError(msg)


def _small_multiples(
    num: int, shape: tuple[float, float], *, margins: tuple[float, float]
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a grid of panels, three in a row at most, smaller the more there are.

    Args:
        num: Panels.
        shape: Width and height of a panel, in parts of its size.
        margins: Inches for what stands right or left of all panels, and above or below.
    """
    num_columns = min(3, math.ceil(math.sqrt(num)))
    num_rows = math.ceil(num / num_columns)
    width = min(3.4 * shape[0] + 0.12, (PAGE_WIDTH - margins[0]) / num_columns)
    height = (width - 0.12) / shape[0] * shape[1] + 0.4
    figure = new_figure(num_columns * width + margins[0], num_rows * height + margins[1])
    grid = figure.add_gridspec(num_rows, num_columns)
    return figure, [figure.add_subplot(grid[divmod(index, num_columns)]) for index in range(num)]


def say(axes: Axes, text: str) -> None:
    """Say in the middle of a panel why it is empty."""
    look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL, "color": GREY}
    box = {"facecolor": "white", "linewidth": 0, "pad": 2}  # lines may lie behind
    axes.text(0.5, 0.5, text, transform=axes.transAxes, bbox=box, **look)


def _count(num: int, thing: str) -> str:
    """Return a number of things in words.

    >>> _count(1, "pair"), _count(1024, "pair")
    ('1 pair', '1,024 pairs')
    """
    return f"{num:,} {thing}{'' if num == 1 else 's'}"
