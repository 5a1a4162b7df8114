"""The best value so far of the metric that selects the checkpoint."""

import math
from collections.abc import Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from lightning.pytorch import Callback, LightningModule, Trainer

from fer.errors import InputError, did_you_mean
from fer.metrics.keys import is_lower_better

USUAL_MONITOR = "val/acc"


def mode_of(metric: str) -> Literal["min", "max"]:
    """Return whether a metric is better when it is lower, as a loss or an error is, or higher.

    >>> mode_of("val_loss"), mode_of("val/recall/fear")
    ('min', 'max')
    """
    return "min" if is_lower_better(metric) else "max"


def is_better(metric: str, value: float, best: float) -> bool:
    """Return whether a value of a metric is better than the best so far; no value is better than NaN."""
    if math.isnan(value):
        return False
    return math.isnan(best) or (value < best if mode_of(metric) == "min" else value > best)


@runtime_checkable
class NamesMetrics(Protocol):
    """A LightningModule that knows before training what it will log.

    Attributes:
        val_keys: Keys of the metrics of the validation split. Those that end in ``_best`` are running bests.
    """

    val_keys: Sequence[str]


class BestCallback(Callback):
    """Check the metric that selects the checkpoint, and log its running best under ``<metric>_best``.

    Of a module that does not name its metrics beforehand, see :class:`NamesMetrics`, any is accepted.

    Args:
        monitor: A metric of the validation split.

    Raises:
        InputError: When training starts: no such metric is logged.
    """

    def __init__(self, monitor: str = USUAL_MONITOR) -> None:
        self.monitor = monitor
        self.best = math.nan

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a metric that is not logged."""
        del trainer
        known = [key for key in known_keys(pl_module) if not key.endswith("_best")]
        if known and self.monitor not in known:
            hint = did_you_mean(self.monitor, known)
            msg = f"--monitor {self.monitor}: no such metric; {hint}there are {', '.join(known)}"
            raise InputError(msg)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the running best, once the validation split was evaluated, unless the module logs it itself."""
        key = f"{self.monitor}_best"
        if key in known_keys(pl_module) or self.monitor not in trainer.callback_metrics:
            return
        value = float(trainer.callback_metrics[self.monitor])
        self.best = value if is_better(self.monitor, value, self.best) else self.best
        pl_module.log(key, self.best, sync_dist=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the running best, so that a resumed run continues from it."""
        return {"monitor": self.monitor, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the running best of the same metric."""
        if state_dict["monitor"] == self.monitor:
            self.best = state_dict["best"]


def known_keys(pl_module: LightningModule) -> Sequence[str]:
    """Return the keys of val that a module names beforehand; empty if it does not."""
    return pl_module.val_keys if isinstance(pl_module, NamesMetrics) else ()
