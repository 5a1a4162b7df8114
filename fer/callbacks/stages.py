"""Which stage of training each layer and the network are in, and what is done on a plateau."""

import json
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
from fer.files import atomic_write
from fer.neurons import Stage, StageLabel, label_stages, live_stages
from fer.neurons.stages import WINDOW
from fer.tasks.base import ClassificationTask

OnPlateau = Literal["none", "stop", "reduce_lr", "restart_lr"]
"""What is done when the network is on a plateau.

- ``none``: it is only logged.
- ``stop``: training ends.
- ``reduce_lr``: the schedule begins anew for the epochs that are left, each time at a lower learning rate.
- ``restart_lr``: it begins anew at the learning rate that was set.
"""

NETWORK: Final = "network"
"""What the network as a whole is called among the layers."""

STAGES: Final = tuple(Stage)
"""In the order of the numbers that are logged, from 0."""


class StageCallback(Callback):
    """Label the stage of each layer and of the network after every epoch, as it is known by then.

    It logs ``stage/<layer>`` and ``stage/network`` (0 initial, 1 intermediate, 2 plateau, 3 solution), to
    W&B also the reason in words; and ``update_ratio/<layer>``, the size of an epoch's first step next to
    that of the weights. When training ends, all epochs are labelled again with the whole run in view, in
    ``stages.json`` and in figures. The network's angular speed is the mean of its layers'.

    Args:
        enabled: Whether stages are labelled.
        on_plateau: What is done on a plateau; see :data:`OnPlateau`. It is done again if the network is still
            on one, or on another, 21 epochs later.
        lr_factor: By what ``reduce_lr`` multiplies the learning rate each time.

    Raises:
        InputError: A setting is out of its range.

    Source: stages: :mod:`fer.neurons.stages`. To act on them is the future work that Markou names in
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
            msg = f"stages.on_plateau is {on_plateau}, which needs stages.enabled"
            raise InputError(msg)
        self.enabled = enabled
        self.on_plateau: OnPlateau = on_plateau
        self.lr_factor = lr_factor
        self.console = Console(highlight=False, soft_wrap=True)
        self.weights_before: dict[str, Tensor] = {}
        self.step_sizes: dict[str, tuple[float, float]] = {}
        """By parameter, the squared sizes of this epoch's first step and of the weights before it."""
        self.losses: dict[str, list[float]] = {"epoch": [], "train/loss": [], "val/loss": []}
        self.speeds: dict[str, list[float]] = {}
        self.ratios: dict[str, list[float]] = {}
        self.actions: list[int] = []
        """Epochs after which something was done about a plateau."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the first step of the epoch be measured."""
        del trainer, pl_module
        self.step_sizes = {}

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Keep the weights before the epoch's first step."""
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
        """Measure the step, if its weights were kept."""
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
        """Label the epoch, log, and act."""
        if not self.enabled or not isinstance(pl_module, ClassificationTask):
            return
        epoch = trainer.current_epoch
        self._take_up(trainer, epoch)
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

    def _take_up(self, trainer: Trainer, epoch: int) -> None:
        """Add an epoch to the histories."""
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
            live: As it was known when each epoch ended; else with the whole run in view.
        """
        label = live_stages if live else label_stages
        losses = self.losses["train/loss"], self.losses["val/loss"]
        return {layer: label(self.speeds[layer], *losses, self.ratios[layer]) for layer in self.speeds}

    def _act(self, trainer: Trainer, task: ClassificationTask, label: StageLabel) -> None:
        self.actions.append(trainer.current_epoch)
        match self.on_plateau:
            case "stop":
                trainer.should_stop = True
                done = "training ends"
            case "reduce_lr":
                factor = self.lr_factor ** len(self.actions)
                task.restart_schedule(factor)
                done = f"the schedule begins anew at {factor:g} of the learning rate"
            case _:
                task.restart_schedule()
                done = "the schedule begins anew"
        if trainer.is_global_zero:
            self.console.print(f"plateau ({label.reason}) after epoch {trainer.current_epoch}: {done}")

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Label all epochs with the whole run in view; write, draw, and say the network's stages."""
        del pl_module
        if not self.losses["epoch"]:
            return
        final, live = self.labels(live=False), self.labels(live=True)
        epochs = self.losses["epoch"]
        content = {
            layer: {"final": spans(final[layer], epochs), "live": spans(live[layer], epochs)}
            for layer in final
        }
        with atomic_write(Path(trainer.default_root_dir) / "stages.json") as file:
            file.write(json.dumps(content, indent=1).encode() + b"\n")
        self.console.print(f"stages       {in_words(spans(final[NETWORK], epochs))}")
        measured = _history(trainer)
        drawn = {layer: measured[layer] for layer in evenly(list(measured))}
        if drawn:
            save_figure(trainer, "angles", fan_figure(drawn, self.losses, final), formats=FORMATS)
            save_figure(trainer, "angular-speed", speed_figure(measured, self.losses, final), formats=FORMATS)

    def state_dict(self) -> dict[str, Any]:
        """Return the histories, so that a resumed run goes on."""
        return {name: getattr(self, name) for name in ("losses", "speeds", "ratios", "actions")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the histories."""
        for name, value in state_dict.items():
            setattr(self, name, value)


def is_action_due(label: StageLabel, epoch: int, actions: Sequence[int]) -> bool:
    """Return whether something is done about a plateau.

    Args:
        label: Of the network, after the epoch.
        epoch: From 0.
        actions: Epochs after which something was done before. A window must pass until what came of it shows.

    >>> plateau = StageLabel(Stage.PLATEAU, "stuck")
    >>> [is_action_due(plateau, epoch, [40]) for epoch in (41, 60, 61)]
    [False, False, True]
    """
    return label.stage == Stage.PLATEAU and (not actions or epoch - actions[-1] >= WINDOW)


def update_ratio(step_sizes: Mapping[str, tuple[float, float]], layer: str) -> float:
    """Return the size of a step next to that of a layer's weights, ``|change| / |weights|``.

    Args:
        step_sizes: By parameter, the squared sizes of the step and of the weights before it.
        layer: Its parameters' names begin with the layer's; of an empty name, and of a layer without weights
            of its own, all are meant.

    Returns:
        0 or more; NaN where nothing was measured.

    >>> update_ratio({"fc1.weight": (0.01, 4.0), "fc2.weight": (0.0, 12.0)}, "fc1")
    0.05
    """
    of_layer = [sizes for name, sizes in step_sizes.items() if name.startswith(f"{layer}.")]
    sizes = of_layer or list(step_sizes.values())
    steps, weights = (sum(column) for column in zip(*sizes, strict=True)) if sizes else (math.nan, math.nan)
    return math.sqrt(steps / weights) if weights else math.nan


def spans(labels: Sequence[StageLabel], epochs: Sequence[float]) -> list[dict[str, Any]]:
    """Return the labels with their first and last epoch, each change once.

    >>> spans([StageLabel(Stage.INITIAL, "warm_up")] * 3, [0, 1, 2])
    [{'stage': 'initial', 'reason': 'warm_up', 'first': 0, 'last': 2}]
    """
    found = []
    for label, group in groupby(zip(labels, epochs, strict=True), key=lambda pair: pair[0]):
        of_label = [int(epoch) for _, epoch in group]
        found.append(
            {"stage": str(label.stage), "reason": label.reason, "first": of_label[0], "last": of_label[-1]}
        )
    return found


def in_words(of_network: Sequence[Mapping[str, Any]]) -> str:
    """Return spans as one line.

    >>> in_words([{"stage": "plateau", "reason": "stuck", "first": 30, "last": 99}])
    'plateau (stuck) 30 to 99'
    """
    return ", ".join(
        f"{span['stage']} ({span['reason']}) {span['first']} to {span['last']}" for span in of_network
    )


def _history(trainer: Trainer) -> dict[str, dict[str, list[float]]]:
    """Return what the run's angles were, by layer; empty where they are not measured."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, DistinctivenessCallback):
            return callback.history
    return {}


def _speeds(trainer: Trainer, epoch: int) -> dict[str, float]:
    """Return the angular speed of each layer in an epoch, NaN where it was not measured."""
    return {
        layer: columns["speed"][-1] if columns["epoch"][-1] == epoch else math.nan
        for layer, columns in _history(trainer).items()
    }
