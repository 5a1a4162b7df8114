"""Training samples to prune on: collected once, as the network takes them."""

from typing import Any

import numpy as np
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from fer.callbacks.samples import OffersSamples, Samples, _find_source, collect_batches, first_loader, spaced
from fer.errors import InputError
from fer.neurons.inputs import InputsOf


def training_samples(
    trainer: Trainer,
    pl_module: LightningModule,
    network: nn.Module,
    *,
    num_samples: int,
    data: Any = None,
    given: Any = None,
    inputs: InputsOf | None = None,
) -> Samples:
    """Return training samples to measure neurons on, all in this process.

    Args:
        trainer: The trainer.
        pl_module: The LightningModule, whose hooks for batches apply.
        network: The network that takes the inputs.
        num_samples: Number of samples; smaller data is taken whole.
        data: A data module, set up; None: the trainer's.
        given: A tensor, a list of batches or a loader to take instead.
        inputs: From a batch to what the network takes.

    Raises:
        InputError: There are no samples.
    """
    data = getattr(trainer, "datamodule", None) if data is None else data
    source: Any
    most: int | None = num_samples
    if given is not None:
        source, origin, _ = _find_source(trainer, given, num_samples, "train")
        most = None if isinstance(source, Tensor | np.ndarray | list) else num_samples
    elif isinstance(data, OffersSamples):
        source = data.sample_dataloader("train", num_samples)
        origin = "of train, stratified, without augmentation"
    else:
        own = trainer.train_dataloader
        source = first_loader(data.train_dataloader() if own is None and data is not None else own)
        origin = "the first of the training loader"
        if can_choose(source):
            source, origin = spaced(source, num_samples), "spread evenly over the training data"
        origin += ", augmented where its loader augments them"
    batches = collect_batches(trainer, pl_module, network, source, inputs=inputs, num_samples=most)
    num = sum(map(len, batches))
    if num == 0:
        msg = f"0 samples: {origin}; give some with samples="
        raise InputError(msg)
    return Samples(batches, f"{num:,} samples: {origin}")


def can_choose(loader: Any) -> bool:
    """Return whether samples of a loader's data can be taken one by one."""
    return (
        isinstance(loader, DataLoader)
        and loader.batch_sampler is not None
        and not isinstance(loader.dataset, IterableDataset)
    )
