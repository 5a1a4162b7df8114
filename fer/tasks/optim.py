"""Optimizers and learning rate schedules by name, from flat settings that sweeps can vary."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.optim import Optimizer
from torch.optim import lr_scheduler as schedules

from fer.errors import InputError

FUSED: Final = ("cpu", "cuda")
"""Devices for which torch has fused kernels for all three optimizers."""

OptimizerName = Literal["sgd", "adam", "adamw"]
ScheduleName = Literal["none", "multistep", "cyclic", "plateau", "onecycle", "cosine"]


@dataclass(frozen=True)
class OptimizerSettings:
    """Optimizer settings.

    Attributes:
        name: ``sgd``, ``adam`` or ``adamw``.
        lr: Learning rate; the peak for ``onecycle``, the lower bound for ``cyclic``.
        weight_decay: Weight decay; not applied to biases and normalisation layers.
        momentum: Momentum of ``sgd``.
        nesterov: Use Nesterov momentum with ``sgd``.
    """

    name: OptimizerName
    lr: float
    weight_decay: float
    momentum: float
    nesterov: bool

    def __post_init__(self) -> None:
        check_setting("lr", self.lr, is_right=self.lr >= 0, wanted="0 or more")
        check_setting("weight_decay", self.weight_decay, is_right=self.weight_decay >= 0, wanted="0 or more")
        check_setting("momentum", self.momentum, is_right=0 <= self.momentum < 1, wanted="from 0 to below 1")
        if self.nesterov and self.momentum == 0:
            msg = "model.nesterov needs momentum: set model.momentum, or model.nesterov=false"
            raise InputError(msg)


@dataclass(frozen=True)
class ScheduleSettings:
    """Learning rate schedule settings.

    Attributes:
        name: Name of the schedule, or ``none``.
        milestones: Epochs after which ``multistep`` multiplies the learning rate by ``gamma``.
        gamma: Factor applied to the learning rate by ``multistep`` and ``plateau``.
        max_lr: Upper bound of the learning rate for ``cyclic`` (Smith, 2017).
        cycle_epochs: Length of a full cycle of ``cyclic``, in epochs.
        patience: Validations without a better accuracy before ``plateau`` applies ``gamma``.
        min_lr: Lower bound of the learning rate for ``plateau`` and ``cosine``.
        warmup: Share of all steps during which ``onecycle`` and ``cosine`` increase the learning rate.
    """

    name: ScheduleName
    milestones: Sequence[int]
    gamma: float
    max_lr: float
    cycle_epochs: int
    patience: int
    min_lr: float
    warmup: float

    def __post_init__(self) -> None:
        check_setting("gamma", self.gamma, is_right=0 < self.gamma <= 1, wanted="above 0, and at most 1")
        check_setting("cycle_epochs", self.cycle_epochs, is_right=self.cycle_epochs >= 1, wanted="1 or more")
        check_setting("patience", self.patience, is_right=self.patience >= 0, wanted="0 or more")
        check_setting("min_lr", self.min_lr, is_right=self.min_lr >= 0, wanted="0 or more")
        check_setting("warmup", self.warmup, is_right=0 <= self.warmup <= 1, wanted="from 0 to 1")


def check_setting(setting: str, value: float, *, is_right: bool, wanted: str) -> None:
    """Raise an InputError that names the setting and its range if it is out of range."""
    if not is_right:
        msg = f"model.{setting} is {value}: it must be {wanted}"
        raise InputError(msg)


def is_fused(trainer: Trainer) -> bool:
    """Return whether a training can use torch's fused optimizer kernels.

    It can on the devices in :data:`FUSED`, with two exceptions. With a gradient scaler (``16-mixed``), fused
    optimizers get scaled gradients, and so do the callbacks that read them. And Lightning does not support
    gradient clipping for fused optimizers in mixed precision.
    """
    is_clipped = bool(trainer.gradient_clip_val) and str(trainer.precision).endswith("-mixed")
    is_scaled = trainer.precision == "16-mixed"
    return trainer.strategy.root_device.type in FUSED and not (is_clipped or is_scaled)


def make_optimizer(network: nn.Module, settings: OptimizerSettings, *, fused: bool = False) -> Optimizer:
    """Make the optimizer of a network's trainable parameters.

    Args:
        network: The network, on the device of the training.
        settings: Optimizer settings.
        fused: Use torch's fused kernels; the results differ only by rounding.

    Raises:
        InputError: No parameter is trainable, or the learning rate is too large for their data type.
    """
    groups = _groups(network, settings.weight_decay)
    if not groups:
        msg = "the network has no trainable parameter: unfreeze a part of it"
        raise InputError(msg)
    dtype = groups[0]["params"][0].dtype
    largest = torch.finfo(dtype).max
    wanted = f"at most {largest:g}, the largest {str(dtype).removeprefix('torch.')}"
    check_setting("lr", settings.lr, is_right=settings.lr <= largest, wanted=wanted)
    # None instead of False, which would also turn off torch's foreach kernels.
    optimizer = _build(settings, groups, fused=fused or None)
    optimizer.register_load_state_dict_post_hook(_match_formats)
    return optimizer


def _build(settings: OptimizerSettings, groups: list[dict[str, Any]], *, fused: bool | None) -> Optimizer:
    """Make the optimizer that the settings name."""
    if settings.name == "sgd":
        momentum: dict[str, Any] = {"momentum": settings.momentum, "nesterov": settings.nesterov}
        return torch.optim.SGD(groups, lr=settings.lr, fused=fused, **momentum)
    kind = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=settings.lr, fused=fused)


def _match_formats(optimizer: Optimizer) -> None:
    """Convert a loaded optimizer state to the memory formats of the parameters.

    Fused kernels process parameter and state in memory order; with different formats, they would silently mix
    up entries.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if value is not None and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return two groups of trainable parameters: biases and vectors without weight decay, all others with it.

    The groups are those of ``timm.optim.param_groups_weight_decay``, which takes a second to import.
    """
    parts: dict[float, list[nn.Parameter]] = {0.0: [], weight_decay: []}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            is_decayed = parameter.ndim > 1 and not name.endswith(".bias")
            parts[weight_decay if is_decayed else 0.0].append(parameter)
    return [{"params": part, "weight_decay": decay} for decay, part in parts.items() if part]


def make_schedule(
    optimizer: Optimizer,
    settings: ScheduleSettings,
    *,
    num_steps: int,
    num_epochs: int,
    validation_interval: int = 1,
) -> dict[str, Any] | None:
    """Make Lightning's configuration of the schedule; None for a constant learning rate.

    Args:
        optimizer: Optimizer whose learning rate is scheduled.
        settings: Schedule settings.
        num_steps: Optimizer steps of the whole training.
        num_epochs: Epochs of the whole training.
        validation_interval: Epochs between validations; ``plateau`` is updated after each.
    """
    lr = optimizer.param_groups[0]["lr"]
    each_step = {"interval": "step", "frequency": 1}
    match settings.name:
        case "none":
            return None
        case "multistep":
            multistep = schedules.MultiStepLR(optimizer, list(settings.milestones), settings.gamma)
            return {"scheduler": multistep, "interval": "epoch"}
        case "plateau":
            plateau = schedules.ReduceLROnPlateau(
                optimizer,
                mode="max",
                factor=settings.gamma,
                patience=settings.patience,
                min_lr=settings.min_lr,
                threshold=0.0,
            )
            return {
                "scheduler": plateau,
                "interval": "epoch",
                "frequency": validation_interval,
                "monitor": "val/acc",
            }
        case "cyclic":
            half_cycle = max(1, round(settings.cycle_epochs * num_steps / num_epochs / 2))
            cyclic = schedules.CyclicLR(optimizer, lr, settings.max_lr, half_cycle, cycle_momentum=False)
            return {"scheduler": cyclic, **each_step}
        case "onecycle":
            onecycle = schedules.OneCycleLR(
                optimizer,
                max_lr=lr,
                total_steps=num_steps,
                # torch divides by zero if the warm-up is exactly one step long.
                pct_start=settings.warmup if settings.warmup * num_steps > 1 else 0.0,
                cycle_momentum=False,
            )
            return {"scheduler": onecycle, **each_step}
        case "cosine":
            num_warm = round(settings.warmup * num_steps)
            rise = schedules.LinearLR(optimizer, start_factor=0.01, total_iters=max(1, num_warm))
            fall = schedules.CosineAnnealingLR(
                optimizer, T_max=max(1, num_steps - num_warm), eta_min=settings.min_lr
            )
            cosine = schedules.SequentialLR(optimizer, [rise, fall], milestones=[num_warm])
            return {"scheduler": cosine if num_warm else fall, **each_step}
