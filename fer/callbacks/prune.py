"""Prune the best checkpoint when training ends."""

import logging
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from fer.callbacks.stop import is_stopped
from fer.checkpoints import read_any_checkpoint
from fer.neurons.networks import copy_network
from fer.pruning import PruneSettings, compare, prune_once, save_pruning

log = logging.getLogger("fer.callbacks")


class PruneCallback(Callback):
    """Prune the best checkpoint when training ends, and report what it costs on the validation split.

    Writes ``checkpoints/pruned.ckpt``, which ``fer test`` and ``fer fit --start_from`` take, and
    ``prune.json``. Logs ``prune/…``: ``acc_before``, ``acc_after``, ``loss_…``, ``parameters_…``, ``macs_…``,
    ``bytes_…``, ``neurons_…`` and ``compression``. The LightningModule has its network in ``network``.

    Args:
        enabled: Whether the best checkpoint is pruned when training ends.
        **settings: Settings of the pruning; see :class:`fer.pruning.PruneSettings`.

    Source: Gedeon and Harris, "Network Reduction Techniques", 1991; merges: :mod:`fer.neurons.merge`.
    """

    def __init__(self, enabled: bool = False, **settings: Any) -> None:
        self.enabled = enabled
        self.settings = PruneSettings(**settings)
        self.console = Console(highlight=False, soft_wrap=True)

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prune the best checkpoint, if this is enabled and there is one."""
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        if self.enabled and best and not is_stopped(trainer):
            self.prune(trainer, pl_module, Path(best))

    def prune(self, trainer: Trainer, pl_module: LightningModule, checkpoint: Path) -> None:
        """Prune a checkpoint, write and log the results."""
        data = getattr(trainer, "datamodule", None)
        if data is None or not isinstance(pl_module.network, torch.nn.Module):
            log.warning("prune.enabled: nothing is pruned, since training had no data module")
            return
        # Least squares need more digits than bfloat16 has.
        network = copy_network(pl_module.network).float().to(pl_module.device)
        state = read_any_checkpoint(checkpoint)["state_dict"]
        prefix = "network."
        network.load_state_dict(
            {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        )
        samples = training_samples(data, self.settings.num_samples, pl_module.device)
        pruning = prune_once(network, samples, self.settings)
        results = compare(network, pruning, data.val_dataloader(), **describe(pl_module, data))
        path = save_pruning(pruning, results, checkpoint, Path(trainer.default_root_dir))
        self.console.print(f"{results.table()}\n\npruned       {path}", markup=False)
        for logger in trainer.loggers:
            logger.log_metrics(results.scalars(), step=trainer.global_step)


def training_samples(data: Any, num_samples: int, device: torch.device) -> list[list[Tensor]]:
    """Return training samples as batches ``[inputs, labels]`` on a device.

    Args:
        data: A data module, set up. One with ``dataset`` and ``sample`` gives a stratified sample without
            augmentation; of another, samples at even distances from its training data are taken.
        num_samples: Number of samples; a smaller training split is taken whole.
        device: Where the batches are put.
    """
    if hasattr(data, "sample"):
        rows, dataset = data.sample("train", num_samples).tolist(), data.dataset("train")
        loader = DataLoader(Subset(dataset, rows), batch_size=data.batch_size)
    else:
        train = data.train_dataloader()
        num = min(num_samples, len(train.dataset))
        rows = [number * len(train.dataset) // num for number in range(num)]
        loader = DataLoader(
            Subset(train.dataset, rows), batch_size=train.batch_size or 64, collate_fn=train.collate_fn
        )
    return [[tensor.to(device) for tensor in batch] for batch in loader]


def describe(pl_module: LightningModule, data: Any) -> dict[str, Any]:
    """Return what :func:`fer.pruning.compare` is told of a LightningModule and its data module."""
    return {
        "class_names": getattr(pl_module, "class_names", None) or getattr(data, "class_names", None),
        "protocol": getattr(data, "protocol_name", ""),
        "memory_format": getattr(pl_module, "memory_format", torch.contiguous_format),
    }
