"""Print one line per epoch, for the terminal and the log file, and show progress within an epoch."""

import math
import time
from typing import Any, Final

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from fer.callbacks.best import USUAL_MONITOR, is_better
from fer.callbacks.stages import NETWORK, StageCallback
from fer.metrics.keys import is_learning_rate, is_lower_better, parse_key
from fer.neurons import Stage
from fer.neurons.stages import LEAST_VALUES

STAGE: Final = f"stage/{NETWORK}"
"""The metric that is the network's stage, as a number."""


class EpochLineCallback(Callback):
    """Print losses, accuracies, learning rate and seconds of each epoch; a star marks the best so far.

    Losses and accuracies are known by their names, in any project's spelling: ``train/loss``, ``val_acc``.
    The stage of the network follows once there are enough measurements for one. If training resumes in the
    middle of an epoch, the seconds of its line count from there.

    Args:
        monitor: The metric by which an epoch is the best.
    """

    def __init__(self, monitor: str = USUAL_MONITOR) -> None:
        self.monitor = monitor
        self.console = Console(highlight=False, soft_wrap=True)
        self.started = 0.0
        self.best = 0.0 if monitor == USUAL_MONITOR else math.nan

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and find the best value of a resumed training."""
        del pl_module
        self.started = time.monotonic()
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.monitor == self.monitor:
                score = callback.best_model_score
                self.best = self.best if score is None else float(score)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        del trainer, pl_module
        self.started = time.monotonic()

    @rank_zero_only
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line."""
        del pl_module
        metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
        if not _has_stages(trainer):
            metrics.pop(STAGE, None)
        line = epoch_line(
            metrics,
            epoch=trainer.current_epoch,
            num_epochs=trainer.max_epochs,
            seconds=time.monotonic() - self.started,
            best=self.best,
            monitor=self.monitor,
            width=self.console.width if self.console.is_terminal else None,
        )
        value = float(trainer.callback_metrics.get(self.monitor, math.nan))
        self.best = value if is_better(self.monitor, value, self.best) else self.best
        self.console.print(line)


class EpochProgressBar(RichProgressBar):
    """Lightning's progress bar, with epochs from 1; other callbacks print above it, and it leaves no line."""

    def __init__(self) -> None:
        super().__init__(leave=False, console_kwargs={"highlight": False, "soft_wrap": True})

    def _init_progress(self, trainer: Trainer) -> None:
        super()._init_progress(trainer)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(getattr(callback, "console", None), Console):
                callback.console = self._console

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return nothing: the line of each epoch has the metrics."""
        del trainer, pl_module
        return {}

    def _get_train_description(self, current_epoch: int) -> str:
        return f"epoch {count_epoch(current_epoch, self.trainer.max_epochs)}"


def epoch_line(
    metrics: dict[str, float],
    *,
    epoch: int,
    num_epochs: int | None,
    seconds: float,
    best: float,
    monitor: str = USUAL_MONITOR,
    width: int | None = None,
) -> str:
    """Return the line of an epoch.

    Args:
        metrics: Logged values by key; missing ones are left out.
        epoch: Index of the epoch, from 0 as in ``metrics.csv`` and W&B; the line counts from 1.
        num_epochs: Epochs of the whole training; None or -1 if unknown.
        seconds: Duration of the epoch.
        best: Value of the monitored metric to exceed for a star.
        monitor: The metric by which an epoch is the best.
        width: Columns of the terminal: a longer line loses the learning rate, then the training accuracy.

    >>> epoch_line({"val/loss": 1.5, "val/acc": 0.625}, epoch=2, num_epochs=20, seconds=61, best=0.6)
    'epoch  3/20  val loss 1.5000 acc 62.50 % *  61 s'
    """
    logged = {key: parsed for key in metrics if (parsed := parse_key(key)) is not None}
    splits = {
        name: {
            parsed.quantity: metrics[key]
            for key, parsed in logged.items()
            if (parsed.split or "train") == name
        }
        for name in ("train", "val")
    }
    is_best = is_better(monitor, metrics.get(monitor, math.nan), best)
    stage = [tuple(Stage)[int(metrics[STAGE])]] if STAGE in metrics else []
    rate = [f"lr {metrics[key]:.2e}" for key in filter(is_learning_rate, metrics)][:1]
    for left_out in ("", "lr", "acc"):
        train = {name: value for name, value in splits["train"].items() if name != left_out}
        parts = [
            f"epoch {count_epoch(epoch, num_epochs)}",
            *_values("train", train),
            *(f"{each} *" if is_best else each for each in _values("val", splits["val"])),
            *stage,
            *([] if left_out else rate),
            f"{seconds:.0f} s",
        ]
        line = "  ".join(parts)
        if width is None or len(line) <= width:
            break
    return line


def _has_stages(trainer: Trainer) -> bool:
    """Return whether the network was measured often enough for its stage to be known."""
    return any(
        isinstance(each, StageCallback) and each.network is None and len(each.times) >= LEAST_VALUES
        for each in trainer.callbacks  # type: ignore[attr-defined]
    )


def _values(split: str, values: dict[str, float]) -> list[str]:
    """Return the losses and the accuracy of a split in one piece; none if it has neither."""
    words = [f"{name} {value:.4f}" for name, value in values.items() if is_lower_better(name)]
    if "acc" in values:
        words.append(f"acc {_percent(values['acc']):.2f} %")
    return [f"{split} {' '.join(words)}"] if words else []


def count_epoch(epoch: int, num_epochs: int | None) -> str:
    """Return which epoch of how many one is, counted from 1.

    >>> count_epoch(8, 120), count_epoch(8, -1)
    ('  9/120', ' 9')
    """
    last = f"/{num_epochs}" if num_epochs and num_epochs > 0 else ""
    return f"{epoch + 1:>{max(2, len(last) - 1)}}{last}"


def _percent(accuracy: float) -> float:
    """Return an accuracy in percent, which some modules log already."""
    return 100 * accuracy if accuracy <= 1 else accuracy
