"""Stages as plain data: intervals in epochs, and which other measurements confirm each boundary."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from fer.neurons.changes import change_times, near
from fer.neurons.stages import LEAST_VALUES, WINDOW, Stage, StageLabel

ENOUGH: Final = 3 * WINDOW
"""Number of measurements below which stages are called rough: each is evaluated by a window of them."""

TOLERANCE: Final = 0.03
"""Share of the run within which another measurement must change to confirm a boundary."""

SERIES: Final = {"speed": "speed", "cka": "cka", "rank": "effective"}
"""Measurements that can confirm a boundary, each with its column in the history of a layer."""

Confirmed = Mapping[int, tuple[str, ...]]
"""By index of the measurement where an interval begins: the names of the series that confirm it."""


def intervals(
    labels: Sequence[StageLabel], times: Sequence[float], confirmed: Confirmed | None = None
) -> list[dict[str, Any]]:
    """Return each interval with one label, as plain data; each measurement's label holds since the last one.

    Args:
        labels: One a measurement.
        times: Time of each measurement, epochs.
        confirmed: By the index of each interval's first measurement, who confirms that it begins there; None:
            not asked.

    >>> warm_up, stuck = StageLabel("initial", "warm_up"), StageLabel("plateau", "stuck")
    >>> for each in intervals([warm_up, warm_up, stuck], [0.5, 1.0, 1.5], {2: ("rank",)}):
    ...     print(each)
    {'stage': 'initial', 'reason': 'warm_up', 'begin': 0.0, 'end': 1.0}
    {'stage': 'plateau', 'reason': 'stuck', 'begin': 1.0, 'end': 1.5, 'confirmed_by': ['rank']}
    """
    found = []
    firsts = begins(labels)
    for first, following in pairwise([*firsts, len(labels)]):
        label = labels[first]
        interval: dict[str, Any] = {
            "stage": str(label.stage),
            "reason": label.reason,
            "begin": round(times[first - 1], 1) if first else 0.0,
            "end": round(times[following - 1], 1),
        }
        if first and confirmed is not None:
            interval["confirmed_by"] = list(confirmed.get(first, ()))
        found.append(interval)
    return found


def begins(labels: Sequence[StageLabel]) -> list[int]:
    """Return the index of the first measurement of each interval with one label.

    >>> begins([StageLabel("initial", "warm_up")] * 2 + [StageLabel("plateau", "stuck")])
    [0, 2]
    """
    return [index for index, label in enumerate(labels) if index == 0 or label != labels[index - 1]]


def confirm(
    labels: Sequence[StageLabel], times: Sequence[float], series: Mapping[str, Sequence[float]]
) -> dict[int, tuple[str, ...]]:
    """Return which series confirm each boundary between the intervals of a layer or of the network.

    Args:
        labels: One a measurement.
        times: Time of each measurement, epochs.
        series: By name one value a measurement, see :func:`series_of`.

    Returns:
        By the index of the measurement where an interval begins, without the first: the names of the series
        that have a change point within :data:`TOLERANCE` of the run.
    """
    changes = change_times(series, times)
    return {first: near(times[first], changes, TOLERANCE * times[-1]) for first in begins(labels)[1:]}


def series_of(columns: Mapping[str, Sequence[float]], times: Sequence[float]) -> dict[str, list[float]]:
    """Return what may confirm the boundaries of a layer: one value a measurement, NaN where it has none.

    Args:
        columns: History of the layer: ``epoch`` and the columns of :data:`SERIES`.
        times: Time of each measurement of any layer, epochs.
    """
    is_own = set(columns["epoch"])
    return {
        name: [value if time in is_own else math.nan for value, time in zip(values, times, strict=True)]
        for name, values in _latest(columns, times).items()
    }


def series_of_network(
    layers: Mapping[str, Mapping[str, Sequence[float]]], widths: Mapping[str, int], times: Sequence[float]
) -> dict[str, list[float]]:
    """Return what may confirm the boundaries of the network: means over the layers' latest values.

    Args:
        layers: History of each layer.
        widths: Number of neurons of each layer, of which the effective rank is a share.
        times: Time of each measurement of any layer, epochs.
    """
    of_layers = []
    for layer, columns in layers.items():
        latest = _latest(columns, times)
        if "rank" in latest:
            latest["rank"] = [value / widths[layer] for value in latest["rank"]]
        of_layers.append(latest)
    return {
        name: [mean_of_known(values) for values in zip(*(each[name] for each in of_layers), strict=True)]
        for name in SERIES
        if of_layers and all(name in each for each in of_layers)
    }


def _latest(columns: Mapping[str, Sequence[float]], times: Sequence[float]) -> dict[str, list[float]]:
    """Return by series the value of a layer's latest measurement at each time, NaN before its first."""
    rows = [bisect_right(columns["epoch"], time) - 1 for time in times]
    found = {
        name: [columns[column][row] if row >= 0 else math.nan for row in rows]
        for name, column in SERIES.items()
        if column in columns
    }
    if "cka" in found:
        found["cka"] = [1 - value for value in found["cka"]]
    return found


def mean_of_known(values: Iterable[float]) -> float:
    """Return the mean of the values that are numbers, NaN if none is.

    >>> mean_of_known([1.0, math.nan, 3.0])
    2.0
    """
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else math.nan


def stages_line(of_network: Sequence[Mapping[str, Any]]) -> str:
    """Return final intervals as one line of text.

    Only a plateau has a reason that its name does not say.

    >>> first = {"stage": "initial", "reason": "warm_up", "begin": 0.0, "end": 2.4}
    >>> second = {"stage": "plateau", "reason": "stuck", "begin": 2.4, "end": 8.0}
    >>> stages_line([first, second])
    'initial to 2.4, plateau (stuck) to 8.0 epochs'
    """
    spans = (f"{each['stage']}{_reason(each)} to {each['end']:.1f}" for each in of_network)
    return f"{', '.join(spans)} epochs"


def few_line(num: int, num_steps: int) -> str:
    """Return what to do about too few measurements for stages, for the end of a line; empty if they suffice.

    >>> few_line(ENOUGH, 900)
    ''
    >>> few_line(10, 100)
    '; rough: 10 measured, 51 or more are better: give every_n_steps=1 (--distinctiveness.every_n_steps 1)'

    Args:
        num: Number of measurements.
        num_steps: Number of steps of the training.
    """
    if num >= ENOUGH:
        return ""
    problem = f": {num} measured, {LEAST_VALUES} are needed"
    if num >= LEAST_VALUES:
        problem = f"; rough: {num} measured, {ENOUGH} or more are better"
    every = max(1, num_steps // ENOUGH)
    return f"{problem}: give every_n_steps={every} (--distinctiveness.every_n_steps {every})"


def _reason(interval: Mapping[str, Any]) -> str:
    return f" ({interval['reason']})" if interval["stage"] == Stage.PLATEAU else ""


def count_line(confirmed: Iterable[Confirmed], length: float) -> str:
    """Return how many boundaries are confirmed, and what that means, in one line; empty if there are none.

    Args:
        confirmed: Who confirms the boundaries of each layer and of the network.
        length: Epochs of the run.

    >>> count_line([{7: ("speed",), 9: ()}], 30.0)
    '1 of 2 stage changes (network and layers) confirmed by angular speed, CKA or rank within 0.9 epochs'
    """
    names = [by_whom for of_layer in confirmed for by_whom in of_layer.values()]
    if not names:
        return ""
    num = sum(map(bool, names))
    return (
        f"{num} of {len(names)} stage changes (network and layers) confirmed by angular speed, CKA or rank "
        f"within {TOLERANCE * length:.1f} epochs"
    )
