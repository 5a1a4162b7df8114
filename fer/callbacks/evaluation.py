"""Evaluation of a run: figures, and results as one JSON file."""

import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from fer.callbacks.calibration import (
    ReportsCalibration,
    calibration_numbers,
    calibration_table,
    draw_calibration,
)
from fer.callbacks.limits import limit_protocol
from fer.callbacks.media import draw_now, is_dry_run, missing_figures, run_of_trainer, save_figure
from fer.callbacks.model_card import HasCards, model_card
from fer.callbacks.network import find_network
from fer.callbacks.samples import first_loader
from fer.figures import confusion_figure, curves_figure, predictions_figure
from fer.figures.style import drawing
from fer.files import atomic_write
from fer.metrics import ClassificationReport
from fer.metrics.keys import is_learning_rate, parse_key
from fer.provenance import package_commit, processor

NUM_SAMPLES: Final = 15
"""Number of images whose predictions are drawn."""

log = logging.getLogger("fer.callbacks")


@runtime_checkable
class ReportsClasses(Protocol):
    """A LightningModule that classifies, and keeps a report of each split that it tested.

    Attributes:
        reports: By split its last report.
        final_names: Names of the tested splits, in order.
        class_names: Names of the classes, in the order of the logits.
    """

    reports: Mapping[str, ClassificationReport]
    final_names: Sequence[str]
    class_names: Sequence[str]


@runtime_checkable
class HoldsSplits(Protocol):
    """A data module that holds its splits; those of images have ``images``, ``labels`` and ``take(rows)``.

    Attributes:
        splits: By name the N samples of a split.
        test_names: Names of the test splits.
    """

    splits: Mapping[str, Any]
    test_names: Sequence[str]

    def dataset(self, name: str) -> Any:
        """Return a split as a dataset of network inputs, not augmented."""


class EvaluationCallback(Callback):
    """Draw losses and metrics after training; after testing, write ``results.json``.

    It works with any LightningModule. ``figures/curves.png`` shows whatever was logged with ``self.log``,
    train and val of one quantity in one panel. ``results.json`` in the run's folder holds network,
    parameters, data, protocol, epochs, seconds, seed, the best checkpoint's metric and the metrics that the
    test logged, all of the checkpoint that was tested. Of a module that keeps classification reports, see
    :class:`ReportsClasses`, it also holds each split's n, accuracy with its interval and confusion matrix,
    which are drawn and printed as well. With ``fast_dev_run`` nothing is written.

    Args:
        curves: The quantities that are drawn, such as ``loss`` and ``acc``; None: all that are logged, at
            most 8.
    """

    def __init__(self, curves: Sequence[str] | None = None) -> None:
        self.curves = curves
        self.console = Console(highlight=False, soft_wrap=True)
        self.fit_seconds: float | None = None
        self.started: float | None = None
        self.seconds_before = 0.0
        """Seconds that training took before it was resumed."""
        self.history: dict[str, list[float]] = {"epoch": []}
        """What was logged: columns of equal length, a row for each epoch, NaN where there is no value."""
        self.seen: dict[str, Any] = {}
        """The values in the history that were logged last, as Lightning holds them."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        del trainer, pl_module
        self.started = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget what an earlier training with this callback left of epochs that are still to come."""
        del pl_module
        num = sum(epoch < trainer.current_epoch for epoch in self.history["epoch"])
        self.history = {key: column[:num] for key, column in self.history.items()}
        self.seen = {}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add what the LightningModule logged when the last epoch had ended."""
        del pl_module
        self._add_late(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the losses and metrics that were logged in this epoch."""
        del pl_module
        new = self._new_values(trainer)
        self.seen |= new
        row = {key: float(value) for key, value in new.items()}
        self.history = append_row(self.history, {"epoch": float(trainer.current_epoch)} | row)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add what the LightningModule logged when the last epoch had ended."""
        del pl_module
        self._add_late(trainer)

    def _new_values(self, trainer: Trainer) -> dict[str, Any]:
        """Return the losses, metrics and learning rates that are logged since the last epoch.

        Lightning keeps old values, such as those of a validation every second epoch, as the same tensors.
        """
        return {
            key: value
            for key, value in trainer.callback_metrics.items()
            if value is not self.seen.get(key) and (parse_key(key) is not None or is_learning_rate(key))
        }

    def _add_late(self, trainer: Trainer) -> None:
        """Add to the last epoch the values that it does not have yet."""
        if not self.history["epoch"]:
            return
        num = len(self.history["epoch"])
        for key, value in self._new_values(trainer).items():
            column = self.history.setdefault(key, [math.nan] * num)
            if math.isnan(column[-1]):
                column[-1] = float(value)
                self.seen[key] = value

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the curves of the whole training."""
        self.fit_seconds = self._seconds()
        if is_dry_run(trainer) or not self.history["epoch"]:
            return
        with drawing("curves", missing_figures(trainer)):
            try:
                figure = curves_figure(self.history, quantities=self.curves, chance=_chance(pl_module))
            except ValueError:
                log.warning(
                    'no curves are drawn: no loss or metric was logged; call self.log("train_loss", loss)'
                )
                return
            save_figure(trainer, "curves", figure)

    @rank_zero_only
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw and write the results of the test."""
        if is_dry_run(trainer):
            return
        results = self._results(trainer, pl_module)
        if isinstance(pl_module, ReportsClasses):
            reports = {name: pl_module.reports[name] for name in pl_module.final_names}
            self._show_reports(trainer, reports, protocol=results["protocol"])
            if isinstance(pl_module, ReportsCalibration) and pl_module.calibrations:
                self.console.print(f"\n{calibration_table(pl_module)}")
                draw_calibration(trainer, pl_module, results["protocol"])
            self._draw_samples(trainer, pl_module)
            results |= {
                "trained_on": getattr(pl_module, "trained_on", None),
                "class_names": list(pl_module.class_names),
                "best_val_acc": getattr(pl_module, "best_val_acc", None),
                "splits": {name: _numbers(report) for name, report in reports.items()},
            }
        if isinstance(pl_module, ReportsCalibration) and "splits" in results:
            results["calibration"] = pl_module.calibration
            for name, found in pl_module.calibrations.items():
                results["splits"][name] |= calibration_numbers(found)
        draw_now(trainer)  # before the results, with which a run is complete
        run = run_of_trainer(trainer)
        if results.get("splits"):
            data = getattr(trainer, "datamodule", None)
            cards = data.cards(results["trained_on"]) if isinstance(data, HasCards) else (None,)
            text = model_card(results, cards, name=run.folder.resolve().name)
            with atomic_write(run.model_card_path) as file:
                file.write(text.encode())
        run.write_results(results)

    def _results(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return the facts of any run."""
        data = _name_of_data(trainer)
        protocol = getattr(getattr(trainer, "datamodule", None), "protocol_name", data)
        return {
            "network": type(find_network(pl_module).module).__name__,
            "parameters": sum(p.numel() for p in pl_module.parameters()),
            "trainable_parameters": sum(p.numel() for p in pl_module.parameters() if p.requires_grad),
            "data": data,
            "protocol": limit_protocol(protocol, trainer),
            # Null where a checkpoint is tested that another run trained.
            "epochs": trainer.current_epoch or None,
            "seed": int(os.environ.get("PL_GLOBAL_SEED", "-1")),  # where Lightning keeps it
            "fit_seconds": None if self.fit_seconds is None else round(self.fit_seconds, 3),
            "best": _best(trainer),
            "machine": describe_machine(trainer),
            "commit": package_commit(),
            "metrics": {key: _finite(float(value)) for key, value in trainer.callback_metrics.items()},
        }

    def _show_reports(
        self, trainer: Trainer, reports: Mapping[str, ClassificationReport], *, protocol: str
    ) -> None:
        """Print the accuracies and the last report, and draw the confusion matrix of each split."""
        if run_of_trainer(trainer).pruned_checkpoint.is_file():
            self.console.print("results of   the unpruned network")
        self.console.print(accuracy_table(reports))
        self.console.print()
        self.console.print(list(reports.values())[-1].table())
        for name, report in reports.items():
            title = f"Confusion matrix, {name} ({protocol})"
            draw = partial(confusion_figure, report.confusion, report.class_names, title=title)
            save_figure(trainer, f"confusion-{name}", draw)

    @staticmethod
    def _draw_samples(trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw predictions of some images of the first test split, if the data module holds images."""
        data = getattr(trainer, "datamodule", None)
        if not isinstance(data, HoldsSplits) or not isinstance(pl_module, ReportsClasses):
            return
        name = data.test_names[0]
        if not hasattr(data.splits[name], "images"):
            return
        dataset, num_samples = data.dataset(name), len(data.splits[name])
        rows = np.linspace(0, num_samples - 1, min(NUM_SAMPLES, num_samples)).astype(int)
        inputs = torch.stack([dataset[int(row)][0] for row in rows]).to(next(pl_module.parameters()))
        with torch.no_grad():
            probabilities = pl_module(inputs).float().softmax(dim=1).cpu()
        split = data.splits[name].take(rows)
        shown = (split.images, torch.from_numpy(split.labels), probabilities, pl_module.class_names)
        title = f"Sample predictions, {name}"
        save_figure(trainer, "predictions", lambda: predictions_figure(*shown, title))

    def _seconds(self) -> float:
        """Return the seconds that training has taken so far."""
        return self.seconds_before + (0.0 if self.started is None else time.monotonic() - self.started)

    def state_dict(self) -> dict[str, Any]:
        """Return the history and the time, so that a resumed run continues them."""
        return {"history": self.history, "seconds": self._seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the history and the time."""
        self.history, self.seconds_before = state_dict["history"], state_dict.get("seconds", 0.0)


def append_row(history: Mapping[str, Sequence[float]], row: Mapping[str, float]) -> dict[str, list[float]]:
    """Return a history with one row more, NaN where there is no value.

    >>> append_row({"epoch": [0], "val_loss": [0.5]}, {"epoch": 1, "lr": 0.1})
    {'epoch': [0, 1], 'val_loss': [0.5, nan], 'lr': [nan, 0.1]}
    """
    unknown = [math.nan] * len(history["epoch"])
    keys = dict.fromkeys([*history, *row])
    return {key: [*history.get(key, unknown), row.get(key, math.nan)] for key in keys}


def accuracy_table(reports: Mapping[str, ClassificationReport]) -> str:
    """Return the top-1 accuracy of every split with n and its Wilson interval, one line each."""
    width = max(len(name) for name in reports)
    lines = []
    for name, r in reports.items():
        low, high = (100 * bound for bound in r.interval)
        lines.append(f"{name:<{width}}  {100 * r.accuracy:6.2f} %  [{low:.2f}, {high:.2f}]  n = {r.n:,}")
    return "\n".join(lines)


def _numbers(report: ClassificationReport) -> dict[str, Any]:
    """Return the numbers of a report, from which all other metrics follow, as plain data."""
    return {
        "n": report.n,
        "acc": report.accuracy,
        "interval": list(report.interval),
        "confusion": report.confusion.tolist(),
    }


def _finite(value: float) -> float | None:
    """Return a number as JSON knows it: None for NaN and infinity."""
    return value if math.isfinite(value) else None


def describe_machine(trainer: Trainer) -> str:
    """Return the device that a network runs on, its threads or its processes, and the precision."""
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    parts = [name if device.type in ("cuda", "cpu") else f"{device.type} of {name}"]
    if device.type == "cpu":
        parts.append(f"{(num := torch.get_num_threads())} thread{'s' * (num != 1)}")
    if trainer.world_size > 1:
        parts.append(f"{trainer.world_size} processes")
    return ", ".join([*parts, str(trainer.precision)])


def _chance(pl_module: LightningModule) -> float | None:
    """Return the chance accuracy; None for a module that is no classifier."""
    return 1 / len(pl_module.class_names) if isinstance(pl_module, ReportsClasses) else None


def _best(trainer: Trainer) -> dict[str, float | None] | None:
    """Return by name the metric of the best checkpoint; None if no checkpoint was selected by a metric."""
    checkpoint = trainer.checkpoint_callback
    monitor, score = (getattr(checkpoint, name, None) for name in ("monitor", "best_model_score"))
    return None if monitor is None or score is None else {monitor: _finite(float(score))}


def _name_of_data(trainer: Trainer) -> str:
    """Return the name of the data module's class, or of the first test loader's dataset."""
    data = getattr(trainer, "datamodule", None)
    if data is not None:
        return type(data).__name__
    loader = first_loader(trainer.test_dataloaders)
    return type(getattr(loader, "dataset", loader)).__name__
