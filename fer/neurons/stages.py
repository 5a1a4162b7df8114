"""Label the training stage of a layer at each measurement of its angles and the losses.

Each measurement is evaluated by a window of :data:`WINDOW` measurements, in this order:

1. *Initial*: no loss has fallen yet; or the train loss has not fallen far, and the angles are still about as
   fast as at the start. It lasts for at most :data:`WARM_UP` measurements.
2. *Intermediate*: the angles are not at rest (their speed still changes), the validation loss falls, or the
   train loss moves and the validation loss does not contradict it: a train loss that falls while the
   validation loss rises is no progress.
3. Otherwise everything is at rest, as it also is, even in the warm-up, when the updates are below
   :data:`FROZEN`. The stage is *Solution* if the network has learned and the validation loss is as good as it
   ever was. Otherwise it is *Plateau*: ``overfit`` (the network has learned, and the train loss is at its
   best but the validation loss is not), ``lr_frozen`` (the updates are too small to move anything) or
   ``stuck``.

Windows count measurements, not epochs: a run of 8 epochs with 25 measurements each is evaluated like one of
200 epochs with one each. Slopes are over time, so measurements need not be equally spaced.

A long rest is also evaluated as a whole: if the train loss falls during it, too slowly for a window, it
counts as motion, or as overfitting if the validation loss rises.

All thresholds for motion and for getting worse are relative to the run's own noise: multiplying the losses or
the speeds by ten changes no label. There is hysteresis: it takes more motion to end a rest than to prevent
one, and a label changes only when the next one has held for :data:`DWELL` measurements.

The rule has two forms. :func:`live_stages` looks back from each measurement, so no label depends on later
measurements; where the train loss still falls by :data:`STEEP`, nothing is at rest. :func:`label_stages` sees
the whole run: its windows are centred, changes are dated to where the curves bend, and a pause is
*Intermediate*: a rest after whose start the validation loss still falls by :data:`PAUSE` of its range, or a
*Solution* of less than half a window before more motion or the end.

Source: the stages are those of Markou's study of hidden neurons on SFEW, which were drawn by hand (at about
25 and 100 of 200 epochs); after Gedeon, "Hidden units in a plateau", 1992.
"""

import math
from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from fer.neurons.windows import Array, Windowed, medians, slope, stretched, windowed, windows

WINDOW: Final = 17
"""Number of measurements in a window. Fewer miss a slow fall in a noisy loss; in a run of 100 to 200 they are
some 8 to 17 %; odd, so that one measurement is in the centre and the median is one of the values."""

LEAST_VALUES: Final = WINDOW // 2 + 1
"""Smallest number of values in a window: half of one, which is what a window at the end of the run has."""

LEAST_SPEED: Final = 0.1
"""Share of the speed's total change so far below which its change over a window counts as none: angles at
rest still drift slowly, by a few per cent of their initial change."""

LEAST_TRAIN: Final = 0.005
"""The same share for the train loss: at this rate, 200 windows, more than ten runs, would repeat its fall."""

LEAST_VAL: Final = 0.02
"""The same share for the validation loss; also the distance above its minimum that counts as its minimum."""

CALM: Final = 0.75
"""Share of the highest speed (of window medians, which scatter by some 5 %) below which the angles are past
their initial phase."""

BEGUN: Final = 0.3
"""Share of its highest level by which the train loss must fall for the training to have begun, however fast
the angles still are: under a rising learning rate they stay fast."""

LEARNED: Final = 0.1
"""Share of its highest level by which the train loss must fall for the network to have learned anything, and
the share of that fall that it may lose again. Markou's ANN, whose learning rate moved nothing, fell by 4.5 %
in 2,000 epochs."""

PAUSE: Final = 0.1
"""Share of its whole range by which the validation loss still falls after the start of a pause."""

STEEP: Final = 0.03
"""Share of its fall so far by which a train loss must fall over half a window not to be at rest while the run
goes on, however noisy it is. Of 100 histories with much noise (5 %), 11 instead of 36 then have an early
*Solution*. A whole window, or the validation loss, delays the right one by 2 to 4 % of a run more."""

FROZEN: Final = 1e-5
"""Update ratio of a step, ``|change of the weights| / |weights|``, below which nothing can move: 100,000
steps would not replace the weights, and float32 resolves no more than a hundredth of one step. It does not
depend on the number of steps between two measurements."""

WARM_UP: Final = 40
"""Number of measurements after which a network that has not begun to learn is stuck, if an epoch is over: 20
to 40 % of a run of 100 to 200. Markou's longest warm-up is about 25 of 200, and its end takes half a window
to see."""

DWELL: Final = 4
"""Smallest number of measurements for which a label holds: a quarter of a window, so that one outlier changes
nothing."""


REST: Final = 4 * WINDOW
"""Number of measurements of a rest that are evaluated together, to find a slow fall of the loss."""

SLOW: Final = 4.0
"""Number of standard errors beyond which the slope of a loss during a rest counts as a fall or a rise."""


class Stage(StrEnum):
    """Stage of a layer's, or a network's, training."""

    INITIAL = "initial"
    INTERMEDIATE = "intermediate"
    PLATEAU = "plateau"
    SOLUTION = "solution"


class StageLabel(NamedTuple):
    """Stage at a measurement, with the reason.

    Attributes:
        stage: The stage.
        reason: ``warm_up`` (Initial), ``moving`` (Intermediate), ``settled`` (Solution); or, for a Plateau,
            ``overfit``, ``lr_frozen`` or ``stuck``.
    """

    stage: Stage
    reason: str


LABELS: Final = (
    StageLabel(Stage.INITIAL, "warm_up"),
    StageLabel(Stage.INTERMEDIATE, "moving"),
    StageLabel(Stage.SOLUTION, "settled"),
    StageLabel(Stage.PLATEAU, "overfit"),
    StageLabel(Stage.PLATEAU, "lr_frozen"),
    StageLabel(Stage.PLATEAU, "stuck"),
)
"""All possible labels."""

_WARM_UP, _MOVING, _SETTLED, _OVERFIT, _LR_FROZEN, _STUCK = range(len(LABELS))


class _Interval(NamedTuple):
    """Measurements from ``begin`` to the next interval with one label, an index in :data:`LABELS`."""

    begin: int
    label: int


class _Histories(NamedTuple):
    """Quantities of a layer; update ratio and times, of shape ``(measurements,)``, are not windowed."""

    speed: Windowed
    train: Windowed
    val: Windowed
    ratio: Array
    times: Array


@np.errstate(all="ignore")  # the largest values overflow
def label_stages(
    angular_speed: Sequence[float],
    train_loss: Sequence[float],
    val_loss: Sequence[float],
    update_ratio: Sequence[float] | None = None,
    times: Sequence[float] | None = None,
) -> list[StageLabel]:
    """Return the stage at every measurement of a finished run.

    Args:
        angular_speed: Mean change of a layer's angles since the measurement before, divided by the time, not
            negative, in any unit; NaN where it was not measured, as at the first. Before the first value, the
            losses alone decide.
        train_loss: In any unit; NaN where it was not measured, such as within an epoch if it is logged per
            epoch.
        val_loss: In any unit; NaN where it was not measured. Before its first value, the train loss replaces
            it.
        update_ratio: ``|change of the weights| / |weights|`` of a step; NaN where it was not measured.
            Without it, no measurement is ``lr_frozen``.
        times: Time of each measurement in epochs, increasing; default: 1, 2, 3, ...

    Returns:
        A label for each measurement. No label lasts less than :data:`DWELL` measurements, unless the run is
        shorter. Fewer than :data:`LEAST_VALUES` measurements are all Initial, unless they are ``lr_frozen``.

    Raises:
        ValueError: The sequences differ in length, or the times do not increase.

    >>> still, falling = [math.nan] + [1e-7] * 11, [2.02 - 0.001 * i for i in range(12)]
    >>> label_stages(still, falling, falling, update_ratio=[1e-6] * 12)[0].reason
    'lr_frozen'
    """
    histories = _histories(angular_speed, train_loss, val_loss, update_ratio, times, centred=True)
    # Windows of the last measurements are only half filled, and must not begin a stage.
    num = len(train_loss)
    last = max(num - WINDOW // 4, min(num, 2 * WINDOW))
    intervals = _without_slow_falls(_intervals(_evaluate(histories), last), histories, last, centred=True)
    intervals = _without_pauses(intervals, histories)
    if len(intervals) > 1 and intervals[1].begin < DWELL:
        intervals = [intervals[1]._replace(begin=0), *intervals[2:]]
    dated = _dated_by_bends(intervals, histories)
    # At its end, the run is taken to go on moving: nobody knows whether a rest begins.
    following = pairwise([*dated, _Interval(num, _MOVING)])
    return _labels([one for one, after in following if not (one.begin and _is_short(one, after))], num)


@np.errstate(all="ignore")  # the largest values overflow
def live_stages(
    angular_speed: Sequence[float],
    train_loss: Sequence[float],
    val_loss: Sequence[float],
    update_ratio: Sequence[float] | None = None,
    times: Sequence[float] | None = None,
) -> list[StageLabel]:
    """Return the stage as it was known at every measurement; the last label is the current stage.

    Later measurements never change a label, so the history is the only state.

    Args:
        angular_speed: History so far; see :func:`label_stages`.
        train_loss: See :func:`label_stages`.
        val_loss: See :func:`label_stages`.
        update_ratio: See :func:`label_stages`.
        times: See :func:`label_stages`.

    Returns:
        A label for each measurement. A change is recognised some 10 to 20 measurements late: when it fills
        enough of a window to stand out and has held for :data:`DWELL` measurements.

    Raises:
        ValueError: The sequences differ in length, or the times do not increase.
    """
    histories = _histories(angular_speed, train_loss, val_loss, update_ratio, times, centred=False)
    num = len(train_loss)
    intervals = _intervals(_evaluate(histories), num)
    intervals = _without_slow_falls(intervals, histories, num, centred=False)
    first, *changes = _without_steep_rests(intervals, histories)
    # A change is dated to its first measurement, but is known only after the last of those that must agree.
    known = [interval._replace(begin=interval.begin + DWELL - 1) for interval in changes]
    return _labels([first, *known], num)


def _histories(
    angular_speed: Sequence[float],
    train_loss: Sequence[float],
    val_loss: Sequence[float],
    update_ratio: Sequence[float] | None,
    times: Sequence[float] | None,
    *,
    centred: bool,
) -> _Histories:
    """Return the windowed quantities.

    Raises:
        ValueError: The sequences differ in length, or the times do not increase.
    """
    num = len(train_loss)
    ratio = [math.nan] * num if update_ratio is None else update_ratio
    at = range(1, num + 1) if times is None else times
    lengths = [len(values) for values in (angular_speed, train_loss, val_loss, ratio, at)]
    if len(set(lengths)) > 1:
        msg = (
            f"speed, train loss, val loss, update ratio and times have {lengths} values: "
            "give one per measurement"
        )
        raise ValueError(msg)
    for i in range(num):
        if not (math.isfinite(at[i]) and (i == 0 or at[i] > at[i - 1])):
            after = f" after {at[i - 1]}" if i else ""
            msg = f"the time of measurement {i + 1} is {at[i]}{after}: times must be finite and increase"
            raise ValueError(msg)
    ratios = np.array(ratio, dtype=np.float64)
    is_known = np.isfinite(ratios)
    speed, train, val = (
        windowed(values, at, window=WINDOW, least_share=share, centred=centred)
        for values, share in ((angular_speed, LEAST_SPEED), (train_loss, LEAST_TRAIN), (val_loss, LEAST_VAL))
    )
    return _Histories(
        *(speed, train, val),
        stretched(ratios[is_known], is_known),
        np.array(at, dtype=np.float64),
    )


def _evaluate(histories: _Histories) -> Array:
    """Return the label of each measurement from its window alone, an index in :data:`LABELS`.

    The array of shape ``(2, measurements)`` holds two: for when the stage before was in motion, and at rest.
    """
    speed, train, val, ratio, times = histories
    # If the speed has risen above its start, the start was no initial phase: the learning rate has risen.
    is_past_rush = (speed.level <= CALM * speed.high) | (speed.low <= CALM * speed.level)
    num = np.arange(len(times))
    is_well_begun = train.level <= (1 - BEGUN) * train.high
    has_begun = _so_far((train.change < -train.least) | (val.change < -val.least)) & (
        _so_far(is_past_rush | is_well_begun) | speed.is_unknown
    )
    has_begun = (num >= DWELL) & (has_begun | ((num >= WARM_UP) & (times >= 1)))

    val_is_bad = _val_is_bad(histories)
    has_learned = train.level <= (1 - LEARNED) * train.high
    is_frozen = ratio < FROZEN
    # Noise keeps the speed above 0: it is at its floor when it no longer falls.
    val_falls = val.change < -np.stack([val.rest, val.least])
    is_static = is_frozen | ((speed.is_flat | speed.is_unknown) & (train.is_flat | val_is_bad) & ~val_falls)

    # From the weakest label to the strongest; later ones overwrite earlier ones.
    label = np.where(is_frozen, _LR_FROZEN, _STUCK)
    is_at_best = ~train.is_worse | (train.level <= train.low + LEARNED * (train.high - train.low))
    label = np.where(has_learned & is_at_best, _OVERFIT, label)
    label = np.where(has_learned & ~val_is_bad, _SETTLED, label)
    return np.where(has_begun | is_frozen, np.where(is_static, label, _MOVING), _WARM_UP)


def _val_is_bad(histories: _Histories) -> Array:
    """Return whether the validation loss, or the train loss before its first value, is bad."""
    return np.where(histories.val.is_unknown, histories.train.is_bad, histories.val.is_bad)


def _so_far(condition: Array) -> Array:
    """Return for each measurement whether a condition has held at it or before."""
    return np.logical_or.accumulate(condition)


def _intervals(labels: Array, num: int) -> list[_Interval]:
    """Return labels with a minimum dwell: one that holds for less is ignored. The first label is Initial.

    After ``num`` measurements, only a freeze, which needs no window, begins another interval.

    Args:
        labels: See :func:`_evaluate`.
        num: Number of measurements.
    """
    is_new = np.diff(labels, prepend=-1) != 0
    begins = np.maximum.accumulate(np.where(is_new, np.arange(labels.shape[1]), 0), axis=1).tolist()
    found, least, is_still = [_Interval(0, _WARM_UP)], 0, False
    by_last: list[list[int]] = labels.tolist()
    for i in range(labels.shape[1]):
        label, begin = by_last[is_still][i], max(begins[is_still][i], least)
        if label != found[-1].label and i - begin + 1 == DWELL and (i < num or label == _LR_FROZEN):
            found.append(_Interval(begin, label))
            least, is_still = begin + DWELL, label > _MOVING
    return found


def _without_slow_falls(
    intervals: Sequence[_Interval], histories: _Histories, num: int, *, centred: bool
) -> list[_Interval]:
    """Return the intervals without the parts of rests in which the train loss still falls slowly.

    Each measurement of a rest is evaluated by up to :data:`REST` measurements around or before it.
    """
    labels = _spread(intervals, len(histories.times))
    val_is_bad = _val_is_bad(histories)
    is_rest = (labels > _MOVING) & (labels != _LR_FROZEN)
    edges = np.flatnonzero(np.diff(is_rest, prepend=False, append=False))
    for begin, end in edges.reshape(-1, 2):
        at = np.arange(begin, end)
        # The windows at the start of a rest may contain the end of a fall.
        start = min(begin + WINDOW, end - 1)
        first = np.maximum(start, at - REST // 2) if centred else np.maximum(begin, at - REST + 1)
        last = np.minimum(end - 1, np.maximum(at, start) + REST // 2) if centred else at
        val = histories.train if np.isnan(histories.val.level[begin]) else histories.val
        where = (histories.times, at, first, last)
        falls, val_rises = (
            sign * slope(loss, *where, least_num=2 * WINDOW, least_share=LEAST_TRAIN) > SLOW
            for loss, sign in ((histories.train, -1), (val, 1))
        )
        labels[at[falls & val_rises & (labels[at] == _SETTLED)]] = _OVERFIT
        labels[at[falls & ~val_rises & ~val_is_bad[at]]] = _MOVING
    return _intervals(np.stack([labels, labels]), num)


def _is_short(one: _Interval, after: _Interval) -> bool:
    """Return whether an interval is a *Solution* of less than half a window before more motion."""
    return (one.label, after.label) == (_SETTLED, _MOVING) and after.begin - one.begin < LEAST_VALUES


def _without_pauses(intervals: Sequence[_Interval], histories: _Histories) -> list[_Interval]:
    """Return the intervals with *Intermediate* in place of each *Solution* that was only a pause.

    After its start the validation loss still falls far; or it is short. The last interval is no pause.
    """
    num = len(histories.times)
    labels = _spread(intervals, num)
    level = np.where(histories.val.is_unknown, histories.train.level, histories.val.level)
    far = PAUSE * (np.fmax.reduce(level, initial=-math.inf) - np.fmin.reduce(level, initial=math.inf))
    for interval, following in pairwise(intervals):
        # Windows at the start of a rest may contain the end of a fall.
        start = min(interval.begin + WINDOW // 2, following.begin - 1)
        falls_far = level[start] - np.fmin.reduce(level[start:]) > far
        if _is_short(interval, following) or (interval.label == _SETTLED and falls_far):
            labels[interval.begin : following.begin] = _MOVING
    return _intervals(np.stack([labels, labels]), num)


def _without_steep_rests(intervals: Sequence[_Interval], histories: _Histories) -> list[_Interval]:
    """Return the intervals with *Intermediate* where the train loss still falls by :data:`STEEP`."""
    num, back = len(histories.times), WINDOW // 2
    labels = _spread(intervals, num)
    train = histories.train
    before = np.pad(train.level, (back, 0), constant_values=math.nan)[:num]
    labels[(labels == _SETTLED) & (before - train.level > STEEP * (train.high - train.low))] = _MOVING
    return _intervals(np.stack([labels, labels]), num)


def _spread(intervals: Sequence[_Interval], num: int) -> Array:
    """Return the label of each of ``num`` measurements, an index in :data:`LABELS`."""
    lengths = np.diff([*(interval.begin for interval in intervals), num])
    return np.repeat([interval.label for interval in intervals], lengths)


def _labels(intervals: Sequence[_Interval], num: int) -> list[StageLabel]:
    """Return one label for each of ``num`` measurements."""
    return [LABELS[label] for label in _spread(intervals, num).tolist()]


def _dated_by_bends(intervals: Sequence[_Interval], histories: _Histories) -> list[_Interval]:
    """Return the intervals with each change moved, by up to a window, to where the curves bend most.

    A window that overlaps the next stage already sees it, the earlier the less noise there is; noise after a
    change may also look like motion and delay it. Two straight lines that meet are fitted to all curves by
    least squares, weighted by each curve's noise.
    """
    dated = list(intervals[:1])
    ends = [*(interval.begin for interval in intervals[1:]), len(histories.times)]
    for interval, end in zip(intervals[1:], ends[1:], strict=True):
        # The time of a freeze is measured, not estimated.
        is_measured = _LR_FROZEN in (interval.label, dated[-1].label)
        begin = interval.begin if is_measured else _bend(interval.begin, dated[-1].begin, end, histories)
        dated.append(interval._replace(begin=begin))
    return dated


def _bend(near: int, after: int, before: int, histories: _Histories) -> int:
    """Return the measurement at which the lines meet, :data:`DWELL` away from the neighbouring changes."""
    candidates = np.arange(max(near - WINDOW, after + DWELL), min(near + WINDOW // 2, before - DWELL) + 1)
    if len(candidates) == 0:
        return near
    misfit = np.zeros(len(candidates))
    window = slice(max(near - WINDOW * 3 // 2, after), min(near + WINDOW, before))
    times = histories.times[window]
    for curve in histories[:3]:
        is_known = np.isfinite(curve.values[window])
        y, t, least = curve.values[window][is_known], times[is_known], curve.least[near]
        if not least > 0 or len(y) < 2 * DWELL:
            continue
        y = medians(windows(y, 3, 1)) / least  # without outliers
        beyond = (t - histories.times[candidates][:, None]) / (times[-1] - times[0])
        lines = np.stack([np.ones_like(beyond), beyond.clip(max=0), beyond.clip(min=0)], axis=2)
        misfit += np.square(lines @ (np.linalg.pinv(lines) @ y)[:, :, None] - y[:, None]).sum(axis=(1, 2))
    return int(candidates[misfit.argmin()])
