"""Whether a classifier's probabilities agree with how often it is right."""

from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer.figures.style import (
    BLUE,
    GREY,
    INK,
    NORMAL,
    SKY,
    SMALL,
    VERMILLION,
    new_figure,
    percent,
    tidy,
    write_title,
)
from fer.metrics import wilson_interval
from fer.metrics.calibration import Calibration, Reliability

NOTE: Final = "ECE: expected calibration error; NLL: mean negative log-likelihood"


def reliability_figure(found: Calibration, title: str = "Calibration", *, repeats: int = 1) -> Figure:
    """Draw accuracy over the probability of the predicted class, before and after temperature scaling.

    A dot is a bin of probabilities: their mean, and the share of right answers with Wilson's 95 % interval.
    Above the diagonal the classifier is right more often than it says, below it less often. The bars at the
    bottom are the number of samples in each bin. With temperature 1 there is only one panel.

    Args:
        found: Calibration of one split, n samples.
        title: Above the figure.
        repeats: How often each sample is counted, once for each of as many networks, whose mean temperature
            the calibration has; the intervals count it once.

    Raises:
        ValueError: There is no sample.
    """
    if not found.n:
        msg = "no sample has finite logits: there are no probabilities to draw"
        raise ValueError(msg)
    panels = {"uncalibrated, temperature 1": (found.before, found.nll_before)}
    if found.temperature != 1:
        name = "temperature" if repeats == 1 else "mean temperature"
        panels[f"{name} {found.temperature:.3f}"] = (found.after, found.nll_after)
    figure = new_figure(max(4.4, 0.4 + 2.9 * len(panels)), 4.2)
    figure.set_layout_engine("constrained", w_pad=0.12)  # between the ticks of two panels
    grid = figure.subplots(*(2, len(panels)), sharex=True, sharey="row", squeeze=False, height_ratios=[3, 1])
    for (upper, lower), (name, (shown, nll)) in zip(grid.T, panels.items(), strict=True):
        _draw_bins(upper, shown, repeats)
        upper.set_title(f"{name}\nECE {100 * shown.ece:.2f} %, NLL {nll:.3f}", fontsize=NORMAL, color=INK)
        edges = np.linspace(0, 1, len(shown.counts) + 1)
        look: dict[str, Any] = {"color": SKY, "edgecolor": "white", "label": "samples in each bin"}
        lower.bar(edges[:-1], shown.counts.numpy(), width=edges[1], align="edge", **look)
        lower.set_xlabel("probability of the predicted class")
        lower.set_xticks([0, 0.25, 0.5, 0.75, 1])
        lower.xaxis.set_major_formatter(percent())
        tidy(lower)
    grid[0, 0].set_ylabel("right answers")
    grid[0, 0].yaxis.set_major_formatter(percent())
    grid[1, 0].set_ylabel("samples")
    figure.align_ylabels(grid[:, 0])
    signs = [sign for axes in grid[:, 0] for sign in axes.get_legend_handles_labels()[0]]
    place: dict[str, Any] = {"loc": "outside lower center", "ncols": 2, "frameon": False}
    figure.legend(handles=signs, fontsize=SMALL, title=NOTE, title_fontproperties={"size": SMALL}, **place)
    times = f"{repeats} \N{MULTIPLICATION SIGN} " if repeats > 1 else ""
    n = f"n = {times}{round(found.n / repeats):,}"
    write_title(figure, f"{title}, {n}" if title else n)
    return figure


def _draw_bins(axes: Axes, shown: Reliability, repeats: int) -> None:
    """Draw the bins that have samples, and the diagonal of a calibrated classifier."""
    counts = shown.counts.numpy()
    filled = np.flatnonzero(counts)
    confidence, accuracy = shown.confidence.numpy()[filled], shown.accuracy.numpy()[filled]
    once = np.rint(counts[filled] / repeats).astype(int)
    right = np.rint(accuracy * once).astype(int)
    bounds = np.array([wilson_interval(int(r), int(n)) for r, n in zip(right, once, strict=True)])
    errors = np.maximum(0, np.stack([accuracy - bounds[:, 0], bounds[:, 1] - accuracy]))
    axes.plot(
        *([0, 1], [0, 1]),
        color=GREY,
        linewidth=0.9,
        linestyle=(0, (4, 2)),
        label="ideal: right as often as probable",
    )
    gap: dict[str, Any] = {
        "color": VERMILLION,
        "linewidth": 2.2,
        "alpha": 0.5,
        "label": "gap to the ideal",
    }
    axes.vlines(confidence, confidence, accuracy, **gap)
    dot: dict[str, Any] = {"fmt": "o", "color": BLUE, "markersize": 3.5, "linewidth": 0.9}
    axes.errorbar(confidence, accuracy, yerr=errors, label="right answers in a bin, 95 % interval", **dot)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    tidy(axes)
