"""Decide from the first steps of a training how often its neurons are measured."""

import math
from collections.abc import Callable, Mapping
from typing import Final, Protocol, runtime_checkable

import torch
from lightning.pytorch import Trainer

from fer.callbacks.media import is_dry_run
from fer.callbacks.schedule import LEAST_SAMPLES, UNKNOWN_INTERVAL, Cost, Schedule, plan
from fer.neurons.stages import LEAST_VALUES

LEFT_OUT: Final = 4
"""Steps at the beginning that are not timed: libraries load and choose their methods in them."""

TIMED: Final = 8
"""Steps that are timed."""

LONG: Final = 50
"""Epochs of a training whose first epoch, with its validation, is timed as a whole."""

FREE_SECONDS: Final = 2.0
"""Seconds that measuring may take in all, whatever the budget, but no more than half of the training: 5 % of
ten seconds would leave too few measurements for stages."""

LEAST_NUMBER: Final = 2 * LEAST_VALUES
"""Measurements of a training, whatever the budget, as long as they take no more than a quarter of its time:
with fewer than half as many, the stages are unknown."""

SHORT: Final = 64
"""Steps of a training up to which nothing is timed, and each epoch is measured."""


@runtime_checkable
class KeepsSchedule(Protocol):
    """A callback that notes the schedule that was decided, so that the run can be repeated."""

    def keep_schedule(
        self, trainer: Trainer, network: str | None, settings: Mapping[str, int | None]
    ) -> None:
        """Note settings of :class:`fer.callbacks.DistinctivenessCallback` for a network, by name."""


def note_schedule(trainer: Trainer, network: str | None, decided: Mapping[str, int | None]) -> None:
    """Let other callbacks note the settings that were decided."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, KeepsSchedule):
            callback.keep_schedule(trainer, network, decided)


class StepTimer:
    """The seconds of a training step, from the end of one batch to the end of the next.

    What comes between, such as a validation, is not counted: :meth:`begin` starts the clock again.

    Args:
        clock: Returns seconds.
        device: Where the training runs, which is waited for.
    """

    def __init__(self, clock: Callable[[], float], device: torch.device) -> None:
        self.clock = clock
        self.device = device
        self.started = math.nan
        self.seconds: list[float] = []
        self.epoch_started: tuple[float, int] | None = None
        """When the epoch began, and how many steps were timed before it."""
        self.overhead: float | None = None
        """Seconds of an epoch that belong to no step, such as its validation; None before one has ended."""

    def is_done(self, num_steps: float, num_epochs: float) -> bool:
        """Return whether enough was timed: in a long training the first epoch, with what follows it, as well.

        Args:
            num_steps: Steps in an epoch.
            num_epochs: Epochs of the training.
        """
        is_long = LONG <= num_epochs < math.inf and math.isfinite(num_steps)
        return len(self.seconds) >= LEFT_OUT + TIMED and not (is_long and self.overhead is None)

    def step_seconds(self, num_steps: float) -> float:
        """Return the mean seconds of a step, without the slowest, and with its share of an epoch's overhead.

        Args:
            num_steps: Steps in an epoch.
        """
        timed = sorted(self.seconds[LEFT_OUT:])[:-1]
        return sum(timed) / len(timed) + (self.overhead or 0.0) / num_steps

    def begin_epoch(self) -> None:
        """Start the clock, at the beginning of an epoch."""
        self.begin()
        if self.epoch_started is not None:
            began, num_before = self.epoch_started
            self.overhead = max(0.0, self.started - began - sum(self.seconds[num_before:]))
        self.epoch_started = self.started, len(self.seconds)

    def begin(self) -> None:
        """Start the clock, at the beginning of a batch."""
        self.started = self._now()

    def end_step(self) -> None:
        """Add a step, which has just ended."""
        now = self._now()
        if not math.isnan(self.started):
            self.seconds.append(now - self.started)
        self.started = now

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.clock()


def length_of(trainer: Trainer) -> tuple[float, float]:
    """Return the steps (batches) of an epoch and the epochs of a training; infinite where unknown.

    Where only the steps of the whole training are known, they are one epoch.
    """
    num_steps = float(trainer.num_training_batches)
    epochs = math.inf if trainer.max_epochs in (None, -1) else float(trainer.max_epochs or 0)
    if trainer.max_steps is not None and trainer.max_steps > 0:
        total = float(trainer.max_steps * trainer.accumulate_grad_batches)
        if math.isinf(num_steps):
            return total, 1.0
        epochs = min(epochs, total / num_steps)
    return num_steps, epochs


def time_of(trainer: Trainer, step: int, num_before: float, *, is_end: bool = False) -> float:
    """Return the time after a step of the current epoch, in epochs trained.

    In the first epoch of a loader without a length, the times of steps are only in the right order.

    Args:
        trainer: The trainer.
        step: Of the epoch, from 1; 0: before the first.
        num_before: Steps of the epoch before, infinite if there is none, for loaders without a length.
        is_end: Whether the epoch has ended.
    """
    num_steps = float(trainer.num_training_batches)
    if math.isfinite(num_steps):
        return trainer.current_epoch + min(1.0, step / num_steps)
    if is_end:
        return trainer.current_epoch + 1.0
    if math.isfinite(num_before):
        return trainer.current_epoch + step / max(num_before, step + 1)
    total, _ = length_of(trainer)
    expected = total if math.isfinite(total) else step + UNKNOWN_INTERVAL
    return trainer.current_epoch + min(1.0, step / expected)


def set_outright(
    trainer: Trainer, every_n_steps: int | None, every_n_epochs: int | None, num_samples: int, first_step: int
) -> Schedule | None:
    """Return the schedule of the settings, or that of a short training; None: it has to be decided."""
    if every_n_steps is not None or every_n_epochs is not None:
        return Schedule(num_samples, every_n_steps, every_n_epochs, first_step)
    num_steps, num_epochs = length_of(trainer)
    if num_steps * num_epochs <= SHORT or is_dry_run(trainer):
        return Schedule(num_samples, every_n_epochs=1)
    return None


def decide(
    trainer: Trainer,
    timer: StepTimer,
    measure: Callable[[int, bool], object],
    *,
    num_samples: int,
    least_samples: int,
    budget: float,
) -> Schedule:
    """Time a measurement, and return the schedule that the first process decides; in all processes.

    Args:
        trainer: The trainer.
        timer: Has timed the steps.
        measure: Measures on a number of samples, and keeps nothing of it; as for the last time in an epoch,
            or not.
        num_samples: Most samples.
        least_samples: Fewest samples.
        budget: Share of the training time that measuring may take.
    """
    clock = timer.clock
    few, many = max(2, min(LEAST_SAMPLES, num_samples) // 4), min(LEAST_SAMPLES, num_samples)
    measure(few, True)  # the first time takes longer
    seconds = []
    for num, is_last in ((few, False), (many, False), (many, True)):
        begun = clock()
        measure(num, is_last)
        seconds.append(clock() - begun)
    num_steps, num_epochs = length_of(trainer)
    decided = plan(
        timer.step_seconds(num_steps),
        Cost.between((few, seconds[0]), (many, seconds[1]), max(0.0, seconds[2] - seconds[1])),
        num_steps=num_steps,
        num_epochs=num_epochs,
        budget=budget,
        num_samples=num_samples,
        least_samples=least_samples,
        least_seconds=FREE_SECONDS,
        least_number=LEAST_NUMBER,
    )
    found: Schedule = trainer.strategy.broadcast(decided)
    return found
