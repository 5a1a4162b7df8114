"""Test and prediction steps shared by all networks."""

import math
from collections.abc import Mapping, Sequence, Sized
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fer.checkpoints import temperature_of
from fer.metrics import ClassificationMetrics, ClassificationReport
from fer.metrics.calibration import Calibration, calibration_scalars, mean_probabilities
from fer.metrics.keys import final_prefix
from fer.tasks.calibrator import Calibrator
from fer.tasks.frozen import FrozenPart
from fer.views import Tta, views

Batch = tuple[Tensor, Tensor]


class EvaluatedTask(LightningModule):
    """A classifier that is tested on several splits, with calibrated probabilities.

    Attributes:
        class_names: Names of the K classes, in the order of the logits.
        final_names: Names of the tested splits, in order.
        final_metrics: Metrics of each tested split.
        reports: Last evaluation of each split; callbacks draw it.
        calibrator: Fits and stores the temperatures.
        kept_part: Frozen part of the network whose features the data loaders yield; None: they yield inputs.
    """

    num_classes: int
    class_names: tuple[str, ...]
    final_names: tuple[str, ...]
    final_metrics: nn.ModuleList
    reports: dict[str, ClassificationReport]
    calibrator: Calibrator
    kept_part: FrozenPart | None

    @property
    def calibration(self) -> Mapping[str, Any] | None:
        """Temperatures as stored in a checkpoint; None: the probabilities are not calibrated."""
        return self.calibrator.fitted()

    @property
    def calibrations(self) -> Mapping[str, Mapping[Tta, Calibration]]:
        """Calibration in the last test, by split and views; train is not included."""
        return self.calibrator.reports

    def views_of(self, inputs: Tensor, logits: Tensor, tta: Tta) -> Tensor:
        """Return the logits of the views of a batch, shape (N, V, K).

        Features have no other views: V is 1.

        Args:
            inputs: The batch.
            logits: Logits of the batch, shape (N, K).
            tta: Test-time augmentation, which defines the views.
        """
        has_views = inputs.ndim == 4 and self.kept_part is None
        others = views(inputs, tta)[1:] if has_views else []
        return torch.stack([logits, *map(self, others)], dim=1)

    def on_test_start(self) -> None:
        """Create metrics for each split, with the data module's names, else numbered."""
        data = getattr(self.trainer, "datamodule", None)
        num_splits = len(self.trainer.num_test_batches)
        numbered = tuple(f"test-{number}" for number in range(num_splits)) if num_splits > 1 else ("test",)
        self.final_names = getattr(data, "evaluated_names", numbered)
        self.final_metrics = nn.ModuleList(
            ClassificationMetrics(self.num_classes, self.class_names) for _ in self.final_names
        ).to(self.device)
        self.calibrator.start_test(tuple(name for name in self.final_names if name != "train"))

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Update the metrics of a split, and collect its logits for the calibration."""
        inputs, labels = batch
        loaders = self.trainer.test_dataloaders
        loader = loaders[dataloader_idx] if isinstance(loaders, Sequence) else cast(DataLoader[Any], loaders)
        metrics = cast(ClassificationMetrics, self.final_metrics[dataloader_idx])
        logits = self(inputs)
        metrics.update(*self.new_samples(logits, labels, loader=loader, batch_idx=batch_idx))
        name = self.final_names[dataloader_idx]
        if name in self.calibrator.final_logits:
            of_views = self.views_of(inputs, logits, self.calibrator.views_of(name))
            kept = self.new_samples(of_views, labels, loader=loader, batch_idx=batch_idx)
            self.calibrator.final_logits[name].update(*kept)

    def new_samples(
        self, logits: Tensor, labels: Tensor, *, loader: Any, batch_idx: int
    ) -> tuple[Tensor, Tensor]:
        """Return the samples of an evaluation's batch without the sampler's repetitions.

        If several processes share a split, the sampler repeats its first samples at the end, so that each
        process has the same number of samples. Counting these repetitions would make n wrong.
        """
        world_size = self.trainer.world_size
        if world_size > 1:
            of_this_process = -(-(len(cast(Sized, loader.dataset)) - self.global_rank) // world_size)
            num_new = max(0, of_this_process - batch_idx * (loader.batch_size or 1))
            logits, labels = logits[:num_new], labels[:num_new]
        return logits, labels

    def on_test_epoch_end(self) -> None:
        """Log all metrics of all splits, which were computed with the same weights."""
        self.calibrator.end_test()
        for name, metrics in zip(self.final_names, self.final_metrics, strict=True):
            report: ClassificationReport = metrics.compute()  # type: ignore[operator]
            self.reports[name] = report
            scalars = report.scalars() | calibration_scalars(self.calibrations.get(name, {}))
            prefix = final_prefix(name)
            self.log_dict({f"{prefix}/{key}": value for key, value in scalars.items()}, sync_dist=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return calibrated class probabilities (N, K), averaged over the views; see :mod:`fer.views`.

        The probabilities of a sample are NaN if any of its logits is not finite.
        """
        del batch_idx
        tta = self.calibrator.tta
        logits = self.views_of(batch[0], self(batch[0]), tta)
        tta = tta if logits.shape[1] > 1 else "none"
        is_broken = ~logits.isfinite().all(dim=-1).all(dim=-1)
        probabilities = mean_probabilities(logits, temperature_of(self.calibration, tta))
        return probabilities.masked_fill(is_broken[:, None], math.nan)
