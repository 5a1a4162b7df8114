"""Label the training stage of each layer and of the network, and act on a plateau."""

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch.optim import Optimizer

from fer.callbacks.angle_figures import FORMATS, evenly
from fer.callbacks.boundaries import (
    confirm,
    count_line,
    few_line,
    intervals,
    mean_of_known,
    series_of,
    series_of_network,
    stages_line,
)
from fer.callbacks.distinctiveness import DistinctivenessCallback
from fer.callbacks.history import LOSSES
from fer.callbacks.media import Logged, is_dry_run, log_numbers, run_of_trainer, save_figure
from fer.callbacks.network import FoundNetwork, find_network, is_sharded
from fer.callbacks.plateau import OnPlateau, Taken, act, actions_of, check_possible, is_action_due
from fer.callbacks.steps import FirstSteps, update_ratio
from fer.errors import InputError, did_you_mean
from fer.figures import fan_figure, speed_figure
from fer.metrics.keys import is_of_neurons
from fer.neurons import Stage, label_stages, live_stages
from fer.neurons.stages import LEAST_VALUES, StageLabel

NETWORK: Final = "network"
"""Name of the whole network among the layers' names."""

STAGES: Final = tuple(Stage)
"""Stages in the order of their logged numbers, from 0."""

log = logging.getLogger("fer.callbacks")


class StageCallback(Callback):
    """Label the stage of each layer and of the network at every measurement, from the measurements so far.

    It works for any LightningModule. Logs ``stage/<layer>`` and ``stage/network`` (0 initial, 1 intermediate,
    2 plateau, 3 solution; in W&B also the reason as text) and ``update_ratio/<layer>``, the norm of the first
    step of an optimizer after each measurement divided by the norm of the weights. When training ends, all
    measurements are labelled again from the complete history, in ``stages.json`` and in figures, with who
    confirms each boundary (:mod:`fer.callbacks.boundaries`). The layers, and the moments, are those that
    :class:`DistinctivenessCallback` measures; the network's angular speed is the mean over the layers.
    Without it, the network is labelled after each epoch from its losses.

    Losses are those of fixed samples, which :class:`DistinctivenessCallback` measures with the angles. A loss
    that it cannot measure is read, at the end of each epoch, from what the LightningModule logs.

    Args:
        enabled: Label stages.
        on_plateau: Action on a plateau: none, stop, reduce_lr, restart_lr or raise_decay; or an action for
            each reason, such as ``{"overfit": "stop", "stuck": "reduce_lr"}``. It is taken at the end of an
            epoch (for stuck, after two windows of measurements), and once more for each further window on a
            plateau, the same or a new one. A LightningModule of your own needs a method
            ``restart_schedule(factor)`` for ``restart_lr``, and for ``reduce_lr`` if it has a schedule.
        lr_factor: Factor by which ``reduce_lr`` multiplies the learning rate each time, 0 to 1.
        decay_factor: Factor by which ``raise_decay`` multiplies the weight decay each time, above 1.
        train_loss: Name under which the training loss is logged, with or without ``_epoch``.
        val_loss: Name under which the validation loss is logged, with or without ``_epoch``.
        network: Dotted name of the network in the LightningModule, as for
            :class:`DistinctivenessCallback`; logs use it in place of ``network``. null: all that is measured.

    Raises:
        InputError: A setting is out of range; when training starts: there is no such network, or the
            training cannot do what ``on_plateau`` says.

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
        decay_factor: float = 10.0,
    ) -> None:
        self.actions = actions_of(on_plateau)
        """By reason the action."""
        if not 0 < lr_factor < 1:
            msg = f"stages.lr_factor is {lr_factor}: it must be between 0 and 1"
            raise InputError(msg)
        if not 1 < decay_factor < math.inf:
            msg = f"stages.decay_factor is {decay_factor}: it must be above 1"
            raise InputError(msg)
        if set(self.actions.values()) != {"none"} and not enabled:
            msg = "stages.on_plateau needs the stages: set --stages.enabled true"
            raise InputError(msg)
        self.enabled = enabled
        self.lr_factor = lr_factor
        self.decay_factor = decay_factor
        self.logged_as = {"train/loss": train_loss, "val/loss": val_loss}
        """By loss the name under which it is logged."""
        self.network = network
        self.console = Console(highlight=False, soft_wrap=True)
        self.found: FoundNetwork | None = None
        self.steps = FirstSteps()
        self.losses: dict[str, list[float]] = {name: [] for name in ("epoch", *LOSSES)}
        """Losses, and under ``epoch`` the time of each measurement: epochs trained, 1.0 after the first."""
        self.speeds: dict[str, list[float]] = {}
        self.ratios: dict[str, list[float]] = {}
        self.taken: list[Taken] = []
        """Actions that were taken."""
        self.now: dict[str, StageLabel] = {}
        """By layer, and for the network, the live label of the last measurement."""
        self.late: frozenset[str] = frozenset()
        """Losses of the last measurement that may still be logged."""
        self.is_validated = False
        """Whether there was a validation in this epoch."""
        self.is_restored = False
        """Whether the histories are those of the checkpoint from which training goes on."""
        self.warned: set[str] = set()
        """What was warned of."""

    @property
    def state_key(self) -> str:
        """The key of the state in a checkpoint: of its own for a network given by name."""
        return super().state_key if self.network is None else self._generate_state_key(network=self.network)

    @property
    def times(self) -> list[float]:
        """The time of each measurement: epochs trained."""
        return self.losses["epoch"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note that no state was restored yet."""
        del trainer, pl_module, stage
        self.is_restored = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the network, and check that the training can do what a plateau asks for.

        Raises:
            InputError: There is no such network, or it cannot.
        """
        if not self.enabled:
            return
        self.found = find_network(pl_module, self.network)
        if not self.is_restored:
            self._forget_after(trainer.current_epoch)
        check_possible(self.actions, trainer, pl_module)

    def _forget_after(self, time: float) -> None:
        """Forget what an earlier training with this callback left of epochs that are still to come."""
        self.now, self.late, self.steps = {}, frozenset(), FirstSteps()
        num = sum(each <= time for each in self.times)
        for histories in (self.losses, self.speeds, self.ratios):
            histories.update({name: values[:num] for name, values in histories.items()})
        self.taken = [each for each in self.taken if each[0] <= num]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Correct the losses of the last epoch."""
        del pl_module
        self._close(trainer)
        self.is_validated = False

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Keep a copy of the weights before the first step of each optimizer after a measurement."""
        del pl_module
        if self.enabled and self.found is not None and not is_sharded(trainer):
            self.steps.before(optimizer, self.found.named_parameters())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure the step if the weights before it were kept, and label a measurement that is due."""
        del outputs, batch
        self.steps.after()
        self._measure(trainer, pl_module, batch_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that there was a validation."""
        del pl_module
        self.is_validated = self.is_validated or not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Label the measurement at the end of an epoch, and act on a plateau."""
        labels = self._measure(trainer, pl_module, None)
        if labels and is_action_due(labels, self.taken):
            self._act(trainer, pl_module, labels[-1])

    def _measure(
        self, trainer: Trainer, pl_module: LightningModule, batch_idx: int | None, *, is_over: bool = False
    ) -> list[StageLabel]:
        """Append and label a measurement if one is due; return the network's labels, none if none is due.

        Args:
            trainer: The trainer.
            pl_module: The LightningModule.
            batch_idx: The batch that has ended; None: the epoch ends.
            is_over: Whether the training has ended.
        """
        if not self.enabled or self.found is None:
            return []
        measuring = [*self._measuring(trainer)]
        when: Any = {"batch_idx": batch_idx, "is_over": is_over}
        measured = [each for each in measuring if each.measure_if_due(trainer, pl_module, **when)]
        is_end = batch_idx is None
        if not measured and (is_over or not is_end or any(each.places for each in measuring)):
            return []
        time = measured[0].losses["epoch"][-1] if measured else trainer.current_epoch + 1.0
        if self.times and time <= self.times[-1]:
            return []  # an epoch that was cut short after a measurement
        self._append(trainer, measuring, time, is_end=is_end)
        labels = self.labels(live=True)
        self.now = {layer: of_layer[-1] for layer, of_layer in labels.items()}
        self._log(trainer, pl_module, is_end=is_end and not is_over)
        return labels[NETWORK]

    def _measuring(self, trainer: Trainer) -> Iterator[DistinctivenessCallback]:
        """Yield the callbacks that measure the network, or all if none was named."""
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, DistinctivenessCallback) and self.network in (None, callback.network):
                yield callback

    def _log(self, trainer: Trainer, pl_module: LightningModule, *, is_end: bool) -> None:
        """Log the last measurement at its time; at the end of an epoch also as metrics of the training."""
        numbers: dict[str, Any] = {
            f"stage/{self._key(each)}": float(STAGES.index(label.stage)) for each, label in self.now.items()
        }
        ratios = {f"update_ratio/{self._key(each)}": values[-1] for each, values in self.ratios.items()}
        numbers |= {name: value for name, value in ratios.items() if value == value}
        if is_end:
            pl_module.log_dict(numbers, logger=False, sync_dist=True)
        if not trainer.is_global_zero:
            return
        which: Logged = next((each.logged for each in self._measuring(trainer)), "summary")
        of_network = {f"{family}/{self._key(NETWORK)}" for family in ("stage", "update_ratio")}
        log_numbers(trainer, numbers, self.times[-1], which=which, always=of_network)
        reasons: dict[str, Any] = {
            f"stage/{self._key(each)}/reason": label.reason
            for each, label in self.now.items()
            if which == "all" or each == NETWORK
        }
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_metrics(reasons | {"epoch": self.times[-1]}, step=trainer.global_step)

    def _key(self, layer: str) -> str:
        """Return what a layer is called in logs: the whole network by the name that was given."""
        return self.network if layer == NETWORK and self.network else layer

    def _append(
        self, trainer: Trainer, measuring: list[DistinctivenessCallback], time: float, *, is_end: bool
    ) -> None:
        """Append a measurement to the histories."""
        num_past = len(self.times)
        sampled = {loss: [each for each in measuring if _measures(each, loss)] for loss in LOSSES}
        self.late = frozenset(loss for loss in LOSSES if not sampled[loss]) if is_end else frozenset()
        logged = trainer.strategy.broadcast(self._read(trainer)) if self.late else {}
        self.times.append(time)
        for loss in LOSSES:
            now = [each.losses[loss][-1] for each in sampled[loss] if each.losses["epoch"][-1] == time]
            self.losses[loss].append(mean_of_known(now) if sampled[loss] else logged.get(loss, math.nan))
        speeds, latest, names = {}, [], {NETWORK: ""}
        for callback in measuring:
            for layer, columns in callback.history.items():
                latest.append(columns["speed"][-1])
                speeds[layer] = columns["speed"][-1] if columns["epoch"][-1] == time else math.nan
                names[layer] = callback.found.full_name(layer) if callback.found else layer
        speeds[NETWORK] = mean_of_known(latest)
        for layer in (NETWORK, *speeds):
            self.speeds.setdefault(layer, [math.nan] * num_past)
            self.ratios.setdefault(layer, [math.nan] * num_past)
        for layer in self.speeds:
            self.speeds[layer].append(speeds.get(layer, math.nan))
            self.ratios[layer].append(update_ratio(self.steps.sizes, names.get(layer, layer)))
        self.steps = FirstSteps()

    def _read(self, trainer: Trainer) -> dict[str, float]:
        """Return the losses as they are logged now; NaN of one that is not, or not of this epoch."""
        metrics = trainer.callback_metrics
        found = {}
        for loss in self.late:
            name = self.logged_as[loss]
            # Behind a name that is logged by step as well stands the last step's value.
            value = float(metrics.get(f"{name}_epoch", metrics.get(name, math.nan)))
            is_old = loss == "val/loss" and trainer.enable_validation and not self.is_validated
            found[loss] = math.nan if is_old else value
        return found

    def _close(self, trainer: Trainer) -> None:
        """Correct the logged losses of the last epoch, and warn of what is wrong with them.

        Callbacks come before the LightningModule: what its ``on_train_epoch_end`` logs is known only now, and
        what was read before was the value of an epoch earlier.
        """
        if self.late:
            self._correct(trainer.strategy.broadcast(self._read(trainer)))
            self._warn(trainer.callback_metrics)
            self.late = frozenset()

    def _correct(self, losses: Mapping[str, float]) -> None:
        for name, value in losses.items():
            self.losses[name][-1] = value

    def _warn(self, metrics: Mapping[str, Any]) -> None:
        """Warn once of losses that are not logged, and once of each that is not a finite number."""
        read = {loss: name for loss, name in self.logged_as.items() if loss in self.late}
        missing = {
            loss: name
            for loss, name in read.items()
            if name not in metrics and f"{name}_epoch" not in metrics
        }
        if missing and "missing" not in self.warned:
            self.warned.add("missing")
            known = [name for name in metrics if not is_of_neurons(name)]
            free = [name for name in known if name.removesuffix("_epoch") not in self.logged_as.values()]
            hints = "".join(dict.fromkeys(did_you_mean(name, free) for name in missing.values()))
            listed = " and ".join(f"{loss.replace('/', '_')}={name!r}" for loss, name in missing.items())
            log.warning(
                "stages are labelled without %s: no such name is logged; %slogged names: %s",
                *(listed, hints, ", ".join(known) or "none"),
            )
        for loss, name in read.items():
            value = float(metrics.get(f"{name}_epoch", metrics.get(name, 0.0)))
            if not math.isfinite(value) and loss not in self.warned:
                self.warned.add(loss)
                epoch = math.ceil(self.times[-1])
                log.warning("epoch %d: %s is %s, which the stages leave out", epoch, name, value)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Correct the losses of the last epoch in what is saved, which is the history itself, no copy."""
        del pl_module, checkpoint
        self._correct(self._read(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Label a last epoch that was not due, and correct its losses."""
        self._measure(trainer, pl_module, None, is_over=True)
        self._close(trainer)

    def labels(self, *, live: bool) -> dict[str, list[StageLabel]]:
        """Return the stage at each measurement, by layer and for the network.

        Args:
            live: Label each measurement from those up to it; otherwise from the complete history.
        """
        label = live_stages if live else label_stages
        losses = self.losses["train/loss"], self.losses["val/loss"]
        return {
            layer: label(speeds, *losses, self.ratios[layer], times=self.times)
            for layer, speeds in self.speeds.items()
        }

    def _act(self, trainer: Trainer, pl_module: LightningModule, label: StageLabel) -> None:
        """Take the action that is set for the reason of a plateau."""
        action = self.actions[label.reason]
        if action == "none":
            return
        num_reduced = sum(name == "reduce_lr" for _, name in self.taken)
        self.taken.append((len(self.times), action))
        factors = {"lr_factor": self.lr_factor, "decay_factor": self.decay_factor}
        done = act(action, trainer, pl_module, num_reduced=num_reduced, **factors)
        if trainer.is_global_zero:
            self.console.print(f"plateau ({label.reason}) after epoch {trainer.current_epoch + 1}: {done}")

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Label all measurements from the complete history; write, draw and print the network's stages."""
        del pl_module
        if not self.times:
            return
        final, live = self.labels(live=False), self.labels(live=True)
        measured: dict[str, dict[str, list[float]]] = {}
        widths: dict[str, int] = {}
        for callback in self._measuring(trainer):
            measured |= callback.history
            widths |= callback.widths
        series = {layer: series_of(columns, self.times) for layer, columns in measured.items()}
        series[NETWORK] = series_of_network(measured, widths, self.times)
        confirmed = {layer: confirm(final[layer], self.times, series.get(layer, {})) for layer in final}
        shown = final if len(self.times) >= LEAST_VALUES else {}
        content = {
            layer: {
                "final": intervals(final[layer], self.times, confirmed[layer]) if shown else [],
                "live": intervals(live[layer], self.times),
            }
            for layer in final
        }
        if not is_dry_run(trainer):
            run_of_trainer(trainer, self.network).write_stages(content)
        line = stages_line(content[NETWORK]["final"]) if shown else "unknown"
        if shown and (seen := live[NETWORK][-1].stage) != final[NETWORK][-1].stage:
            line += f" (seen afterwards; during the training, the last stage was {seen})"
        line += few_line(len(self.times), trainer.global_step)
        self.console.print(f"stages       {line}", markup=False)
        if line := count_line(confirmed.values(), self.times[-1]):
            self.console.print(f"boundaries   {line}", markup=False)
        drawn = {layer: measured[layer] for layer in evenly(list(measured))}
        if drawn:
            figures = {
                "angles": lambda: fan_figure(drawn, self.losses, shown, widths=widths, confirmed=confirmed),
                "angular-speed": lambda: speed_figure(measured, self.losses, shown, confirmed=confirmed),
            }
            for name, draw in figures.items():
                save_figure(trainer, name, draw, formats=FORMATS, network=self.network)

    def state_dict(self) -> dict[str, Any]:
        """Return the histories, so that a resumed run continues them."""
        histories = {name: getattr(self, name) for name in ("losses", "speeds", "ratios", "taken")}
        self.steps.after()  # of a batch that another callback saves after
        return {**histories, "steps": self.steps.sizes}  # the steps since the last measurement

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the histories."""
        state = state_dict if "taken" in state_dict else self._renewed(state_dict)
        self.losses, self.speeds, self.ratios = (state[name] for name in ("losses", "speeds", "ratios"))
        self.taken = [(num, name) for num, name in state["taken"]]
        self.steps.resume(state["steps"])
        self.is_restored = True

    def _renewed(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return the state of a version that labelled epochs, by their indices, in the present form."""
        epochs = state["losses"]["epoch"]
        log.info("the checkpoint is from an older version: its stages have one measurement per epoch")
        action = next((each for each in self.actions.values() if each != "none"), "none")
        return {
            **state,
            "losses": state["losses"] | {"epoch": [epoch + 1.0 for epoch in epochs]},
            "taken": [(epochs.index(epoch) + 1, action) for epoch in state["actions"]],
            "steps": state.get("steps", {}),
        }


def _measures(callback: DistinctivenessCallback, loss: str) -> bool:
    """Return whether a callback measures a loss on its samples, which no logged one is mixed with."""
    return bool(callback.places) and any(map(math.isfinite, callback.losses[loss]))
