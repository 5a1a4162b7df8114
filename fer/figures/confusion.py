"""Figure of a confusion matrix."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from fer.figures.style import (
    GREY,
    INK,
    LARGE,
    NORMAL,
    PALE,
    PLAIN,
    SHADES,
    SMALL,
    TINY,
    new_figure,
    tidy,
    wrap_title,
)
from fer.labels import EXPRESSIONS
from fer.metrics import report

MOST_COUNTS = 12
"""With more classes, cells show percentages alone, and the names of columns are upright."""

LONGEST_LEVEL = 9
"""Characters of a class name that fit over a column."""

GAP = 0.18
"""Space between the matrix and its margins, in cells."""


def confusion_figure(
    confusion: Tensor,
    class_names: Sequence[str] = EXPRESSIONS,
    title: str = "Confusion matrix",
    non_finite: Tensor | None = None,
    *,
    repeats: int = 1,
) -> Figure:
    """Draw a confusion matrix, with recall at its right and precision below.

    A cell is shaded by its share of its row, so that rare classes are read as easily as frequent ones, and
    shows its count and that share. With more than :data:`MOST_COUNTS` classes it shows the share alone, in
    per cent. Below the title are accuracy, its 95 % interval and n, and the number of samples without a
    predicted class, if there are any.

    Args:
        confusion: Counts, rows = truth, columns = predicted, integers, shape ``(K, K)``.
        class_names: K names.
        title: What was classified by what.
        non_finite: Samples of each class whose logits are not finite, shape ``(K,)``; None: none.
        repeats: How often each sample was classified; see :func:`fer.metrics.report`.

    Returns:
        The figure; its one axes has classes on both sides.

    Raises:
        ValueError: No confusion matrix, or the names are not as many as the classes.
    """
    result = report(confusion, class_names, non_finite, repeats=repeats)
    num_classes = len(class_names)
    counts = result.confusion.numpy()
    shares = torch.where(
        result.support[:, None] > 0, result.confusion / result.support[:, None], torch.nan
    ).numpy()

    has_counts = num_classes <= MOST_COUNTS
    longest = max(map(len, class_names))
    is_tilted = not has_counts or longest > LONGEST_LEVEL
    cell_width, cell_height = (0.68, 0.56) if has_counts else (0.36, 0.3)
    names_width = max(0.0, 0.075 * (longest - LONGEST_LEVEL))
    figure = new_figure(
        max(3.9, 1.8 + names_width + cell_width * num_classes),
        1.75 + (0.075 * longest if is_tilted else 0) + cell_height * num_classes,
    )
    axes = figure.add_subplot()
    axes.imshow(np.nan_to_num(shares), cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(num_classes, num_classes):
        count, share = int(counts[row, column]), float(shares[row, column])
        if has_counts:
            _write_count(axes, column, row, count, share)
        elif count:
            colour = "white" if share > 0.45 else INK
            text = f"{100 * share:.0f}" if share >= 0.005 else "<1"
            axes.text(column, row, text, ha="center", va="center", fontsize=TINY, color=colour)

    margin = num_classes + GAP
    for index in range(num_classes):
        _write_margin(axes, margin, index, float(result.recall[index]), short=not has_counts)
        _write_margin(axes, index, margin, float(result.precision[index]), short=not has_counts)
    _write_margin(axes, margin, margin, result.accuracy, short=not has_counts, weight="bold")
    if has_counts:
        axes.text(margin, margin + 0.3, "accuracy", ha="center", va="center", fontsize=TINY, color=INK)

    _frame_cells(axes, num_classes)
    places = [*range(num_classes), margin]
    separator = "\n" if has_counts else ", "
    rows = [
        f"{name}{separator}n = {n:,}" for name, n in zip(class_names, result.support.tolist(), strict=True)
    ]
    axes.set_xticks(places, [*class_names, "recall"])
    axes.set_yticks(places, [*rows, "precision"])
    if is_tilted:
        axes.tick_params(axis="x", labelrotation=90)
    middle = (num_classes / 2) / (num_classes + GAP + 1)
    axes.set_xlabel("predicted", x=middle)
    axes.set_ylabel("truth", y=1 - middle)
    axes.xaxis.set_label_position("top")
    tidy(axes)
    axes.grid(visible=False)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.xaxis.get_ticklabels()[-1].set(color=GREY, fontstyle="italic")
    axes.yaxis.get_ticklabels()[-1].set(color=GREY, fontstyle="italic")

    low, high = (100 * end for end in result.interval)
    accuracy = "undefined" if math.isnan(result.accuracy) else f"{100 * result.accuracy:.2f} %"
    times = f"{repeats} \N{MULTIPLICATION SIGN} " if repeats > 1 else ""
    accuracy += f" (95 % interval {low:.2f} to {high:.2f})"
    line = f"accuracy {accuracy}, n = {times}{round(result.n / repeats):,}"
    if result.num_non_finite:
        line += f"; logits not finite: {result.num_non_finite:,}"
    axes.set_title(wrap_title(figure, line, PLAIN * NORMAL), fontsize=NORMAL, color=INK, pad=8)
    axes.annotate(
        wrap_title(figure, title),
        (0.5, 1),
        xycoords=axes.title,
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        fontsize=LARGE,
        fontweight="bold",
        color=INK,
    )
    return figure


def _write_count(axes: Axes, x: float, y: float, count: int, share: float) -> None:
    """Write a count and below it its share of the row; a mere zero where there is none."""
    colour = "white" if share > 0.45 else INK
    if count == 0:
        axes.text(x, y, "0", ha="center", va="center", fontsize=NORMAL, color=GREY)
        return
    axes.text(x, y - 0.14, f"{count:,}", ha="center", va="center", fontsize=NORMAL, color=colour)
    axes.text(x, y + 0.2, f"{100 * share:.1f} %", ha="center", va="center", fontsize=TINY, color=colour)


def _write_margin(
    axes: Axes, x: float, y: float, fraction: float, *, short: bool, weight: str = "normal"
) -> None:
    """Write a percentage, or a dash where it is undefined, on a pale cell beside the matrix."""
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=PALE, edgecolor="white", linewidth=1.2))
    percentage = f"{100 * fraction:.0f}" if short else f"{100 * fraction:.1f} %"
    text = "\N{EN DASH}" if math.isnan(fraction) else percentage
    axes.text(x, y, text, ha="center", va="center", fontsize=SMALL, color=INK, fontweight=weight)


def _frame_cells(axes: Axes, num_classes: int) -> None:
    """Part the cells by thin lines, mark the diagonal, and make room for the margins."""
    for edge in np.arange(-0.5, num_classes):
        axes.plot([-0.5, num_classes - 0.5], [edge, edge], color=PALE, linewidth=0.6)
        axes.plot([edge, edge], [-0.5, num_classes - 0.5], color=PALE, linewidth=0.6)
    for index in range(num_classes):
        axes.add_patch(
            Rectangle(
                (index - 0.5, index - 0.5), 1, 1, facecolor="none", edgecolor=INK, linewidth=0.9, zorder=3
            )
        )
    axes.set_xlim(-0.53, num_classes + GAP + 0.5)
    axes.set_ylim(num_classes + GAP + 0.5, -0.53)
