"""Gradient norms and histograms of each layer over the training (Onghena and Belo, Figs. 8 to 11)."""

import math
from typing import Any, Final

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from fer.callbacks.budget import length_of
from fer.callbacks.media import save_figure
from fer.callbacks.network import find_network, is_sharded, plain_name
from fer.callbacks.schedule import is_epoch_due
from fer.errors import InputError
from fer.figures import gradient_figure, gradient_histograms

NUM_DRAWN: Final = 12
"""Most layers in the histogram figure, chosen evenly; more would be too small to read."""


def _symmetric_edges() -> Tensor:
    """Return bin edges spaced logarithmically on both sides of zero, 1e-7 to 10."""
    half = torch.logspace(-7, 1, 25)
    return torch.cat([-half.flip(0), half])


class GradientCallback(Callback):
    """Measure the gradients of each layer's weights at the first step of every n-th epoch.

    Of several optimizers it is the first step of each. It works for any LightningModule. Logs
    ``gradients/<layer>`` (the L2 norm) and draws norms and histograms when training ends.

    Args:
        every_n_epochs: Interval in epochs, counted back from the last epoch; 0: never.
    """

    def __init__(self, every_n_epochs: int = 1) -> None:
        if every_n_epochs < 0:
            msg = f"gradients.every_n_epochs is {every_n_epochs}: it must be 0 (never) or more"
            raise InputError(msg)
        self.every_n_epochs = every_n_epochs
        self.edges = _symmetric_edges()
        self.epochs: list[int] = []
        self.norms: dict[str, list[float]] = {}
        self.counts: dict[str, list[Tensor]] = {}
        self.stepped: set[int] = set()
        """Ids of the optimizers that have stepped in this epoch."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget what an earlier training with this callback left of epochs that are still to come."""
        del pl_module
        first = trainer.current_epoch + trainer.fit_loop.restarted_mid_epoch  # which is measured already
        num = sum(epoch < first for epoch in self.epochs)
        self.epochs = self.epochs[:num]
        self.norms = {layer: values[:num] for layer, values in self.norms.items()}
        self.counts = {layer: values[:num] for layer, values in self.counts.items()}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Arrange for the first step of each optimizer to be measured."""
        del trainer, pl_module
        self.stepped = set()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Measure at the first step of each optimizer in an epoch that is due."""
        is_due = is_epoch_due(trainer.current_epoch, self.every_n_epochs, length_of(trainer)[1])
        if not is_due or id(optimizer) in self.stepped or is_sharded(trainer):
            return
        self.stepped.add(id(optimizer))
        if trainer.current_epoch not in self.epochs:
            self.epochs.append(trainer.current_epoch)
        of_optimizer = {id(each) for group in optimizer.param_groups for each in group["params"]}
        found, edges = find_network(pl_module), self.edges.to(pl_module.device)
        for name, parameter in pl_module.named_parameters():
            is_measured = id(parameter) in of_optimizer and name.endswith("weight") and parameter.ndim >= 2
            if not is_measured or parameter.grad is None:
                continue
            layer = plain_name(name).removeprefix(f"{found.attribute}.").removesuffix(".weight")
            gradient = parameter.grad.detach().float()
            norm = float(gradient.norm())
            bins = torch.bucketize(gradient.flatten(), edges).clamp(1, len(edges) - 1) - 1
            self._fill(layer, len(self.epochs) - 1)
            if len(self.norms[layer]) == len(self.epochs):
                continue  # measured before the epoch was stopped
            self.norms[layer].append(norm)
            self.counts[layer].append(torch.bincount(bins, minlength=len(edges) - 1).cpu())
            pl_module.log(
                f"gradients/{layer}", norm, on_step=False, on_epoch=True, batch_size=1, sync_dist=True
            )

    def _fill(self, layer: str, num: int) -> None:
        """Fill a layer's history, up to so many epochs, with those in which it had no gradient."""
        norms, counts = self.norms.setdefault(layer, []), self.counts.setdefault(layer, [])
        missed = num - len(norms)
        norms.extend([math.nan] * missed)
        counts.extend([torch.zeros(len(self.edges) - 1, dtype=torch.int64)] * missed)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the norms and histograms."""
        del pl_module
        if not self.norms:
            return
        for layer in self.norms:
            self._fill(layer, len(self.epochs))
        epochs = [epoch + 1 for epoch in self.epochs]
        save_figure(trainer, "gradient-norms", lambda: gradient_figure(self.norms, epochs))
        layers = list(self.counts)
        step = max(1, -(-len(layers) // NUM_DRAWN))
        drawn = {layer: (torch.stack(self.counts[layer]), self.edges) for layer in layers[::step]}
        save_figure(trainer, "gradient-histograms", lambda: gradient_histograms(drawn, epochs))

    def state_dict(self) -> dict[str, Any]:
        """Return the history, so that a resumed run continues it."""
        return {"epochs": self.epochs, "norms": self.norms, "counts": self.counts}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the history."""
        self.epochs, self.norms, self.counts = (state_dict[key] for key in ("epochs", "norms", "counts"))
