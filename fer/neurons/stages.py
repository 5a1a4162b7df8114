"""Label the training stage of a layer at each measurement of its angles and the losses.

A measurement is evaluated by a window of :data:`WINDOW` of them, in this order:

1. *Initial*: the train loss has not fallen yet, or the angles are still about as fast as at the start and
   it has not fallen far; for :data:`WARM_UP` measurements at most.
2. *Intermediate*: the angles are not at rest (their speed has not come to its floor: it still changes),
   or the train loss moves and the validation loss does not contradict it. A train loss that falls while
   the validation loss rises is no progress.
3. Else all stands still, as it does, even in the warm-up, when the updates are below :data:`FROZEN`.
   *Solution* if the network has learned and the validation loss is as good as it ever was; else *Plateau*:
   ``overfit`` (it has learned, the train loss is at its best and the validation loss is not),
   ``lr_frozen`` (the updates are too small to move anything) or ``stuck``.

Windows count measurements, not epochs: a run of 8 epochs with 25 measurements in each is evaluated like one
of 200 epochs with one in each. Slopes are over time, so that measurements may lie at any distance.

A rest that lasts is looked at as a whole, too: a train loss that falls in it, too slowly for a window, is
motion, or overfitting if the validation loss rises.

What moves, and what is worse than it was, is measured against the run's own noise: ten times the losses
or the speeds change no label. There is hysteresis: it takes more motion to leave a rest than to put one
off, and a label changes when the next one has held for :data:`DWELL` measurements.

Two forms, one rule. :func:`live_stages` looks back from each measurement, so that no label depends on what
came after it. :func:`label_stages` sees the whole run: its windows are centred, and a change is dated to
where the curves bend.

Source: the stages are those of Markou's study of hidden neurons on SFEW, who drew them by hand (about 25
and 100 of 200 epochs); after Gedeon, "Hidden units in a plateau", 1992.
"""

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np

from fer.neurons.windows import Array, Windowed, medians, stretched, windowed, windows

WINDOW: Final = 17
"""Measurements that are evaluated together. Fewer miss a slow fall in a noisy loss; of 100 to 200 in a run
they are some 8 to 17 %; odd, so that one is in the centre and the median is one of the values."""

LEAST_VALUES: Final = WINDOW // 2 + 1
"""Measurements below which a window says nothing: half of one, which is what its end of the run has."""

LEAST_SPEED: Final = 0.1
"""Share of all that the speed changed so far below which its change over a window is none: angles that have
come to rest still wander slowly, by a few per cent of their first rush."""

LEAST_TRAIN: Final = 0.005
"""The same share for the train loss: 200 windows, more than ten runs, would repeat the fall."""

LEAST_VAL: Final = 0.02
"""The same share for the validation loss, and how far above its best it counts as its best."""

CALM: Final = 0.75
"""Share of their highest speed (of window medians, whose own scatter is some 5 %) below which the angles
are past their first rush."""

BEGUN: Final = 0.3
"""Share of its highest level by which the train loss has fallen if the training has begun, however fast the
angles still are: under a rising learning rate their rush lasts."""

LEARNED: Final = 0.1
"""Share of its highest level by which the train loss has fallen if the network has learned anything, and the
share of that fall that it may lose again. Markou's ANN, whose learning rate moved nothing, fell by 4.5 % in
2,000 epochs."""

FROZEN: Final = 1e-5
"""Update ratio, ``|change of the weights| / |weights|`` of a step, below which nothing can move: 100,000
steps would not replace the weights, and float32 resolves no more than a hundredth of one. It is of a step,
and the same however many steps lie between two measurements."""

WARM_UP: Final = 40
"""Measurements after which a network that has not begun is stuck, if an epoch is over: 20 to 40 % of a run of
100 to 200. Markou's longest warm-up is about 25 of 200, and half a window more shows its end."""

DWELL: Final = 4
"""Measurements for which a label holds at least: a quarter of a window, so that one odd value changes
nothing."""


REST: Final = 4 * WINDOW
"""Measurements of a rest that are looked at together, to find a loss that falls too slowly for a window."""

SLOW: Final = 4.0
"""Standard errors of a slope over a rest beyond which a loss has fallen, or risen, in it."""


class Stage(StrEnum):
    """Where a layer, or a network, is in its training."""

    INITIAL = "initial"
    INTERMEDIATE = "intermediate"
    PLATEAU = "plateau"
    SOLUTION = "solution"


class StageLabel(NamedTuple):
    """The stage at a measurement and why.

    Attributes:
        stage: The stage.
        reason: ``warm_up`` (Initial), ``moving`` (Intermediate), ``settled`` (Solution), or for a Plateau
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
"""All labels that there are."""

_WARM_UP, _MOVING, _SETTLED, _OVERFIT, _LR_FROZEN, _STUCK = range(len(LABELS))


class _Interval(NamedTuple):
    """Measurements with one label, an index in :data:`LABELS`, from ``begin`` to the next interval."""

    begin: int
    label: int


class _Histories(NamedTuple):
    """What is known of a layer: update ratio and time, of shape ``(measurements,)``, are as measured."""

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
    """Return the stage at every measurement of a run that is over.

    Args:
        angular_speed: Mean change of a layer's angles since the measurement before, by time, 0 or more, in
            any unit; NaN where it was not measured, as at the first. Until it is, the losses alone decide.
        train_loss: In any unit, NaN where it was not measured, as within an epoch if it is logged once in it.
        val_loss: In any unit, NaN where it was not measured. Until it is, the train loss is used for it.
        update_ratio: ``|change of the weights| / |weights|`` of a step, NaN where it was not measured;
            left out, no measurement is ``lr_frozen``.
        times: Time of each measurement in epochs, increasing; left out: 1, 2, 3 and so on.

    Returns:
        A label for each measurement. None lasts less than :data:`DWELL` measurements, if the run does not;
        fewer than :data:`LEAST_VALUES` are all Initial, unless they are ``lr_frozen``.

    Raises:
        ValueError: The sequences are not equally long, or the times do not increase.

    >>> still, falling = [math.nan] + [1e-7] * 11, [2.02 - 0.001 * i for i in range(12)]
    >>> label_stages(still, falling, falling, update_ratio=[1e-6] * 12)[0].reason
    'lr_frozen'
    """
    histories = _histories(angular_speed, train_loss, val_loss, update_ratio, times, centred=True)
    # Of the last measurements there are but halves of windows, which must not begin a stage.
    num = len(train_loss)
    last = max(num - WINDOW // 4, min(num, 2 * WINDOW))
    intervals = _without_slow_falls(_intervals(_evaluate(histories), last), histories, last, centred=True)
    if len(intervals) > 1 and intervals[1].begin < DWELL:
        intervals = [intervals[1]._replace(begin=0), *intervals[2:]]
    return _labels(_dated_by_bends(intervals, histories), len(train_loss))


@np.errstate(all="ignore")  # the largest values overflow
def live_stages(
    angular_speed: Sequence[float],
    train_loss: Sequence[float],
    val_loss: Sequence[float],
    update_ratio: Sequence[float] | None = None,
    times: Sequence[float] | None = None,
) -> list[StageLabel]:
    """Return what was known at every measurement when it was made; the last label is that of the present.

    Measurements to come never change a label, so that the history is all the state that there is.

    Args:
        angular_speed: The history so far, as in :func:`label_stages`.
        train_loss: As in :func:`label_stages`.
        val_loss: As in :func:`label_stages`.
        update_ratio: As in :func:`label_stages`.
        times: As in :func:`label_stages`.

    Returns:
        A label for each measurement. A change is seen when it fills enough of a window to stand out, and
        has held for :data:`DWELL` measurements: some 10 to 20 measurements late.

    Raises:
        ValueError: The sequences are not equally long, or the times do not increase.
    """
    histories = _histories(angular_speed, train_loss, val_loss, update_ratio, times, centred=False)
    num = len(train_loss)
    intervals = _intervals(_evaluate(histories), num)
    first, *changes = _without_slow_falls(intervals, histories, num, centred=False)
    # A change is dated to its first measurement, but was not known before the last of those that must agree.
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
    """Return the quantities seen through windows.

    Raises:
        ValueError: They are not equally long, or the times do not increase.
    """
    num = len(train_loss)
    ratio = [math.nan] * num if update_ratio is None else update_ratio
    at = range(1, num + 1) if times is None else times
    lengths = [len(values) for values in (angular_speed, train_loss, val_loss, ratio, at)]
    if len(set(lengths)) > 1:
        msg = (
            f"speed, train loss, val loss, update ratio and times have {lengths} values: "
            "one each a measurement"
        )
        raise ValueError(msg)
    for i in range(num):
        if not (math.isfinite(at[i]) and (i == 0 or at[i] > at[i - 1])):
            after = f" after {at[i - 1]}" if i else ""
            msg = f"the time of measurement {i + 1} is {at[i]}{after}: times are finite and increase"
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
    """Return the label of each measurement by its window alone, an index in :data:`LABELS`.

    There are two, in an array of shape ``(2, measurements)``: if the last stage moved, and if it stood still.
    """
    speed, train, _, ratio, times = histories
    # A speed that has risen is no first rush: the learning rate has.
    is_past_rush = (speed.level <= CALM * speed.high) | (speed.low <= CALM * speed.level)
    num = np.arange(len(times))
    is_well_begun = train.level <= (1 - BEGUN) * train.high
    has_begun = _so_far(train.change < -train.least) & (
        _so_far(is_past_rush | is_well_begun) | speed.is_unknown
    )
    has_begun = (num >= DWELL) & (has_begun | ((num >= WARM_UP) & (times >= 1)))

    val_is_bad = _val_is_bad(histories)
    has_learned = train.level <= (1 - LEARNED) * train.high
    is_frozen = ratio < FROZEN
    # Noise never lets the speed fall to 0; that it has found its floor shows in that it falls no more.
    is_static = is_frozen | ((speed.is_flat | speed.is_unknown) & (train.is_flat | val_is_bad))

    # From the weakest claim to the strongest.
    label = np.where(is_frozen, _LR_FROZEN, _STUCK)
    is_at_best = ~train.is_worse | (train.level <= train.low + LEARNED * (train.high - train.low))
    label = np.where(has_learned & is_at_best, _OVERFIT, label)
    label = np.where(has_learned & ~val_is_bad, _SETTLED, label)
    return np.where(has_begun | is_frozen, np.where(is_static, label, _MOVING), _WARM_UP)


def _val_is_bad(histories: _Histories) -> Array:
    """Return whether the validation loss, or else the train loss, is bad."""
    return np.where(histories.val.is_unknown, histories.train.is_bad, histories.val.is_bad)


def _so_far(condition: Array) -> Array:
    """Return whether a condition held at any measurement until each."""
    return np.logical_or.accumulate(condition)


def _intervals(labels: Array, num: int) -> list[_Interval]:
    """Return labels with a minimum dwell: one that holds for less never counts. The first is Initial.

    After ``num`` measurements only a freeze, which needs no window, begins another.

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
    """Return the intervals without rests in which the train loss goes on to fall, too slowly for a window.

    Each measurement of a rest is evaluated by up to :data:`REST` of them around it, or until it.
    """
    labels = _spread(intervals, len(histories.times))
    val_is_bad = _val_is_bad(histories)
    is_rest = (labels > _MOVING) & (labels != _LR_FROZEN)
    edges = np.flatnonzero(np.diff(is_rest, prepend=False, append=False))
    for begin, end in edges.reshape(-1, 2):
        at = np.arange(begin, end)
        # The windows that begin a rest may hold the end of a fall.
        start = min(begin + WINDOW, end - 1)
        first = np.maximum(start, at - REST // 2) if centred else np.maximum(begin, at - REST + 1)
        last = np.minimum(end - 1, np.maximum(at, start) + REST // 2) if centred else at
        val = histories.train if np.isnan(histories.val.level[begin]) else histories.val
        falls = _slope(histories.train, histories.times, at, first, last) < -SLOW
        val_rises = _slope(val, histories.times, at, first, last) > SLOW
        labels[at[falls & val_rises & (labels[at] == _SETTLED)]] = _OVERFIT
        labels[at[falls & ~val_rises & ~val_is_bad[at]]] = _MOVING
    return _intervals(np.stack([labels, labels]), num)


def _slope(loss: Windowed, times: Array, at: Array, first: Array, last: Array) -> Array:
    """Return the slope of a loss from one measurement to another by least squares, in its standard errors.

    Args:
        loss: The loss.
        times: Of its measurements.
        at: Measurements whose noise counts, shape ``(N,)``.
        first: First measurement for each, shape ``(N,)``.
        last: Last one.

    Returns:
        Shape ``(N,)``; 0 where fewer than two windows of values are known, or the change would be small
        even so: see :data:`LEAST_TRAIN`.
    """
    is_known = np.isfinite(loss.values)
    y = np.zeros_like(times)
    y[is_known] = medians(windows(loss.values[is_known], 3, 0))  # without odd values
    t = np.where(is_known, times, 0.0)
    sums = np.cumsum([is_known, t, t * t, y, t * y], axis=1)
    until = np.pad(sums, ((0, 0), (1, 0)))
    num, of_t, of_tt, of_y, of_ty = until[:, last + 1] - until[:, first]
    spread = of_tt - of_t**2 / num
    slope = (of_ty - of_t * of_y / num) / spread
    is_small = abs(slope) * (times[last] - times[first]) <= LEAST_TRAIN * (loss.high - loss.low)[at]
    found: Array = np.where((num < 2 * WINDOW) | is_small, 0.0, slope * np.sqrt(spread) / loss.noise[at])
    return found


def _spread(intervals: Sequence[_Interval], num: int) -> Array:
    """Return the label of each of the measurements, an index in :data:`LABELS`."""
    lengths = np.diff([*(interval.begin for interval in intervals), num])
    return np.repeat([interval.label for interval in intervals], lengths)


def _labels(intervals: Sequence[_Interval], num: int) -> list[StageLabel]:
    """Return one label for each of the measurements."""
    return [LABELS[label] for label in _spread(intervals, num).tolist()]


def _dated_by_bends(intervals: Sequence[_Interval], histories: _Histories) -> list[_Interval]:
    """Return the intervals, each change moved to where the curves bend most, by up to a window.

    A window that is partly in the next stage already sees it, the earlier the less noise there is; noise may
    also pass for motion after it, so that it is seen too late. Two straight lines that meet are fitted to all
    curves by least squares, each curve weighed by its own noise.
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
    """Return the measurement near the given one, :data:`DWELL` away from its neighbours, where lines meet."""
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
        y = medians(windows(y, 3, 1)) / least  # one odd value must not hold the bend
        beyond = (t - histories.times[candidates][:, None]) / (times[-1] - times[0])
        lines = np.stack([np.ones_like(beyond), beyond.clip(max=0), beyond.clip(min=0)], axis=2)
        misfit += np.square(lines @ (np.linalg.pinv(lines) @ y)[:, :, None] - y[:, None]).sum(axis=(1, 2))
    return int(candidates[misfit.argmin()])
