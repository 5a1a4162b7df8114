"""Windows over a history of measurements: level, change and noise of a quantity at each measurement.

NumPy is used because it sorts short rows ten times as fast as torch, and live stages sort at every
measurement.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LEAST_WINDOW: Final = 7
"""Smallest number of values in a window, for a quantity that is known at few of the measurements."""

NOISE_WINDOW: Final = 51
"""Number of values that determine the size of the noise: enough for an error of some 15 %, few enough to
follow a schedule."""

NOISE_STEP: Final = 10
"""Number of values after which the correlation of the noise is estimated again."""

NOISES: Final = 4.5
"""Standard errors above which a change counts as motion. Three are rare by chance, but the size of the noise
has an error of some 20 %, and a run has many windows."""

NOISES_AT_REST: Final = 1.8
"""Standard errors below which a change may count as rest: 9 of 10 windows at rest have less. Between the two
thresholds, the state before continues."""


class Windowed(NamedTuple):
    """A quantity in windows; arrays of shape ``(measurements,)``, NaN where unknown.

    Attributes:
        values: Measured values.
        level: Median of the window.
        change: Change over the window without the noise: its median slope times its length.
        least: Smallest change that counts as motion, given the noise and all changes so far.
        rest: Change below which a quantity has come to rest.
        low: Lowest window median so far.
        high: Highest window median so far.
        noise: Size of the noise of a value, as it affects a slope.
    """

    values: Array
    level: Array
    change: Array
    least: Array
    rest: Array
    low: Array
    high: Array
    noise: Array

    @property
    def is_flat(self) -> Array:
        """Whether it is at rest, in two rows: if it was in motion before, and if it was at rest before."""
        return abs(self.change) <= np.stack([self.rest, self.least])

    @property
    def is_unknown(self) -> Array:
        """Whether it has not been measured yet."""
        return np.isnan(self.level)

    @property
    def is_worse(self) -> Array:
        """For a loss: whether it is above its minimum. Levels scatter less than changes."""
        return self.level > self.low + (self.rest + self.least) / 2

    @property
    def is_bad(self) -> Array:
        """For a loss: whether it is above its minimum or rising towards that."""
        return self.is_worse | (self.change > self.least)


def windowed(
    values: Sequence[float], times: Sequence[float], *, window: int, least_share: float, centred: bool
) -> Windowed:
    """Return level, change and noise of a quantity in the window of each measurement.

    Missing values take no room in a window: a quantity that is known at every third measurement is evaluated
    over its own values, and keeps its last result in between. Its windows have fewer values and cover more
    time, a compromise between the two; the spacing of the first two known values decides how many.

    Args:
        values: One per measurement; NaN or infinite where nothing was measured.
        times: Time of each measurement, increasing.
        window: Number of values in a window, odd; a window at either end is valid if it is at least half
            full.
        least_share: Share of all changes so far below which a change counts as none.
        centred: Whether the window is centred on its measurement; otherwise it ends there.
    """
    return _windowed(tuple(values), tuple(times), window, least_share, centred)


# Layers share the losses of their network, which then need not be evaluated for each layer.
@lru_cache(maxsize=8)
@np.errstate(all="ignore")  # windows of one value have no slope; the largest values overflow
def _windowed(
    values: tuple[float, ...], times: tuple[float, ...], window: int, least_share: float, centred: bool
) -> Windowed:
    all_values = np.array(values, dtype=np.float64)
    is_known = np.isfinite(all_values)
    y, t = all_values[is_known], np.array(times, dtype=np.float64)[is_known]
    if len(y) == 0:
        return Windowed(*[np.full_like(all_values, math.nan)] * 8)
    first, second = (*np.flatnonzero(is_known), len(values))[:2]
    size = max(min(LEAST_WINDOW, window), round(window / math.sqrt(second - first))) | 1
    ahead = size // 2 if centred else 0
    rows, at = windows(y, size, ahead), windows(t, size, ahead)
    is_in = ~np.isnan(rows)
    num = is_in.sum(axis=1)

    # Theil and Sen's slope is robust to outliers; pairs of adjacent values hold little but noise.
    i, j = _pairs(size)
    slope = medians((rows[:, j] - rows[:, i]) / (at[:, j] - at[:, i]))
    length = np.nanmax(at, axis=1) - np.nanmin(at, axis=1)
    change = np.where(num > size // 2, slope * length, math.nan)
    beyond = at - (np.nansum(at, axis=1) / num)[:, None]
    noise = noise_of(y, t, centred=centred)
    error = noise * length / np.sqrt(np.nansum(beyond**2, axis=1))
    level = medians(rows)
    past = medians(windows(y, size, 0)) if centred else level
    low, high = np.minimum.accumulate(past), np.maximum.accumulate(past)
    least, rest = (
        np.maximum(noises * error, least_share * (high - low)) for noises in (NOISES, NOISES_AT_REST)
    )
    return Windowed(
        all_values, *(stretched(each, is_known) for each in (level, change, least, rest, low, high, noise))
    )


def stretched(known: Array, is_known: Array) -> Array:
    """Return the last known value at each measurement, NaN before the first."""
    found: Array = np.append(math.nan, known)[is_known.cumsum()]
    return found


def windows(values: Array, size: int, ahead: int) -> Array:
    """Return the window of each value, NaN beyond the ends: shape ``(N, size)`` for ``(N,)``.

    The window extends ``ahead`` values past its own value, so 0 sees only the past.
    """
    padded = np.full(len(values) + size - 1, math.nan)
    padded[size - 1 - ahead : len(padded) - ahead] = values
    rows: Array = np.lib.stride_tricks.sliding_window_view(padded, size)
    return rows


def medians(rows: Array) -> Array:
    """Return the median of each row without its NaN; with two in the middle, the lower one.

    >>> medians(np.array([[3.0, math.nan, 1.0, 2.0], [math.nan] * 4])).tolist()
    [2.0, nan]
    """
    ordered = np.sort(rows, axis=1)  # NaN last
    middle = np.maximum((~np.isnan(rows)).sum(axis=1) - 1, 0) // 2
    found: Array = ordered[np.arange(len(rows)), middle]
    return found


@lru_cache
def _pairs(size: int) -> tuple[Array, Array]:
    """Return the positions of all pairs of values in a window that are at least a third of it apart."""
    first, second = np.triu_indices(size, size // 3)
    return first, second


def noise_of(y: Array, t: Array, *, centred: bool) -> Array:
    """Return the size of the noise of each value as it affects a slope.

    A value is compared with the line through its neighbours, which removes any steady fall. Correlated noise
    is hidden from near neighbours but misleads a slope; it shows in larger differences from far neighbours
    than from near ones. A power of their ratio is the factor by which a slope's error grows, to within 20 %,
    for first-order noise with a correlation of up to 0.6 between measurements; noise with a longer
    correlation is taken for motion.
    """
    near, far = _bends(y, t, 1), _bends(y, t, 3)
    noise = 1.4826 * medians(windows(near, NOISE_WINDOW, NOISE_WINDOW // 2 if centred else 0))
    # The correlation changes little and takes many values to estimate: use all of the run, or all so far.
    step = len(y) if centred else NOISE_STEP
    with np.errstate(all="ignore"):  # without any noise
        apart = far / noise
    ratio = 1.4826 * medians(windows(apart, len(y), 0)[step - 1 :: step])
    growth = np.nan_to_num(ratio, nan=1.0).clip(1, 1.6) ** 2.5
    grown: Array = noise * np.append(growth[:1] if centred else 1.0, growth)[(np.arange(len(y)) + 1) // step]
    return grown


def _bends(y: Array, t: Array, lag: int) -> Array:
    """Return each value's distance from the line through its neighbours, in units of one value's noise."""
    if len(y) <= 2 * lag:
        return np.full_like(y, math.nan)
    weight = (t[2 * lag :] - t[lag:-lag]) / (t[2 * lag :] - t[: -2 * lag])
    line = weight * y[: -2 * lag] + (1 - weight) * y[2 * lag :]
    size = np.sqrt(1 + weight**2 + (1 - weight) ** 2)
    return np.append([math.nan] * 2 * lag, abs(y[lag:-lag] - line) / size)


def slope(
    loss: Windowed, times: Array, at: Array, first: Array, last: Array, *, least_num: int, least_share: float
) -> Array:
    """Return the least-squares slope of a loss between measurements, in its standard errors.

    Args:
        loss: The loss.
        times: Times of its measurements.
        at: Measurements at which the noise is taken, shape ``(N,)``.
        first: First measurement of each interval, shape ``(N,)``.
        last: Last measurement of each interval, shape ``(N,)``.
        least_num: Known values that an interval must have.
        least_share: Share of all changes so far below which a change counts as none.

    Returns:
        Shape ``(N,)``; 0 where fewer values are known, or where the change is small anyway.
    """
    is_known = np.isfinite(loss.values)
    y = np.zeros_like(times)
    y[is_known] = medians(windows(loss.values[is_known], 3, 0))  # without outliers
    t = np.where(is_known, times, 0.0)
    sums = np.cumsum([is_known, t, t * t, y, t * y], axis=1)
    until = np.pad(sums, ((0, 0), (1, 0)))
    num, of_t, of_tt, of_y, of_ty = until[:, last + 1] - until[:, first]
    spread = of_tt - of_t**2 / num
    slope = (of_ty - of_t * of_y / num) / spread
    is_small = abs(slope) * (times[last] - times[first]) <= least_share * (loss.high - loss.low)[at]
    found: Array = np.where((num < least_num) | is_small, 0.0, slope * np.sqrt(spread) / loss.noise[at])
    return found
