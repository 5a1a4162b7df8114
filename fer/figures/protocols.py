"""What the same networks score when their tests are drawn by one protocol and by another."""

from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from typing import Final, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fer.figures.style import (
    BLUE,
    GREEN,
    INK,
    PALE,
    PURPLE,
    SMALL,
    VERMILLION,
    mark_chance,
    new_figure,
    percent,
    tidy,
    write_title,
)
from fer.metrics import ClassificationReport, report

LOOKS: Final = ((BLUE, "o"), (VERMILLION, "s"), (GREEN, "D"), (PURPLE, "^"))
"""Colour and marker of the first protocol, the second, and so on."""

BELOW: Final = 0.2
"""How far below a row its folds are, in rows: on it they would be under the interval."""


class _Row(NamedTuple):
    """A protocol of a network, and where it is drawn."""

    place: float
    protocol: str
    folds: Sequence[ClassificationReport]
    pooled: ClassificationReport


def protocols_figure(
    summaries: Mapping[str, Mapping[str, Sequence[ClassificationReport]]],
    title: str = "Accuracy by protocol",
    chance: float | None = None,
) -> Figure:
    """Draw for each network what it scores under each protocol, and how much the next protocol takes away.

    A large dot with its Wilson 95 % interval is the accuracy of all folds' tests together, a small one that
    of a fold. What folds drawn at random score above folds of whole films is leakage: the network has seen
    frames of the clips that it is tested on.

    Args:
        summaries: By network and then by protocol, such as ``random folds`` and ``by film``, the folds'
            reports of their tests; four protocols at most.
        title: Above the figure.
        chance: Chance accuracy, 0 to 1, drawn as a dashed line; None: 1 / K for K classes.

    Returns:
        The figure; its one axes has a heading for each network and a row below it for each protocol.

    Raises:
        ValueError: There is no network, or one without protocols or folds, or there are more protocols.
    """
    protocols = list(dict.fromkeys(chain.from_iterable(summaries.values())))
    is_whole = all(summary and all(summary.values()) for summary in summaries.values())
    if not summaries or not is_whole or len(protocols) > len(LOOKS):
        counts = {name: {key: len(of[key]) for key in of} for name, of in summaries.items()}
        msg = f"expected networks, each with folds of 1 to {len(LOOKS)} protocols, not {counts}"
        raise ValueError(msg)
    looks = dict(zip(protocols, LOOKS, strict=False))
    num_rows = sum(len(summary) + 1 for summary in summaries.values())
    figure = new_figure(6.3, 0.8 + 0.3 * num_rows)
    axes = figure.subplots()
    labels: dict[float, str] = {}
    headings: list[float] = []
    top = 0
    for network, summary in summaries.items():
        headings.append(top)
        labels[top] = network
        rows = [
            _Row(top + place, protocol, folds, _pool(folds))
            for place, (protocol, folds) in enumerate(summary.items(), start=1)
        ]
        for row in rows:
            labels[row.place] = row.protocol
            _draw_row(axes, row, *looks[row.protocol])
        for upper, lower in pairwise(rows):
            _draw_change(axes, upper, lower)
        top += len(rows) + 1
    axes.set_yticks(list(labels), list(labels.values()))
    axes.set_ylim(top - 0.4, -0.5)
    axes.margins(x=0.08)
    axes.set_xlabel("test accuracy: large, all folds together with 95 % interval; small, single folds")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(percent())
    tidy(axes)
    if chance is None:
        [first, *_] = chain.from_iterable(chain.from_iterable(of.values() for of in summaries.values()))
        chance = 1 / len(first.class_names)
    mark_chance(axes, chance, "x")
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color=PALE, linewidth=0.6)
    axes.tick_params(axis="y", length=0)
    for place, label in zip(labels, axes.get_yticklabels(), strict=True):
        label.set(color=INK, fontweight="bold" if place in headings else "normal")
    write_title(figure, title)
    return figure


def _pool(folds: Sequence[ClassificationReport]) -> ClassificationReport:
    """Return the report of all folds' tests together."""
    confusion, non_finite = (
        torch.stack([getattr(fold, name) for fold in folds]).sum(dim=0)
        for name in ("confusion", "non_finite")
    )
    return report(confusion, folds[0].class_names, non_finite)


def _draw_row(axes: Axes, row: _Row, colour: str, marker: str) -> None:
    """Draw the folds, all of them together with the interval, and write what that is at the right."""
    accuracies = [fold.accuracy for fold in row.folds]
    axes.plot(
        accuracies,
        [row.place + BELOW] * len(accuracies),
        linestyle="none",
        marker=marker,
        markersize=3.5,
        markerfacecolor="white",
        markeredgecolor=colour,
        markeredgewidth=0.8,
        zorder=3,
    )
    accuracy, bounds = row.pooled.accuracy, np.array(row.pooled.interval)
    axes.errorbar(
        accuracy,
        row.place,
        xerr=np.abs(bounds - accuracy)[:, np.newaxis],
        fmt=marker,
        color=colour,
        markersize=6.5,
        linewidth=1.4,
        capsize=2.5,
        zorder=4,
    )
    low, high = 100 * bounds
    axes.annotate(
        f"{100 * accuracy:.1f} % [{low:.1f}, {high:.1f}], n = {row.pooled.n:,}",
        (1, row.place),
        xycoords=axes.get_yaxis_transform(),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        fontsize=SMALL,
        color=INK,
    )


def _draw_change(axes: Axes, upper: _Row, lower: _Row) -> None:
    """Join two protocols' accuracies, and write the difference, in points, below the line's middle."""
    first, second = upper.pooled.accuracy, lower.pooled.accuracy
    axes.plot([first, second], [upper.place, lower.place], color=INK, linewidth=0.9, zorder=2)
    points = f"{100 * (second - first):+.1f} points".replace("-", "\N{MINUS SIGN}")
    axes.annotate(
        points,
        ((first + second) / 2, (upper.place + lower.place) / 2),
        xytext=(6 if second <= first else -6, -2),
        textcoords="offset points",
        ha="left" if second <= first else "right",  # the side on which the line rises
        va="top",
        fontsize=SMALL,
        color=INK,
        bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},
        zorder=1.5,
    )
