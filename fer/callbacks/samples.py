"""Which samples a callback measures on: collected once, as the network takes them."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, Self, runtime_checkable

import numpy as np
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import RunningStage
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from fer.errors import InputError
from fer.neurons import eval_state
from fer.neurons.frozen import DeclaresFrozenPart, check_declared, is_within, why_not_frozen
from fer.neurons.inputs import Inputs, InputsOf, call, inputs_of

BATCH_SIZE: Final = 64
"""Samples in a batch, where they are given as one tensor."""


@runtime_checkable
class OffersSamples(Protocol):
    """A data module that offers samples to measure on."""

    def sample_dataloader(self, name: str, num_samples: int) -> DataLoader[Any]:
        """Return a loader of some samples of a split, always the same, without augmentation."""


@dataclass(frozen=True)
class Samples:
    """Samples to measure on.

    Attributes:
        batches: What the network is called with, on the CPU; with the batch, for its labels.
        origin: Where they come from, in words.
        is_part: Whether the other processes hold other samples, so that sums over all of them are wanted.
    """

    batches: list[Inputs]
    origin: str
    is_part: bool = False

    def __len__(self) -> int:
        """Return the number of samples."""
        return sum(map(len, self.batches))

    def take(self, num: int) -> Self:
        """Return the first samples."""
        batches = []
        for batch in self.batches:
            if num > 0:
                batches.append(batch.take(num))
            num -= len(batch)
        return replace(self, batches=batches)

    @property
    def example(self) -> Inputs:
        """The first two samples, to try a network on."""
        return self.batches[0].take(2)


def collect_samples(
    trainer: Trainer,
    pl_module: LightningModule,
    network: nn.Module,
    *,
    given: Any = None,
    inputs: InputsOf | None = None,
    num_samples: int,
    split: str = "train",
) -> Samples:
    """Collect the samples that the neurons of a network are measured on during a training.

    They are those given; else those that the data module offers, see :class:`OffersSamples`; else the first
    of the validation loader. Batches pass through Lightning's transfer hooks as in validation; a tensor is
    taken as it is. The training does not notice, see :func:`aside`. Of several processes, each holds a part
    of the samples if there are enough batches.

    Args:
        trainer: The trainer, after its loaders were set up.
        pl_module: The LightningModule that is trained.
        network: The network that takes the inputs.
        given: A tensor, a list of batches, one batch (a tuple or a mapping), a data set, or a loader; None:
            as above.
        inputs: From a batch to what the network takes; None: see :func:`fer.neurons.inputs.inputs_of`.
        num_samples: Most samples, except of those given as a tensor or as batches.
        split: The split that a data module is asked for.

    Raises:
        InputError: There are no samples, or a batch holds no tensor.
    """
    source, origin, is_part = _find_source(trainer, given, num_samples, split)
    wanted = -(-num_samples // trainer.world_size) if is_part else num_samples
    take_all = is_taken_whole(source)
    batches = collect_batches(
        trainer, pl_module, network, source, inputs=inputs, num_samples=None if take_all else wanted
    )
    num = sum(map(len, batches))
    if num == 0:
        msg = f"0 samples: {origin}; give some with samples="
        raise InputError(msg)
    shared = f" in each of {trainer.world_size} processes" if is_part else ""
    if not is_part and len(batches) >= trainer.world_size > 1:
        batches, is_part = batches[trainer.global_rank :: trainer.world_size], True
    return Samples(batches, f"{num:,} samples{shared}: {origin}", is_part)


def is_taken_whole(source: Any) -> bool:
    """Return whether all samples of a source are taken, however many are wanted."""
    return isinstance(source, Tensor | np.ndarray | list | tuple | Mapping | Inputs)


def collect_batches(
    trainer: Trainer,
    pl_module: LightningModule,
    network: nn.Module,
    source: Any,
    *,
    inputs: InputsOf | None = None,
    num_samples: int | None = None,
) -> list[Inputs]:
    """Return the batches of a source as the network takes them, on the CPU.

    The training does not notice, see :func:`aside`.

    Args:
        trainer: The trainer.
        pl_module: The LightningModule whose transfer hooks apply.
        network: The network that takes the inputs.
        source: A tensor, which is split, or an iterable of batches.
        inputs: From a batch to what the network takes.
        num_samples: Most samples; None: all.

    Raises:
        InputError: The source is not iterable, or a batch holds no tensor.
    """
    if not isinstance(source, Iterable):
        msg = f"samples= is a {type(source).__name__}: give a tensor, a list of batches or a DataLoader"
        raise InputError(msg)
    found: list[Inputs] = []
    num = 0
    is_raw = isinstance(source, Tensor | np.ndarray)
    with aside(trainer, pl_module), _same_generators(source):
        for batch in torch.split(torch.as_tensor(source), BATCH_SIZE) if is_raw else source:
            if not is_raw and not isinstance(batch, Inputs):
                batch = pl_module._on_before_batch_transfer(batch)  # as Lightning's loops call it
                batch = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
            batch = move_data_to_device(batch, torch.device("cpu"))
            taken = inputs_of(batch, network, inputs)
            if num_samples is not None:
                taken = taken.take(num_samples - num)
            found.append(taken)
            num += len(taken)
            if num_samples is not None and num >= num_samples:
                break
    return found


def spaced(loader: DataLoader[Any], num_samples: int) -> Iterable[Any]:
    """Return batches of samples at even distances from a loader's data; of its first, if it has no length.

    Args:
        loader: A loader.
        num_samples: How many; smaller data is taken whole.
    """
    try:
        length = len(loader.dataset)  # type: ignore[arg-type]
    except TypeError:
        return loader
    num = min(num_samples, length)
    rows = [number * length // num for number in range(num)]
    return DataLoader(
        Subset(loader.dataset, rows), batch_size=loader.batch_size or BATCH_SIZE, collate_fn=loader.collate_fn
    )


def first_loader(loaders: Any) -> DataLoader[Any] | None:
    """Return the first of the loaders that Lightning holds in lists and mappings; None if there are none."""
    if isinstance(loaders, Mapping):
        return first_loader(list(loaders.values()))
    if isinstance(loaders, list | tuple):
        return next(filter(None, map(first_loader, loaders)), None)
    return loaders  # type: ignore[no-any-return]


def _find_source(trainer: Trainer, given: Any, num_samples: int, split: str) -> tuple[Any, str, bool]:
    """Return a source of batches, what it is in words, and whether the processes get different ones of it."""
    if given is not None:
        origin = f"those given ({type(given).__name__})"
        if isinstance(given, tuple | Mapping | Inputs):
            return [given], origin, False
        if isinstance(given, Dataset):
            return DataLoader(given, batch_size=BATCH_SIZE), origin, False
        return given, origin, False
    data = getattr(trainer, "datamodule", None)
    if isinstance(data, OffersSamples):
        num = max(num_samples, trainer.world_size)
        return data.sample_dataloader(split, num), f"of {split}, stratified, without augmentation", False
    loader = first_loader(trainer.val_dataloaders)
    if loader is None:
        msg = "there is no validation loader to take samples from: give some with samples="
        raise InputError(msg)
    return loader, "the first of the validation loader", trainer.world_size > 1


@contextmanager
def aside(trainer: Trainer, pl_module: LightningModule) -> Iterator[None]:
    """Run a network beside its training, which does not notice.

    The network is in eval mode and has no gradients, and the trainer's stage is a validation. What the
    network logs is lost. At the end mode, stage and the random states of Python, NumPy and torch are what
    they were.
    """
    stage = trainer.state.stage
    with isolate_rng(), eval_state(pl_module), _silent(pl_module):
        trainer.state.stage = RunningStage.VALIDATING
        try:
            yield
        finally:
            trainer.state.stage = stage


@contextmanager
def _silent(pl_module: LightningModule) -> Iterator[None]:
    """Let ``pl_module.log`` do nothing."""
    members = vars(pl_module)
    own = {name: value for name, value in members.items() if name == "log"}
    members["log"] = lambda *args, **kwargs: None
    try:
        yield
    finally:
        del members["log"]
        members.update(own)


@contextmanager
def _same_generators(loader: Any) -> Iterator[None]:
    """Restore the random states of a loader's own generators at the end."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    owners = (
        loader,
        getattr(loader, "sampler", None),
        batch_sampler,
        getattr(batch_sampler, "sampler", None),
    )
    generators = [getattr(each, "generator", None) for each in owners]
    states = [(each, each.get_state()) for each in generators if isinstance(each, torch.Generator)]
    try:
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)


def skip_frozen(
    trainer: Trainer, pl_module: LightningModule, network: nn.Module, samples: Samples, places: Iterable[str]
) -> Samples:
    """Return samples as the outputs of a network's frozen part, which then need not be computed each time.

    Args:
        trainer: The trainer, in whose precision they are computed.
        pl_module: The LightningModule.
        network: The network, which may declare a part: see :class:`fer.neurons.frozen.DeclaresFrozenPart`.
        samples: What it takes.
        places: Names of the layers that are measured; if one is in the frozen part, the samples stay.
    """
    name = network.frozen_part if isinstance(network, DeclaresFrozenPart) else None
    if name is None or any(is_within(place, name) for place in places) or why_not_frozen(network, name):
        return samples
    with aside(trainer, pl_module), trainer.precision_plugin.forward_context():
        batches = [
            replace(batch, args=(call(network.get_submodule(name), batch).cpu(),), kwargs={})
            for batch in samples.batches
        ]
        check_declared(network, name, samples.batches[0], batches[0])
    return replace(samples, batches=batches)
