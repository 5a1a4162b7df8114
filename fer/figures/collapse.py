"""Neural collapse: how near the samples of each class are to one point of the last hidden layer."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fer.figures.angles import DEGREES, say
from fer.figures.curves import Curve, finite
from fer.figures.style import (
    BLUE,
    INK,
    NORMAL,
    SMALL,
    array,
    log_scale,
    new_figure,
    percent,
    scale_time,
    tidy,
    write_title,
)
from fer.neurons.collapse import MEASURES

TITLES: Final = (
    "NC1: spread within the classes against that between them (collapsed: 0)",
    "NC2: standard deviation of the angles between the class means (collapsed: 0°, {ideal:.2f}° for all)",
    "NC4: answers of the network that are the class with the nearest mean (collapsed: 100 %)",
)
"""Of the panels, from the top; ``ideal`` is the angle between the class means of a collapsed layer."""

LEAST_SPREAD: Final = 1.0
"""Upper end of the axis of NC2 in degrees, at least, so that rounding errors are not drawn as a change."""


def collapse_figure(
    columns: Mapping[str, Sequence[float]],
    num_classes: int,
    title: str = "Neural collapse of the last hidden layer",
) -> Figure:
    """Draw how near the last hidden layer is to neural collapse during a training.

    Args:
        columns: ``epoch`` (the time of each measurement), and ``nc1``, ``nc2_spread`` and ``nc4`` as in
            :class:`fer.neurons.collapse.Collapse`; what is not finite is skipped, and so is an ``nc1`` of 0,
            which a logarithmic axis cannot show.
        num_classes: Number of classes, K, from which the angle of a collapsed layer follows.
        title: Above the figure.

    Raises:
        ValueError: No measurement, or fewer than two classes.

    Source: Papyan, Han and Donoho, "Prevalence of Neural Collapse During the Terminal Phase of Deep Learning
    Training", 2020, figures 2 to 7.
    """
    times = array(columns["epoch"]).astype(np.float64)
    if len(times) == 0 or num_classes < 2:
        msg = f"there is no collapse to draw: {len(times)} measurements, {num_classes} classes"
        raise ValueError(msg)
    figure = new_figure(5.6, 4.2)
    rows: list[Axes] = list(figure.subplots(3, 1, sharex=True))
    curves = {name: finite(times, columns[name]) for name in MEASURES}
    curves["nc1"] = Curve(*(part[curves["nc1"].values > 0] for part in curves["nc1"]))
    for axes, (epochs, values) in zip(rows, curves.values(), strict=True):
        marker = "o" if len(values) == 1 else None
        axes.plot(epochs, values, color=BLUE, linewidth=1.4, marker=marker, markersize=4)
        tidy(axes)
        if len(values) == 0:
            say(axes, "not known")
            axes.set_yticks([])
    spread, angle, nearest = rows
    if len(curves["nc1"].values):
        log_scale(spread)
    ideal = math.degrees(math.acos(-1 / (num_classes - 1)))
    if len(curves["nc2_spread"].values):
        angle.set_ylim(0, 1.1 * max(curves["nc2_spread"].values.max(), LEAST_SPREAD))
        angle.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        angle.yaxis.set_major_formatter(DEGREES)
    nearest.set_ylim(0, 1.03)
    nearest.yaxis.set_major_formatter(percent())
    for axes, text in zip(rows, TITLES, strict=True):
        axes.set_title(text.format(ideal=ideal), loc="left", fontsize=SMALL, color=INK)
    nearest.set_xlabel("epochs trained", fontsize=NORMAL)
    scale_time(nearest, times)
    write_title(figure, title)
    return figure
