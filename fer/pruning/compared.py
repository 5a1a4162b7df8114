"""Networks to compare a pruning with: unpruned, with other batch norm statistics, before fine-tuning."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TypeVar

from torch import nn

from fer.metrics import Comparison, mcnemar
from fer.pruning.evaluate import Evaluation
from fer.pruning.once import Pruning

T = TypeVar("T")

WHOLE: Final = ("before", "recalibrated")
"""Names of the compared networks that are not pruned; see :func:`networks_to_compare`."""


@dataclass(frozen=True)
class Quality:
    """Quality of a network. Values that need a classifier are None for other networks.

    Attributes:
        acc: Accuracy, 0 to 1.
        interval: Its Wilson 95 % interval.
        loss: Mean cross-entropy.
        metrics: Metrics that a validation of the network logs, by name.
    """

    acc: float | None = None
    interval: Sequence[float] | None = None
    loss: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RecalibrationResult:
    """Quality of both networks with the opposite batch norm recalibration, before any fine-tuning.

    Attributes:
        before: The unpruned network with recalibrated batch norm.
        after: The pruned network without recalibration; None if earlier rounds were recalibrated.
        mcnemar: McNemar's test between the unpruned and the pruned network, both recalibrated; None if they
            were not evaluated as classifiers.
    """

    before: Quality
    after: Quality | None = None
    mcnemar: Comparison | None = None


@dataclass(frozen=True)
class TuningResult:
    """Effect of fine-tuning after pruning.

    Attributes:
        before: Quality of the pruned network before fine-tuning.
        mcnemar: McNemar's test of the pruned network before and after fine-tuning.
        epochs: Losses and accuracies of each epoch; see :class:`fer.pruning.tuning.Epoch`.
        best: Epoch whose weights were kept; 0: none was better than before.
        is_distilled: Whether the network learned from the outputs of the unpruned network.
    """

    before: Quality
    mcnemar: Comparison
    epochs: Sequence[Mapping[str, float | None]]
    best: int | None
    is_distilled: bool


def networks_to_compare(network: nn.Module, pruning: Pruning) -> dict[str, nn.Module]:
    """Return the networks that a pruning is compared with, by name.

    Returns:
        ``before`` and ``after``. With batch norm recalibration also ``recalibrated``, the unpruned network
        after it, and ``bare``, the pruned one before it. With fine-tuning also ``untuned``, the pruned one
        before it.
    """
    networks = {"before": network, "after": pruning.network}
    if pruning.recalibration is not None:
        others = {"recalibrated": pruning.recalibration.before, "bare": pruning.recalibration.after}
        networks |= {name: other for name, other in others.items() if other is not None}
    if pruning.tuning is not None:
        networks["untuned"] = pruning.tuning.before
    return networks


def recalibration_result(
    found: Mapping[str, Evaluation], metrics: Mapping[str, Mapping[str, float]]
) -> RecalibrationResult | None:
    """Return the results with the opposite batch norm recalibration; None if there are none."""
    before, after = (
        Quality(**(quality_values(found[name]) if name in found else {}), metrics=dict(metrics.get(name, {})))
        if name in found or name in metrics
        else None
        for name in ("recalibrated", "bare")
    )
    if before is None:
        return None
    if not found:
        return RecalibrationResult(before, after)
    pruned = found.get("untuned", found["after"])
    return RecalibrationResult(before, after, mcnemar(found["recalibrated"].right, pruned.right))


def tuning_result(pruning: Pruning, found: Mapping[str, Evaluation]) -> TuningResult | None:
    """Return the effect of fine-tuning; None if there was none, or without classes."""
    if pruning.tuning is None or not found:
        return None
    paired = mcnemar(found["untuned"].right, found["after"].right)
    return TuningResult(Quality(**quality_values(found["untuned"])), paired, **pruning.tuning.numbers)


def quality_values(found: Evaluation) -> dict[str, Any]:
    """Return an evaluation as the values of a :class:`Quality`."""
    return {
        "acc": found.report.accuracy,
        "interval": list(found.report.interval),
        "loss": found.loss,
    }


def best_epoch(tuning: TuningResult) -> str:
    """Return text on the epoch that was kept, for the end of a line in the table."""
    if tuning.best is None:
        return ""
    taken = f", epoch {tuning.best} of {len(tuning.epochs) - 1}"
    return taken if tuning.best else ": no epoch was better"


def plain_values(found: RecalibrationResult | TuningResult) -> dict[str, Any]:
    """Return plain values for JSON, without unknown ones."""
    values = {**asdict(found), "mcnemar": found.mcnemar and found.mcnemar._asdict()}
    return known_values(
        {k: known_values(each) if isinstance(each, dict) else each for k, each in values.items()}
    )


def read_values(kind: type[T], values: Mapping[str, Any]) -> T:
    """Return a result from the values of :func:`plain_values`."""
    parts = {name: Quality(**values[name]) for name in ("before", "after") if name in values}
    paired = values.get("mcnemar")
    return kind(**{**values, **parts, "mcnemar": paired and Comparison(**paired)})


def known_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are neither None nor, such as ``metrics``, empty."""
    return {
        key: value
        for key, value in values.items()
        if value is not None and (value or key not in ("metrics", "milliseconds_quartiles"))
    }
