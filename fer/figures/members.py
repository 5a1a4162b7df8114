"""The members of a study beside each other: folds of a cross-validation, seeds of a repeat."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer.figures.curves import ACCURACY, LINES, LOSS, read_curves
from fer.figures.style import (
    BLUE,
    GREY,
    INK,
    NORMAL,
    PAGE_WIDTH,
    PALE,
    SMALL,
    mark_chance,
    new_figure,
    percent,
    scale_epochs,
    tidy,
    write_title,
)
from fer.metrics import ClassificationReport


def members_figure(
    reports: Mapping[int, ClassificationReport],
    histories: Sequence[Mapping[str, Sequence[float]]],
    title: str = "Runs",
    member: str = "fold",
) -> Figure:
    """Draw each member's test accuracy with its interval, and the losses and accuracies of its training.

    Args:
        reports: By the number of a member its report of the test samples, M members.
        histories: M members' columns over the epochs; see :func:`fer.figures.curves_figure`.
        title: Above the figure.
        member: What a member is called.

    Returns:
        The figure with three panels: accuracies of the members with mean and standard deviation, losses,
        accuracies over the epochs.

    Raises:
        ValueError: There is no member, or the histories are not as many.
    """
    if not reports or len(reports) != len(histories):
        msg = f"{len(reports)} reports and {len(histories)} histories: every {member} needs one of each"
        raise ValueError(msg)
    figure = new_figure(PAGE_WIDTH, 2.9)
    axes = figure.subplots(1, 3, width_ratios=[1.0, 1.2, 1.2])
    _draw_accuracies(axes[0], reports, member)
    for panel, keys in ((axes[1], LOSS), (axes[2], ACCURACY)):
        _draw_histories(panel, keys, histories)
    axes[1].set_ylabel("loss")
    axes[2].set_ylabel("accuracy")
    axes[2].yaxis.set_major_formatter(percent())
    for panel in (axes[0], axes[2]):
        mark_chance(panel, 1 / len(next(iter(reports.values())).class_names))
    write_title(figure, title)
    return figure


def _draw_accuracies(axes: Axes, reports: Mapping[int, ClassificationReport], member: str) -> None:
    """Draw a dot with its Wilson interval for each member, their mean as a line, mean ± std as a band."""
    accuracies = np.array([each.accuracy for each in reports.values()])
    bounds = np.array([each.interval for each in reports.values()])
    mean = accuracies.mean()
    text = f"mean {100 * mean:.2f} %"
    if len(reports) > 1:
        spread = accuracies.std(ddof=1)
        axes.axhspan(mean - spread, mean + spread, color=PALE, zorder=0)
        text += f", std {100 * spread:.2f}"
    axes.axhline(mean, color=GREY, linewidth=1)
    below_above = np.abs(bounds.T - accuracies)
    places = np.arange(len(reports))
    axes.errorbar(
        places, accuracies, yerr=below_above, fmt="o", color=BLUE, markersize=4, linewidth=1, capsize=2
    )
    axes.set_xticks(places, map(str, reports))
    axes.set_xlim(-0.5, len(reports) - 0.5)
    axes.set_xlabel(member)
    axes.set_ylabel("test accuracy, 95 % intervals")
    axes.yaxis.set_major_formatter(percent())
    axes.set_title(text, fontsize=NORMAL, color=INK)
    tidy(axes)


def _draw_histories(
    axes: Axes, keys: Sequence[str], histories: Sequence[Mapping[str, Sequence[float]]]
) -> None:
    """Draw every member's train and val values as thin lines, and their mean as a thick one."""
    epochs: list[float] = [1.0]
    for key in keys:
        split = key.split("/")[0]
        curves = [found[key] for history in histories if key in (found := read_curves(history))]
        for curve in curves:
            axes.plot(curve.epochs, curve.values, alpha=0.35, **LINES[split] | {"linewidth": 0.8})
            epochs.extend(curve.epochs)
        if curves:
            shortest = min(len(curve.values) for curve in curves)
            mean = np.mean([curve.values[:shortest] for curve in curves], axis=0)
            axes.plot(curves[0].epochs[:shortest], mean, label=split, **LINES[split])
    axes.set_xlabel("epoch")
    scale_epochs(axes, epochs)
    tidy(axes)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=SMALL, frameon=False, loc="best", handlelength=2.6)
