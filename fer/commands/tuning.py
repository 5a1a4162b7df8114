"""Fine-tune a task's pruned network on the task's loss, or on the outputs of the unpruned network."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from fer.neurons.networks import copy_network
from fer.pruning.tuning import BestEpoch, Epoch, distillation_loss, train_mode
from fer.tasks import ClassificationTask
from fer.tasks.optim import is_fused, make_optimizer

SHARE_OF_LR: Final = 0.1
"""Peak learning rate of fine-tuning, as a share of the training's."""


class FineTuning(LightningModule):
    """A task whose network is fine-tuned.

    The optimizer is that of the training; a cosine schedule decays the learning rate to 0.

    Args:
        task: The task, with the pruned network.
        lr: Peak learning rate; None: a tenth of the training's.
        whole: The unpruned network, whose outputs are the targets; None: minimise the task's loss, which
            needs labels.
    """

    def __init__(self, task: ClassificationTask, *, lr: float | None, whole: nn.Module | None) -> None:
        super().__init__()
        self.task = task
        settings, highest = task.optimizer_settings, task.optimizer_settings.lr
        if task.schedule_settings.name == "cyclic":
            highest = max(highest, task.schedule_settings.max_lr)
        self.settings = replace(settings, lr=SHARE_OF_LR * highest if lr is None else lr)
        self.whole = None if whole is None else copy_network(whole).eval().requires_grad_(requires_grad=False)

    def setup(self, stage: str) -> None:
        """Set up the task, which computes its class weights."""
        self.task.setup(stage)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of a batch, after mixup or CutMix if the task uses them."""
        del batch_idx
        inputs, targets = batch
        train_mode(self.task.network, len(inputs))
        if self.task.mix is not None:
            inputs, targets = self.task.mix(inputs, targets)
        logits = self.task(inputs)
        if self.whole is None:
            loss = self.task.loss_of(logits, targets)
        else:
            loss = distillation_loss(logits, self.whole(inputs))
        self.log("train/loss", loss.detach(), on_step=False, on_epoch=True, batch_size=len(inputs))
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer and the schedule."""
        optimizer = make_optimizer(self.task.network, self.settings, fused=is_fused(self.trainer))
        num_steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(1, num_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class KeepBest(Callback):
    """Keep the weights of the best epoch of a fine-tuning, and report each.

    Args:
        best: Keeps the weights.
        report: Called with the number of each epoch (0: before fine-tuning) and its results.
    """

    def __init__(self, best: BestEpoch, report: Callable[[int, Epoch], None]) -> None:
        self.best, self.report = best, report
        report(0, best.epochs[0])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate the network."""
        loss = float(trainer.callback_metrics["train/loss"])
        found = self.best.add(pl_module.get_submodule("task.network"), loss)
        self.report(len(self.best.epochs) - 1, found)


def tuning_line(number: int, num_epochs: int, found: Epoch) -> str:
    """Return the line of an epoch of a fine-tuning.

    >>> tuning_line(0, 3, Epoch(None, 1.5, 0.5))
    'before fine-tuning   val loss 1.5000 acc 50.00 %'
    >>> tuning_line(2, 3, Epoch(1.25, 1.5, None))
    'fine-tuning 2/3      train loss 1.2500   val loss 1.5000'
    """
    parts = [] if found.loss is None else [f"train loss {found.loss:.4f}"]
    if found.val_loss is not None:
        accuracy = "" if found.val_acc is None else f" acc {100 * found.val_acc:.2f} %"
        parts.append(f"val loss {found.val_loss:.4f}{accuracy}")
    name = f"fine-tuning {number}/{num_epochs}" if number else "before fine-tuning"
    return f"{name:<18}   {'   '.join(parts)}".rstrip()
