"""Whether a training can go on from a checkpoint: with this data, and with so many steps."""

import math
from typing import Any

from lightning.pytorch import Trainer
from torch.optim import lr_scheduler as schedules

from fer.errors import InputError


def describe_data(data: object) -> str:
    """Return what a network that is trained on a data module is trained on: the data and its protocol."""
    title = getattr(data, "title", type(data).__name__)
    return f"{title}, {getattr(data, 'protocol_name', 'its own splits')}"


def check_data(trained_on: str | None, data: object) -> None:
    """Refuse to go on with other data, or another protocol, in which samples of the test could be trained on.

    Args:
        trained_on: What the checkpoint was trained on; None: that is not known, or there is no checkpoint.
        data: The data module; None: loaders without one.

    Raises:
        InputError: It is another one.
    """
    if data is not None and trained_on not in (None, describe_data(data)):
        msg = (
            f"the checkpoint was trained on {trained_on}, and cannot go on with {describe_data(data)}: "
            "give the same data, or --start_from for a new training with its weights"
        )
        raise InputError(msg)


def check_schedules(trainer: Trainer, name: str) -> None:
    """Refuse to train beyond the end of a schedule, where the learning rate would rise again.

    Args:
        trainer: Whose schedules have the state of the checkpoint.
        name: Of the schedule.

    Raises:
        InputError: The schedule has fewer steps left than there are to be trained.
    """
    steps = trainer.estimated_stepping_batches - trainer.global_step
    for config in trainer.lr_scheduler_configs:
        left = steps_left(config.scheduler)
        if left < steps:
            msg = (
                f"the learning rate's schedule of the checkpoint, {name}, has {left:,.0f} steps left, and "
                f"{steps:,.0f} are to be trained: give --model.schedule none to go on at the last learning "
                "rate, or --start_from for a new cycle from its weights"
            )
            raise InputError(msg)


def steps_left(schedule: Any) -> float:
    """Return after how many further steps a schedule ends; infinite for one without an end."""
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
