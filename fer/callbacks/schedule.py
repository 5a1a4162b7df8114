"""How often to measure neurons, and on how many samples, within a share of the training time."""

import math
from dataclasses import dataclass
from typing import Final, Self

from fer.errors import InputError

WANTED: Final = 200
"""Measurements that a training should have."""

LEAST_SAMPLES: Final = 128
"""Samples below which a budget does not go: it measures less often instead."""

MOST_MEASUREMENTS: Final = 10_000
"""Measurements that a training may have: each is kept, and written into every checkpoint."""

UNKNOWN_INTERVAL: Final = 100
"""Steps between two measurements at least, where nobody knows how many steps there will be."""


@dataclass(frozen=True)
class Cost:
    """The seconds of a measurement: ``fixed`` + ``per_sample`` x n, and once an epoch ``of_epoch`` more."""

    fixed: float
    per_sample: float
    of_epoch: float = 0.0

    @classmethod
    def between(cls, few: tuple[int, float], many: tuple[int, float], of_epoch: float = 0.0) -> Self:
        """Return the cost, given the seconds of measurements on two numbers of samples.

        >>> Cost.between((100, 2.0), (200, 3.0))
        Cost(fixed=1.0, per_sample=0.01, of_epoch=0.0)
        """
        (num, seconds), (more, longer) = few, many
        if more == num:
            return cls(longer, 0.0, of_epoch)
        per_sample = max(0.0, longer - seconds) / (more - num)
        return cls(max(0.0, longer - per_sample * more), per_sample, of_epoch)

    def of(self, num_samples: int) -> float:
        """Return the seconds of a measurement on a number of samples."""
        return self.fixed + self.per_sample * num_samples


@dataclass(frozen=True)
class Schedule:
    """When to measure, and on how many samples.

    Attributes:
        num_samples: Samples of a measurement.
        every_n_steps: Steps between two measurements, rounded so that an epoch has equal intervals and ends
            with a measurement; 0: never; None: ``every_n_epochs`` says it.
        every_n_epochs: Epochs between two measurements; 0: never; None: ``every_n_steps`` says it.
        first_step: Step of the training, from 1, before which nothing is measured.
        share: Share of the training time that measuring takes; NaN where it was not timed.
    """

    num_samples: int
    every_n_steps: int | None = None
    every_n_epochs: int | None = None
    first_step: int = 0
    share: float = math.nan

    @property
    def is_on(self) -> bool:
        """Whether anything is measured."""
        return bool(self.every_n_steps or self.every_n_epochs)

    def per_epoch(self, num_steps: float) -> int:
        """Return the measurements in an epoch of a number of steps; 1 where it is not known."""
        if not self.every_n_steps or math.isinf(num_steps):
            return 1
        return max(1, round(num_steps / self.every_n_steps))

    def is_due_at(self, step: int, num_steps: float) -> bool:
        """Return whether a measurement is due after a step (from 1) of an epoch, before its last one.

        Args:
            step: Of the epoch.
            num_steps: Steps of the epoch; infinite: not known.
        """
        if not self.every_n_steps:
            return False
        if math.isinf(num_steps):
            return step % self.every_n_steps == 0
        return step < num_steps and is_due(step, int(num_steps), self.per_epoch(num_steps))

    def is_due_after(self, epoch: int, num_epochs: float = math.inf) -> bool:
        """Return whether a measurement is due after an epoch (from 0); see :func:`is_epoch_due`."""
        if self.every_n_epochs is None:
            return bool(self.every_n_steps)
        return is_epoch_due(epoch, self.every_n_epochs, num_epochs)

    def total(self, num_steps: float, num_epochs: float) -> float:
        """Return the measurements of a training; infinite where its length is not known."""
        if not self.is_on:
            return 0
        if self.every_n_epochs:
            return math.ceil(num_epochs / self.every_n_epochs) if math.isfinite(num_epochs) else math.inf
        return self.per_epoch(num_steps) * num_epochs if math.isfinite(num_steps) else math.inf

    def check_number(self, num_steps: float, num_epochs: float) -> None:
        """Refuse more measurements than can be kept.

        Raises:
            InputError: The message names the setting.
        """
        total = self.total(num_steps, num_epochs)
        if not MOST_MEASUREMENTS < total < math.inf:
            return
        name = "every_n_epochs" if self.every_n_epochs else "every_n_steps"
        if self.every_n_epochs or num_epochs > MOST_MEASUREMENTS:
            other, longer = "every_n_epochs", math.ceil(num_epochs / MOST_MEASUREMENTS)
        else:  # twice as many, since the interval is rounded
            other, longer = "every_n_steps", math.ceil(2 * num_steps * num_epochs / MOST_MEASUREMENTS)
        msg = (
            f"distinctiveness.{name} is {getattr(self, name)}: {total:,.0f} measurements are more than the "
            f"{MOST_MEASUREMENTS:,} that can be kept; set distinctiveness.{other} to {longer}"
        )
        raise InputError(msg)

    def describe(self, num_steps: float, budget: float) -> str:
        """Return in words how often to measure, and the share of the time that it takes.

        >>> Schedule(310, every_n_steps=5, share=0.046).describe(90, 0.05)
        '18 measurements an epoch on 310 samples: 4.6 % of the time (budget 5 %)'
        >>> Schedule(1024, every_n_epochs=4).describe(90, 0.05)
        'a measurement every 4 epochs on 1,024 samples'
        """
        if self.every_n_epochs:
            often = (
                "a measurement an epoch"
                if self.every_n_epochs == 1
                else (f"a measurement every {self.every_n_epochs} epochs")
            )
        elif math.isinf(num_steps):
            often = f"a measurement every {self.every_n_steps} steps and at the end of an epoch"
        else:
            num = self.per_epoch(num_steps)
            often = "a measurement an epoch" if num == 1 else f"{num} measurements an epoch"
        line = f"{often} on {self.num_samples:,} samples"
        if math.isnan(self.share):
            return line
        more = ", exceeded since the training is short" if self.share > budget else ""
        return f"{line}: {float(f'{100 * self.share:.2g}'):g} % of the time (budget {100 * budget:g} %{more})"


def is_epoch_due(epoch: int, every_n_epochs: int, num_epochs: float) -> bool:
    """Return whether an epoch is due, of intervals of several epochs.

    They are counted back from the last epoch, whose neurons are those of the trained network; from the first
    one where the length of the training is not known.

    Args:
        epoch: Of the training, from 0.
        every_n_epochs: The interval; 0: never.
        num_epochs: Epochs of the training, maybe a part of one; infinite: not known.

    >>> [epoch for epoch in range(6) if is_epoch_due(epoch, 2, 6)]
    [1, 3, 5]
    """
    number = epoch if math.isinf(num_epochs) else math.ceil(num_epochs) - 1 - epoch
    return every_n_epochs > 0 and number % every_n_epochs == 0


def is_due(step: int, num_steps: int, per_epoch: int) -> bool:
    """Return whether a measurement is due after a step: ceil(j S / k), j = 1 … k.

    Args:
        step: Of the epoch, from 1.
        num_steps: Steps of the epoch, S.
        per_epoch: Measurements in the epoch, k; S at most.

    >>> [step for step in range(1, 11) if is_due(step, 10, 4)]
    [3, 5, 8, 10]
    """
    number = step * per_epoch // num_steps
    return number > 0 and -(-number * num_steps // per_epoch) == step


def plan(
    step_seconds: float,
    cost: Cost,
    *,
    num_steps: float,
    num_epochs: float,
    budget: float,
    num_samples: int,
    least_samples: int = LEAST_SAMPLES,
    least_seconds: float = 0.0,
    least_number: int = 0,
    wanted: int = WANTED,
) -> Schedule:
    """Return how often to measure, and on how many samples, so that it stays within a budget.

    Where the budget is too small for the wanted number of measurements, first the samples become fewer, then
    the measurements. At least one is made.

    Args:
        step_seconds: Seconds of a step of the training.
        cost: Of a measurement.
        num_steps: Steps in an epoch; infinite: not known.
        num_epochs: Epochs of the training, maybe a part of one; infinite: not known, and then an epoch has a
            measurement. Where only the steps of the whole training are known, they are one epoch.
        budget: Share of the training time that measuring may take, 0 to 1.
        num_samples: Most samples.
        least_samples: Fewest samples, if there are as many.
        least_seconds: Seconds that measuring may take in all, whatever the budget, but no more than half of
            the training.
        least_number: Measurements that the training should have at least, whatever the budget, as long as
            they take no more than a quarter of it. Rounding to whole epochs may halve their number.
        wanted: Measurements that the training should have.
    """
    least = min(least_samples, num_samples)
    if math.isinf(num_steps):
        return _plan_unknown(step_seconds, cost, budget, num_samples, least)
    known = num_epochs if math.isfinite(num_epochs) else wanted
    per_epoch = min(int(num_steps), round(wanted / known))
    stride = 1 if per_epoch else max(1, int(known // wanted))
    per_epoch = max(1, per_epoch)
    training = step_seconds * num_steps
    needed = least_number * (cost.of(least) + cost.of_epoch)
    of_epoch = max(
        budget * training, min(least_seconds / known, training / 2), min(needed / known, training / 4)
    )
    available = stride * of_epoch - cost.of_epoch
    num = _affordable(available / per_epoch, cost, num_samples, least)
    seconds = cost.of(num)
    if per_epoch * seconds > available:
        per_epoch = int(available / seconds)
    if per_epoch < 1:
        per_epoch = 1
        allowed = int(known * of_epoch / (seconds + cost.of_epoch))
        stride = math.ceil(known / allowed) if allowed else math.ceil(known)
    interval = math.ceil(num_steps / per_epoch)
    per_epoch = max(1, round(num_steps / interval))
    share = (per_epoch * seconds + cost.of_epoch) / (stride * num_steps * step_seconds)
    if per_epoch == 1:
        return Schedule(num, every_n_epochs=stride, share=share)
    return Schedule(num, every_n_steps=interval, share=share)


def _plan_unknown(step_seconds: float, cost: Cost, budget: float, num_samples: int, least: int) -> Schedule:
    """Return a schedule for epochs whose steps nobody knows."""
    of_step = budget * step_seconds
    num = _affordable(UNKNOWN_INTERVAL * of_step - cost.of_epoch, cost, num_samples, least)
    seconds = cost.of(num) + cost.of_epoch
    interval = max(UNKNOWN_INTERVAL, math.ceil(seconds / of_step))
    return Schedule(num, every_n_steps=interval, share=seconds / (interval * step_seconds))


def _affordable(seconds: float, cost: Cost, most: int, least: int) -> int:
    """Return the largest number of samples whose measurement takes at most so many seconds."""
    if cost.of(most) <= seconds:
        return most
    if cost.per_sample <= 0:
        return least
    return max(least, min(most, int((seconds - cost.fixed) / cost.per_sample)))
