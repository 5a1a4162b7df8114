"""Where a series of measurements changes."""

from collections.abc import Mapping, Sequence
from itertools import pairwise


def agreeing(
    begin: float, series: Mapping[str, Sequence[float]], times: Sequence[float], tolerance: float
) -> tuple[str, ...]:
    """Return the names of the series whose largest jump is near a time.

    Args:
        begin: The time.
        series: By name one value a measurement, NaN allowed.
        times: Time of each measurement, epochs.
        tolerance: How far from it, epochs.
    """
    found = []
    for name, values in series.items():
        known = [(value, time) for value, time in zip(values, times, strict=True) if value == value]
        jumps = [(abs(after - before), time) for (before, _), (after, time) in pairwise(known)]
        if jumps and max(jumps)[0] > 0.1 and abs(max(jumps)[1] - begin) <= tolerance:
            found.append(name)
    return tuple(found)
