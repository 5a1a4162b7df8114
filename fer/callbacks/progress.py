"""Print one line per epoch, for the terminal and the log file."""

import math
import time

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from fer.callbacks.best import USUAL_MONITOR, is_better
from fer.neurons import Stage


class EpochLineCallback(Callback):
    """Print losses, accuracies, learning rate and seconds of each epoch; a star marks the best so far.

    Args:
        monitor: The metric by which an epoch is the best.
    """

    def __init__(self, monitor: str = USUAL_MONITOR) -> None:
        self.monitor = monitor
        self.console = Console(highlight=False, soft_wrap=True)
        self.started = 0.0
        self.best = 0.0 if monitor == USUAL_MONITOR else math.nan

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        del trainer, pl_module
        self.started = time.monotonic()

    @rank_zero_only
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line."""
        del pl_module
        line = epoch_line(
            {key: float(value) for key, value in trainer.callback_metrics.items()},
            epoch=trainer.current_epoch,
            num_epochs=trainer.max_epochs,
            seconds=time.monotonic() - self.started,
            best=self.best,
            monitor=self.monitor,
        )
        value = float(trainer.callback_metrics.get(self.monitor, math.nan))
        self.best = value if is_better(self.monitor, value, self.best) else self.best
        self.console.print(line)


def epoch_line(
    metrics: dict[str, float],
    *,
    epoch: int,
    num_epochs: int | None,
    seconds: float,
    best: float,
    monitor: str = USUAL_MONITOR,
) -> str:
    """Return the line of an epoch.

    Args:
        metrics: Logged values by key; missing ones are left out.
        epoch: Number of the epoch from 0, as in Lightning's progress bar, ``metrics.csv`` and W&B.
        num_epochs: Epochs of the whole training; None or -1 if unknown.
        seconds: Duration of the epoch.
        best: Value of the monitored metric to exceed for a star.
        monitor: The metric by which an epoch is the best.

    >>> epoch_line({"val/loss": 1.5, "val/acc": 0.625}, epoch=2, num_epochs=20, seconds=61, best=0.6)
    'epoch  2/19   val loss 1.5000 acc 62.50 % *   61 s'
    """
    last = f"/{num_epochs - 1}" if num_epochs and num_epochs > 0 else ""
    parts = [f"epoch {epoch:>{max(2, len(last) - 1)}}{last}"]
    for split in ("train", "val"):
        words = []
        if f"{split}/loss" in metrics:
            words.append(f"loss {metrics[f'{split}/loss']:.4f}")
        if f"{split}/acc" in metrics:
            words.append(f"acc {100 * metrics[f'{split}/acc']:.2f} %")
        if words:
            is_best = split == "val" and is_better(monitor, metrics.get(monitor, math.nan), best)
            star = " *" if is_best else ""
            parts.append(f"{split} {' '.join(words)}{star}")
    if "stage/network" in metrics:
        parts.append(tuple(Stage)[int(metrics["stage/network"])])
    if "lr" in metrics:
        parts.append(f"lr {metrics['lr']:.2e}")
    parts.append(f"{seconds:.0f} s")
    return "   ".join(parts)
