"""Label the training stage of a layer, epoch by epoch, from its angles and the losses.

An epoch is evaluated by a window of :data:`WINDOW` epochs, in this order:

1. *Initial*: the train loss has not fallen yet, or the angles are still about as fast as at their
   fastest; for :data:`WARM_UP` epochs at most.
2. *Intermediate*: the angles are not at rest (their speed has not come to its floor: it still changes),
   or the train loss moves and the validation loss does not contradict it. A train loss that falls while
   the validation loss rises is no progress.
3. Else all stands still, as it does, even in the warm-up, when the updates are below :data:`FROZEN`.
   *Solution* if the network has learned and the validation loss is as good as it ever was; else *Plateau*:
   ``overfit`` (it has learned, the train loss is at its best and the validation loss is not),
   ``lr_frozen`` (the updates are too small to move anything) or ``stuck``.

What moves, and what is worse than it was, is measured against the run's own noise: ten times the losses
or the speeds change no label. A label changes when the next one has held for :data:`DWELL` epochs.

Two forms, one rule. :func:`live_stages` looks back from each epoch, so that no label depends on what came
after it. :func:`label_stages` sees the whole run: its windows are centred, and a change is dated to where
the curves bend.

Source: the stages are those of Markou's study of hidden neurons on SFEW, who drew them by hand (about 25
and 100 of 200 epochs); after Gedeon, "Hidden units in a plateau", 1992.
"""

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW: Final = 21
"""Measured epochs that are evaluated together. Shorter ones miss a slow fall in a noisy loss; odd, so that
one has a centre and its median is one of its values."""

LEAST_VALUES: Final = WINDOW // 2 + 1
"""Measured epochs below which a window says nothing: half of one, which is what its end of the run has."""

NOISE_WINDOW: Final = 51
"""Measured epochs from which the noise is taken: enough for its spread to be known within some 15 %, few
enough to follow a schedule."""

NOISES: Final = 3.5
"""Standard errors beyond which a change is one: by chance, 1 window in 2,000 has it."""

LEAST_SPEED: Final = 0.1
"""Share of all that the speed changed so far below which its change over a window is none: angles that have
come to rest still wander slowly, by a few per cent of their first rush."""

LEAST_TRAIN: Final = 0.005
"""The same share for the train loss: 200 windows, some 4,000 epochs, would repeat the fall."""

LEAST_VAL: Final = 0.02
"""The same share for the validation loss, and how far above its best it counts as its best."""

CALM: Final = 0.75
"""Share of their highest speed (of window medians, whose own scatter is some 5 %) below which the angles
are past their first rush."""

LEARNED: Final = 0.1
"""Share of its highest level by which the train loss has fallen if the network has learned anything. Markou's
ANN, whose learning rate moved nothing, fell by 4.5 % in 2,000 epochs."""

FROZEN: Final = 1e-5
"""Update ratio, ``|change of the weights| / |weights|`` of a step, below which nothing can move: 100,000
steps would not replace the weights, and float32 resolves no more than a hundredth of one."""

WARM_UP: Final = 30
"""Epochs after which a network that has not begun is stuck; Markou's longest warm-up is about 25."""

DWELL: Final = 5
"""Epochs for which a label holds at least: a quarter of a window, so that one odd epoch changes nothing."""


class Stage(StrEnum):
    """Where a layer, or a network, is in its training."""

    INITIAL = "initial"
    INTERMEDIATE = "intermediate"
    PLATEAU = "plateau"
    SOLUTION = "solution"


class StageLabel(NamedTuple):
    """The stage of an epoch and why.

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
    """Epochs with one label, an index in :data:`LABELS`, from ``begin`` to the next interval."""

    begin: int
    label: int


class _Series(NamedTuple):
    """A quantity over the epochs, each tensor of shape ``(epochs,)``; NaN where nothing is known.

    Attributes:
        values: As they were measured.
        level: Median of the epoch's window.
        change: Last minus first of the window without the noise: its median slope times its length.
        least: Size that a change has at least, given the noise and all that changed so far.
        low: Lowest median of a window of the past so far.
        high: Highest of them.
    """

    values: Tensor
    level: Tensor
    change: Tensor
    least: Tensor
    low: Tensor
    high: Tensor

    @property
    def is_flat(self) -> Tensor:
        return self.change.abs() <= self.least

    @property
    def is_unknown(self) -> Tensor:
        """Whether it has not been measured yet."""
        return self.level.isnan()

    @property
    def is_worse(self) -> Tensor:
        """For a loss: whether it stands above its best."""
        return self.level > self.low + self.least

    @property
    def is_bad(self) -> Tensor:
        """For a loss: whether it stands above its best or is on its way there."""
        return self.is_worse | (self.change > self.least)


def label_stages(
    angular_speed: Sequence[float],
    train_loss: Sequence[float],
    val_loss: Sequence[float],
    update_ratio: Sequence[float] | None = None,
) -> list[StageLabel]:
    """Return the stage of every epoch of a run that is over.

    Args:
        angular_speed: Mean change of a layer's angles since the epoch before, 0 or more, in any unit; NaN
            where it was not measured, as in the first epoch. Until it is, the losses alone decide.
        train_loss: In any unit, NaN where it was not measured.
        val_loss: In any unit, NaN where it was not measured. Until it is, the train loss is used for it.
        update_ratio: ``|change of the weights| / |weights|`` of a step, NaN where it was not measured;
            left out, no epoch is ``lr_frozen``.

    Returns:
        A label for each epoch. None lasts less than :data:`DWELL` epochs, if the run does not; fewer than
        :data:`LEAST_VALUES` epochs are all Initial, unless they are ``lr_frozen``.

    Raises:
        ValueError: The sequences are not equally long.

    >>> still, falling = [math.nan] + [1e-7] * 11, [2.02 - 0.001 * epoch for epoch in range(12)]
    >>> label_stages(still, falling, falling, update_ratio=[1e-6] * 12)[0].reason
    'lr_frozen'
    """
    histories = _histories(angular_speed, train_loss, val_loss, update_ratio, half=WINDOW // 2)
    intervals = _intervals(_evaluate(*histories))
    if len(intervals) > 1 and intervals[1].begin < DWELL:
        intervals = [intervals[1]._replace(begin=0), *intervals[2:]]
    return _labels(_dated_by_bends(intervals, histories[:3]), len(train_loss))


def live_stages(
    angular_speed: Sequence[float],
    train_loss: Sequence[float],
    val_loss: Sequence[float],
    update_ratio: Sequence[float] | None = None,
) -> list[StageLabel]:
    """Return what was known of every epoch when it ended; the last label is that of the present.

    Epochs to come never change a label, so that the history is all the state that there is.

    Args:
        angular_speed: The history so far, as in :func:`label_stages`.
        train_loss: As in :func:`label_stages`.
        val_loss: As in :func:`label_stages`.
        update_ratio: As in :func:`label_stages`.

    Returns:
        A label for each epoch. A change is seen when it fills enough of a window to stand out, and has held
        for :data:`DWELL` epochs: some 10 to 20 epochs late.

    Raises:
        ValueError: The sequences are not equally long.
    """
    histories = _histories(angular_speed, train_loss, val_loss, update_ratio, half=0)
    first, *changes = _intervals(_evaluate(*histories))
    # A change is dated to its first epoch, but was not known before the last of those that must agree.
    known = [interval._replace(begin=interval.begin + DWELL - 1) for interval in changes]
    return _labels([first, *known], len(train_loss))


def _histories(
    angular_speed: Sequence[float],
    train_loss: Sequence[float],
    val_loss: Sequence[float],
    update_ratio: Sequence[float] | None,
    *,
    half: int,
) -> tuple[_Series, _Series, _Series, Tensor]:
    """Return speed, train loss and validation loss seen through windows, and the update ratio."""
    ratio = [math.nan] * len(train_loss) if update_ratio is None else update_ratio
    lengths = [len(values) for values in (angular_speed, train_loss, val_loss, ratio)]
    if len(set(lengths)) > 1:
        msg = f"speed, train loss, val loss and update ratio have {lengths} epochs: one value each an epoch"
        raise ValueError(msg)
    speed = _series(angular_speed, LEAST_SPEED, half)
    train = _series(train_loss, LEAST_TRAIN, half)
    val = _series(val_loss, LEAST_VAL, half)
    per_epoch = torch.tensor(ratio, dtype=torch.float64)
    is_known = per_epoch.isfinite()
    return speed, train, val, _stretched(per_epoch[is_known], is_known)


def _series(values: Sequence[float], least_share: float, half: int) -> _Series:
    """Return what the window says that ends ``half`` measured epochs after each epoch.

    What was not measured takes no room in a window: a quantity that is measured every fifth epoch is
    evaluated over 21 of its own values, and keeps its last verdict in between.
    """
    per_epoch = torch.tensor(values, dtype=torch.float64)
    is_known = per_epoch.isfinite()
    y, t = per_epoch[is_known], is_known.nonzero().flatten().double()
    if len(y) == 0:
        return _Series(*[torch.full_like(per_epoch, math.nan)] * 6)
    windows, times = _windows(y, WINDOW, half), _windows(t, WINDOW, half)
    # Theil and Sen's slope, which no odd epoch can pull; pairs of near values hold little but noise.
    i, j = torch.triu_indices(WINDOW, WINDOW, offset=WINDOW // 3)
    slope = ((windows[:, j] - windows[:, i]) / (times[:, j] - times[:, i])).nanmedian(dim=1).values
    num = (~windows.isnan()).sum(dim=1).double()
    length = times.nan_to_num(-math.inf).amax(dim=1) - times.nan_to_num(math.inf).amin(dim=1)
    level = windows.nanmedian(dim=1).values
    past = _windows(y, WINDOW, 0).nanmedian(dim=1).values
    low, high = past.cummin(dim=0).values, past.cummax(dim=0).values

    # A second difference takes out any steady fall: of three values it leaves their noise times sqrt(6).
    bends = F.pad((y[2:] - 2 * y[1:-1] + y[:-2]).abs(), (min(2, len(y)), 0), value=math.nan)
    noise = _windows(bends, NOISE_WINDOW, 0).nanmedian(dim=1).values * 1.4826 / math.sqrt(6)
    error = noise * (12 * (num - 1) / (num * (num + 1))).sqrt()  # of a change by least squares
    least = torch.maximum(NOISES * error, least_share * (high - low))
    change = (slope * length).where(num >= LEAST_VALUES, math.nan)

    return _Series(per_epoch, *(_stretched(x, is_known) for x in (level, change, least, low, high)))


def _stretched(known: Tensor, is_known: Tensor) -> Tensor:
    """Return for each epoch the last value that was known, NaN before the first."""
    return F.pad(known, (1, 0), value=math.nan)[is_known.cumsum(dim=0)]


def _windows(values: Tensor, length: int, half: int) -> Tensor:
    """Return the window of each value, NaN beyond the ends: shape ``(N, length)`` for ``(N,)``.

    The window ends ``half`` values after its own, so that 0 sees only the past.
    """
    return F.pad(values, (length - 1 - half, half), value=math.nan).unfold(0, length, 1)


def _evaluate(speed: _Series, train: _Series, val: _Series, ratio: Tensor) -> list[int]:
    """Return the label of each epoch by its window alone, an index in :data:`LABELS`."""
    is_calm = _so_far(speed.level <= CALM * speed.high) | speed.is_unknown
    # Noise never lets the speed fall to 0; that it has found its floor shows in that it falls no more.
    is_still = speed.is_flat | speed.is_unknown
    has_begun = _so_far(train.change < -train.least) & is_calm
    epochs = torch.arange(len(ratio))
    has_begun = (epochs >= DWELL) & (has_begun | (epochs >= WARM_UP))

    val_is_bad = torch.where(val.is_unknown, train.is_bad, val.is_bad)
    has_learned = train.level <= (1 - LEARNED) * train.high
    is_frozen = ratio < FROZEN
    is_static = is_frozen | (is_still & (train.is_flat | val_is_bad))

    # From the weakest claim to the strongest.
    label = torch.where(is_frozen, _LR_FROZEN, _STUCK)
    label = label.where(~(has_learned & ~train.is_worse), _OVERFIT)
    label = label.where(~(has_learned & ~val_is_bad), _SETTLED)
    label = label.where(is_static, _MOVING)
    return [int(index) for index in label.where(has_begun | is_frozen, _WARM_UP).tolist()]


def _so_far(condition: Tensor) -> Tensor:
    """Return whether a condition held in any epoch until each."""
    return condition.cumsum(dim=0) > 0


def _intervals(labels: Sequence[int]) -> list[_Interval]:
    """Return the labels with a minimum dwell: one that holds for less never counts. The first is Initial."""
    intervals = [_Interval(0, _WARM_UP)]
    begin = 0
    for epoch, label in enumerate(labels):
        if label != labels[begin]:
            begin = epoch
        if label != intervals[-1].label and epoch - begin + 1 == DWELL:
            intervals.append(_Interval(begin, label))
    return intervals


def _labels(intervals: Sequence[_Interval], num_epochs: int) -> list[StageLabel]:
    """Return one label for each epoch."""
    ends = [*(interval.begin for interval in intervals[1:]), num_epochs]
    return [
        LABELS[interval.label]
        for interval, end in zip(intervals, ends, strict=True)
        for _ in range(interval.begin, end)
    ]


def _dated_by_bends(intervals: Sequence[_Interval], curves: Sequence[_Series]) -> list[_Interval]:
    """Return the intervals, each change moved by up to half a window to where the curves bend most.

    A window that is partly in the next stage already sees it, the earlier the less noise there is. Two
    straight lines that meet are fitted to all curves by least squares, each curve weighed by its own noise.
    """
    dated = list(intervals[:1])
    ends = [*(interval.begin for interval in intervals[1:]), len(curves[0].values)]
    for interval, end in zip(intervals[1:], ends[1:], strict=True):
        # The epoch of a freeze is measured, not estimated.
        is_measured = _LR_FROZEN in (interval.label, dated[-1].label)
        begin = interval.begin if is_measured else _bend(interval.begin, dated[-1].begin, end, curves)
        dated.append(interval._replace(begin=begin))
    return dated


def _bend(near: int, after: int, before: int, curves: Sequence[_Series]) -> int:
    """Return the epoch near the given one, and :data:`DWELL` away from its neighbours, where lines meet."""
    half = WINDOW // 2
    candidates = torch.arange(max(near - half, after + DWELL), min(near + half, before - DWELL) + 1)
    if len(candidates) == 0:
        return near
    misfit = torch.zeros(len(candidates), dtype=torch.float64)
    for curve in curves:
        window = slice(max(near - WINDOW, after), min(near + WINDOW, before))
        y, t = curve.values[window], torch.arange(window.start, window.stop).double()
        t, y = t[y.isfinite()], y[y.isfinite()]
        least = float(curve.least[near])
        if not least > 0 or len(y) < 2 * DWELL:
            continue
        y = _windows(y, 3, 1).nanmedian(dim=1).values  # one odd value must not hold the bend
        beyond = (t - candidates[:, None]) / WINDOW
        lines = torch.stack([torch.ones_like(beyond), beyond.clamp(max=0), beyond.clamp(min=0)], dim=2)
        targets = (y / least).expand(len(candidates), -1).unsqueeze(2)
        fitted = lines @ torch.linalg.lstsq(lines, targets, driver="gelsd").solution
        misfit += (fitted - targets).square().sum(dim=(1, 2))
    return int(candidates[misfit.argmin()])
