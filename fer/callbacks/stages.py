"""Label the training stage of each layer and of the network, and act on a plateau."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Literal, get_args

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch import Tensor
from torch.optim import Optimizer

from fer.callbacks.distinctiveness import FORMATS, DistinctivenessCallback, evenly
from fer.callbacks.media import save_figure
from fer.errors import InputError
from fer.figures import fan_figure, speed_figure
from fer.neurons import Stage, label_stages, live_stages
from fer.neurons.stages import WINDOW, StageLabel
from fer.runs import Run
from fer.tasks.base import ClassificationTask

OnPlateau = Literal["none", "stop", "reduce_lr", "restart_lr"]
"""The action taken when the network reaches a plateau.

- ``none``: log it, nothing else.
- ``stop``: end the training.
- ``reduce_lr``: restart the schedule for the remaining epochs, each time with a lower learning rate.
- ``restart_lr``: restart the schedule at the configured learning rate.
"""

NETWORK: Final = "network"
"""Name of the whole network among the layers' names."""

STAGES: Final = tuple(Stage)
"""Stages in the order of their logged numbers, from 0."""


class StageCallback(Callback):
    """Label the stage of each layer and of the network after every epoch, from the epochs so far.

    Logs ``stage/<layer>`` and ``stage/network`` (0 initial, 1 intermediate, 2 plateau, 3 solution; in W&B
    also the reason as text) and ``update_ratio/<layer>``, the norm of an epoch's first step divided by the
    norm of the weights. When training ends, all epochs are labelled again from the complete history, in
    ``stages.json`` and in figures. The network's angular speed is the mean over its layers.

    Args:
        enabled: Label stages.
        on_plateau: Action on a plateau: none, stop, reduce_lr or restart_lr. It is repeated if the network is
            still, or again, on a plateau 21 epochs later.
        lr_factor: Factor by which ``reduce_lr`` multiplies the learning rate each time, 0 to 1.

    Raises:
        InputError: A setting is out of range.

    Source: stages: :mod:`fer.neurons.stages`. Acting on them is future work in Markou,
    "Insights of the Hidden Neuron Functionality using Deep Learning Techniques for Facial Emotion
    Recognition".
    """

    def __init__(self, enabled: bool = True, on_plateau: OnPlateau = "none", lr_factor: float = 0.1) -> None:
        if on_plateau not in get_args(OnPlateau):
            msg = f"stages.on_plateau is {on_plateau!r}: it must be one of {', '.join(get_args(OnPlateau))}"
            raise InputError(msg)
        if not 0 < lr_factor < 1:
            msg = f"stages.lr_factor is {lr_factor}: it must be between 0 and 1"
            raise InputError(msg)
        if on_plateau != "none" and not enabled:
            msg = f"stages.on_plateau is {on_plateau}, which needs --stages.enabled true"
            raise InputError(msg)
        self.enabled = enabled
        self.on_plateau: OnPlateau = on_plateau
        self.lr_factor = lr_factor
        self.console = Console(highlight=False, soft_wrap=True)
        self.weights_before: dict[str, Tensor] = {}
        self.step_sizes: dict[str, tuple[float, float]] = {}
        """By parameter: squared norms of this epoch's first step and of the weights before it."""
        self.losses: dict[str, list[float]] = {"epoch": [], "train/loss": [], "val/loss": []}
        self.speeds: dict[str, list[float]] = {}
        self.ratios: dict[str, list[float]] = {}
        self.actions: list[int] = []
        """Epochs after which a plateau was acted on."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Arrange for the first step of the epoch to be measured."""
        del trainer, pl_module
        self.step_sizes = {}

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Keep a copy of the weights before the epoch's first step."""
        del trainer, optimizer
        if self.enabled and not self.step_sizes and isinstance(pl_module, ClassificationTask):
            self.weights_before = {
                name: parameter.detach().clone()
                for name, parameter in pl_module.network.named_parameters()
                if parameter.requires_grad and parameter.ndim >= 2
            }

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure the step if the weights before it were kept."""
        del trainer, outputs, batch, batch_idx
        if not self.weights_before or not isinstance(pl_module, ClassificationTask):
            return
        after = dict(pl_module.network.named_parameters())
        before, self.weights_before = self.weights_before, {}
        sizes = torch.stack(
            [
                torch.stack([(after[name].detach() - old).float().square().sum(), old.float().square().sum()])
                for name, old in before.items()
            ]
        )
        self.step_sizes = {
            name: (step, size) for name, (step, size) in zip(before, sizes.tolist(), strict=True)
        }

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Label the epoch, log the labels and act on a plateau."""
        if not self.enabled or not isinstance(pl_module, ClassificationTask):
            return
        epoch = trainer.current_epoch
        self._append(trainer, epoch)
        labels = {layer: of_layer[-1] for layer, of_layer in self.labels(live=True).items()}
        numbers = {f"stage/{layer}": float(STAGES.index(label.stage)) for layer, label in labels.items()}
        ratios = {f"update_ratio/{layer}": values[-1] for layer, values in self.ratios.items()}
        pl_module.log_dict(numbers | {k: v for k, v in ratios.items() if v == v}, sync_dist=True)
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    reasons = {f"stage/{layer}/reason": label.reason for layer, label in labels.items()}
                    logger.log_metrics({**reasons, "epoch": epoch}, step=trainer.global_step)  # type: ignore[dict-item]
        if self.on_plateau != "none" and is_action_due(labels[NETWORK], epoch, self.actions):
            self._act(trainer, pl_module, labels[NETWORK])

    def _append(self, trainer: Trainer, epoch: int) -> None:
        """Append an epoch to the histories."""
        metrics = trainer.callback_metrics
        self.losses["epoch"].append(epoch)
        for name in ("train/loss", "val/loss"):
            self.losses[name].append(float(metrics.get(name, math.nan)))
        num_past = len(self.losses["epoch"]) - 1
        speeds = _speeds(trainer, epoch)
        for layer in (NETWORK, *speeds):
            self.speeds.setdefault(layer, [math.nan] * num_past)
            self.ratios.setdefault(layer, [math.nan] * num_past)
        known = [speed for speed in speeds.values() if speed == speed]
        speeds[NETWORK] = sum(known) / len(known) if known else math.nan
        for layer in self.speeds:
            self.speeds[layer].append(speeds.get(layer, math.nan))
            self.ratios[layer].append(update_ratio(self.step_sizes, "" if layer == NETWORK else layer))

    def labels(self, *, live: bool) -> dict[str, list[StageLabel]]:
        """Return the stage of each epoch, by layer and for the network.

        Args:
            live: Label each epoch from the epochs up to it; otherwise from the complete history.
        """
        label = live_stages if live else label_stages
        losses = self.losses["train/loss"], self.losses["val/loss"]
        return {layer: label(self.speeds[layer], *losses, self.ratios[layer]) for layer in self.speeds}

    def _act(self, trainer: Trainer, task: ClassificationTask, label: StageLabel) -> None:
        self.actions.append(trainer.current_epoch)
        match self.on_plateau:
            case "stop":
                trainer.should_stop = True
                done = "stopping the training"
            case "reduce_lr":
                factor = self.lr_factor ** len(self.actions)
                task.restart_schedule(factor)
                done = f"restarting the schedule at {factor:g} times the learning rate"
            case _:
                task.restart_schedule()
                done = "restarting the schedule"
        if trainer.is_global_zero:
            self.console.print(f"plateau ({label.reason}) after epoch {trainer.current_epoch}: {done}")

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Label all epochs from the complete history; write, draw and print the network's stages."""
        del pl_module
        if not self.losses["epoch"]:
            return
        final, live = self.labels(live=False), self.labels(live=True)
        epochs = self.losses["epoch"]
        content = {
            layer: {"final": intervals(final[layer], epochs), "live": intervals(live[layer], epochs)}
            for layer in final
        }
        Run(Path(trainer.default_root_dir)).write_stages(content)
        self.console.print(f"stages       {stages_line(intervals(final[NETWORK], epochs))}")
        measured = _history(trainer)
        drawn = {layer: measured[layer] for layer in evenly(list(measured))}
        if drawn:
            save_figure(trainer, "angles", fan_figure(drawn, self.losses, final), formats=FORMATS)
            save_figure(trainer, "angular-speed", speed_figure(measured, self.losses, final), formats=FORMATS)

    def state_dict(self) -> dict[str, Any]:
        """Return the histories, so that a resumed run continues them."""
        return {name: getattr(self, name) for name in ("losses", "speeds", "ratios", "actions")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the histories."""
        for name, value in state_dict.items():
            setattr(self, name, value)


def is_action_due(label: StageLabel, epoch: int, actions: Sequence[int]) -> bool:
    """Return whether a plateau is acted on after an epoch.

    Args:
        label: The network's label after the epoch.
        epoch: Number of the epoch, from 0.
        actions: Epochs of earlier actions; a window must pass before the effect of one can be seen.

    >>> plateau = StageLabel(Stage.PLATEAU, "stuck")
    >>> [is_action_due(plateau, epoch, [40]) for epoch in (41, 60, 61)]
    [False, False, True]
    """
    return label.stage == Stage.PLATEAU and (not actions or epoch - actions[-1] >= WINDOW)


def update_ratio(step_sizes: Mapping[str, tuple[float, float]], layer: str) -> float:
    """Return the norm of a step divided by the norm of a layer's weights, ``|change| / |weights|``.

    Args:
        step_sizes: By parameter: squared norms of the step and of the weights before it.
        layer: Prefix of its parameters' names. For an empty name, and for a layer without weights of its own,
            all parameters count.

    Returns:
        0 or more; NaN if nothing was measured.

    >>> update_ratio({"fc1.weight": (0.01, 4.0), "fc2.weight": (0.0, 12.0)}, "fc1")
    0.05
    """
    of_layer = [sizes for name, sizes in step_sizes.items() if name.startswith(f"{layer}.")]
    sizes = of_layer or list(step_sizes.values())
    steps, weights = (sum(column) for column in zip(*sizes, strict=True)) if sizes else (math.nan, math.nan)
    return math.sqrt(steps / weights) if weights else math.nan


def intervals(labels: Sequence[StageLabel], epochs: Sequence[float]) -> list[dict[str, Any]]:
    """Return each interval of epochs with one label, as plain data.

    >>> intervals([StageLabel(Stage.INITIAL, "warm_up")] * 3, [0, 1, 2])
    [{'stage': 'initial', 'reason': 'warm_up', 'first': 0, 'last': 2}]
    """
    found = []
    for label, group in groupby(zip(labels, epochs, strict=True), key=lambda pair: pair[0]):
        of_label = [int(epoch) for _, epoch in group]
        found.append(
            {"stage": str(label.stage), "reason": label.reason, "first": of_label[0], "last": of_label[-1]}
        )
    return found


def stages_line(of_network: Sequence[Mapping[str, Any]]) -> str:
    """Return intervals as one line of text.

    >>> stages_line([{"stage": "plateau", "reason": "stuck", "first": 30, "last": 99}])
    'plateau (stuck) 30 to 99'
    """
    return ", ".join(
        f"{each['stage']} ({each['reason']}) {each['first']} to {each['last']}" for each in of_network
    )


def _history(trainer: Trainer) -> dict[str, dict[str, list[float]]]:
    """Return the history of the run's angles by layer; empty if they are not measured."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, DistinctivenessCallback):
            return callback.history
    return {}


def _speeds(trainer: Trainer, epoch: int) -> dict[str, float]:
    """Return each layer's angular speed in an epoch; NaN if it was not measured."""
    return {
        layer: columns["speed"][-1] if columns["epoch"][-1] == epoch else math.nan
        for layer, columns in _history(trainer).items()
    }
