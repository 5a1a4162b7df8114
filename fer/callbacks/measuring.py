"""What one pass over the samples gives: statistics of the layers, losses, answers, and a row an image."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

import torch
import torch.distributed as dist
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from fer.callbacks.samples import (
    OffersSamples,
    Samples,
    aside,
    collect_samples,
    first_loader,
    skip_frozen,
)
from fer.callbacks.training_samples import can_choose, training_samples
from fer.errors import InputError
from fer.neurons import ActivationStatistics, measure
from fer.neurons.inputs import Inputs, InputsOf, call, labels_of
from fer.neurons.networks import FOREIGN_ERRORS, one_line

T = TypeVar("T")

LossOf = Callable[[Any, Any], Tensor]
"""A function from a network's outputs and the batch to the mean loss, a tensor of one value."""

SPLITS: Final = ("train", "val")


@runtime_checkable
class GivesLoss(Protocol):
    """A LightningModule that gives the loss of what its network returns."""

    def plain_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of a batch as on the validation split, without what regularises it."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What a pass over the samples gave, over all processes.

    Attributes:
        statistics: By layer.
        rows: By layer one row an image, maps averaged over their positions; float32, shape ``(N, C)``.
        losses: By split the mean loss; NaN where it is not known.
        labels: Class of each image, shape ``(N,)``; None without classes.
        predicted: Class that the network gives each image.
    """

    statistics: dict[str, ActivationStatistics]
    rows: dict[str, Tensor]
    losses: dict[str, float]
    labels: Tensor | None = None
    predicted: Tensor | None = None


@dataclass(frozen=True, eq=False)
class SampleSets:
    """What is measured on.

    Attributes:
        measured: Samples whose activations are measured.
        split: The split that they belong to.
        other: Samples of the other split, for their loss alone; None: that is not known.
    """

    measured: Samples
    split: str
    other: Samples | None = None

    def take(self, num: int) -> "SampleSets":
        """Return the first samples of both."""
        return SampleSets(
            self.measured.take(num), self.split, None if self.other is None else self.other.take(num)
        )


def collect_sets(
    trainer: Trainer,
    pl_module: LightningModule,
    network: nn.Module,
    *,
    given: Any,
    inputs: InputsOf | None,
    num_samples: int,
    split: str,
    has_loss: bool,
) -> SampleSets:
    """Collect the samples to measure on, and as many of the other split if there is a loss.

    Raises:
        InputError: There are no samples to measure on.
    """
    settings: dict[str, Any] = {"inputs": inputs, "num_samples": num_samples}
    measured = collect_samples(trainer, pl_module, network, given=given, split=split, **settings)
    offers = isinstance(getattr(trainer, "datamodule", None), OffersSamples)
    own = split if offers or given is not None else "val"
    if not has_loss:
        return SampleSets(measured, own)
    (other,) = {*SPLITS} - {own}
    try:
        if offers or other == "val":
            found = collect_samples(trainer, pl_module, network, split=other, **settings)
        elif not can_choose(first_loader(trainer.train_dataloader)):
            return SampleSets(measured, own)  # what is read of a stream is lost to the training
        else:
            found = training_samples(trainer, pl_module, network, **settings)
    except InputError:
        return SampleSets(measured, own)
    return SampleSets(measured, own, found)


def find_loss(pl_module: LightningModule, given: LossOf | None, *, is_whole: bool) -> LossOf | None:
    """Return the function that gives the loss of the samples; None if there is none.

    Args:
        pl_module: The LightningModule.
        given: The user's function.
        is_whole: Whether the network is the one whose outputs the LightningModule's loss takes.
    """
    if given is not None:
        return given
    if is_whole and isinstance(pl_module, GivesLoss):
        return lambda outputs, batch: pl_module.plain_loss(outputs, labels_of(batch).to(outputs.device))
    return None


@dataclass(eq=False)
class Pass:
    """A pass over the samples, beside the training.

    Attributes:
        trainer: The trainer.
        pl_module: The LightningModule.
        network: The network in it.
        places: By layer the name under which its activations are recorded.
        loss: From outputs and batch to the loss; None: not known.
        problem: Why the loss could not be computed; empty if it could.
    """

    trainer: Trainer
    pl_module: LightningModule
    network: nn.Module
    places: Mapping[str, str]
    loss: LossOf | None = None
    problem: str = ""

    def skip_frozen(self, sets: SampleSets) -> SampleSets:
        """Return the samples as the outputs of a frozen part, if no layer in it is measured."""

        def skip(samples: Samples) -> Samples:
            return skip_frozen(self.trainer, self.pl_module, self.network, samples, self.places.values())

        return SampleSets(skip(sets.measured), sets.split, None if sets.other is None else skip(sets.other))

    def over(self, sets: SampleSets) -> Measured:
        """Measure.

        Raises:
            InputError: The network does not take all of the samples.
        """
        rows: dict[str, list[Tensor]] = {place: [] for place in self.places.values()}
        answers: list[tuple[Tensor, Tensor]] = []
        sums = {split: [0.0, 0] for split in SPLITS}

        def keep_rows(place: str, output: Tensor) -> None:
            values = output.flatten(2).float() if output.ndim > 2 else output.float()[:, :, None]
            rows[place].append(values.mean(2).cpu())

        def keep_answers(batch: Inputs, outputs: Any) -> None:
            self._add_loss(sums[sets.split], batch, outputs)
            if (answer := _answers(batch, outputs)) is not None:
                answers.append(answer)

        problem, by_place = "", {}
        try:
            with aside(self.trainer, self.pl_module), self.trainer.precision_plugin.forward_context():
                by_place = measure(
                    self.network,
                    sets.measured.batches,
                    self.places.values(),
                    on_layer=keep_rows,
                    on_outputs=keep_answers,
                )
                (other,) = {*SPLITS} - {sets.split}
                for batch in sets.other.batches if sets.other and self.loss is not None else ():
                    self._add_loss(sums[other], batch, call(self.network, batch))
        except InputError as error:
            problem = str(error)
        # What fails in one process fails in all: they must log the same numbers.
        problem, self.problem = (
            next(filter(None, each), "") for each in zip(*gather((problem, self.problem)), strict=True)
        )
        if problem:
            raise InputError(problem)
        if self.problem:
            self.loss = None
        mine: dict[str, Any] = {
            "rows": {place: torch.cat(each) for place, each in rows.items()},
            "answers": [torch.cat(each) for each in zip(*answers, strict=True)] or None,
        }
        parts = gather(mine) if sets.measured.is_part else [mine]
        if sets.measured.is_part:
            by_place = {place: _of_all_processes(statistics) for place, statistics in by_place.items()}
        labels = predicted = None
        if all(part["answers"] is not None for part in parts):
            labels, predicted = (torch.cat([part["answers"][each] for part in parts]) for each in (0, 1))
        return Measured(
            {layer: by_place[place] for layer, place in self.places.items()},
            {
                layer: torch.cat([part["rows"][place] for part in parts])
                for layer, place in self.places.items()
            },
            self._losses(sums, sets),
            labels,
            predicted,
        )

    def _add_loss(self, sums: list[float], batch: Inputs, outputs: Any) -> None:
        """Add the loss of a batch, times its samples."""
        if self.loss is None:
            return
        try:
            device = outputs.device if isinstance(outputs, Tensor) else self.pl_module.device
            value = float(self.loss(outputs, move_data_to_device(batch.batch, device)))
        except FOREIGN_ERRORS as error:
            self.problem, self.loss = one_line(error), None
            return
        sums[0] += value * len(batch)
        sums[1] += len(batch)

    def _losses(self, sums: Mapping[str, list[float]], sets: SampleSets) -> dict[str, float]:
        """Return the mean loss of each split, over the samples of all processes."""
        everyone = gather(dict(sums))
        found = {}
        for split in SPLITS:
            samples = sets.measured if split == sets.split else sets.other
            parts = everyone if samples is not None and samples.is_part else [sums]
            total, num = (sum(part[split][place] for part in parts) for place in (0, 1))
            found[split] = total / num if num and self.loss is not None else math.nan
        return found


def _answers(batch: Inputs, outputs: Any) -> tuple[Tensor, Tensor] | None:
    """Return the label and the predicted class of each image; None where there are no classes."""
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or outputs.shape[1] < 2:
        return None
    try:
        labels = labels_of(batch)
    except InputError:
        return None
    if labels.shape == outputs.shape and labels.is_floating_point():
        sums = labels.double().sum(1)
        if bool((labels < 0).any()) or not torch.allclose(sums, torch.ones_like(sums), atol=1e-2):
            return None  # several labels an image, or no classes at all
        labels = labels.argmax(1)  # soft
    is_class = labels.shape == outputs.shape[:1] and not labels.is_floating_point() and len(labels)
    if not is_class or int(labels.min()) < 0 or int(labels.max()) >= outputs.shape[1]:
        return None
    return labels.long().cpu(), outputs.argmax(1).cpu()


def gather(value: T) -> list[T]:
    """Return the values of all processes, in order; of one process, its own."""
    if not dist.is_initialized():
        return [value]
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, value)
    return everyone


@contextmanager
def raised_in_all() -> Iterator[None]:
    """Raise an InputError in all processes if one of them does, so that all measure or none does."""
    problem = ""
    try:
        yield
    except InputError as error:
        problem = str(error)
    if problem := next(filter(None, gather(problem)), ""):
        raise InputError(problem)


def _of_all_processes(statistics: ActivationStatistics) -> ActivationStatistics:
    """Return the statistics over the samples of all processes, equal on each."""
    mine = {
        name: value.cpu() if isinstance(value, Tensor) else value
        for name, value in statistics.to_dict().items()
    }
    return reduce(add, map(ActivationStatistics.from_dict, gather(mine)))
