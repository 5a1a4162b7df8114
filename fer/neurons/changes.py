"""Change points of a series: a second opinion on where stages begin.

PELT finds the best segmentation of a series (Killick, Fearnhead and Eckley, "Optimal detection of
changepoints with a linear computational cost", 2012). It knows neither the number of segments nor the losses.

A segment is a straight line, and lines need not meet: where a stage begins, speed, CKA and rank change their
slope more often than they jump.

What did not help (log of the speed; 72 synthetic histories with 3 schedules and uncorrelated noise; figures
are the share of the 144 known boundaries, and of all times, within 3 % of the run from a change point):

- Piecewise constant segments, the usual L2 cost: 90 % of the boundaries, but also 50 % of all times, since a
  steady fall becomes a staircase of 10 changes; with lines it is 78 % and 23 %, with 4 changes. With four
  times the penalty: 73 % and 36 %.
- Twice the penalty with lines: 77 % and 21 %.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from fer.neurons.stages import DWELL
from fer.neurons.windows import Array, noise_of

PENALTY: Final = 3.0
"""Penalty of a change, in variances of the noise times the logarithm of the number of values: one for each of
position, level and slope."""

LEAST_PENALTY: Final = 1e-9
"""Penalty as a share of the sum of squares, for a series without noise: well above its rounding errors."""

LOGARITHMIC: Final = frozenset({"speed", "cka"})
"""Series on a logarithmic scale: they fall by orders of magnitude, and their noise falls with them."""


def agreeing(
    begin: float, series: Mapping[str, Sequence[float]], times: Sequence[float], tolerance: float
) -> tuple[str, ...]:
    """Return the names of the series that change near a time; for several times, use :func:`change_times`.

    With a tolerance of 3 % of the run, this happens by chance in about a fifth of the cases.

    Args:
        begin: Start of a stage, in epochs.
        series: See :func:`change_times`.
        times: See :func:`change_times`.
        tolerance: Largest distance, in epochs.

    Raises:
        ValueError: A series and the times differ in length.

    >>> steps = {"rank": [5.0] * 10 + [9.0] * 10, "speed": [0.5] * 20}
    >>> agreeing(2.5, steps, [0.25 * i for i in range(20)], tolerance=0.3)
    ('rank',)
    """
    return near(begin, change_times(series, times), tolerance)


def near(begin: float, changes: Mapping[str, Sequence[float]], tolerance: float) -> tuple[str, ...]:
    """Return the names of the series that change within a tolerance of a time, in epochs."""
    return tuple(
        name for name, found in changes.items() if any(abs(time - begin) <= tolerance for time in found)
    )


def change_times(series: Mapping[str, Sequence[float]], times: Sequence[float]) -> dict[str, list[float]]:
    """Return the times, in epochs, at which each series changes, by name.

    Args:
        series: By name, one value per measurement, NaN where unknown. ``speed`` (of the angles) and ``cka``
            (1 - CKA with the measurement before) are taken as logarithms, without values of 0 or less; other
            series, such as ``rank`` (effective rank), are taken as they are.
        times: Time of each measurement in epochs, increasing.

    Raises:
        ValueError: A series and the times differ in length.
    """
    found = {}
    for name, values in series.items():
        if len(values) != len(times):
            msg = f"{name} has {len(values)} values, but times has {len(times)}: give one per measurement"
            raise ValueError(msg)
        if name in LOGARITHMIC:
            values = [math.log(value) if value > 0 else math.nan for value in values]
        found[name] = [times[i] for i in change_points(values, times=times)]
    return found


@np.errstate(all="ignore")  # the largest values overflow
def change_points(
    values: Sequence[float], least: int = DWELL, times: Sequence[float] | None = None
) -> list[int]:
    """Return where a new line begins: increasing positions in ``values``, without 0.

    The penalty follows from the noise of the series: multiplying all values by ten changes nothing.

    Args:
        values: One per measurement; NaN and infinite values are left out.
        least: Smallest number of values in a segment.
        times: Time of each value, increasing; default: 0, 1, 2, ...

    >>> change_points([0.0, 0.1, 0.0, 0.1, 5.0, 5.1, 5.0, 5.1])
    [4]
    >>> change_points([math.nan, 3.0, 3.0, 2.0])
    []
    """
    y = np.array(values, dtype=np.float64)
    t = np.arange(len(y), dtype=np.float64) if times is None else np.array(times, dtype=np.float64)
    places = np.flatnonzero(np.isfinite(y))
    if len(places) < 2 * least:
        return []
    y, t = y[places] - y[places].mean(), t[places] - t[places].mean()
    noise = float(np.nan_to_num(np.nanmedian(noise_of(y, t, centred=True))))
    penalty = max(PENALTY * noise**2 * math.log(len(y)), LEAST_PENALTY * float(y @ y))
    return [int(places[begin]) for begin in divide(y, t, penalty, least)]


def divide(y: Array, t: Array, penalty: float, least: int) -> list[int]:
    """Return the starts of all lines but the first that minimise squared errors plus penalties (PELT).

    Args:
        y: Values, shape ``(N,)``.
        t: Times of the values.
        penalty: Cost of a line.
        least: Smallest number of values on a line.
    """
    sums = [np.append(0.0, np.cumsum(each)) for each in (np.ones_like(y), y, t, y * y, t * y, t * t)]
    cost, last = np.full(len(y) + 1, math.inf), np.zeros(len(y) + 1, dtype=int)
    cost[0] = -penalty
    begins = np.empty(0, dtype=int)
    for end in range(least, len(y) + 1):
        begins = np.append(begins, end - least)
        num, sum_y, sum_t, yy, ty, tt = (each[end] - each[begins] for each in sums)
        slope_part = (ty - sum_t * sum_y / num) ** 2 / (tt - sum_t**2 / num)
        total = cost[begins] + (yy - sum_y**2 / num - slope_part).clip(min=0)
        last[end], cost[end] = begins[total.argmin()], total.min() + penalty
        begins = begins[total <= cost[end]]  # PELT's pruning: what is worse now is never optimal later
    found, end = [], int(last[-1])
    while end > 0:
        found.append(end)
        end = int(last[end])
    return found[::-1]
