"""Act on a plateau: which action for which reason, and when it is due."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, Protocol, runtime_checkable

from lightning.pytorch import LightningModule, Trainer

from fer.errors import InputError, check_choice, did_you_mean
from fer.neurons import Stage
from fer.neurons.stages import WINDOW, StageLabel

Action = Literal["none", "stop", "reduce_lr", "restart_lr", "raise_decay"]
"""What is done when the network reaches a plateau.

- ``none``: log it, nothing else.
- ``stop``: end the training.
- ``reduce_lr``: restart the schedule for the remaining epochs, each time with a lower learning rate; without
  a schedule, lower the learning rate.
- ``restart_lr``: restart the schedule at the configured learning rate.
- ``raise_decay``: raise the weight decay of the optimizers.
"""


@dataclass(frozen=True)
class ActionByReason:
    """An action for each reason of a plateau.

    Attributes:
        overfit: The train loss has fallen, and the validation loss is above its best.
        lr_frozen: The learning rate is too low to change the weights.
        stuck: Neither loss falls, and the train loss is high.
    """

    overfit: Action = "none"
    lr_frozen: Action = "none"
    stuck: Action = "none"


OnPlateau = Action | ActionByReason
"""One action for every plateau, or one for each reason."""

STUCK_FOR: Final = 2 * WINDOW
"""Measurements for which a network must have been stuck before it is acted on. In 12 of 400 synthetic runs
with a one-cycle schedule it looked stuck while the learning rate was high, for 19 measurements at most."""

Taken = tuple[int, str]
"""An action: the number of measurements after which it was taken, and its name."""


@runtime_checkable
class RestartsSchedule(Protocol):
    """A LightningModule that can begin its learning rate schedule anew."""

    def restart_schedule(self, factor: float = 1.0) -> None:
        """Begin the schedule anew for the epochs that are left, at a multiple of the learning rate."""


def actions_of(on_plateau: OnPlateau | Mapping[str, Any]) -> dict[str, str]:
    """Return the action for each reason.

    Args:
        on_plateau: One action for every reason, or a mapping from reasons to actions; reasons that are left
            out have none.

    Raises:
        InputError: A reason or an action is unknown.

    >>> actions_of({"overfit": "stop"})
    {'overfit': 'stop', 'lr_frozen': 'none', 'stuck': 'none'}
    """
    reasons = [field.name for field in fields(ActionByReason)]
    if isinstance(on_plateau, ActionByReason):
        given: dict[str, Any] = asdict(on_plateau)
    elif isinstance(on_plateau, Mapping):
        given = dict(on_plateau)
    else:
        check_choice("stages.on_plateau", on_plateau, Action)
        return dict.fromkeys(reasons, on_plateau)
    for reason, action in given.items():
        if reason not in reasons:
            msg = (
                f"stages.on_plateau.{reason}: there is no such reason; {did_you_mean(str(reason), reasons)}"
                f"reasons are {', '.join(reasons)}"
            )
            raise InputError(msg)
        check_choice(f"stages.on_plateau.{reason}", action, Action)
    return dict.fromkeys(reasons, "none") | given


def check_possible(actions: Mapping[str, str], trainer: Trainer, pl_module: LightningModule) -> None:
    """Check that a training can do what its plateaus ask for.

    Args:
        actions: By reason the action.
        trainer: Has the optimizers and the schedules.
        pl_module: The LightningModule.

    Raises:
        InputError: The LightningModule cannot restart its schedule, or no optimizer has a weight decay.
    """
    for reason, action in actions.items():
        where = f"stages.on_plateau.{reason} is {action}"
        if len(set(actions.values())) == 1:
            where = f"stages.on_plateau is {action}"
        is_simple = action == "reduce_lr" and not trainer.lr_scheduler_configs
        needs_restart = action in ("reduce_lr", "restart_lr") and not is_simple
        if needs_restart and not isinstance(pl_module, RestartsSchedule):
            msg = (
                f"{where}: give {type(pl_module).__name__} a method restart_schedule(factor: float = 1.0), "
                "which begins its schedule anew, or take stop"
            )
            raise InputError(msg)
        if action == "raise_decay" and not any(group.get("weight_decay") for group in _groups(trainer)):
            msg = f"{where}, and every weight decay is 0: set model.weight_decay, or take another action"
            raise InputError(msg)


def _groups(trainer: Trainer) -> list[dict[str, Any]]:
    """Return the parameter groups of all optimizers."""
    return [group for optimizer in trainer.optimizers for group in optimizer.param_groups]


def is_action_due(labels: Sequence[StageLabel], taken: Sequence[Taken]) -> bool:
    """Return whether a plateau is acted on now.

    Args:
        labels: The network's live label at each measurement so far.
        taken: Earlier actions; a window must pass before the effect of one can be seen.

    >>> plateau = StageLabel(Stage.PLATEAU, "overfit")
    >>> [is_action_due([plateau] * num, [(40, "reduce_lr")]) for num in (41, 39 + WINDOW, 40 + WINDOW)]
    [False, False, True]
    """
    label = labels[-1]
    held = next((num for num, each in enumerate(reversed(labels)) if each != label), len(labels))
    has_held = held >= (STUCK_FOR if label.reason == "stuck" else 1)
    is_seen = not taken or len(labels) - taken[-1][0] >= WINDOW
    return label.stage == Stage.PLATEAU and has_held and is_seen


def act(
    action: str,
    trainer: Trainer,
    pl_module: LightningModule,
    *,
    lr_factor: float,
    num_reduced: int,
    decay_factor: float,
) -> str:
    """Take an action, and return what was done.

    Args:
        action: Not ``none``.
        trainer: The trainer.
        pl_module: The LightningModule.
        lr_factor: Factor of each ``reduce_lr``.
        num_reduced: How often the learning rate was reduced before; a schedule that is restarted begins at
            the configured learning rate times all factors.
        decay_factor: Factor of each ``raise_decay``.
    """
    if action == "stop":
        trainer.should_stop = True
        return "stopping the training"
    if action == "raise_decay":
        for group in _groups(trainer):
            if "weight_decay" in group:
                group["weight_decay"] *= decay_factor
        return f"multiplying the weight decay by {decay_factor:g}"
    if isinstance(pl_module, RestartsSchedule):
        factor = lr_factor ** (num_reduced + 1) if action == "reduce_lr" else 1.0
        pl_module.restart_schedule(factor)
        return f"restarting the schedule{'' if factor == 1 else f' at {factor:g} times the learning rate'}"
    for group in _groups(trainer):
        group["lr"] *= lr_factor
    return f"multiplying the learning rate by {lr_factor:g}"
