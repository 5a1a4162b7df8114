"""Measure how distinct the hidden neurons of each layer are, epoch by epoch."""

import logging
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args

import numpy as np
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from fer.callbacks.media import save_figure
from fer.data.base import ExpressionDataModule
from fer.data.images import ImageSplit
from fer.errors import InputError
from fer.figures import feature_maps_figure, histogram_figure, matrix_figure, pairs_figure
from fer.neurons import ActivationStatistics, angles, angular_speed, classify, eval_state, measure, record
from fer.neurons.angles import COMPLEMENTARY_ABOVE, SIMILAR_BELOW, Origin, summarise
from fer.neurons.declared import describe_layers, hidden_layers
from fer.neurons.record import find_layers
from fer.runs import Run
from fer.tasks.base import ClassificationTask

NUM_DRAWN: Final = 12
"""Most layers in a figure, chosen evenly; more would be too small to read."""

FORMATS: Final = ("png", "svg")
"""File formats of the neuron figures: SVG as well, for papers."""

log = logging.getLogger("fer.callbacks")

T = TypeVar("T")
Split = Literal["train", "val"]


class DistinctivenessCallback(Callback):
    """Measure the angles between the hidden neurons of each layer after every n-th epoch.

    A fixed analysis set, not augmented, passes through the network in eval mode; the training itself is not
    affected. Logs for each layer ``angles/<layer>/…``: ``mean``, ``min``, ``q05``, ``q25``,
    ``median``, ``q75``, ``q95``, ``max`` (degrees, over all pairs of neurons), ``speed`` (degrees per epoch)
    and the shares ``similar`` and ``complementary`` (of the pairs), ``dead``, ``constant`` and
    ``non_finite`` (of the neurons). All angles are stored in ``angles/epoch-….npz`` in the run's folder
    (:meth:`fer.runs.Run.read_angles`), those of the last epoch are drawn.

    Args:
        every_n_epochs: Interval in epochs; 0: never.
        num_samples: Size of the analysis set, stratified by class.
        split: Split that the analysis set is drawn from, ``train`` or ``val``.
        layers: Names of layers; null: all hidden layers.
        normalise: Origin of the activation vectors: auto, half, centre, layer_minmax, unit_minmax or none.
        similar_below: Angle below which two neurons are similar, degrees.
        complementary_above: Angle above which two neurons are complementary, degrees.

    Raises:
        InputError: A setting is out of range.

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
    ) -> None:
        if every_n_epochs < 0:
            msg = f"distinctiveness.every_n_epochs is {every_n_epochs}: it must be 0 (never) or more"
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
        self.num_samples = num_samples
        self.split = split
        self.layers = layers
        self.normalise: Origin = normalise
        self.similar_below = similar_below
        self.complementary_above = complementary_above
        self.places: dict[str, str] = {}
        """By layer: the name under which its activations are recorded."""
        self.epoch = -1
        """The last measured epoch; -1 if there is none."""
        self.degrees: dict[str, Tensor] = {}
        """By layer: the angles after that epoch, degrees."""
        self.history: dict[str, dict[str, list[float]]] = {}
        """By layer: ``epoch`` and the logged values, as lists of equal length."""

    def is_due(self, epoch: int) -> bool:
        """Return whether an epoch (from 0) is measured."""
        return self.every_n_epochs > 0 and epoch % self.every_n_epochs == 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the layers and try each on one sample, so that problems show before training.

        Raises:
            InputError: A layer named by the user is unknown or cannot be measured.
        """
        if self.every_n_epochs == 0 or not isinstance(pl_module, ClassificationTask):
            return
        with eval_state(pl_module.network):  # a loader draws from the random state
            first = next(self._batches(trainer, pl_module, np.zeros(1, np.int64)))
        hidden = hidden_layers(pl_module.network, first)
        named = list(hidden.layers) if self.layers is None else self.layers
        self.places = {layer: hidden.layers.get(layer, layer) for layer in named}
        find_layers(pl_module.network, self.places.values())
        if not self.places:
            log.warning("no angles: the hidden layers are %s", describe_layers(hidden, pl_module.network))
        for layer, place in list(self.places.items()):
            try:
                measure(pl_module.network, [first], [place])
            except InputError as error:
                if self.layers is not None:
                    msg = f"distinctiveness.layers: {error}"
                    raise InputError(msg) from error
                log.warning("layer %s is not measured: %s", layer, error)
                del self.places[layer]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure an epoch that is due, log the angles and store them."""
        epoch = trainer.current_epoch
        if not self.is_due(epoch) or not self.places or not isinstance(pl_module, ClassificationTask):
            return
        before, num_epochs = self.degrees, epoch - self.epoch
        self.epoch, self.degrees = epoch, {}
        for layer, statistics in self.measure(trainer, pl_module).items():
            degrees = angles(statistics, self.normalise)
            classes = classify(
                statistics,
                degrees,
                similar_below=self.similar_below,
                complementary_above=self.complementary_above,
            )
            if num := len(classes.non_finite):
                log.warning(
                    "epoch %d: %d of %d neurons of %s returned NaN or infinity and have no angles",
                    *(epoch, num, classes.num_neurons, layer),
                )
            self.degrees[layer] = degrees.float().double().cpu()  # as a checkpoint keeps them
            row = summarise(degrees) | classes.shares | {"speed": float("nan")}
            if layer in before:
                row["speed"] = angular_speed(before[layer], self.degrees[layer], num_epochs=num_epochs)
            columns = self.history.setdefault(layer, {})
            for name, value in ({"epoch": epoch} | row).items():
                columns.setdefault(name, []).append(value)
            known = {f"angles/{layer}/{name}": value for name, value in row.items() if value == value}
            pl_module.log_dict(known, sync_dist=True)
        if trainer.is_global_zero:
            arrays = {layer: matrix.numpy() for layer, matrix in self.degrees.items()}
            Run(Path(trainer.default_root_dir)).write_angles(epoch, arrays)

    def measure(self, trainer: Trainer, task: ClassificationTask) -> dict[str, ActivationStatistics]:
        """Return each layer's statistics over the analysis set, which the processes share."""
        data = _data(trainer)
        rows = data.sample(self.split, max(self.num_samples, trainer.world_size))
        mine = rows[trainer.global_rank :: trainer.world_size]
        with trainer.precision_plugin.forward_context():
            by_place = measure(task.network, self._batches(trainer, task, mine), self.places.values())
        return {layer: _of_all_processes(by_place[place]) for layer, place in self.places.items()}

    def _batches(
        self, trainer: Trainer, task: ClassificationTask, rows: NDArray[np.int64]
    ) -> Iterator[Tensor]:
        """Yield the inputs of some rows of the split, in the precision of the training."""
        data = _data(trainer)
        dataset = Subset(data.dataset(self.split), rows.tolist())
        for inputs, _ in DataLoader(dataset, batch_size=data.batch_size):
            yield trainer.precision_plugin.convert_input(inputs).to(task.device)

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the angles of the last measured epoch and the feature maps of one sample."""
        if not self.degrees or not isinstance(pl_module, ClassificationTask):
            return
        degrees = {layer: self.degrees[layer].numpy() for layer in evenly(list(self.degrees))}
        title = f"epoch {self.epoch}"
        thresholds = {"similar_below": self.similar_below, "complementary_above": self.complementary_above}
        figures = {
            "angle-matrix": matrix_figure(degrees, title),
            "angle-histogram": histogram_figure(degrees, title, **thresholds),
            "angle-pairs": pairs_figure(degrees, title),
        }
        for name, figure in figures.items():
            save_figure(trainer, name, figure, formats=FORMATS)
        self._draw_maps(trainer, pl_module)

    def _draw_maps(self, trainer: Trainer, task: ClassificationTask) -> None:
        """Draw each layer's feature maps of the first image of the split."""
        split = _data(trainer).splits[self.split]
        if not isinstance(split, ImageSplit):
            return
        maps: dict[str, NDArray[np.float32]] = {}
        layers = {place: layer for layer, place in self.places.items()}

        def receive(place: str, output: Tensor) -> None:
            if output.ndim == 4:
                maps[layers[place]] = output[0].float().cpu().numpy()

        with eval_state(task.network), record(task.network, layers, receive):
            task.network(next(self._batches(trainer, task, np.zeros(1, np.int64))))
        if maps:
            drawn = {layer: maps[layer] for layer in evenly([each for each in self.places if each in maps])}
            figure = feature_maps_figure(split.images[0], drawn, f"epoch {self.epoch}")
            save_figure(trainer, "feature-maps", figure, formats=FORMATS)

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


def _of_all_processes(statistics: ActivationStatistics) -> ActivationStatistics:
    """Return the statistics over the samples of all processes, equal on each."""
    if not dist.is_initialized():
        return statistics
    mine = {
        name: value.cpu() if isinstance(value, Tensor) else value
        for name, value in statistics.to_dict().items()
    }
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, mine)
    return reduce(add, map(ActivationStatistics.from_dict, everyone))


def _data(trainer: Trainer) -> ExpressionDataModule:
    """Return the data module of the training."""
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, ExpressionDataModule):
        msg = "neuron angles need a data module of fer: pass one to trainer.fit(…, datamodule=…)"
        raise InputError(msg)
    return data
