"""Whether a classifier's probabilities agree with how often it is right."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer.figures.style import (
    BLUE,
    GREY,
    INK,
    NORMAL,
    SKY,
    VERMILLION,
    new_figure,
    percent,
    tidy,
    write_title,
)
from fer.metrics import wilson_interval
from fer.metrics.calibration import Calibration, Reliability


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
    figure = new_figure(0.4 + 2.9 * len(panels), 3.6)
    grid = figure.subplots(*(2, len(panels)), sharex=True, sharey="row", squeeze=False, height_ratios=[3, 1])
    for (upper, lower), (name, (shown, nll)) in zip(grid.T, panels.items(), strict=True):
        _draw_bins(upper, shown, repeats)
        upper.set_title(f"{name}\nECE {100 * shown.ece:.2f} %, NLL {nll:.3f}", fontsize=NORMAL, color=INK)
        edges = np.linspace(0, 1, len(shown.counts) + 1)
        lower.bar(
            edges[:-1], shown.counts.numpy(), width=edges[1], align="edge", color=SKY, edgecolor="white"
        )
        lower.set_xlabel("probability of the predicted class")
        lower.xaxis.set_major_formatter(percent())
        tidy(lower)
    grid[0, 0].set_ylabel("right answers")
    grid[0, 0].yaxis.set_major_formatter(percent())
    grid[1, 0].set_ylabel("samples")
    figure.align_ylabels(grid[:, 0])
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
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.9, linestyle=(0, (4, 2)))
    axes.vlines(confidence, confidence, accuracy, color=VERMILLION, linewidth=2.2, alpha=0.5)
    axes.errorbar(confidence, accuracy, yerr=errors, fmt="o", color=BLUE, markersize=3.5, linewidth=0.9)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    tidy(axes)
