"""Prune any network on inputs without labels."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from torch import nn

from fer.checkpoints import write_checkpoint
from fer.files import write_json
from fer.metrics import NO_CLASS, predicted_classes, wilson_interval
from fer.neurons import eval_state
from fer.neurons.batches import InputBatches
from fer.neurons.inputs import Batches, call
from fer.pruning.evaluate import logits_of
from fer.pruning.limits import Limit, Target
from fer.pruning.once import Pruning, prune_to
from fer.pruning.settings import PruneSettings
from fer.pruning.size import Size, measure_sizes
from fer.pruning.size_request import SizeRequest
from fer.pruning.tables import heading, layer_table, size_table, target_table
from fer.pruning.tuning import Tuning

BOTH: Final = ", batch norm recalibrated in both"
UNTUNED: Final = ", before fine-tuning"
BARE: Final = ", batch norm recalibrated in none"
"""Endings of the keys in ``agreement``: which networks are compared."""

COMPARED: Final = {
    BOTH: "the effect of pruning alone: batch norm was recalibrated in both",
    UNTUNED: "before fine-tuning, compared with the original network",
    "": "the saved network, compared with the original network",
    BARE: "batch norm was recalibrated in neither",
}
"""Compared networks by the ending of their key in ``agreement``; the first one present is the fairest."""

SAMPLES: Final = {
    "held out": "on held-out samples",
    "measured": "on the samples used for pruning, which flatter it",
}
"""Titles of the samples by the beginning of the key in ``agreement``."""


class Agreement(NamedTuple):
    """Number of samples for which two networks predict the same class.

    Attributes:
        same: Number of samples with the same class.
        n: Number of samples.
    """

    same: int
    n: int

    def __str__(self) -> str:
        """Return the share with its Wilson 95 % interval."""
        if self.n == 0:
            return "no samples"
        low, high = wilson_interval(self.same, self.n)
        share = self.same / self.n
        return f"{100 * share:.2f} % [{100 * low:.2f}, {100 * high:.2f}], {self.same:,} of {self.n:,}"


@dataclass(frozen=True)
class UnlabelledResults:
    """A network before and after pruning, without labels, in plain values.

    Attributes:
        num_classes: Number of classes.
        settings: The settings of the pruning.
        before: Size and speed before pruning.
        after: Size and speed after pruning.
        agreement: How often both networks predict the same class, on ``measured`` and on ``held out``
            samples. If batch norm was recalibrated, also with recalibration of both and of neither, not
            fine-tuned; if the network was fine-tuned, also before it.
        layers: Removed neurons by layer and reason; see :func:`fer.neurons.plan.count_removed`.
        blocks: Removed blocks, with the share by which each changed its input.
        refused: Layers that cannot be pruned, with the reason.
        together: Other layers that compute the neurons of a layer, since their outputs are added, by layer.
        target: Size limit and the size that was reached; None without a limit.
        size_request: Size that was asked for, and what the thresholds would remove; None if they decided.
    """

    num_classes: int
    settings: Mapping[str, Any]
    before: Size
    after: Size
    agreement: Mapping[str, Agreement]
    layers: Mapping[str, Mapping[str, int]]
    blocks: Mapping[str, float]
    refused: Mapping[str, str]
    together: Mapping[str, Sequence[str]]
    target: Target | None = None
    size_request: SizeRequest | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = {
            **vars(self),
            "before": asdict(self.before),
            "after": asdict(self.after),
            "agreement": {name: each._asdict() for name, each in self.agreement.items()},
            "target": self.target and asdict(self.target),
            "size_request": self.size_request and self.size_request.to_dict(),
        }
        return {name: value for name, value in values.items() if value is not None}

    def table(self) -> str:
        """Return the results as text: a line for each layer, then both networks side by side."""
        return "\n".join(
            [
                *layer_table(self.layers, self.blocks, self.refused, self.together, self.size_request),
                "",
                heading(""),
                *size_table(self.before, self.after, self.layers),
                *target_table(self.target),
                "",
                *self._agreement_lines(),
            ]
        )

    def _agreement_lines(self) -> Iterable[str]:
        """Yield lines on the samples that keep their class, the figure to look at first."""
        fair = next(name for name in COMPARED if f"held out{name}" in self.agreement)
        yield "same class (top-1) before and after pruning, with 95 % intervals"
        for samples, about in SAMPLES.items():
            yield f"{about}:"
            for name, what in COMPARED.items():
                if (found := self.agreement.get(f"{samples}{name}")) is not None:
                    is_fair = (samples, name) == ("held out", fair)
                    yield f"{'->' if is_fair else '':>2} {found!s:<40} {what}"
        yield "-> the figure to look at: it counts no effect of batch norm recalibration or fine-tuning"
        if (share := self.agreement[f"held out{fair}"]).same < share.n / 2:
            yield (
                "less than half keep their class: prune less; or the images do not have the size, colours "
                "and normalisation that the network was trained with"
            )
        bare, written = self.agreement.get(f"held out{BARE}"), self.agreement["held out"]
        if bare is not None and bare.same > written.same:
            yield (
                "without recalibration, the pruned network would agree more often with the original: give "
                "more images, or set --prune.recalibrate false"
            )


def prune_unlabelled(
    network: nn.Module,
    batches: Batches,
    held_out: Batches,
    settings: PruneSettings | None = None,
    limit: Limit | None = None,
    tune: Callable[[nn.Module], Tuning] | None = None,
) -> tuple[Pruning, UnlabelledResults]:
    """Prune any network and compare its predictions before and after.

    Args:
        network: Maps inputs to logits of shape ``(N, K)``; it does not change.
        batches: Samples to measure on, without augmentation; see :func:`fer.neurons.measure`.
        held_out: Other samples, on which the networks are compared.
        settings: Settings; None: the defaults.
        limit: Size limit that replaces the thresholds; None: no limit.
        tune: Function that fine-tunes the pruned network; see :func:`fer.pruning.fine_tune`. None: no tuning.

    Raises:
        InputError: The outputs are not logits, or as raised by :func:`fer.pruning.prune_once`.
    """
    batches = InputBatches.of(batches, network)
    example = batches.first()
    with eval_state(network):
        logits = logits_of(network, call(network, example.take(1)))
    pruning = prune_to(network, batches, settings, limit)
    if tune is not None:
        pruning = pruning.tuned(tune(pruning.network))
    sizes = measure_sizes({"before": network, "after": pruning.network}, example)
    results = UnlabelledResults(
        num_classes=logits.shape[1],
        settings=pruning.settings.to_dict(),
        **sizes,
        agreement=_agreements(network, pruning, batches, held_out),
        layers=pruning.layers,
        blocks=pruning.blocks,
        refused=pruning.refused,
        together=pruning.together,
        target=pruning.target,
        size_request=pruning.size_request,
    )
    return pruning, results


def _agreements(
    network: nn.Module, pruning: Pruning, batches: Batches, held_out: Batches
) -> dict[str, Agreement]:
    """Return how often networks predict the same class, with and without batch norm recalibration."""
    pairs = {"": (network, pruning.network)}
    if (other := pruning.recalibration) is not None:
        pairs[BOTH] = other.before, pruning.untuned
        if other.after is not None:
            pairs[BARE] = network, other.after
    if pruning.tuning is not None:
        pairs[UNTUNED] = (network, pruning.untuned)
    return {
        f"{name}{which}": count_agreement(*pair, samples)
        for name, samples in (("measured", batches), ("held out", held_out))
        for which, pair in pairs.items()
    }


def count_agreement(network: nn.Module, other: nn.Module, batches: Batches) -> Agreement:
    """Count the samples for which two networks predict the same class.

    A sample does not count as the same if the logits of either network are not finite.
    """
    same = n = 0
    with eval_state(network), eval_state(other):
        for inputs in InputBatches.of(batches, network):
            one, two = (predicted_classes(call(each, inputs)) for each in (network, other))
            same += int(((one == two) & (one != NO_CLASS)).sum())
            n += len(one)
    return Agreement(same, n)


def write_any_network(
    folder: Path, pruning: Pruning, results: UnlabelledResults, about: Mapping[str, Any]
) -> Path:
    """Write ``pruned.pt`` and ``prune.json`` into a folder, and return the path of the former.

    ``pruned.pt`` holds ``model``, ``widths`` and ``state_dict``, for ``torch.load(…, weights_only=True)`` and
    :func:`fer.neurons.resize`.

    Args:
        folder: Folder to write into.
        pruning: The pruning.
        results: Results of the pruning.
        about: Values for ``prune.json`` that describe the origin of the network, with its name as ``model``.
    """
    path = folder / "pruned.pt"
    state = {name: value.contiguous() for name, value in pruning.network.state_dict().items()}
    content = {"model": about["model"], "widths": dict(pruning.widths), "state_dict": state}
    write_checkpoint(path, content)
    write_json(folder / "prune.json", {**about, **results.to_dict()})
    return path
