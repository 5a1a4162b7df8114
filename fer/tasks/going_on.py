"""Check whether a training can resume from a checkpoint, with its data and number of steps."""

import math
from typing import Any

from lightning.pytorch import Trainer
from torch.optim import lr_scheduler as schedules

from fer.errors import InputError


def describe_data(data: object) -> str:
    """Describe the training data of a network: the data set and its protocol."""
    title = getattr(data, "title", type(data).__name__)
    return f"{title}, {getattr(data, 'protocol_name', 'its own splits')}"


def check_data(trained_on: str | None, data: object) -> None:
    """Check that a training resumes with the same data and protocol.

    With another protocol, samples of the test split might have been trained on.

    Args:
        trained_on: Description of the checkpoint's training data; None if it is unknown, or there is no
            checkpoint.
        data: The data module; None: loaders without one.

    Raises:
        InputError: The data or the protocol differs.
    """
    if data is not None and trained_on not in (None, describe_data(data)):
        msg = (
            f"the checkpoint was trained on {trained_on} and cannot be resumed with {describe_data(data)}: "
            "use the same data, or start a new training from its weights with --start_from"
        )
        raise InputError(msg)


def check_schedules(trainer: Trainer, name: str) -> None:
    """Check that no schedule ends before the training, since the learning rate would rise again.

    Args:
        trainer: Trainer whose schedules have the state of the checkpoint.
        name: Name of the schedule.

    Raises:
        InputError: A schedule has fewer steps left than the training.
    """
    steps = trainer.estimated_stepping_batches - trainer.global_step
    for config in trainer.lr_scheduler_configs:
        left = steps_left(config.scheduler)
        if left < steps:
            msg = (
                f"the checkpoint's learning rate schedule, {name}, has {left:,.0f} steps left, but the "
                f"training has {steps:,.0f}: set --model.schedule none to continue with the last learning "
                "rate, or start a new cycle from its weights with --start_from"
            )
            raise InputError(msg)


def steps_left(schedule: Any) -> float:
    """Return the number of steps until a schedule ends; infinite for one without an end."""
    return _end_of(schedule) - float(schedule.last_epoch)


def _end_of(schedule: Any) -> float:
    match schedule:
        case schedules.OneCycleLR():
            return float(schedule.total_steps)
        case schedules.CosineAnnealingLR():
            return float(schedule.T_max)
        case schedules.SequentialLR():
            return float(schedule._milestones[-1]) + _end_of(schedule._schedulers[-1])
        case _:
            return math.inf
