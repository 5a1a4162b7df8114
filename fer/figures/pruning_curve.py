"""Accuracy over the pruning threshold, and over the neurons and multiply-adds left."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fer.figures.angles import DEGREE, DEGREES
from fer.figures.gradients import DASHES
from fer.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PAGE_WIDTH,
    PURPLE,
    SKY,
    SMALL,
    VERMILLION,
    array,
    mark_chance,
    new_figure,
    percent,
    tidy,
    write_title,
)

COLUMNS: Final = ("threshold", "acc", "acc_low", "acc_high", "neurons", "macs")
"""Columns of a method's curve."""

COLOURS: Final = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, INK)
MARKERS: Final = "os^DvPX"
"""Looks of the first method, the second, and so on; with four kinds of dashes, 28 methods differ."""


def curve_figure(
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    title: str = "Accuracy as neurons are removed",
    chance: float | None = None,
) -> Figure:
    """Draw accuracy over the threshold, and over the neurons and multiply-adds left, for each method.

    A row with all neurons left is the network before pruning, whose accuracy is a line through all panels.
    Rows with a NaN are skipped.

    Args:
        curves: By method, the columns :data:`COLUMNS`: ``threshold`` in degrees, ``acc`` with its interval
            ``acc_low`` and ``acc_high``, and the shares left of ``neurons`` and ``macs``; all but the
            threshold 0 to 1.
        title: Title of the figure.
        chance: Chance accuracy, 0 to 1, drawn as a dashed line; None: no line.

    Returns:
        The figure with three panels: accuracy against the threshold, against neurons left, and against
        multiply-adds left. Pruning goes to the right in all of them.

    Raises:
        ValueError: There is no method, or columns are missing or differ in length.

    Source: after Narayan and Ge, "Emotion Detection through Static Images using Pruned Convolutional Neural
    Networks", figure 2.
    """
    if not curves:
        msg = "there is no rule to draw"
        raise ValueError(msg)
    tables = {rule: _read_curve(rule, columns) for rule, columns in curves.items()}
    whole = [float(acc) for table in tables.values() for acc in table["acc"][table["neurons"] == 1]]
    figure = new_figure(PAGE_WIDTH, 3.2)
    panels = figure.subplots(1, 3, sharey=True)
    names = (f"threshold: angle to 0{DEGREE} or 180{DEGREE}", "neurons left", "multiply-adds left")
    for axes, x, name in zip(panels, ("threshold", "neurons", "macs"), names, strict=True):
        if whole:
            label = f"before: {100 * whole[0]:.2f} %"
            axes.axhline(whole[0], color=GREY, linewidth=0.9, label=label, zorder=1)
        looks = zip(cycle(COLOURS), cycle(MARKERS), cycle(DASHES), strict=False)
        for (rule, table), (colour, marker, dashes) in zip(tables.items(), looks, strict=False):
            axes.fill_between(
                table[x], table["acc_low"], table["acc_high"], color=colour, alpha=0.13, linewidth=0
            )
            axes.plot(
                *(table[x], table["acc"]),
                label=rule,
                color=colour,
                marker=marker,
                linestyle=dashes,
                markersize=3.5,
                markeredgecolor="white",
                markeredgewidth=0.4,
                linewidth=1.2,
            )
        if chance is not None:
            mark_chance(axes, chance)
        axes.set_xlabel(name)
        nbins = 6 if x == "threshold" else 4  # shares may need many digits
        axes.xaxis.set_major_locator(MaxNLocator(nbins=nbins, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(DEGREES if x == "threshold" else percent())
        tidy(axes)
        if x != "threshold":
            axes.invert_xaxis()
    panels[0].set_ylabel("accuracy, 95 % intervals")
    panels[0].yaxis.set_major_formatter(percent())
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=min(len(curves) + bool(whole), 5),
        fontsize=SMALL,
        frameon=False,
        handlelength=3.2,
    )
    write_title(figure, title)
    return figure


def _read_curve(rule: str, columns: Mapping[str, Sequence[float]]) -> dict[str, NDArray[np.float64]]:
    """Return the finite rows of a curve, in the order of their thresholds."""
    lengths = {name: len(columns[name]) for name in COLUMNS if name in columns}
    if len(lengths) < len(COLUMNS) or len(set(lengths.values())) > 1:
        msg = f"{rule}: rows of its columns are {lengths}, and not as many of each of {', '.join(COLUMNS)}"
        raise ValueError(msg)
    rows = np.array([array(columns[name]) for name in COLUMNS], dtype=np.float64)
    rows = rows[:, np.isfinite(rows).all(axis=0)]
    return dict(zip(COLUMNS, rows[:, rows[0].argsort(kind="stable")], strict=True))
