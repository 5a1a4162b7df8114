"""Prune in rounds: a little more in each, with fine-tuning in between."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn

from fer.errors import InputError
from fer.neurons.batches import InputBatches
from fer.neurons.inputs import Batches
from fer.neurons.networks import copy_network
from fer.neurons.verify import PruneError
from fer.pruning.evaluate import evaluate
from fer.pruning.limits import Limit, Meter
from fer.pruning.once import Pruning, Recalibration, prune_to
from fer.pruning.settings import PruneSettings
from fer.pruning.size import count_macs
from fer.pruning.size_request import SizeRequest
from fer.pruning.tuning import Tuning

FineTune = Callable[[nn.Module, Mapping[str, int]], Tuning | nn.Module | None]
"""Function that trains a pruned network, given its widths, and returns it or a :class:`fer.pruning.Tuning`;
None if the training was asked to stop."""

log = logging.getLogger("fer.pruning")


@dataclass(frozen=True)
class RoundResult:
    """Values of one round.

    Attributes:
        threshold: Similarity threshold, degrees; None if a size target set the numbers of neurons.
        neurons: Hidden neurons left.
        macs: Multiply-adds per sample.
        pruned: Validation accuracy after pruning.
        recalibrated: Validation accuracy after batch norm recalibration; without it, the same as ``pruned``.
        tuned: Validation accuracy after fine-tuning.
        is_kept: Whether accuracy fell by no more than the tolerance.
        layers: Removed neurons by layer and reason; see :func:`fer.neurons.plan.count_removed`.
        blocks: Removed blocks, with the relative change of their input.
    """

    threshold: float | None
    neurons: int
    macs: int
    pruned: float
    recalibrated: float
    tuned: float
    is_kept: bool
    layers: Mapping[str, Mapping[str, int]]
    blocks: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Round:
    """One round of a pruning.

    Attributes:
        pruning: Pruning of the network from the round before.
        result: Values of the round.
        bare: Pruned network without batch norm recalibration; None if there was no recalibration.
    """

    pruning: Pruning
    result: RoundResult
    bare: nn.Module | None = None


def prune_in_rounds(
    network: nn.Module,
    batches: Batches,
    val: Batches,
    settings: PruneSettings,
    *,
    rounds: int,
    tolerance: float,
    fine_tune: FineTune | None = None,
    limit: Limit | None = None,
    done: Sequence[Round] = (),
) -> Iterator[Round]:
    """Prune a little more in each round, fine-tune, and stop when validation accuracy falls too far.

    The thresholds, or the size, approach the target in equal steps. The result is the network of the last
    round that was kept. The rounds end after one that is not kept, after a fine-tuning that was asked to
    stop, and when a round finds nothing to remove.

    Args:
        network: Trained network; it does not change.
        batches: Training samples to measure on, without augmentation.
        val: Labelled batches of the validation split.
        settings: Settings; the thresholds are those of the last round.
        rounds: Largest number of rounds.
        tolerance: Largest drop in validation accuracy that is accepted, 0 to 1.
        fine_tune: Function that trains the network of a round; None: no training.
        limit: Largest size after the last round, or share of the network's size; it replaces the thresholds.
        done: Finished rounds with the same settings; they are not yielded again.

    Yields:
        Each round, including one that is not kept.

    Raises:
        InputError: Nothing can be pruned in the first round, or a pruned network fails the check; see
            :func:`fer.neurons.verify.check_pruned`.

    Source: progressive pruning: Gedeon, "Indicators of Hidden Neuron Functionality: the Weight Matrix versus
    Neuron Behaviour", 1995.
    """
    batches, val = InputBatches.of(batches, network), list(val)
    example = batches.first()
    of = None if limit is None or limit.of is not None else Meter(limit, network, example).whole.value
    before = evaluate(network, val).report.accuracy
    left: dict[str, int] = {}  # keeps layers with one neuron left, which later plans leave out
    for each in done:
        left |= {name: layer["after"] for name, layer in each.result.layers.items()}
        network = each.pruning.network
        if not each.result.is_kept:
            return
    for number in range(len(done) + 1, rounds + 1):
        goal = replace(
            settings,
            similar_below=settings.similar_below * number / rounds,
            complementary_above=180 - (180 - settings.complementary_above) * number / rounds,
        )
        part = limit and limit.step(number / rounds, 1.0 if of is None else of)
        try:
            pruning = prune_to(network, batches, goal, part)
        except InputError as error:
            if number == 1 or isinstance(error, PruneError):
                raise
            log.warning("round %d prunes nothing; the earlier rounds are kept: %s", number, error)
            return
        left |= {name: layer["after"] for name, layer in pruning.layers.items()}
        network = pruning.network
        recalibrated = evaluate(network, val).report.accuracy
        bare = None if pruning.recalibration is None else pruning.recalibration.after
        pruned = recalibrated if bare is None else evaluate(bare, val).report.accuracy
        if fine_tune is not None:
            untuned = copy_network(network)
            found = fine_tune(network, pruning.widths)
            if found is None:
                return
            pruning = pruning.tuned(found if isinstance(found, Tuning) else Tuning(found, untuned))
            network = pruning.network
        tuned = evaluate(network, val).report.accuracy
        by_threshold = pruning.settings.num_removed is None and pruning.settings.share_removed is None
        result = RoundResult(
            threshold=pruning.settings.similar_below if by_threshold else None,
            neurons=sum(left.values()),
            macs=count_macs(network, example),
            pruned=pruned,
            recalibrated=recalibrated,
            tuned=tuned,
            is_kept=tuned >= before - tolerance,
            layers=pruning.layers,
            blocks=pruning.blocks,
        )
        yield Round(replace(pruning, recalibration=None), result, bare)
        if not result.is_kept:
            return


def join_rounds(
    rounds: Sequence[Round], settings: PruneSettings, recalibrated: nn.Module | None = None
) -> Pruning:
    """Join the rounds that were kept into one pruning of the first network.

    Later rounds prune a recalibrated network, so only a single round has a network without recalibration.

    Args:
        rounds: One or more rounds, in order.
        settings: Settings of the whole pruning.
        recalibrated: First network with recalibrated batch norm, to compare with; None: no comparison.
    """
    bare = rounds[-1].bare if len(rounds) == 1 else None
    layers: dict[str, dict[str, int]] = {}
    for one in rounds:
        layers = add_layers(layers, one.result.layers)
    blocks = {name: share for one in rounds for name, share in one.result.blocks.items()}
    return replace(
        rounds[-1].pruning,
        layers=layers,
        blocks=blocks,
        refused={},
        settings=settings,
        size_request=SizeRequest.of(settings, target=rounds[-1].pruning.target),
        recalibration=None if recalibrated is None else Recalibration(recalibrated, bare),
    )


def add_layers(
    earlier: Mapping[str, Mapping[str, int]], later: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, int]]:
    """Return the neurons that two rounds removed, by layer and reason.

    >>> first = {"conv1": {"before": 9, "after": 7, "dead": 2}}
    >>> add_layers(first, {"conv1": {"before": 7, "after": 6, "dead": 1}})
    {'conv1': {'before': 9, 'after': 6, 'dead': 3}}
    """
    total = {name: dict(layer) for name, layer in earlier.items()}
    for name, layer in later.items():
        first = earlier.get(name, {"before": layer["before"]})
        sums = {reason: first.get(reason, 0) + count for reason, count in layer.items()}
        total[name] = sums | {"before": first["before"], "after": layer["after"]}
    return total
