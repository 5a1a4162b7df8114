"""Measure how distinct the hidden neurons of each layer are, epoch by epoch."""

import logging
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any, Final, Literal, TypeVar, get_args

import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from fer.callbacks.layers import describe_refused, find_layers
from fer.callbacks.media import is_dry_run, run_of_trainer, save_figure
from fer.callbacks.network import FoundNetwork, find_network, is_sharded
from fer.callbacks.samples import Samples, aside, collect_samples
from fer.errors import InputError
from fer.figures import feature_maps_figure, histogram_figure, matrix_figure, pairs_figure
from fer.neurons import (
    ActivationStatistics,
    HiddenLayers,
    angles,
    angular_speed,
    classify,
    measure,
    record,
)
from fer.neurons.angles import COMPLEMENTARY_ABOVE, SIMILAR_BELOW, Origin, summarise
from fer.neurons.declared import describe_layers
from fer.neurons.inputs import InputsOf, call

NUM_DRAWN: Final = 12
"""Most layers in a figure, chosen evenly; more would be too small to read."""

FORMATS: Final = ("png", "svg")
"""File formats of the neuron figures: SVG as well, for papers."""

log = logging.getLogger("fer.callbacks")

T = TypeVar("T")
Split = Literal["train", "val"]


class DistinctivenessCallback(Callback):
    """Measure the angles between the hidden neurons of each layer after every n-th epoch.

    It works for any LightningModule and any data. A fixed set of samples passes through the network in eval
    mode; the training itself is not affected. Logs for each layer ``angles/<layer>/…``: ``mean``, ``min``,
    ``q05``, ``q25``, ``median``, ``q75``, ``q95``, ``max`` (degrees, over all pairs of neurons), ``speed``
    (degrees per epoch) and the shares ``similar`` and ``complementary`` (of the pairs), ``dead``,
    ``constant`` and ``non_finite`` (of the neurons). All angles are stored in ``angles/epoch-….npz`` in the
    run's folder (:meth:`fer.runs.Run.read_angles`), those of the last epoch are drawn. With
    ``fast_dev_run`` no file is written.

    Args:
        every_n_epochs: Interval in epochs; 0: never.
        keep_epochs: Number of measured epochs whose files are kept, the newest; null: all.
        num_samples: Number of samples, where neither a tensor nor a list of batches is given.
        split: Split that a data module is asked for a stratified sample of, without augmentation: ``train``
            or ``val``. A data module that offers none gives the first samples of its validation loader.
        layers: Names of layers, as ``network.named_modules()`` has them; null: all hidden layers.
        normalise: Origin of the activation vectors: auto, half, centre, layer_minmax, unit_minmax or none.
        similar_below: Angle below which two neurons are similar, degrees.
        complementary_above: Angle above which two neurons are complementary, degrees.
        samples: What is measured on instead: a tensor, a list of batches, a data set or a loader.
        network: Dotted name of the network in the LightningModule, which the names of its layers then begin
            with, as those of files end with it; null: the LightningModule itself.
        inputs: A function from a batch to what ``forward`` takes: a tensor, a tuple of arguments, or a
            mapping of them by name; null: see :func:`fer.neurons.inputs.inputs_of`.
        num_patterns: The old name of ``num_samples``.

    Raises:
        InputError: A setting is out of range; when training starts: there is no such network or layer.

    Source: Gedeon and Harris, "Network Reduction Techniques", 1991; the curves over the epochs: Markou,
    "Insights of the Hidden Neuron Functionality using Deep Learning Techniques for Facial Emotion
    Recognition", figures 2 to 10.
    """

    def __init__(
        self,
        every_n_epochs: int = 1,
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
    ) -> None:
        if num_patterns is not None:
            log.warning("num_patterns is now called num_samples; the old name will go")
            num_samples = num_patterns
        if every_n_epochs < 0:
            msg = f"distinctiveness.every_n_epochs is {every_n_epochs}: it must be 0 (never) or more"
            raise InputError(msg)
        if keep_epochs is not None and keep_epochs < 1:
            msg = f"distinctiveness.keep_epochs is {keep_epochs}: it must be 1 or more, or null for all"
            raise InputError(msg)
        if num_samples < 2:
            msg = f"distinctiveness.num_samples is {num_samples}: angles need 2 samples or more"
            raise InputError(msg)
        if not 0 <= similar_below <= complementary_above <= 180:
            msg = (
                f"distinctiveness.similar_below is {similar_below} and complementary_above "
                f"{complementary_above}: they must be 0 to 180 degrees in this order"
            )
            raise InputError(msg)
        for name, value, choices in (("split", split, Split), ("normalise", normalise, Origin)):
            if value not in get_args(choices):
                msg = f"distinctiveness.{name} is {value!r}: it must be one of {', '.join(get_args(choices))}"
                raise InputError(msg)
        self.every_n_epochs = every_n_epochs
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
        self.console = Console(highlight=False, soft_wrap=True)
        self.found: FoundNetwork | None = None
        """The network; None before training."""
        self.samples: Samples | None = None
        """What it is measured on; None before training."""
        self.places: dict[str, str] = {}
        """By layer: the name under which its activations are recorded. Empty: nothing is measured."""
        self.epoch = -1
        """The last measured epoch; -1 if there is none."""
        self.degrees: dict[str, Tensor] = {}
        """By layer: the angles after that epoch, degrees."""
        self.history: dict[str, dict[str, list[float]]] = {}
        """By layer: ``epoch`` and the logged values, as lists of equal length."""
        self.is_warned = False

    @property
    def state_key(self) -> str:
        """The key of the state in a checkpoint: of its own for a network given by name."""
        return super().state_key if self.network is None else self._generate_state_key(network=self.network)

    def is_due(self, epoch: int) -> bool:
        """Return whether an epoch (from 0) is measured."""
        return self.every_n_epochs > 0 and epoch % self.every_n_epochs == 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Collect the samples, find the layers and try each, so that problems show before the first epoch.

        Raises:
            InputError: There is no network of the name given, or a layer named by the user is unknown or
                cannot be measured.
        """
        self._forget_from(trainer.current_epoch)
        self.places = {}
        if self.every_n_epochs == 0:
            return
        self.found = find_network(pl_module, self.network)
        if is_sharded(trainer):
            strategy = type(trainer.strategy).__name__
            log.warning("no angles: %s splits the weights over the processes; take DDP for them", strategy)
            return
        problem = ""
        try:
            self._collect(trainer, pl_module, self.found)
        except InputError as error:
            problem = str(error)
        if problem := next(filter(None, gather(problem)), ""):  # all processes measure, or none does
            log.warning("no angles: %s", problem)
            return
        self._find_layers(trainer, pl_module, self.found)

    def _forget_from(self, epoch: int) -> None:
        """Forget what an earlier training with this callback left of epochs that are still to come."""
        for columns in self.history.values():
            num = sum(each < epoch for each in columns["epoch"])
            columns.update({name: values[:num] for name, values in columns.items()})
        self.history = {layer: columns for layer, columns in self.history.items() if columns["epoch"]}
        if self.epoch >= epoch:
            self.epoch, self.degrees = -1, {}

    def _collect(self, trainer: Trainer, pl_module: LightningModule, found: FoundNetwork) -> None:
        """Collect the samples and try the network on some.

        Raises:
            InputError: There are none, or the network does not take them.
        """
        self.samples = collect_samples(
            trainer,
            pl_module,
            found.module,
            given=self.given,
            inputs=self.inputs,
            num_samples=self.num_samples,
            split=self.split,
        )
        with aside(trainer, pl_module), trainer.precision_plugin.forward_context():
            try:
                call(found.module, self.samples.example)
            except InputError as error:
                msg = f"{error}; give inputs=, a function from a batch to what it takes, or samples="
                raise InputError(msg) from error

    def _find_layers(self, trainer: Trainer, pl_module: LightningModule, found: FoundNetwork) -> None:
        """Find the layers and print once what is measured on what.

        Raises:
            InputError: A layer named by the user is unknown or cannot be measured.
        """
        if self.samples is None:
            return
        try:
            with aside(trainer, pl_module), trainer.precision_plugin.forward_context():
                hidden = find_layers(found.module, self.samples.example, self.layers)
        except InputError as error:
            if self.layers is not None:
                msg = f"distinctiveness.layers: {error}"
                raise InputError(msg) from error
            log.warning("no angles: %s; name layers with layers=[…]", error)
            return
        if not hidden.layers:
            described = describe_layers(hidden, found.module)
            log.warning("no angles: the hidden layers are %s; name others with layers=[…]", described)
            return
        if refused := describe_refused(hidden.refused):
            log.warning("layers without angles: %s", refused)
        self.places = {found.layer_of(layer): place for layer, place in hidden.layers.items()}
        if trainer.is_global_zero:
            layers = describe_layers(HiddenLayers(self.places, {}), found.module)
            self.console.print(f"angles       {self.samples.origin}; layers {layers}", markup=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure an epoch that is due, log the angles and store them."""
        self.measure_epoch(trainer, pl_module)

    def measure_epoch(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the epoch that ends, if it is due and was not measured yet; log the angles and store them.

        A callback that needs the angles of the epoch calls it, whichever of the two comes first.
        """
        epoch = trainer.current_epoch
        if not self.places or not self.is_due(epoch) or self.epoch == epoch:
            return
        try:
            measured = self.measure(trainer, pl_module)
        except InputError as error:
            log.warning("no angles from epoch %d on: %s", epoch, error)
            self.places = {}
            return
        if not self.history:
            warn_of_few_samples(measured)
        before, num_epochs = self.degrees, epoch - self.epoch
        self.epoch, self.degrees = epoch, {}
        non_finite: dict[str, str] = {}
        for layer, statistics in measured.items():
            degrees = angles(statistics, self.normalise)
            classes = classify(
                statistics,
                degrees,
                similar_below=self.similar_below,
                complementary_above=self.complementary_above,
            )
            if num := len(classes.non_finite):
                non_finite[layer] = f"{num} of {classes.num_neurons}"
            self.degrees[layer] = degrees.float().double().cpu()  # as a checkpoint keeps them
            row = summarise(degrees) | classes.shares | {"speed": float("nan")}
            if layer in before:
                row["speed"] = angular_speed(before[layer], self.degrees[layer], num_epochs=num_epochs)
            columns = self.history.setdefault(layer, {})
            for name, value in ({"epoch": epoch} | row).items():
                columns.setdefault(name, []).append(value)
            known = {f"angles/{layer}/{name}": value for name, value in row.items() if value == value}
            pl_module.log_dict(known, sync_dist=True)
        self._report_non_finite(epoch, non_finite)
        if trainer.is_global_zero and not is_dry_run(trainer):
            arrays = {layer: matrix.numpy() for layer, matrix in self.degrees.items()}
            run = run_of_trainer(trainer, self.network)
            run.write_angles(epoch, arrays)
            for old in run.measured_epochs()[: -self.keep_epochs] if self.keep_epochs else []:
                run.angles_path(old).unlink(missing_ok=True)

    def measure(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, ActivationStatistics]:
        """Return each layer's statistics over the samples, which the processes share.

        Raises:
            InputError: The network does not take all of them, or training has not started.
        """
        if self.found is None or self.samples is None:
            msg = "there are no samples before training starts"
            raise InputError(msg)
        problem, by_place = "", {}
        try:
            with aside(trainer, pl_module), trainer.precision_plugin.forward_context():
                by_place = measure(self.found.module, self.samples.batches, self.places.values())
        except InputError as error:
            problem = str(error)
        if problem := next(filter(None, gather(problem)), ""):
            raise InputError(problem)
        if self.samples.is_part:
            by_place = {place: _of_all_processes(statistics) for place, statistics in by_place.items()}
        return {layer: by_place[place] for layer, place in self.places.items()}

    def _report_non_finite(self, epoch: int, counts: Mapping[str, str]) -> None:
        """Warn of neurons that are NaN or infinite the first time, then only note them."""
        if counts:
            listed = ", ".join(f"{num} neurons of {layer}" for layer, num in counts.items())
            level = logging.INFO if self.is_warned else logging.WARNING
            log.log(level, "epoch %d: NaN or infinity, and no angles: %s", epoch, listed)
            self.is_warned = True

    @rank_zero_only
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw each layer's feature maps of the first sample, if that is an image."""
        if self.found is None or self.samples is None or not self.degrees:
            return
        example = self.samples.example
        image = _image_of(example.tensors[0])
        if image is None:
            return
        maps: dict[str, NDArray[np.float32]] = {}
        layers = {place: layer for layer, place in self.places.items()}

        def receive(place: str, output: Tensor) -> None:
            if output.ndim == 4:
                maps[layers[place]] = output[0].float().cpu().numpy()

        network = self.found.module
        as_measured = trainer.precision_plugin.forward_context()
        with aside(trainer, pl_module), as_measured, record(network, layers, receive):
            call(network, example)
        if maps:
            drawn = {layer: maps[layer] for layer in evenly([each for each in self.places if each in maps])}
            save_figure(
                *(trainer, "feature-maps", lambda: feature_maps_figure(image, drawn, f"epoch {self.epoch}")),
                formats=FORMATS,
                network=self.network,
            )

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the angles of the last measured epoch."""
        del pl_module
        if not self.degrees:
            return
        degrees = {layer: self.degrees[layer].numpy() for layer in evenly(list(self.degrees))}
        title = f"epoch {self.epoch}"
        thresholds = {"similar_below": self.similar_below, "complementary_above": self.complementary_above}
        figures = {
            "angle-matrix": lambda: matrix_figure(degrees, title),
            "angle-histogram": lambda: histogram_figure(degrees, title, **thresholds),
            "angle-pairs": lambda: pairs_figure(degrees, title),
        }
        for name, draw in figures.items():
            save_figure(trainer, name, draw, formats=FORMATS, network=self.network)

    def state_dict(self) -> dict[str, Any]:
        """Return the history and the last angles, so that a resumed run continues them."""
        degrees = {layer: matrix.float() for layer, matrix in self.degrees.items()}
        return {"epoch": self.epoch, "degrees": degrees, "history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the history."""
        self.epoch, self.history = state_dict["epoch"], state_dict["history"]
        self.degrees = {layer: matrix.double() for layer, matrix in state_dict["degrees"].items()}


def evenly(layers: Sequence[T], most: int = NUM_DRAWN) -> list[T]:
    """Return at most ``most`` layers, evenly chosen, including the first and the last.

    >>> evenly(["a", "b", "c", "d", "e"], most=3)
    ['a', 'c', 'e']
    """
    num = min(most, len(layers))
    return [layers[round(index * (len(layers) - 1) / max(num - 1, 1))] for index in range(num)]


def warn_of_few_samples(measured: Mapping[str, ActivationStatistics]) -> None:
    """Warn once of the layers with fewer samples than neurons; each position of a feature map is a sample."""
    few = [
        f"{layer} ({statistics.count:,} for {statistics.num_neurons:,} neurons)"
        for layer, statistics in measured.items()
        if statistics.count < statistics.num_neurons
    ]
    if few:
        log.warning(
            "fewer samples than neurons, so that angles are rough: %s; give more samples, or raise "
            "num_samples",
            ", ".join(few),
        )


def gather(value: T) -> list[T]:
    """Return the values of all processes, in order; of one process, its own."""
    if not dist.is_initialized():
        return [value]
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, value)
    return everyone


def _of_all_processes(statistics: ActivationStatistics) -> ActivationStatistics:
    """Return the statistics over the samples of all processes, equal on each."""
    mine = {
        name: value.cpu() if isinstance(value, Tensor) else value
        for name, value in statistics.to_dict().items()
    }
    return reduce(add, map(ActivationStatistics.from_dict, gather(mine)))


def _image_of(inputs: Tensor) -> NDArray[np.uint8] | None:
    """Return the first of a batch of images, (H, W, C) from 0 to 255; None if they are no images."""
    if inputs.ndim != 4 or inputs.shape[1] not in (1, 3):
        return None
    image = inputs[0].double().movedim(0, 2)
    low, high = image.min(), image.max()
    scaled = 255 * (image - low) / (high - low).clamp(min=torch.finfo(image.dtype).tiny)
    return scaled.round().nan_to_num().byte().numpy()
