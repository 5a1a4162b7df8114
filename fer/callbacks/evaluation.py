"""Evaluation of a run: figures, and results as one JSON file."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from fer.callbacks.limits import limit_protocol
from fer.callbacks.media import save_figure
from fer.data.base import ExpressionDataModule
from fer.data.images import ImageSplit
from fer.figures import confusion_figure, curves_figure, predictions_figure
from fer.metrics import ClassificationReport
from fer.runs import Run
from fer.tasks.base import ClassificationTask

NUM_SAMPLES: Final = 16
"""Number of images whose predictions are drawn."""


class EvaluationCallback(Callback):
    """Draw curves after training; after testing draw confusion matrices and samples, and write results.

    ``results.json`` in the run's folder holds what a table needs: network, parameters, the data set and
    protocol of the test and of the training, the class names, epochs, seconds, and each split's n, accuracy
    with its interval and confusion matrix, from which all other metrics follow; all from the checkpoint that
    was tested.
    """

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.fit_seconds: float | None = None
        self.started = 0.0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        del trainer, pl_module
        self.started = time.monotonic()

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the curves of the whole training."""
        del pl_module
        self.fit_seconds = time.monotonic() - self.started
        for logger in trainer.loggers:
            logger.save()  # the last epoch is still in memory
        history = Run(Path(trainer.default_root_dir)).read_metrics()
        if history:
            save_figure(trainer, "curves", curves_figure(history))

    @rank_zero_only
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw and write the results of the test."""
        data = getattr(trainer, "datamodule", None)
        if not isinstance(pl_module, ClassificationTask) or data is None:
            return
        protocol = limit_protocol(getattr(data, "protocol_name", type(data).__name__), trainer)
        reports = {name: pl_module.reports[name] for name in pl_module.final_names}
        for name, report in reports.items():
            title = f"{name} ({protocol})"
            figure = confusion_figure(report.confusion, report.class_names, title=title)
            save_figure(trainer, f"confusion-{name}", figure)
        if isinstance(data, ExpressionDataModule) and isinstance(data.splits["train"], ImageSplit):
            self._draw_samples(trainer, pl_module, data, data.test_names[0])
        self.console.print(accuracy_table(reports))
        self.console.print()
        self.console.print(reports[pl_module.final_names[-1]].table())
        self._write_results(trainer, pl_module, reports, data=type(data).__name__, protocol=protocol)

    @staticmethod
    def _draw_samples(
        trainer: Trainer, task: ClassificationTask, data: ExpressionDataModule, name: str
    ) -> None:
        dataset, num_samples = data.dataset(name), len(data.splits[name])
        rows = np.linspace(0, num_samples - 1, min(NUM_SAMPLES, num_samples)).astype(int)
        inputs = torch.stack([dataset[int(row)][0] for row in rows]).to(next(task.parameters()))
        with torch.no_grad():
            probabilities = task(inputs).float().softmax(dim=1).cpu()
        split = data.splits[name].take(rows)
        figure = predictions_figure(
            split.images, torch.from_numpy(split.labels), probabilities, task.class_names
        )
        save_figure(trainer, "predictions", figure)

    def _write_results(
        self,
        trainer: Trainer,
        task: ClassificationTask,
        reports: Mapping[str, ClassificationReport],
        *,
        data: str,
        protocol: str,
    ) -> None:
        results = {
            "network": type(task.network).__name__,
            "parameters": sum(p.numel() for p in task.parameters()),
            "trainable_parameters": sum(p.numel() for p in task.parameters() if p.requires_grad),
            "data": data,
            "protocol": protocol,
            "trained_on": task.trained_on,
            "class_names": list(task.class_names),
            # Null where a checkpoint is tested that another run trained.
            "epochs": trainer.current_epoch or None,
            "seed": int(os.environ.get("PL_GLOBAL_SEED", "-1")),  # where Lightning keeps it
            "fit_seconds": None if self.fit_seconds is None else round(self.fit_seconds, 3),
            "best_val_acc": task.best_val_acc,
            "splits": {
                name: {
                    "n": r.n,
                    "acc": r.accuracy,
                    "interval": list(r.interval),
                    "confusion": r.confusion.tolist(),
                }
                for name, r in reports.items()
            },
        }
        Run(Path(trainer.default_root_dir)).write_results(results)


def accuracy_table(reports: dict[str, ClassificationReport]) -> str:
    """Return the top-1 accuracy of every split with n and its Wilson interval, one line each."""
    width = max(len(name) for name in reports)
    lines = []
    for name, r in reports.items():
        low, high = (100 * bound for bound in r.interval)
        lines.append(f"{name:<{width}}  {100 * r.accuracy:6.2f} %  [{low:.2f}, {high:.2f}]  n = {r.n:,}")
    return "\n".join(lines)
