"""Print one line per epoch, for the terminal and the log file."""

import math
import time

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from fer.callbacks.best import USUAL_MONITOR, is_better
from fer.metrics.keys import is_learning_rate, is_lower_better, parse_key
from fer.neurons import Stage


class EpochLineCallback(Callback):
    """Print losses, accuracies, learning rate and seconds of each epoch; a star marks the best so far.

    Losses and accuracies are known by their names, in any project's spelling: ``train/loss``, ``val_acc``.

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
    logged = {key: parsed for key in metrics if (parsed := parse_key(key)) is not None}
    for split in ("train", "val"):
        of_split = {
            parsed.quantity: metrics[key]
            for key, parsed in logged.items()
            if (parsed.split or "train") == split
        }
        words = [f"{name} {value:.4f}" for name, value in of_split.items() if is_lower_better(name)]
        if "acc" in of_split:
            words.append(f"acc {_percent(of_split['acc']):.2f} %")
        if words:
            is_best = split == "val" and is_better(monitor, metrics.get(monitor, math.nan), best)
            star = " *" if is_best else ""
            parts.append(f"{split} {' '.join(words)}{star}")
    if "stage/network" in metrics:
        parts.append(tuple(Stage)[int(metrics["stage/network"])])
    rate = next(filter(is_learning_rate, metrics), None)
    if rate is not None:
        parts.append(f"lr {metrics[rate]:.2e}")
    parts.append(f"{seconds:.0f} s")
    return "   ".join(parts)


def _percent(accuracy: float) -> float:
    """Return an accuracy in percent, which some modules log already."""
    return 100 * accuracy if accuracy <= 1 else accuracy
