"""Accuracies with their intervals, one below the other."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fer.figures.style import (
    BLUE,
    INK,
    PAGE_WIDTH,
    PALE,
    SMALL,
    mark_chance,
    new_figure,
    percent,
    tidy,
    write_title,
)

LONGEST_LINE: Final = 36
"""Characters of a name in one line."""


def intervals_figure(
    rows: Mapping[str, Sequence[float]], title: str = "Accuracy", *, chance: float | None = None
) -> Figure:
    """Draw accuracies as dots with their 95 % intervals, a row each.

    Args:
        rows: By name the accuracy and the ends of its interval, 0 to 1.
        title: Above the figure.
        chance: Chance accuracy, 0 to 1, drawn as a dashed line; None: no line.

    Returns:
        The figure; its one axes has the names at the left and the numbers at the right.

    Raises:
        ValueError: There is no row, or one is not an accuracy within its interval.
    """
    values = np.array(list(rows.values()), dtype=float)
    is_shaped = values.ndim == 2 and values.shape[1] == 3
    if not is_shaped or (values[:, 1] > values[:, 0]).any() or (values[:, 0] > values[:, 2]).any():
        msg = f"expected an accuracy and the two ends of its interval in each row, not {dict(rows)}"
        raise ValueError(msg)
    names = [textwrap.fill(name, LONGEST_LINE) for name in rows]
    figure = new_figure(PAGE_WIDTH, 0.9 + sum(0.09 + 0.13 * (name.count("\n") + 1) for name in names))
    axes = figure.subplots()
    places = np.arange(len(rows))
    errors = np.abs(values[:, 1:].T - values[:, 0])
    axes.errorbar(
        values[:, 0], places, xerr=errors, fmt="o", color=BLUE, markersize=4, linewidth=1.2, capsize=2
    )
    for place, (accuracy, low, high) in zip(places, 100 * values, strict=True):
        text = f"{accuracy:.2f} % [{low:.2f}, {high:.2f}]"
        look: dict[str, Any] = {"va": "center", "fontsize": SMALL, "color": INK}
        axes.text(1.02, float(place), text, transform=axes.get_yaxis_transform(), **look)
    axes.set_yticks(places, names)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.margins(x=0.05)
    axes.set_xlabel("accuracy, 95 % intervals")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(percent())
    tidy(axes)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color=PALE, linewidth=0.6)
    if chance is not None:
        mark_chance(axes, chance, "x")
    write_title(figure, title)
    return figure
