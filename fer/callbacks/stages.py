"""Label the training stage of each layer and of the network, and act on a plateau."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, Literal, Protocol, get_args, runtime_checkable

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch.optim import Optimizer

from fer.callbacks.angle_figures import FORMATS, evenly
from fer.callbacks.distinctiveness import DistinctivenessCallback
from fer.callbacks.media import is_dry_run, run_of_trainer, save_figure
from fer.callbacks.network import FoundNetwork, find_network, is_sharded
from fer.callbacks.steps import FirstSteps, update_ratio
from fer.errors import InputError, did_you_mean
from fer.figures import fan_figure, speed_figure
from fer.neurons import Stage, label_stages, live_stages
from fer.neurons.stages import WINDOW, StageLabel

OnPlateau = Literal["none", "stop", "reduce_lr", "restart_lr"]
"""The action taken when the network reaches a plateau.

- ``none``: log it, nothing else.
- ``stop``: end the training.
- ``reduce_lr``: restart the schedule for the remaining epochs, each time with a lower learning rate; without
  a schedule, lower the learning rate.
- ``restart_lr``: restart the schedule at the configured learning rate.
"""

NETWORK: Final = "network"
"""Name of the whole network among the layers' names."""

STAGES: Final = tuple(Stage)
"""Stages in the order of their logged numbers, from 0."""

OURS: Final = ("angles/", "gradients/", "stage/", "update_ratio/")
"""What callbacks log, in which nobody looks for a loss."""

log = logging.getLogger("fer.callbacks")


@runtime_checkable
class RestartsSchedule(Protocol):
    """A LightningModule that can begin its learning rate schedule anew."""

    def restart_schedule(self, factor: float = 1.0) -> None:
        """Begin the schedule anew for the epochs that are left, at a multiple of the learning rate."""


class StageCallback(Callback):
    """Label the stage of each layer and of the network after every epoch, from the epochs so far.

    It works for any LightningModule. Logs ``stage/<layer>`` and ``stage/network`` (0 initial, 1 intermediate,
    2 plateau, 3 solution; in W&B also the reason as text) and ``update_ratio/<layer>``, the norm of the first
    step of an optimizer in an epoch divided by the norm of the weights. When training ends, all epochs are
    labelled again from the complete history, in ``stages.json`` and in figures. The layers are those that
    :class:`DistinctivenessCallback` measures; the network's angular speed is the mean over them. Without
    it, the network is labelled from its losses.

    Args:
        enabled: Label stages.
        on_plateau: Action on a plateau: none, stop, reduce_lr or restart_lr. It is repeated if the network is
            still, or again, on a plateau 21 epochs later. A LightningModule of your own needs a method
            ``restart_schedule(factor)`` for ``restart_lr``, and for ``reduce_lr`` if it has a schedule.
        lr_factor: Factor by which ``reduce_lr`` multiplies the learning rate each time, 0 to 1.
        train_loss: Name under which the training loss is logged, with or without ``_epoch``.
        val_loss: Name under which the validation loss is logged, with or without ``_epoch``.
        network: Dotted name of the network in the LightningModule, as of :class:`DistinctivenessCallback`,
            whose name then stands for ``network``; null: all that is measured.

    Raises:
        InputError: A setting is out of range; when training starts: there is no such network, or the
            LightningModule cannot do what ``on_plateau`` says.

    Source: stages: :mod:`fer.neurons.stages`. Acting on them is future work in Markou,
    "Insights of the Hidden Neuron Functionality using Deep Learning Techniques for Facial Emotion
    Recognition".
    """

    def __init__(
        self,
        enabled: bool = True,
        on_plateau: OnPlateau = "none",
        lr_factor: float = 0.1,
        train_loss: str = "train/loss",
        val_loss: str = "val/loss",
        network: str | None = None,
    ) -> None:
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
        self.logged_as = {"train/loss": train_loss, "val/loss": val_loss}
        """By loss the name under which it is logged."""
        self.network = network
        self.console = Console(highlight=False, soft_wrap=True)
        self.found: FoundNetwork | None = None
        self.steps = FirstSteps()
        self.losses: dict[str, list[float]] = {"epoch": [], "train/loss": [], "val/loss": []}
        self.speeds: dict[str, list[float]] = {}
        self.ratios: dict[str, list[float]] = {}
        self.actions: list[int] = []
        """Epochs after which a plateau was acted on."""
        self.is_open = False
        """Whether the losses of the last epoch may still be logged."""
        self.is_validated = False
        """Whether there was a validation in this epoch."""
        self.warned: set[str] = set()
        """What was warned of."""

    @property
    def state_key(self) -> str:
        """The key of the state in a checkpoint: of its own for a network given by name."""
        return super().state_key if self.network is None else self._generate_state_key(network=self.network)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the network, and check that the LightningModule can do what a plateau asks for.

        Raises:
            InputError: There is no such network, or it cannot.
        """
        if not self.enabled:
            return
        self.found = find_network(pl_module, self.network)
        self._forget_from(trainer.current_epoch)
        is_simple = self.on_plateau == "reduce_lr" and not trainer.lr_scheduler_configs
        if self.on_plateau in ("none", "stop") or is_simple or isinstance(pl_module, RestartsSchedule):
            return
        msg = (
            f"stages.on_plateau is {self.on_plateau}: give {type(pl_module).__name__} a method "
            "restart_schedule(factor: float = 1.0), which begins its schedule anew, or take stop"
        )
        raise InputError(msg)

    def _forget_from(self, epoch: int) -> None:
        """Forget what an earlier training with this callback left of epochs that are still to come."""
        self.is_open = False
        num = sum(each < epoch for each in self.losses["epoch"])
        for histories in (self.losses, self.speeds, self.ratios):
            histories.update({name: values[:num] for name, values in histories.items()})
        self.actions = [each for each in self.actions if each < epoch]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Correct the losses of the last epoch, and arrange for first steps to be measured."""
        del pl_module
        self._close(trainer)
        self.steps = FirstSteps()
        self.is_validated = False

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Keep a copy of the weights before the first step of each optimizer in the epoch."""
        del pl_module
        if self.enabled and self.found is not None and not is_sharded(trainer):
            self.steps.before(optimizer, self.found.named_parameters())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure the step if the weights before it were kept."""
        del trainer, pl_module, outputs, batch, batch_idx
        self.steps.after()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that there was a validation."""
        del pl_module
        self.is_validated = self.is_validated or not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Label the epoch, log the labels and act on a plateau."""
        if not self.enabled or self.found is None:
            return
        epoch = trainer.current_epoch
        for callback in self._measuring(trainer):
            callback.measure_if_due(trainer, pl_module, None)
        self._append(trainer, epoch)
        labels = {layer: of_layer[-1] for layer, of_layer in self.labels(live=True).items()}
        numbers = {f"stage/{self._key(each)}": float(STAGES.index(labels[each].stage)) for each in labels}
        ratios = {f"update_ratio/{self._key(each)}": values[-1] for each, values in self.ratios.items()}
        pl_module.log_dict(numbers | {k: v for k, v in ratios.items() if v == v}, sync_dist=True)
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    reasons = {f"stage/{self._key(each)}/reason": labels[each].reason for each in labels}
                    logger.log_metrics({**reasons, "epoch": epoch}, step=trainer.global_step)  # type: ignore[dict-item]
        if self.on_plateau != "none" and is_action_due(labels[NETWORK], epoch, self.actions):
            self._act(trainer, pl_module, labels[NETWORK])

    def _key(self, layer: str) -> str:
        """Return what a layer is called in logs: the whole network by the name that was given."""
        return self.network if layer == NETWORK and self.network else layer

    def _measuring(self, trainer: Trainer) -> Iterator[DistinctivenessCallback]:
        """Yield the callbacks that measure the network, or all if none was named."""
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, DistinctivenessCallback) and self.network in (None, callback.network):
                yield callback

    def _append(self, trainer: Trainer, epoch: int) -> None:
        """Append an epoch to the histories."""
        num_past = len(self.losses["epoch"])
        self.losses["epoch"].append(epoch)
        for name, value in trainer.strategy.broadcast(self._read(trainer)).items():
            self.losses[name].append(value)
        self.is_open = True
        speeds, names = {}, {NETWORK: ""}
        for callback in self._measuring(trainer):
            for layer, columns in callback.history.items():
                speeds[layer] = columns["speed"][-1] if columns["epoch"][-1] == epoch + 1 else math.nan
                names[layer] = callback.found.full_name(layer) if callback.found else layer
        for layer in (NETWORK, *speeds):
            self.speeds.setdefault(layer, [math.nan] * num_past)
            self.ratios.setdefault(layer, [math.nan] * num_past)
        known = [speed for speed in speeds.values() if speed == speed]
        speeds[NETWORK] = sum(known) / len(known) if known else math.nan
        for layer in self.speeds:
            self.speeds[layer].append(speeds.get(layer, math.nan))
            self.ratios[layer].append(update_ratio(self.steps.sizes, names.get(layer, layer)))

    def _read(self, trainer: Trainer) -> dict[str, float]:
        """Return the losses as they are logged now; NaN of one that is not, or not of this epoch."""
        metrics = trainer.callback_metrics
        found = {}
        for loss, name in self.logged_as.items():
            # Behind a name that is logged by step as well stands the last step's value.
            value = float(metrics.get(f"{name}_epoch", metrics.get(name, math.nan)))
            is_old = loss == "val/loss" and trainer.enable_validation and not self.is_validated
            found[loss] = math.nan if is_old else value
        return found

    def _close(self, trainer: Trainer) -> None:
        """Correct the losses of the last epoch, and warn of what is wrong with them.

        Callbacks come before the LightningModule: what its ``on_train_epoch_end`` logs is known only now, and
        what was read before was the value of an epoch earlier.
        """
        if not self.is_open:
            return
        self.is_open = False
        self._correct(trainer.strategy.broadcast(self._read(trainer)))
        self._warn(trainer.callback_metrics)

    def _correct(self, losses: Mapping[str, float]) -> None:
        for name, value in losses.items():
            self.losses[name][-1] = value

    def _warn(self, metrics: Mapping[str, Any]) -> None:
        """Warn once of losses that are not logged, and once of each that is not a finite number."""
        missing = {
            loss: name
            for loss, name in self.logged_as.items()
            if name not in metrics and f"{name}_epoch" not in metrics
        }
        if missing and "missing" not in self.warned:
            self.warned.add("missing")
            known = [name for name in metrics if not name.startswith(OURS)]
            free = [name for name in known if name.removesuffix("_epoch") not in self.logged_as.values()]
            hints = "".join(dict.fromkeys(did_you_mean(name, free) for name in missing.values()))
            listed = " and ".join(f"{loss.replace('/', '_')}={name!r}" for loss, name in missing.items())
            log.warning(
                "stages are labelled without %s, not logged: %slogged are %s",
                *(listed, hints, ", ".join(known) or "none"),
            )
        for loss, name in self.logged_as.items():
            value = float(metrics.get(f"{name}_epoch", metrics.get(name, 0.0)))
            if not math.isfinite(value) and loss not in self.warned:
                self.warned.add(loss)
                epoch = self.losses["epoch"][-1]
                log.warning("epoch %d: %s is %s, which the stages leave out", epoch, name, value)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Correct the losses of the last epoch in what is saved, which is the history itself, no copy."""
        del pl_module, checkpoint
        if self.is_open:
            self._correct(self._read(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Correct the losses of the last epoch."""
        del pl_module
        self._close(trainer)

    def labels(self, *, live: bool) -> dict[str, list[StageLabel]]:
        """Return the stage of each epoch, by layer and for the network.

        Args:
            live: Label each epoch from the epochs up to it; otherwise from the complete history.
        """
        label = live_stages if live else label_stages
        losses = self.losses["train/loss"], self.losses["val/loss"]
        return {layer: label(self.speeds[layer], *losses, self.ratios[layer]) for layer in self.speeds}

    def _act(self, trainer: Trainer, pl_module: LightningModule, label: StageLabel) -> None:
        self.actions.append(trainer.current_epoch)
        factor = self.lr_factor ** len(self.actions) if self.on_plateau == "reduce_lr" else 1.0
        if self.on_plateau == "stop":
            trainer.should_stop = True
            done = "stopping the training"
        elif isinstance(pl_module, RestartsSchedule):
            pl_module.restart_schedule(factor)
            at = "" if factor == 1 else f" at {factor:g} times the learning rate"
            done = f"restarting the schedule{at}"
        else:
            for optimizer in trainer.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] *= self.lr_factor
            done = f"multiplying the learning rate by {self.lr_factor:g}"
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
        if not is_dry_run(trainer):
            run_of_trainer(trainer, self.network).write_stages(content)
        self.console.print(f"stages       {stages_line(intervals(final[NETWORK], epochs))}")
        measured = {
            layer: columns
            for callback in self._measuring(trainer)
            for layer, columns in callback.history.items()
        }
        drawn = {layer: measured[layer] for layer in evenly(list(measured))}
        if drawn:
            figures = {
                "angles": lambda: fan_figure(drawn, self.losses, final),
                "angular-speed": lambda: speed_figure(measured, self.losses, final),
            }
            for name, draw in figures.items():
                save_figure(trainer, name, draw, formats=FORMATS, network=self.network)

    def state_dict(self) -> dict[str, Any]:
        """Return the histories, so that a resumed run continues them."""
        histories = {name: getattr(self, name) for name in ("losses", "speeds", "ratios", "actions")}
        self.steps.after()  # of a batch that another callback saves after
        return {**histories, "steps": self.steps.sizes}  # the steps for an epoch that is stopped within

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the histories."""
        histories = dict(state_dict)
        self.steps.resume(histories.pop("steps", {}))
        for name, value in histories.items():
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
