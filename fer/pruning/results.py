"""Results of a pruning: evaluate both networks, and read and write ``prune.json``."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import torch
from torch import nn

from fer.errors import InputError
from fer.metrics import Comparison, mcnemar
from fer.metrics.latency import latency_changes
from fer.neurons.inputs import inputs_of
from fer.pruning.classes import classify_both
from fer.pruning.compared import (
    Quality,
    RecalibrationResult,
    TuningResult,
    best_epoch,
    known_values,
    networks_to_compare,
    plain_values,
    quality_values,
    read_values,
    recalibration_result,
    tuning_result,
)
from fer.pruning.limits import Target
from fer.pruning.once import Pruning
from fer.pruning.size import Size, measure_sizes
from fer.pruning.size_request import SizeRequest
from fer.pruning.tables import (
    FAIR,
    accuracy_line,
    heading,
    layer_table,
    metric_line,
    size_table,
    target_table,
)
from fer.runs import Run

T = TypeVar("T")

MEASURES: Final = ("acc", "loss", "parameters", "macs", "bytes")
"""Values that are logged for each network."""

SCALARS: Final = (
    *(f"prune/{name}_{when}" for when in ("before", "after") for name in ("neurons", *MEASURES)),
    "prune/compression",
)
"""Names of the logged values of a classifier; other networks lack ``acc`` and ``loss``."""


@dataclass(frozen=True)
class NetworkResult(Size):
    """Quality, size and speed of one network. Values that need a classifier are None for other networks.

    Attributes:
        acc: Accuracy, 0 to 1.
        interval: Its Wilson 95 % interval.
        loss: Mean cross-entropy.
        confusion: Counts of K classes, rows = truth, columns = predicted.
        metrics: Metrics that a validation of the network logs, by name.
    """

    acc: float | None = None
    interval: Sequence[float] | None = None
    loss: float | None = None
    confusion: Sequence[Sequence[int]] | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PruneResults:
    """A network before and after pruning, on the same samples, in plain values.

    Attributes:
        protocol: How the data was split.
        n: Number of samples; None if the network was not evaluated as a classifier.
        before: The network before pruning.
        after: The network after pruning.
        mcnemar: McNemar's test of the two; None if they were not evaluated as classifiers.
        layers: Removed neurons by layer and reason; see :func:`fer.neurons.plan.count_removed`.
        blocks: Removed blocks, with the relative change of their input.
        refused: Layers that cannot be pruned, with the reason.
        together: Other layers that compute the neurons of a layer, since their outputs are added, by layer.
        settings: Settings of the pruning.
        class_names: Names of the K classes, in the order of the labels; None without classes.
        rounds: Values of each round; empty if it was pruned once.
        metric: Name of the metric that is shown first, among ``metrics`` of both networks; None: no metric.
        recalibration: Both networks with the opposite recalibration: ``before`` is not recalibrated,
            ``after`` is. None if batch norm was not recalibrated, or nothing was evaluated.
        target: Size limit and the size that was reached; None without a limit.
        size_request: Size that was asked for, and what the thresholds would remove; None if they decided.
        tuning: Effect of fine-tuning; None if there was none, or without classes.
    """

    protocol: str
    n: int | None
    before: NetworkResult
    after: NetworkResult
    mcnemar: Comparison | None
    layers: Mapping[str, Mapping[str, int]]
    blocks: Mapping[str, float]
    refused: Mapping[str, str]
    together: Mapping[str, Sequence[str]]
    settings: Mapping[str, Any]
    class_names: Sequence[str] | None
    rounds: Sequence[Mapping[str, Any]] = field(default=())
    metric: str | None = None
    recalibration: RecalibrationResult | None = None
    target: Target | None = None
    size_request: SizeRequest | None = None
    tuning: TuningResult | None = None

    def __repr__(self) -> str:
        """Return sizes and quality in one line; :meth:`table` shows everything."""
        before, after = self.before, self.after
        parts = [f"parameters {before.parameters:,} → {after.parameters:,}"]
        if self.metric is not None:
            parts.append(
                f"{self.metric} {before.metrics[self.metric]:.4g} → {after.metrics[self.metric]:.4g}"
            )
        elif before.acc is not None and after.acc is not None:
            parts.append(f"acc {before.acc:.4f} → {after.acc:.4f}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def summary(self) -> str:
        """Return accuracy, or the first metric, size and time, before and after, in one line of text."""
        before, after = self.before, self.after
        left = f"with {100 * after.macs / max(before.macs, 1):.1f} % of the multiply-adds{self._time()}"
        if before.acc is not None and after.acc is not None:
            n = "" if self.n is None else f" (n = {self.n:,})"
            return f"val{n}: {100 * before.acc:.2f} to {100 * after.acc:.2f} % {left}"
        if self.metric is not None:
            old, new = before.metrics[self.metric], after.metrics[self.metric]
            return f"{self.metric} {old:.4g} to {new:.4g} {left}"
        return left

    def _time(self) -> str:
        """Return the time that the largest batch takes, as a share of before, if its spread is known."""
        *_, largest = (None, *latency_changes(vars(self.before), vars(self.after)))
        if largest is None or largest.differs is None:
            return ""
        if not largest.differs:
            return ", no clear difference in time"
        return f", a batch of {largest.batch_size} in {100 * largest.ratio:.1f} % of the time"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as in ``prune.json``, without unknown ones."""
        values = {
            **vars(self),
            "before": known_values(asdict(self.before)),
            "after": known_values(asdict(self.after)),
            "mcnemar": self.mcnemar and self.mcnemar._asdict(),
            "rounds": self.rounds or None,
            "recalibration": self.recalibration and plain_values(self.recalibration),
            "tuning": self.tuning and plain_values(self.tuning),
            "target": self.target and asdict(self.target),
            "size_request": self.size_request and self.size_request.to_dict(),
        }
        return known_values(values)

    def write(self, folder: Path) -> None:
        """Write the results as ``prune.json`` into the folder of a run."""
        Run(folder).write_prune(self.to_dict())

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read ``prune.json`` from the folder of a run.

        Raises:
            InputError: The file is missing or damaged.
        """
        path, values = Run(folder).prune_path, Run(folder).read_prune()
        if not values:
            msg = f"{path} does not exist: give the folder of a run that was pruned"
            raise InputError(msg)
        try:
            before, after = (_network_result(values.pop(when)) for when in ("before", "after"))
            paired = values.pop("mcnemar", None)
            for name, kind in (("recalibration", RecalibrationResult), ("tuning", TuningResult)):
                values[name] = values.get(name) and read_values(kind, values[name])
            if "target" in values:
                values["target"] = Target.read(values["target"])
            if "size_request" in values:
                values["size_request"] = SizeRequest(**values["size_request"])
            known = {"n": None, "class_names": None, "together": {}, **values}
            return cls(before=before, after=after, mcnemar=paired and Comparison(**paired), **known)
        except (AttributeError, KeyError, TypeError, ValueError) as e:
            msg = f"{path} is damaged: {e}; prune again"
            raise InputError(msg) from e

    def scalars(self) -> dict[str, float]:
        """Return the values to log, under ``prune/…``."""
        before, after = (sum(layer[when] for layer in self.layers.values()) for when in ("before", "after"))
        values = (
            *(before, *(getattr(self.before, name) for name in MEASURES)),
            *(after, *(getattr(self.after, name) for name in MEASURES)),
            1 - after / max(before, 1),
        )
        found = {name: value for name, value in zip(SCALARS, values, strict=True) if value is not None}
        if self.metric is not None:
            for when, each in (("before", self.before), ("after", self.after)):
                found[f"prune/{self.metric}_{when}"] = each.metrics[self.metric]
        others: dict[str, Quality] = {}
        if (other := self.recalibration) is not None:
            others["before_recalibrated"] = other.before
            if other.after is not None:
                others["after_not_recalibrated"] = other.after
        if self.tuning is not None:
            others["after_not_tuned"] = self.tuning.before
        for name, quality in others.items():
            if quality.acc is not None:
                found[f"prune/acc_{name}"] = quality.acc
            if self.metric is not None and self.metric in quality.metrics:
                found[f"prune/{self.metric}_{name}"] = quality.metrics[self.metric]
        return found

    def table(self) -> str:
        """Return the results as text: a line for each layer, then both networks side by side."""
        title = (
            "" if self.n is None and not self.metrics else "val" if self.n is None else f"val, n = {self.n:,}"
        )
        return "\n".join(
            [
                *layer_table(self.layers, self.blocks, self.refused, self.together, self.size_request),
                "",
                heading(title),
                *self._metric_lines(),
                *self._accuracy_lines(),
                *size_table(self.before, self.after, self.layers),
                *target_table(self.target),
            ]
        )

    def _accuracy_lines(self) -> Iterable[str]:
        """Yield lines on the accuracy of classifiers, and what of its change pruning alone has caused."""
        before, after = self.before, self.after
        if before.acc is None or after.acc is None:
            return
        yield accuracy_line("accuracy", before, after, self.mcnemar)
        pruned = after if self.tuning is None else self.tuning.before
        if self.tuning is not None:
            line = accuracy_line("  by fine-tuning", pruned, after, self.tuning.mcnemar)
            yield f"{line}{best_epoch(self.tuning)}"
        if self.recalibration is not None:
            yield accuracy_line(
                "  by pruning alone*", self.recalibration.before, pruned, self.recalibration.mcnemar
            )
            yield f"  {FAIR}"
        elif self.tuning is not None:
            yield accuracy_line("  by pruning alone", before, pruned)

    def _metric_lines(self) -> Iterable[str]:
        """Yield lines on the metric that is shown first, unless it is the accuracy; without both, on all."""
        before, after, other = self.before.metrics, self.after.metrics, self.recalibration
        names = self.metrics if self.metric is None and self.before.acc is None else [self.metric]
        for name in names:
            if name is None or self._is_accuracy(name):
                continue
            yield metric_line(name, before[name], after[name])
            if name == self.metric and other is not None and name in other.before.metrics:
                yield metric_line("  by pruning alone*", other.before.metrics[name], after[name])
                if self.before.acc is None:
                    yield f"  {FAIR}"

    def _is_accuracy(self, name: str) -> bool:
        """Return whether a metric is the accuracy under another name, up to single precision."""
        pairs = [(each.metrics[name], each.acc) for each in (self.before, self.after)]
        return all(acc is not None and math.isclose(value, acc, abs_tol=1e-6) for value, acc in pairs)

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that both networks have."""
        return [name for name in self.before.metrics if name in self.after.metrics]


def _network_result(values: dict[str, Any]) -> NetworkResult:
    """Return a network's results from JSON, whose keys are text."""
    by_batch_size: dict[str, Any] = {
        name: {int(size): times for size, times in values.pop(name, {}).items()}
        for name in ("milliseconds", "milliseconds_quartiles")
    }
    return NetworkResult(**by_batch_size, **values)


def compare(
    network: nn.Module,
    pruning: Pruning,
    batches: Iterable[Any],
    *,
    class_names: Sequence[str] | None = None,
    protocol: str = "",
    memory_format: torch.memory_format = torch.contiguous_format,
    rounds: Sequence[Mapping[str, Any]] = (),
    metrics: Mapping[str, Mapping[str, float]] | None = None,
    metric: str | None = None,
    prefix: str = "",
) -> PruneResults:
    """Evaluate a network before and after pruning on the same samples.

    Args:
        network: The network before pruning.
        pruning: Result of the pruning; its network is converted to the memory format.
        batches: Batches of the validation split, at least one; each is read once. If they have labels and the
            network returns logits, both networks are evaluated as classifiers.
        class_names: K names, in the order of the labels. If None or not K names: ``class_0`` and so on.
        protocol: Description of how the data was split, to be stored with the results.
        memory_format: Memory format of images and convolutions, for the latency.
        rounds: Values of each round.
        metrics: Other metrics by name, for the networks ``before`` and ``after`` and optionally, with the
            opposite recalibration, ``recalibrated`` and ``bare``; see :func:`networks_to_compare`.
        metric: Name of the metric that is shown first.
        prefix: Prefix of the layer names in the results.
    """
    pruning.network.to(memory_format=memory_format)
    networks = networks_to_compare(network, pruning)
    batches = iter(batches)
    first = inputs_of(next(batches), network)
    found = classify_both(networks, chain([first], batches), class_names)
    example = first.to(network).map(
        lambda tensor: tensor.contiguous(memory_format=memory_format) if tensor.ndim == 4 else tensor
    )
    sizes = measure_sizes({when: networks[when] for when in ("before", "after")}, example)
    before, after = (
        NetworkResult(
            **vars(sizes[when]),
            **(quality_values(found[when]) if found else {}),
            confusion=found[when].report.confusion.tolist() if found else None,
            metrics=dict((metrics or {}).get(when, {})),
        )
        for when in sizes
    )
    return PruneResults(
        protocol=protocol,
        n=found["before"].report.n if found else None,
        before=before,
        after=after,
        mcnemar=mcnemar(found["before"].right, found["after"].right) if found else None,
        layers=_prefixed(pruning.layers, prefix),
        blocks=_prefixed(pruning.blocks, prefix),
        refused=_prefixed(pruning.refused, prefix),
        together={
            f"{prefix}{name}": [f"{prefix}{other}" for other in others]
            for name, others in pruning.together.items()
        },
        settings=pruning.settings.to_dict(),
        class_names=list(found["before"].report.class_names) if found else None,
        rounds=rounds,
        metric=metric,
        recalibration=recalibration_result(found, metrics or {}),
        tuning=tuning_result(pruning, found),
        target=pruning.target,
        size_request=pruning.size_request,
    )


def _prefixed(values: Mapping[str, T], prefix: str) -> dict[str, T]:
    return {f"{prefix}{name}": value for name, value in values.items()}
