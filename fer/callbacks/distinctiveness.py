"""Measure how distinct the hidden neurons of each layer are, several times an epoch."""

import logging
import math
import time
from collections.abc import Mapping
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from fer.callbacks.angle_figures import draw_angles, draw_collapse, draw_feature_maps
from fer.callbacks.budget import LEFT_OUT, TIMED, note_schedule
from fer.callbacks.history import HistoryCallback
from fer.callbacks.layer_values import (
    LayerValues,
    collapse_values,
    describe_non_finite,
    layer_values,
    warn_of_few_samples,
)
from fer.callbacks.layers import find_places
from fer.callbacks.measuring import LossOf, Measured, Pass, SampleSets, collect_sets, find_loss, raised_in_all
from fer.callbacks.media import Logged, is_dry_run, log_numbers, run_of_trainer
from fer.callbacks.network import FoundNetwork, find_network, is_sharded
from fer.callbacks.samples import Samples, aside, is_taken_whole
from fer.callbacks.schedule import LEAST_SAMPLES, MOST_MEASUREMENTS
from fer.callbacks.settings import check_counts, check_intervals
from fer.callbacks.timetable import Timetable
from fer.errors import InputError, check_choice
from fer.neurons import HiddenLayers
from fer.neurons.angles import COMPLEMENTARY_ABOVE, SIMILAR_BELOW, Origin, check_thresholds
from fer.neurons.declared import describe_layers
from fer.neurons.inputs import InputsOf, call

log = logging.getLogger("fer.callbacks")

Split = Literal["train", "val"]


class DistinctivenessCallback(HistoryCallback):
    """Measure the angles between the hidden neurons of each layer several times an epoch, within a budget.

    It works for any LightningModule and any data. A fixed set of samples passes through the network in eval
    mode; the training itself is not affected. How often, and on how many samples, is decided once, from the
    first steps of the training, so that it takes a share ``budget`` of the training time: the aim is 200
    measurements; where time is short the samples become fewer first, then the measurements. The decision is
    printed and kept in checkpoints, and in the ``config.yaml`` of a run of ``fer fit``. A training of up to
    64 steps is measured after every epoch.

    The time of a measurement is the number of epochs trained, such as 0.5 and 1.0. Logs for each layer
    ``angles/<layer>/…``: ``mean``, ``min``, ``q05``, ``q25``, ``median``, ``q75``, ``q95``, ``max`` (degrees,
    over all pairs of neurons), ``speed`` (degrees per epoch) and the shares ``similar`` and ``complementary``
    (of the pairs), ``dead``, ``constant`` and ``non_finite`` (of the neurons);
    ``rank/<layer>/effective`` and ``…/participation`` (how many different neurons there are),
    ``cka/<layer>`` (similarity to the measurement before), ``neurons/<layer>/dormant``, and at the end of an
    epoch ``…/cloned`` and ``…/redundant`` (shares). Means over the layers are ``angles/mean`` and the like
    (:data:`fer.metrics.keys.OVER_LAYERS`). Logs ``sample/train_loss`` and ``sample/val_loss``, the losses on
    fixed samples, with ``loss`` or if the LightningModule has a method ``plain_loss(logits, labels)``. With
    classes, logs ``collapse/nc1``, ``…/nc2_spread`` and ``…/nc4`` of the last layer at the end of an epoch
    (with ``network``: ``collapse/<network>/nc1``, ``sample/<network>/val_loss``, …). The angles at the end of
    each epoch are stored in ``angles/epoch-….npz`` (:meth:`fer.runs.Run.read_angles`), the last ones are
    drawn. With ``fast_dev_run`` no file is written.

    Args:
        budget: Share of the training time that measuring may take, more than 0, up to 1; a short training may
            exceed it, since stages need some measurements.
        every_n_steps: Interval in steps (batches) in place of ``budget``, rounded so that an epoch ends
            with a measurement; 0: never.
        every_n_epochs: Interval in epochs in place of ``budget``, counted back from the last epoch; 0: never.
            A training that ends earlier is measured once more, when it ends.
        first_step: First training step, from 1, that may be measured. A run with ``budget`` sets it.
        keep_epochs: Number of measured epochs whose files are kept, the newest; null: all.
        num_samples: Number of samples to measure; with ``budget``, at most so many. Ignored if ``samples`` is
            a tensor or a list of batches.
        split: Split that the data module draws a stratified sample from, without augmentation: ``train`` or
            ``val``. A data module that cannot do this gives the first samples of its validation loader. With
            ``samples``, the split that they belong to.
        layers: Names of layers, as ``network.named_modules()`` has them; null: all hidden layers.
        normalise: Origin of the activation vectors: centre (the neuron's mean), half (0.5), none (0),
            layer_minmax or unit_minmax (the middle of the layer's or the neuron's range); auto: half for
            logistic units, none for tanh, else centre.
        similar_below: Angle below which two neurons are similar, degrees.
        complementary_above: Angle above which two neurons are complementary, degrees.
        samples: What is measured on instead: a tensor, a list of batches, a data set or a loader.
        network: Dotted name of the network in the LightningModule; names of layers then begin with it,
            and names of files end with it. null: the LightningModule itself.
        inputs: A function from a batch to what ``forward`` takes: a tensor, a tuple of arguments, or a
            mapping of them by name; null: see :func:`fer.neurons.inputs.inputs_of`.
        loss: A function from the network's outputs and a batch to the mean loss, a tensor of one value.
        num_patterns: The old name of ``num_samples``.
        log: Numbers that W&B gets: ``all``, or ``summary`` without those of single layers and classes.

    Raises:
        InputError: A setting is out of range; when training starts: there is no such network or layer, or
            there would be too many measurements.

    Source: Gedeon and Harris, "Network Reduction Techniques", 1991; the curves over the epochs: Markou,
    "Insights of the Hidden Neuron Functionality using Deep Learning Techniques for Facial Emotion
    Recognition", figures 2 to 10.
    """

    def __init__(
        self,
        every_n_epochs: int | None = None,
        num_samples: int = 1024,
        split: Split = "train",
        layers: list[str] | None = None,
        normalise: Origin = "auto",
        similar_below: float = SIMILAR_BELOW,
        complementary_above: float = COMPLEMENTARY_ABOVE,
        samples: Any = None,
        network: str | None = None,
        inputs: InputsOf | None = None,
        num_patterns: int | None = None,
        keep_epochs: int | None = None,
        budget: float = 0.05,
        every_n_steps: int | None = None,
        first_step: int = 0,
        loss: LossOf | None = None,
        log: Logged = "summary",
    ) -> None:
        if num_patterns is not None:
            text = "num_patterns is now called num_samples; the old name will go"
            logging.getLogger("fer.callbacks").warning(text)  # log is a setting here
            num_samples = num_patterns
        check_intervals(every_n_steps, every_n_epochs, budget, first_step)
        check_counts(num_samples, keep_epochs)
        check_thresholds(similar_below, complementary_above, "distinctiveness.")
        check_choice("distinctiveness.split", split, Split)
        check_choice("distinctiveness.normalise", normalise, Origin)
        check_choice("distinctiveness.log", log, Logged)
        super().__init__()
        self.keep_epochs = keep_epochs
        self.num_samples = num_samples
        self.split = split
        self.layers = layers
        self.normalise: Origin = normalise
        self.similar_below = similar_below
        self.complementary_above = complementary_above
        self.given = samples
        self.network = network
        self.inputs = inputs
        self.loss = loss
        self.logged = log
        """Which numbers W&B gets; Lightning itself sets an attribute ``log``."""
        settings = {
            "every_n_steps": every_n_steps,
            "every_n_epochs": every_n_epochs,
            "num_samples": num_samples,
            "first_step": first_step,
        }
        self.when = Timetable(settings, budget, time.perf_counter)
        """When to measure."""
        self.console = Console(highlight=False, soft_wrap=True)
        self.found: FoundNetwork | None = None
        """The network; None before training."""
        self.samples: Samples | None = None
        """What it is measured on; None before training."""
        self.sets: SampleSets | None = None
        """The same, with the samples of the other split."""
        self.loss_of: LossOf | None = None
        self.places: dict[str, str] = {}
        """By layer: the name under which its activations are recorded. Empty: nothing is measured."""
        self.has_measured = False
        """Whether the last call of :meth:`measure_if_due` measured."""
        self.said: set[str] = set()
        """Messages that are not repeated."""

    @property
    def state_key(self) -> str:
        """The key of the state in a checkpoint: of its own for a network given by name."""
        return super().state_key if self.network is None else self._generate_state_key(network=self.network)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Collect the samples, find the layers and try each, so that problems show before the first epoch.

        Raises:
            InputError: There is no network of the name given, a layer named by the user is unknown or cannot
                be measured, or there would be too many measurements.
        """
        self.places = {}
        self.forget_after(self.when.begin(trainer))
        if not self.when.is_on:
            return
        self.found = find_network(pl_module, self.network)
        if is_sharded(trainer):
            strategy = type(trainer.strategy).__name__
            log.warning("no angles: %s shards the weights across processes; use DDP for them", strategy)
            return
        try:
            self._collect(trainer, pl_module, self.found)
        except InputError as error:
            log.warning("no angles: %s", error)
            return
        self._find_layers(trainer, pl_module, self.found)
        if self.places and self.when.decided:
            note_schedule(trainer, self.network, self.when.decided)

    @raised_in_all()
    def _collect(self, trainer: Trainer, pl_module: LightningModule, found: FoundNetwork) -> None:
        """Collect the samples and try the network on some; all processes measure, or none does.

        Raises:
            InputError: In any process: there are none, or the network does not take them.
        """
        self.loss_of = find_loss(pl_module, self.loss, is_whole=self.network is None)
        if self.loss_of is None:
            self._say_once("no losses on fixed samples: give loss=, a function of the outputs and the batch")
        self.sets = collect_sets(
            trainer,
            pl_module,
            found.module,
            given=self.given,
            inputs=self.inputs,
            num_samples=self.when.num_samples,
            split=self.split,
            has_loss=self.loss_of is not None,
        )
        self.samples = self.sets.measured
        with aside(trainer, pl_module), trainer.precision_plugin.forward_context():
            try:
                call(found.module, self.samples.example)
            except InputError as error:
                usual = "give inputs=, a function from a batch to what it takes, or samples="
                way_out = usual if self.given is None else "give samples= of the shape and type that it takes"
                msg = f"{error}; {way_out}"
                raise InputError(msg) from error

    def _find_layers(self, trainer: Trainer, pl_module: LightningModule, found: FoundNetwork) -> None:
        """Find the layers and print once what is measured on what.

        Raises:
            InputError: A layer named by the user is unknown or cannot be measured.
        """
        if self.samples is None:
            return
        with aside(trainer, pl_module), trainer.precision_plugin.forward_context():
            places = find_places(found, self.samples.example, self.layers)
        self.places = places
        self._skip_frozen(trainer, pl_module)
        if places and trainer.is_global_zero:
            layers = describe_layers(HiddenLayers(places, {}), found.module)
            often = self.when.describe_number(trainer, len(places))
            self.console.print(f"angles       {self.samples.origin}; layers {layers}; {often}", markup=False)

    def _skip_frozen(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let a frozen part of the network compute the samples once."""
        if self.found is not None and self.sets is not None:
            self.sets = Pass(trainer, pl_module, self.found.module, self.places).skip_frozen(self.sets)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        del trainer, pl_module
        if self.when.timer is not None:
            self.when.timer.begin_epoch()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock again: a validation belongs to no step."""
        del trainer, pl_module
        if self.when.timer is not None:
            self.when.timer.begin()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure after a step that is due."""
        del outputs, batch
        self.measure_if_due(trainer, pl_module, batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure an epoch that is due, log the angles and store them."""
        self.measure_if_due(trainer, pl_module, None)

    def measure_if_due(
        self, trainer: Trainer, pl_module: LightningModule, batch_idx: int | None, *, is_over: bool = False
    ) -> bool:
        """Measure if a measurement is due now, and return whether it was measured at this step.

        A callback that needs the measurement calls it, whichever of the two comes first.

        Args:
            trainer: The trainer.
            pl_module: The LightningModule.
            batch_idx: The batch, from 0, that has just ended; None: the epoch has.
            is_over: Whether the training has ended: its last epoch is measured now if it was not due.
        """
        if not self.places:  # no step has to be timed
            return False
        if self.when.move_to(trainer, batch_idx, is_over=is_over):
            return self.has_measured
        self.has_measured = False
        if self.when.is_ready(trainer):
            self._decide(trainer, pl_module)
        if self.places and self.when.is_due(trainer):
            self.has_measured = self._measure(trainer, pl_module, is_last=batch_idx is None)
        return self.has_measured

    def _decide(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Decide, after the steps were timed, how often to measure, and on how many samples."""
        if self.found is None or self.sets is None:
            return
        sets, share = self.sets, trainer.world_size if self.sets.measured.is_part else 1
        most = len(sets.measured) * share

        def measure(num: int, is_last: bool) -> None:
            measured = self._pass(trainer, pl_module, sets.take(-(-num // share)))
            self._values(measured, is_last=is_last)

        try:
            few = self._pass(trainer, pl_module, sets.take(2))
            flat = [each.num_neurons for each in few.statistics.values() if each.count <= 2 * share]
            least = most if is_taken_whole(self.given) else max([LEAST_SAMPLES, *flat])
            self.when.decide(trainer, measure, most=most, least=least)
            self._collect(trainer, pl_module, self.found)
            self._skip_frozen(trainer, pl_module)
        except InputError as error:
            self._give_up(error)
            return
        note_schedule(trainer, self.network, self.when.decided)
        if trainer.is_global_zero:
            often = f"{self.when.describe(trainer)}; {self.when.describe_number(trainer, len(self.places))}"
            self.console.print(f"angles       {often}", markup=False)

    def _measure(self, trainer: Trainer, pl_module: LightningModule, *, is_last: bool) -> bool:
        """Measure, log and keep what was measured; return whether that was possible."""
        if self.when.now <= self.time:
            return False  # an epoch that was cut short after a measurement, or a training that ended with one
        if self.num_measurements >= MOST_MEASUREMENTS:
            log.warning(
                "no angles from epoch %d on: %s measurements are the most that are kept; set "
                "distinctiveness.every_n_steps or every_n_epochs to a longer interval",
                *(self.when.epoch + 1, f"{MOST_MEASUREMENTS:,}"),
            )
            self.places = {}
            return False
        try:
            measured = self._pass(trainer, pl_module, self.sets)
        except InputError as error:
            self._give_up(error)
            return False
        if not self.history:
            warn_of_few_samples(measured.statistics)
        values = self._values(measured, is_last=is_last)
        self._report_non_finite(values)
        logged = self.append(self.when.now, measured, values, self.network)
        if is_last:
            if found := collapse_values(measured, list(self.places)[-1]):
                logged |= self.append_collapse(found, self.network)
            else:
                self._say_once("there is no neural collapse to measure: the samples have no classes")
            if not self.when.is_over:  # then self.log is refused
                pl_module.log_dict(logged, logger=False, sync_dist=True)
            self.epoch = self.when.epoch
            self._store(trainer)
        log_numbers(trainer, logged, self.when.now, which=self.logged)
        return True

    def _pass(self, trainer: Trainer, pl_module: LightningModule, sets: SampleSets | None) -> Measured:
        """Return what a pass over the samples gives; the processes share them.

        Raises:
            InputError: The network does not take all of them, or training has not started.
        """
        if self.found is None or sets is None:
            msg = "there are no samples before training starts"
            raise InputError(msg)
        over = Pass(trainer, pl_module, self.found.module, self.places, self.loss_of)
        measured = over.over(sets)
        if over.problem:
            level = logging.INFO if self.loss is None else logging.WARNING
            self._say_once(f"there are no losses on fixed samples: {over.problem}", level)
            self.loss_of = None
        return measured

    def _values(self, measured: Measured, *, is_last: bool) -> dict[str, LayerValues]:
        """Return the numbers of each layer."""
        return {
            layer: layer_values(
                measured,
                layer,
                self.rows,
                normalise=self.normalise,
                similar_below=self.similar_below,
                complementary_above=self.complementary_above,
                is_last=is_last,
            )
            for layer in self.places
        }

    def _store(self, trainer: Trainer) -> None:
        """Store the angles of an epoch, and remove those of old ones."""
        if not trainer.is_global_zero or is_dry_run(trainer):
            return
        run = run_of_trainer(trainer, self.network)
        run.write_angles(self.epoch, {layer: matrix.numpy() for layer, matrix in self.degrees.items()})
        for old in run.measured_epochs()[: -self.keep_epochs] if self.keep_epochs else []:
            run.angles_path(old).unlink(missing_ok=True)

    def _give_up(self, error: InputError) -> None:
        log.warning("no angles from epoch %d on: %s", self.when.epoch + 1, error)
        self.places = {}

    def _say_once(self, message: str, level: int = logging.INFO) -> None:
        if message not in self.said:
            self.said.add(message)
            log.log(level, "%s", message)

    def _report_non_finite(self, values: Mapping[str, LayerValues]) -> None:
        """Warn of neurons that are NaN or infinite the first time, then only note them."""
        if counts := describe_non_finite(values):
            level = logging.INFO if "non_finite" in self.said else logging.WARNING
            log.log(level, "epoch %d: NaN or infinite, thus without angles: %s", self.when.epoch + 1, counts)
            self.said.add("non_finite")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure a last epoch that was not due, and draw the layers' feature maps of the first sample."""
        self.measure_if_due(trainer, pl_module, None, is_over=True)
        if not trainer.is_global_zero:
            return
        if self.places and self.when.timer is not None:
            log.warning("no angles: the training ended before %d steps were timed", LEFT_OUT + TIMED)
        if self.found is None or self.samples is None or not self.degrees:
            return
        draw_feature_maps(
            *(trainer, pl_module, self.found.module, self.samples.example, self.places),
            epochs=self.epoch + 1,
            name=self.network,
        )

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the last measured angles and the neural collapse."""
        del pl_module
        if self.degrees:
            limits = {"similar_below": self.similar_below, "complementary_above": self.complementary_above}
            draw_angles(trainer, self.degrees, epochs=self.epoch + 1, name=self.network, **limits)
        draw_collapse(trainer, self.collapse, self.num_classes, name=self.network)

    def state_dict(self) -> dict[str, Any]:
        """Return the histories and the decision, so that a resumed run continues them."""
        return {**super().state_dict(), "decided": self.when.decided, "num_steps": self.when.num_steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them."""
        super().load_state_dict(state_dict)
        self.when.decided = state_dict.get("decided", {})
        self.when.num_steps = state_dict.get("num_steps", math.inf)
