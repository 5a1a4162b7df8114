"""The calibration of a task: fitted on the logits of the validation split, reported on the test splits."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fer.checkpoints import temperature_of
from fer.metrics.calibration import Calibration, LogitsMetric, calibration
from fer.views import NUM_VIEWS, Tta

SPLIT = "val"
"""The split that temperatures are fitted on."""


class Calibrator:
    """Temperatures that belong to the weights of a task as they are now.

    A validation leaves its logits here; the temperature is fitted on them once it is asked for, such as by a
    checkpoint that is saved. A training step changes the weights and makes both void.

    Attributes:
        tta: Views whose answers are evaluated beside the plain ones, and that predictions are the mean of.
        val_tta: Views of the samples of val, for which temperatures are fitted; at least those of ``tta``.
        val_logits: Collects the logits of a validation.
        reports: The last test: by split and views how well the probabilities are calibrated.
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
        """Set the views; None: of val those of the other splits."""
        self.tta, self.val_tta = tta, tta if val_tta is None else val_tta

    def load(self, found: Mapping[str, Any] | None) -> None:
        """Take the calibration of a checkpoint whose weights the task takes."""
        self._fitted, self._validated = None if found is None else dict(found), None

    def void(self) -> None:
        """Forget what does not belong to the weights any more."""
        self._validated = self._fitted = None

    def end_validation(self, *, is_trial: bool) -> None:
        """Keep the logits of a validation, in all processes.

        Args:
            is_trial: Whether only a few batches were tried, of which nothing is kept.
        """
        validated = self.val_logits.compute()
        self.val_logits.reset()
        if not is_trial and len(validated[1]):
            self.void()
            self._validated = validated

    def fitted(self) -> dict[str, Any] | None:
        """Return what a checkpoint keeps; see :func:`fer.checkpoints.calibration_in`."""
        if self._fitted is None and self._validated is not None:
            found = calibration(*self._validated)
            self._fitted = _facts(found) if found.n else None
        return self._fitted

    def start_test(self, names: tuple[str, ...]) -> None:
        """Forget an earlier test.

        Args:
            names: Splits whose logits are kept.
        """
        self.reports = {}
        self.final_logits = {name: LogitsMetric() for name in names}

    def views_of(self, name: str) -> Tta:
        """Return the views of a split's samples that are evaluated."""
        return self.val_tta if name == SPLIT else self.tta

    def end_test(self) -> None:
        """Fit the temperatures of views that are not known yet; report on each split by those of ``tta``."""
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
    """Return what a checkpoint keeps of a calibration, as plain data."""
    return {
        "temperature": found.temperature,
        "n": found.n,
        "split": SPLIT,
        "ece_before": found.before.ece,
        "ece_after": found.after.ece,
    }
