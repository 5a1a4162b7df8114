"""The calibration of a tested classifier: printed, drawn, and as plain numbers for ``results.json``."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, Protocol, runtime_checkable

from lightning.pytorch import Trainer

from fer.callbacks.media import save_figure
from fer.figures.reliability import reliability_figure
from fer.metrics import wilson_interval
from fer.metrics.calibration import Calibration, Reliability
from fer.views import NUM_VIEWS, Tta

ARROW: Final = "\N{RIGHTWARDS ARROW}"

EXPLAINED: Final = """\
ECE: mean gap between the probability of the predicted class and the accuracy, 0 is best;
NLL: mean negative log-likelihood; flip: averaged with the mirrored image"""
"""What the columns and rows of the table are."""


@runtime_checkable
class ReportsCalibration(Protocol):
    """A classifier that keeps how well its probabilities are calibrated.

    Attributes:
        calibration: What its checkpoint keeps, see :func:`fer.checkpoints.calibration_in`; None: nothing.
        calibrations: Of the last test by split and views how well the probabilities are calibrated.
    """

    @property
    def calibration(self) -> Mapping[str, Any] | None:
        """What its checkpoint keeps."""

    @property
    def calibrations(self) -> Mapping[str, Mapping[Tta, Calibration]]:
        """How well the probabilities of each tested split are calibrated."""


def calibration_table(module: ReportsCalibration) -> str:
    """Return the calibration of each split, and the accuracy of views beside the plain one, a line each."""
    found = module.calibration
    if found is None:
        head = "calibration  none: the checkpoint has no temperature, so 1 is used"
    else:
        head = (
            f"calibration  logits divided by the temperature {found['temperature']:.3f}, fitted on "
            f"{found['split']} (n = {found['n']:,}): before {ARROW} after"
        )
    rows = {
        split if tta == "none" else f"{split} {tta}": (tta, each)
        for split, views in module.calibrations.items()
        for tta, each in views.items()
    }
    width = max(map(len, rows), default=0)
    lines = [
        f"{name:<{width}}  {_errors(each, is_calibrated=found is not None)}{_accuracy(each, tta)}"
        for name, (tta, each) in rows.items()
    ]
    return "\n".join([head, *lines, EXPLAINED])


def _errors(found: Calibration, *, is_calibrated: bool) -> str:
    """Return calibration error and likelihood, and if there is a temperature what it makes of them."""
    pairs = (
        (f"{100 * found.before.ece:.2f}", f"{100 * found.after.ece:.2f}"),
        (f"{found.nll_before:.4f}", f"{found.nll_after:.4f}"),
    )
    ece, nll = (f" {ARROW} ".join(pair if is_calibrated else pair[:1]) for pair in pairs)
    return f"ECE {ece} %  NLL {nll}  n = {found.n:,}"


def _accuracy(found: Calibration, tta: Tta) -> str:
    """Return the accuracy of several views; that of the plain image is reported for itself."""
    if tta == "none":
        return ""
    low, high = (100 * bound for bound in _interval(found))
    return f"  accuracy of {NUM_VIEWS[tta]} views {100 * found.accuracy:.2f} % [{low:.2f}, {high:.2f}]"


def calibration_numbers(found: Mapping[Tta, Calibration]) -> dict[str, Any]:
    """Return the calibration of a split as plain data, with that of its views under ``tta``.

    Args:
        found: By views, ``none`` among them; empty: nothing is known.
    """
    if not found:
        return {}
    views = {
        tta: {"acc": each.accuracy, "interval": list(_interval(each)), **_numbers(each)}
        for tta, each in found.items()
        if tta != "none"
    }
    return {"calibration": _numbers(found["none"]), **({"tta": views} if views else {})}


def draw_calibration(trainer: Trainer, module: ReportsCalibration, protocol: str) -> None:
    """Draw the reliability of each split's probabilities."""
    for name, views in module.calibrations.items():
        if "none" in views and views["none"].n:
            draw = partial(reliability_figure, views["none"], title=f"Calibration, {name} ({protocol})")
            save_figure(trainer, f"reliability-{name}", draw)


def _interval(found: Calibration) -> tuple[float, float]:
    return wilson_interval(found.num_right, found.n + found.num_non_finite)


def _numbers(found: Calibration) -> dict[str, Any]:
    return {
        "n": found.n,
        "temperature": found.temperature,
        "ece": {"before": found.before.ece, "after": found.after.ece},
        "nll": {"before": found.nll_before, "after": found.nll_after},
        "bins": {"before": _bins(found.before), "after": _bins(found.after)},
    }


def _bins(found: Reliability) -> dict[str, list[float | None]]:
    """Return the bins of a reliability, None in the place of NaN."""
    columns = {name: getattr(found, name).tolist() for name in found._fields}
    return {name: [value if value == value else None for value in column] for name, column in columns.items()}
