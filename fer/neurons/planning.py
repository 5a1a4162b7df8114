"""Plan: decide by a criterion which neurons of each group to remove, given a measurement."""

import itertools
from collections.abc import Collection, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from fer.errors import InputError, did_you_mean
from fer.neurons.angles import COMPLEMENTARY_ABOVE, SIMILAR_BELOW, check_thresholds
from fer.neurons.criteria import Criterion, CriterionName, make_criterion, name_of, no_threshold
from fer.neurons.evidence import Gradients, Limits, Neurons
from fer.neurons.groups import NeuronGroup
from fer.neurons.measure import Measurement
from fer.neurons.merge import FITTED, MergeRule
from fer.neurons.plan import PrunePlan, Removal
from fer.neurons.rules import Rule, make_rule
from fer.neurons.statistics import VECTORS, ActivationStatistics
from fer.neurons.surgery import incoming_weights, outgoing_weights
from fer.neurons.warn import warn


def plan_groups(
    network: nn.Module,
    measurement: Measurement,
    *,
    similar_below: float = SIMILAR_BELOW,
    complementary_above: float = COMPLEMENTARY_ABOVE,
    criterion: CriterionName | Criterion = "pairs",
    merge: MergeRule = "refit",
    rule: str | None = None,
    num_removed: Mapping[str, int] | None = None,
    share_removed: float | None = None,
) -> dict[str, PrunePlan]:
    """Decide which neurons :func:`fer.neurons.prune` would remove, by the name of a group.

    Args:
        network: The network that was measured.
        measurement: Measurement of it, by :func:`fer.neurons.measure_groups`.
        similar_below: See :func:`fer.neurons.prune`.
        complementary_above: See :func:`fer.neurons.prune`.
        criterion: See :func:`fer.neurons.prune`.
        merge: See :func:`fer.neurons.prune`.
        rule: See :func:`fer.neurons.prune`.
        num_removed: See :func:`fer.neurons.prune`.
        share_removed: See :func:`fer.neurons.prune`.

    Raises:
        InputError: As raised by :func:`plan_pruning`; or a rule is unknown, the measurement does not fit the
            rule or lacks the gradients that the criterion needs, or ``num_removed`` names an unknown group or
            a number that is not a multiple of the group's blocks.
    """
    settings = make_rule(rule, criterion, merge)
    limits = Limits(similar_below, complementary_above)
    check_request(settings, limits, num_removed, share_removed)
    if measurement.pattern_minmax != settings.pattern_minmax:
        wanted = "as they are" if measurement.pattern_minmax else "rescaled"
        msg = f"the measurement does not fit this rule, which needs samples {wanted}: measure again"
        raise InputError(msg)
    if settings.criterion.needs_gradients and not measurement.gradients:
        msg = "the criterion needs gradients, but the measurement has none: measure with this criterion"
        raise InputError(msg)
    nums = _numbers(measurement, num_removed, share_removed)
    if nums and not settings.criterion.has_thresholds:
        nums = {group.name: nums.get(group.name, 0) for group in measurement.groups}
    return {
        group.name: _plan_group(
            network, group, measurement, settings, replace(limits, num_removed=nums.get(group.name))
        )
        for group in measurement.groups
    }


def check_request(
    rule: Rule, limits: Limits, num_removed: Mapping[str, int] | None, share_removed: float | None
) -> None:
    """Check what can be checked of the settings of a plan before anything is measured.

    Args:
        rule: The rule, with its criterion.
        limits: The thresholds.
        num_removed: See :func:`fer.neurons.prune`.
        share_removed: See :func:`fer.neurons.prune`.

    Raises:
        InputError: The thresholds are not 0 to 180 degrees in this order; the share is not 0 to 1, or given
            besides numbers; or the criterion has no thresholds and no number is given.
    """
    check_thresholds(limits.similar_below, limits.complementary_above)
    if share_removed is not None:
        if num_removed is not None:
            msg = "num_removed and share_removed exclude each other: set only one of them"
            raise InputError(msg)
        if not 0 <= share_removed < 1:
            msg = f"share_removed is {share_removed}: it must be at least 0 and below 1"
            raise InputError(msg)
    elif not (num_removed or rule.criterion.has_thresholds):
        raise no_threshold(name_of(rule.criterion))


def removal_costs(
    network: nn.Module, measurement: Measurement, criterion: CriterionName | Criterion = "span"
) -> dict[str, list[float]]:
    """Return the cost of each removal when the neurons of a group are removed one after another.

    Args:
        network: The network that was measured.
        measurement: Measurement of it, on samples that were not rescaled.
        criterion: Criterion whose costs are comparable between layers.

    Returns:
        By name of the group, for all neurons but one of each block, in the order of the removals: the cost of
        each removal, see :class:`fer.neurons.Removal`. For the linear span, costs are shares of the sum of
        squares that all neurons, one by one, add to the outputs of the next layers. Costs never decrease.

    Raises:
        InputError: As raised by :func:`plan_groups`; or the costs are not comparable between layers.
    """
    chosen = make_criterion(criterion)
    if not chosen.has_costs:
        msg = f"the costs of criterion {criterion!r} are not comparable between layers: set num_removed"
        raise InputError(msg)
    most = {group.name: group.num_neurons - group.num_blocks for group in measurement.groups}
    plans = plan_groups(network, measurement, criterion=chosen, num_removed=most)
    costs: dict[str, list[float]] = {}
    for group in measurement.groups:
        unit = chosen.cost_unit(_neurons(network, group, measurement, is_fitted=True))
        in_turn = [(removal.cost or 0.0) / unit for removal in plans[group.name].removals]
        costs[group.name] = list(itertools.accumulate(in_turn, max))
    return costs


def _numbers(
    measurement: Measurement, num_removed: Mapping[str, int] | None, share: float | None
) -> Mapping[str, int]:
    """Return the number of removals by the name of a group; empty if the thresholds decide."""
    if share is not None:
        return {
            group.name: int(share * (group.num_neurons // group.num_blocks)) * group.num_blocks
            for group in measurement.groups
        }
    known = [group.name for group in measurement.groups]
    for name in num_removed or ():
        if name not in known:
            near = did_you_mean(name, known)
            msg = f"num_removed: there is no group {name!r}: {near}choose from {', '.join(known)}"
            raise InputError(msg)
    return num_removed or {}


def _plan_group(
    network: nn.Module, group: NeuronGroup, measurement: Measurement, rule: Rule, limits: Limits
) -> PrunePlan:
    """Return a group's plan: each block is pruned by itself, with the same number of removals."""
    is_fitted = rule.merge in FITTED
    whole = _neurons(network, group, measurement, is_fitted=is_fitted)
    has_exact_constants = group.takes_constants and not any(one.padded for one in group.consumers)
    if limits.num_removed is not None:
        if limits.num_removed % group.num_blocks:
            msg = (
                f"num_removed of {group.name!r} is {limits.num_removed}: its {group.num_blocks} blocks must "
                f"lose equally many neurons, so give a multiple of {group.num_blocks}"
            )
            raise InputError(msg)
        most = group.num_neurons - group.num_blocks
        if not 0 <= limits.num_removed <= most:
            msg = (
                f"num_removed of {group.name!r} is {limits.num_removed}: of its {group.num_neurons} neurons "
                f"0 to {most} can be removed"
            )
            raise InputError(msg)
        limits = replace(limits, num_removed=limits.num_removed // group.num_blocks)
    by_block = []
    for block in group.blocks:
        part = _part(whole, block)
        statistics = part.statistics
        # One constant neuron is kept for these layers: all other constant neurons merge into it without
        # error.
        kept = (
            []
            if has_exact_constants or not is_fitted
            else _largest(statistics.mean.abs(), statistics.constant)
        )
        plan = _plan(part, replace(limits, protected=kept), rule.criterion)
        into = kept[0] if kept else None
        removals = [replace(one, into=into) if one.reason == "constant" else one for one in plan.removals]
        by_block.append([moved(removal, block.start) for removal in removals])
    in_turn = zip(*by_block, strict=False)  # the same number from each block
    return PrunePlan(group.num_neurons, tuple(itertools.chain.from_iterable(in_turn)))


def plan_pruning(
    statistics: ActivationStatistics,
    *,
    criterion: CriterionName | Criterion = "pairs",
    similar_below: float = SIMILAR_BELOW,
    complementary_above: float = COMPLEMENTARY_ABOVE,
    outgoing: Tensor | None = None,
    num_removed: int | None = None,
    protected: Collection[int] = (),
) -> PrunePlan:
    """Decide which neurons of one layer are removed, given the statistics of their activations.

    At least one neuron is kept, and so are neurons that were NaN or infinite, because nothing is known of
    them.

    Args:
        statistics: Statistics of C neurons.
        criterion: Criterion that decides which neurons are removed; see :mod:`fer.neurons.criteria`.
        similar_below: Angle below which two neurons are similar, in degrees; for the criterion ``span``,
            angle to the linear span of the other neurons below which a neuron is removed.
        complementary_above: Angle above which two neurons are complementary, in degrees.
        outgoing: Outgoing weights of each neuron, with all next layers side by side, shape ``(C, M)``;
            default: 1 for each neuron.
        num_removed: Number of neurons to remove regardless of the thresholds, to compare at equal width.
        protected: Neurons that are kept; others may be merged into them.

    Raises:
        InputError: There are no samples; the thresholds are not 0 to 180 degrees in this order; the criterion
            is unknown; the outgoing weights belong to another layer; or ``num_removed`` or ``protected`` do
            not fit C.
    """
    width = statistics.num_neurons
    weights = (torch.ones(width, 1) if outgoing is None else outgoing.detach()).to(statistics.std)
    if weights.ndim != 2 or len(weights) != width:
        msg = f"outgoing weights of shape {tuple(weights.shape)} do not fit a layer of {width} neurons"
        raise InputError(msg)
    limits = Limits(similar_below, complementary_above, num_removed, protected)
    return _plan(Neurons(statistics, weights), limits, make_criterion(criterion))


def _plan(neurons: Neurons, limits: Limits, criterion: Criterion) -> PrunePlan:
    """Return the plan of a criterion for neurons without blocks."""
    width, num = neurons.statistics.num_neurons, limits.num_removed
    if num is not None and not 0 <= num < width:
        msg = f"num_removed is {num}: of {width} neurons 0 to {width - 1} can be removed"
        raise InputError(msg)
    if unknown := [neuron for neuron in limits.protected if not 0 <= neuron < width]:
        msg = f"protected names neuron {unknown[0]}: the layer has neurons 0 to {width - 1}"
        raise InputError(msg)
    removals = criterion.removals(neurons, limits)
    if num is not None and len(removals) < num:
        warn(
            "%d of %d neurons are removed, not %d: none of the others can be removed",
            *(len(removals), width, num),
            severity=num - len(removals),
        )
    return PrunePlan(width, tuple(removals))


def _neurons(network: nn.Module, group: NeuronGroup, measurement: Measurement, *, is_fitted: bool) -> Neurons:
    """Return the neurons of a group for a criterion; a fit can add a constant to each next layer."""
    statistics = measurement.centred_statistics_of(group) if is_fitted else measurement.statistics_of(group)
    return Neurons(
        statistics,
        outgoing_weights(network, group).to(statistics.std),
        incoming_weights(network, group).to(statistics.std),
        measurement.gradients.get(group.name),
        group.takes_constants,
    )


def _part(neurons: Neurons, block: slice) -> Neurons:
    gradients = neurons.gradients
    return replace(
        neurons,
        statistics=part_of(neurons.statistics, block),
        outgoing=neurons.outgoing[block],
        incoming=None if neurons.incoming is None else neurons.incoming[block],
        gradients=gradients and Gradients(gradients.of_batches[block], gradients.of_samples[block]),
    )


def part_of(statistics: ActivationStatistics, block: slice) -> ActivationStatistics:
    """Return the statistics of a block of neurons."""
    vectors = {name: getattr(statistics, name)[block] for name in VECTORS}
    return replace(statistics, upper=statistics.upper[block, block], **vectors)


def moved(removal: Removal, step: int) -> Removal:
    """Return a removal with all neuron indices raised by ``step``."""
    into = None if removal.into is None else removal.into + step
    return replace(removal, neuron=removal.neuron + step, into=into)


def _largest(values: Tensor, among: Tensor) -> list[int]:
    """Return the index of the largest value as a list; empty if there is none to choose from."""
    return [int(values.where(among, -1).argmax())] if among.any() else []
