"""Results of a pruning: compare both networks, and read and write ``prune.json``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import torch
from torch import Tensor, nn

from fer.errors import InputError
from fer.metrics import Comparison, mcnemar
from fer.neurons.inputs import inputs_of
from fer.pruning.evaluate import evaluate
from fer.pruning.once import Pruning
from fer.pruning.size import Size, measure_sizes
from fer.pruning.tables import layer_table, size_table
from fer.runs import Run

MEASURES: Final = ("acc", "loss", "parameters", "macs", "bytes")
"""Values of each network that are logged."""

SCALARS: Final = (
    *(f"prune/{name}_{when}" for when in ("before", "after") for name in ("neurons", *MEASURES)),
    "prune/compression",
)
"""Names of the logged values."""


@dataclass(frozen=True)
class NetworkResult(Size):
    """Quality, size and speed of one network.

    Attributes:
        acc: Accuracy, 0 to 1.
        interval: Its Wilson 95 % interval.
        loss: Mean cross-entropy.
        confusion: Counts of K classes, rows = truth, columns = predicted.
    """

    acc: float
    interval: Sequence[float]
    loss: float
    confusion: Sequence[Sequence[int]]


@dataclass(frozen=True)
class PruneResults:
    """A network before and after pruning, on the same samples, in plain values.

    Attributes:
        protocol: How the data was split.
        n: Number of samples.
        before: The network before pruning.
        after: The network after pruning.
        mcnemar: McNemar's test of the two.
        layers: Removed neurons by layer and reason; see :func:`fer.neurons.plan.count_removed`.
        blocks: Removed blocks, with the share by which each changed its input.
        refused: Layers that cannot be pruned, with the reason.
        settings: The settings of the pruning.
        class_names: Names of the K classes, in the order of the labels.
        rounds: The numbers of each round; empty if it was pruned once.
    """

    protocol: str
    n: int
    before: NetworkResult
    after: NetworkResult
    mcnemar: Comparison
    layers: Mapping[str, Mapping[str, int]]
    blocks: Mapping[str, float]
    refused: Mapping[str, str]
    settings: Mapping[str, Any]
    class_names: Sequence[str]
    rounds: Sequence[Mapping[str, Any]] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as ``prune.json`` holds them."""
        values = {
            **vars(self),
            "before": asdict(self.before),
            "after": asdict(self.after),
            "mcnemar": self.mcnemar._asdict(),
        }
        return values if self.rounds else {key: values[key] for key in values if key != "rounds"}

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
            msg = f"{path}: no such file; give the folder of a run that was pruned"
            raise InputError(msg)
        try:
            before, after = (_network_result(values.pop(when)) for when in ("before", "after"))
            paired = Comparison(**values.pop("mcnemar"))
            return cls(before=before, after=after, mcnemar=paired, **values)
        except (AttributeError, KeyError, TypeError, ValueError) as e:
            msg = f"{path} is damaged: {e}; prune again"
            raise InputError(msg) from e

    def scalars(self) -> dict[str, float]:
        """Return the values that are logged, under ``prune/…``."""
        before, after = (sum(layer[when] for layer in self.layers.values()) for when in ("before", "after"))
        values = (
            *(before, *(getattr(self.before, name) for name in MEASURES)),
            *(after, *(getattr(self.after, name) for name in MEASURES)),
            1 - after / max(before, 1),
        )
        return dict(zip(SCALARS, values, strict=True))

    def table(self) -> str:
        """Return the results as text: a line for each layer, then both networks side by side."""
        before, after, paired = self.before, self.after, self.mcnemar
        return "\n".join(
            [
                *layer_table(self.layers, self.blocks, self.refused),
                "",
                f"{f'val, n = {self.n:,}':<22} {'before':>14} {'after':>14}",
                f"{'accuracy':<22} {100 * before.acc:12.2f} % {100 * after.acc:12.2f} %   "
                f"{paired.lost} lost, {paired.won} won, p = {paired.p:.3g} (McNemar)",
                f"{'loss':<22} {before.loss:14.4f} {after.loss:14.4f}",
                *size_table(before, after),
            ]
        )


def _network_result(values: dict[str, Any]) -> NetworkResult:
    milliseconds = {int(batch_size): time for batch_size, time in values.pop("milliseconds").items()}
    return NetworkResult(milliseconds=milliseconds, **values)


def compare(
    network: nn.Module,
    pruning: Pruning,
    batches: Iterable[Sequence[Tensor]],
    *,
    class_names: Sequence[str] | None = None,
    protocol: str = "",
    memory_format: torch.memory_format = torch.contiguous_format,
    rounds: Sequence[Mapping[str, Any]] = (),
) -> PruneResults:
    """Evaluate a network before and after pruning on the same labelled batches.

    Args:
        network: The network before pruning.
        pruning: What was pruned; its network is laid out in the memory format.
        batches: Pairs ``(inputs, labels)`` of the validation split.
        class_names: K names, in the order of the labels; None: the default names for K classes.
        protocol: How the data was split, to be stored with the results.
        memory_format: Memory format of images and convolutions, for the latency.
        rounds: The numbers of each round.
    """
    networks = {"before": network, "after": pruning.network.to(memory_format=memory_format)}
    batches = list(batches)
    evaluations = {when: evaluate(each, batches, class_names) for when, each in networks.items()}
    example = inputs_of(batches[0], network).map(
        lambda tensor: tensor.contiguous(memory_format=memory_format) if tensor.ndim == 4 else tensor
    )
    sizes = measure_sizes(networks, example)
    before, after = (
        NetworkResult(
            **vars(sizes[when]),
            acc=found.report.accuracy,
            interval=list(found.report.interval),
            loss=found.loss,
            confusion=found.report.confusion.tolist(),
        )
        for when, found in evaluations.items()
    )
    report = evaluations["before"].report
    return PruneResults(
        protocol=protocol,
        n=report.n,
        before=before,
        after=after,
        mcnemar=mcnemar(evaluations["before"].right, evaluations["after"].right),
        layers=pruning.layers,
        blocks=pruning.blocks,
        refused=pruning.refused,
        settings=pruning.settings.to_dict(),
        class_names=list(report.class_names),
        rounds=rounds,
    )
