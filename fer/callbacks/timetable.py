"""When to measure: the steps that the settings name, or that are decided in the first steps of a training."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from lightning.pytorch import Trainer

from fer.callbacks.budget import SHORT, StepTimer, decide, length_of, set_outright, time_of
from fer.callbacks.history import history_bytes
from fer.callbacks.schedule import MOST_MEASUREMENTS, Schedule
from fer.files import describe_size

DECIDED: Final = ("every_n_steps", "every_n_epochs", "num_samples", "first_step")
"""Settings that are decided within a budget."""


class Timetable:
    """The schedule of a training and the step that it is at.

    Args:
        settings: Those of :data:`DECIDED` that were set.
        budget: Share of the training time that measuring may take, where no interval is set.
        clock: Returns seconds.
    """

    def __init__(self, settings: dict[str, int | None], budget: float, clock: Callable[[], float]) -> None:
        self.settings = settings
        self.budget = budget
        self.clock = clock
        self.schedule: Schedule | None = None
        """When to measure; None before it is decided."""
        self.decided: dict[str, int | None] = {}
        """The settings that were decided; empty where nothing was timed."""
        self.timer: StepTimer | None = None
        """Times the steps; None where nothing has to be decided."""
        self.last_asked: tuple[int, int | None] = (-1, None)
        """Epoch and batch that :meth:`move_to` was called with last."""
        self.step = 0
        """The last step of the epoch, from 1."""
        self.num_steps = math.inf
        """Steps of the epoch before; infinite if there is none."""
        self.now = 0.0
        """The time, in epochs trained."""
        self.number = 0
        """The number of the current step in the training, from 1."""
        self.is_over = False
        """Whether the training has ended."""

    @property
    def is_on(self) -> bool:
        """Whether anything is to be measured."""
        return 0 not in (self.settings["every_n_steps"], self.settings["every_n_epochs"])

    @property
    def num_samples(self) -> int:
        """The number of samples; the most that there can be before it is decided."""
        return int(self.settings["num_samples"] or 0) if self.schedule is None else self.schedule.num_samples

    def begin(self, trainer: Trainer) -> float:
        """Begin a training, or go on with one, and return the time, in epochs trained.

        Raises:
            InputError: There would be too many measurements.
        """
        done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        now = time_of(trainer, done, self.num_steps, is_end=done > 0)
        if not now:  # what is known is of another training
            self.num_steps, self.decided = math.inf, {}
        self.now, self.number, self.is_over = now, self._number(trainer, done), False
        if self.settings["every_n_steps"] is not None or self.settings["every_n_epochs"] is not None:
            self.decided = {}
        self.timer, self.last_asked = None, (-1, None)
        settings: dict[str, Any] = self.settings | self.decided
        self.schedule = set_outright(trainer, **settings)
        if self.schedule is None:
            self.timer = StepTimer(self.clock, trainer.strategy.root_device)
        else:
            self.schedule.check_number(*length_of(trainer))
        return now

    def move_to(self, trainer: Trainer, batch_idx: int | None, *, is_over: bool = False) -> bool:
        """Move to the end of a batch (from 0), the epoch or the training; return whether it is there."""
        if is_over:
            was_over, self.is_over = self.is_over, True
            return was_over
        now = trainer.current_epoch, batch_idx
        if now == self.last_asked:
            return True
        is_new_epoch = now[0] != self.last_asked[0]
        self.last_asked = now
        if batch_idx is not None:
            self.step = batch_idx + 1
            if self.timer is not None:
                self.timer.end_step()
        elif is_new_epoch:  # a training that was resumed after its last batch
            self.step = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if batch_idx is None:
            self.num_steps = self.step
            if self.timer is not None and self.step * length_of(trainer)[1] <= SHORT:  # as it turns out
                self.timer, self.schedule = None, Schedule(self.num_samples, every_n_epochs=1)
        self.now = time_of(trainer, self.step, self.num_steps, is_end=self.is_end)
        self.number = self._number(trainer, self.step)
        return False

    @property
    def is_end(self) -> bool:
        """Whether it is at the end of an epoch."""
        return self.last_asked[1] is None

    def is_due(self, trainer: Trainer) -> bool:
        """Return whether a measurement is due now; at the end of a training it always is."""
        if self.schedule is None or self.number < self.schedule.first_step:
            return False
        if self.is_over:
            return True
        if self.is_end:
            return self.schedule.is_due_after(trainer.current_epoch, length_of(trainer)[1])
        return self.schedule.is_due_at(self.step, float(trainer.num_training_batches))

    @property
    def epoch(self) -> int:
        """The current epoch, from 0; when a training has ended, its last one."""
        return max(0, math.ceil(self.now) - 1)

    def _number(self, trainer: Trainer, step: int) -> int:
        """Return the number in the training of a step of the current epoch, both from 1."""
        num_steps = float(trainer.num_training_batches)
        of_epoch = num_steps if math.isfinite(num_steps) else self.num_steps
        return step + (trainer.current_epoch * int(of_epoch) if math.isfinite(of_epoch) else 0)

    def is_ready(self, trainer: Trainer) -> bool:
        """Return whether it can be decided now."""
        return self.timer is not None and self.timer.is_done(*length_of(trainer))

    def decide(
        self, trainer: Trainer, measure: Callable[[int, bool], object], *, most: int, least: int
    ) -> None:
        """Decide how often to measure, and on how many samples.

        Args:
            trainer: The trainer.
            measure: See :func:`fer.callbacks.budget.decide`.
            most: Most samples.
            least: Fewest samples.
        """
        if self.timer is None:
            return
        schedule = decide(
            *(trainer, self.timer, measure), num_samples=most, least_samples=least, budget=self.budget
        )
        self.timer = None
        self.schedule = replace(schedule, first_step=self.number)
        self.decided = {name: getattr(self.schedule, name) for name in DECIDED}

    def describe(self, trainer: Trainer) -> str:
        """Return in words how often to measure, on how many samples, and the share of the time it takes."""
        if self.schedule is None:
            return ""
        return self.schedule.describe(length_of(trainer)[0], self.budget)

    def describe_number(self, trainer: Trainer, num_layers: int) -> str:
        """Return in words how many measurements there will be, and the size of their history."""
        if self.schedule is None:
            return "how often is decided in the first steps"
        num = self.schedule.total(*length_of(trainer))
        up_to, num = ("up to ", MOST_MEASUREMENTS) if math.isinf(num) else ("", math.ceil(num))
        size = describe_size(max(1000, int(history_bytes(num, num_layers))))
        return f"{up_to}{num:,} measurement{'' if num == 1 else 's'}, a history of {size}"
