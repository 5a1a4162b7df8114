"""Temperature scaling of a task: fitted on the validation split, evaluated on the test splits."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fer.checkpoints import temperature_of
from fer.metrics.calibration import Calibration, LogitsMetric, calibration
from fer.views import NUM_VIEWS, Tta

SPLIT = "val"
"""Split on which temperatures are fitted."""


class Calibrator:
    """Fits temperatures for the current weights of a task.

    A validation stores its logits here. The temperature is fitted on them when it is first needed, such as
    for a checkpoint. A training step changes the weights and discards both.

    Attributes:
        tta: Test-time augmentation of predictions; tests evaluate it in addition to the plain images.
        val_tta: Test-time augmentation for which temperatures are fitted on val; has at least the views of
            ``tta``.
        val_logits: Collects the logits of a validation.
        reports: Calibration in the last test, by split and views.
    """

    def __init__(self) -> None:
        self.tta: Tta = "none"
        self.val_tta: Tta = "none"
        self.val_logits = LogitsMetric()
        self.final_logits: dict[str, LogitsMetric] = {}
        self.reports: dict[str, dict[Tta, Calibration]] = {}
        self._validated: tuple[Tensor, Tensor] | None = None
        self._fitted: dict[str, Any] | None = None

    def choose_views(self, tta: Tta, val_tta: Tta | None = None) -> None:
        """Set the views of samples; ``val_tta`` is that of val, by default the same as ``tta``."""
        self.tta, self.val_tta = tta, tta if val_tta is None else val_tta

    def load(self, found: Mapping[str, Any] | None) -> None:
        """Load the calibration of a checkpoint whose weights are loaded into the task."""
        self._fitted, self._validated = None if found is None else dict(found), None

    def void(self) -> None:
        """Discard logits and temperatures, because the weights changed."""
        self._validated = self._fitted = None

    def end_validation(self, *, is_trial: bool) -> None:
        """Store the logits of a validation, gathered from all processes.

        Args:
            is_trial: Whether this is Lightning's sanity check with a few batches, whose logits are discarded.
        """
        validated = self.val_logits.compute()
        self.val_logits.reset()
        if not is_trial and len(validated[1]):
            self.void()
            self._validated = validated

    def fitted(self) -> dict[str, Any] | None:
        """Return the temperatures as stored in a checkpoint; see :func:`fer.checkpoints.calibration_in`."""
        if self._fitted is None and self._validated is not None:
            found = calibration(*self._validated)
            self._fitted = _facts(found) if found.n else None
        return self._fitted

    def start_test(self, names: tuple[str, ...]) -> None:
        """Discard the results of an earlier test, and prepare a new one.

        Args:
            names: Splits whose logits are collected.
        """
        self.reports = {}
        self.final_logits = {name: LogitsMetric() for name in names}

    def views_of(self, name: str) -> Tta:
        """Return the test-time augmentation with which a split is evaluated."""
        return self.val_tta if name == SPLIT else self.tta

    def end_test(self) -> None:
        """Fit the missing temperatures of views on val, then compute the calibration on each split."""
        for name in sorted(self.final_logits, key=lambda name: name != SPLIT):
            logits, labels = self.final_logits[name].compute()
            shown = [tta for tta, num in NUM_VIEWS.items() if len(labels) and num <= logits.shape[1]]
            reports = {tta: self._report(name, tta, logits, labels) for tta in shown}
            self.reports[name] = {
                tta: report for tta, report in reports.items() if NUM_VIEWS[tta] <= NUM_VIEWS[self.tta]
            }
        self.final_logits = {}

    def _report(self, name: str, tta: Tta, logits: Tensor, labels: Tensor) -> Calibration:
        logits, fitted = logits[:, : NUM_VIEWS[tta]], self.fitted()
        is_unknown = fitted is not None and tta != "none" and tta not in fitted.get("views", {})
        if fitted is not None and is_unknown and name == SPLIT:
            found = calibration(logits, labels)
            fitted["views"] = fitted.get("views", {}) | ({tta: _facts(found)} if found.n else {})
        return calibration(logits, labels, temperature_of(fitted, tta))


def _facts(found: Calibration) -> dict[str, Any]:
    """Return the part of a calibration that is stored in a checkpoint, as plain data."""
    return {
        "temperature": found.temperature,
        "n": found.n,
        "split": SPLIT,
        "ece_before": found.before.ece,
        "ece_after": found.after.ece,
    }
