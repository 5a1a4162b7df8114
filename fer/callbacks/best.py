"""The best value so far of the metric that selects the checkpoint."""

import math
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer

from fer.errors import InputError, did_you_mean
from fer.tasks.base import logged_on_val

USUAL_MONITOR = "val/acc"


def mode_of(metric: str) -> Literal["min", "max"]:
    """Return whether a metric is better when it is lower, as a loss is, or higher.

    >>> mode_of("val/loss"), mode_of("val/recall/fear")
    ('min', 'max')
    """
    return "min" if "loss" in metric.rpartition("/")[2] else "max"


def is_better(metric: str, value: float, best: float) -> bool:
    """Return whether a value of a metric is better than the best so far; no value is better than NaN."""
    if math.isnan(value):
        return False
    return math.isnan(best) or (value < best if mode_of(metric) == "min" else value > best)


class BestCallback(Callback):
    """Check the metric that selects the checkpoint, and log its running best under ``<metric>_best``.

    Args:
        monitor: A metric of the validation split. The running best of ``val/acc`` is the task's to log.

    Raises:
        InputError: When training starts: no such metric is logged.
    """

    def __init__(self, monitor: str = USUAL_MONITOR) -> None:
        self.monitor = monitor
        self.best = math.nan

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a metric that is not logged."""
        del trainer
        names = logged_on_val(getattr(pl_module, "class_names", ()))
        known = [f"val/{name}" for name in ("loss", *names)]
        if self.monitor not in known:
            hint = did_you_mean(self.monitor, known)
            msg = f"--monitor {self.monitor}: no such metric; {hint}there are {', '.join(known)}"
            raise InputError(msg)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the running best, once the validation split was evaluated."""
        if self.monitor == USUAL_MONITOR or self.monitor not in trainer.callback_metrics:
            return
        value = float(trainer.callback_metrics[self.monitor])
        self.best = value if is_better(self.monitor, value, self.best) else self.best
        pl_module.log(f"{self.monitor}_best", self.best, sync_dist=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the running best, so that a resumed run continues from it."""
        return {"monitor": self.monitor, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the running best of the same metric."""
        if state_dict["monitor"] == self.monitor:
            self.best = state_dict["best"]
