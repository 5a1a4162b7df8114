"""Optimisers and learning-rate schedules by name, from flat settings that a sweep can name."""

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
"""Devices for which torch has fused kernels of all three optimizers."""

OptimizerName = Literal["sgd", "adam", "adamw"]
ScheduleName = Literal["none", "multistep", "cyclic", "plateau", "onecycle", "cosine"]


@dataclass(frozen=True)
class OptimizerSettings:
    """How weights move.

    Attributes:
        name: ``sgd``, ``adam`` or ``adamw``.
        lr: Learning rate; the peak of a one-cycle schedule, the base of a cyclic one.
        weight_decay: Of weights; biases and norms, which are vectors, have none.
        momentum: Of ``sgd``.
        nesterov: Nesterov's momentum, of ``sgd``.
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
    """How the learning rate moves.

    Attributes:
        name: Which schedule, or ``none``.
        milestones: Epochs after which ``multistep`` multiplies by ``gamma``.
        gamma: Factor of ``multistep`` and ``plateau``.
        max_lr: Top of ``cyclic`` (Smith, 2017).
        cycle_epochs: Epochs of one whole cycle of ``cyclic``.
        patience: Validations without a better val accuracy before ``plateau`` multiplies by ``gamma``.
        min_lr: Floor of ``plateau`` and ``cosine``.
        warmup: Share of all steps in which ``onecycle`` and ``cosine`` rise.
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
    """Refuse a setting that is out of its range, by an InputError that names it and the range."""
    if not is_right:
        msg = f"model.{setting} is {value}: it must be {wanted}"
        raise InputError(msg)


def is_fused(trainer: Trainer) -> bool:
    """Return whether the optimizer of a training can update all weights in one pass over them.

    It can on the devices that torch has such kernels for, but for two cases: a gradient scaler (``16-mixed``)
    would leave the gradients scaled for it, and so for the callbacks that read them, and Lightning refuses to
    clip its gradients in mixed precision.
    """
    is_clipped = bool(trainer.gradient_clip_val) and str(trainer.precision).endswith("-mixed")
    is_scaled = trainer.precision == "16-mixed"
    return trainer.strategy.root_device.type in FUSED and not (is_clipped or is_scaled)


def make_optimizer(network: nn.Module, settings: OptimizerSettings, *, fused: bool = False) -> Optimizer:
    """Return the optimizer of a network's trainable parameters.

    Args:
        network: Holds the parameters, on the device where it is trained.
        settings: Which optimizer.
        fused: Update all weights in one pass over them, which computes the same but for rounding.

    Raises:
        InputError: No parameter is trainable, or their type cannot hold the learning rate.
    """
    groups = _groups(network, settings.weight_decay)
    if not groups:
        msg = "the network has no trainable parameter: unfreeze a part of it"
        raise InputError(msg)
    dtype = groups[0]["params"][0].dtype
    largest = torch.finfo(dtype).max
    wanted = f"at most {largest:g}, which is what {str(dtype).removeprefix('torch.')} can hold"
    check_setting("lr", settings.lr, is_right=settings.lr <= largest, wanted=wanted)
    optimizer = _build(
        settings, groups, fused=fused or None
    )  # False turns off torch's other fast kernels, too
    optimizer.register_load_state_dict_post_hook(_match_formats)
    return optimizer


def _build(settings: OptimizerSettings, groups: list[dict[str, Any]], *, fused: bool | None) -> Optimizer:
    """Return the optimizer that the settings name."""
    if settings.name == "sgd":
        momentum: dict[str, Any] = {"momentum": settings.momentum, "nesterov": settings.nesterov}
        return torch.optim.SGD(groups, lr=settings.lr, fused=fused, **momentum)
    kind = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=settings.lr, fused=fused)


def _match_formats(optimizer: Optimizer) -> None:
    """Give a state that was loaded the memory formats of the parameters.

    Fused kernels go through parameter and state in the order of memory, and would silently mix up entries.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if value is not None and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return the trainable parameters without weight decay, biases and vectors, and those with it.

    They are those of ``timm.optim.param_groups_weight_decay``, which takes a second to import.
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
    """Return Lightning's configuration of the schedule, or None for a constant learning rate.

    Args:
        optimizer: Whose learning rate moves.
        settings: Which schedule.
        num_steps: Optimiser steps of the whole training.
        num_epochs: Epochs of the whole training.
        validation_interval: Epochs from one validation to the next, after which ``plateau`` moves.
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
                # torch divides by zero where the rise is exactly one step long.
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
