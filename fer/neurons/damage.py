"""Damage: how far a network's outputs change when a group loses neurons, after compensation.

A criterion measures a neuron's cost at the input of the next layer, so the costs of different layers are not
comparable. Damage is one unit for all layers: each group is pruned by itself to a few widths, the next layers
are corrected, and the outputs are compared on held-out samples.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from fer.neurons.batches import InputBatches
from fer.neurons.compensation import corrected, fit_jointly
from fer.neurons.criteria import Criterion
from fer.neurons.inputs import Batches, Inputs, call
from fer.neurons.measure import Measurement, measure_inputs
from fer.neurons.merge import MergeRule
from fer.neurons.nested import tensors_in
from fer.neurons.networks import eval_state
from fer.neurons.planning import plan_groups, removal_costs
from fer.neurons.rules import Rule
from fer.neurons.sequential import HELD_OUT
from fer.neurons.surgery import planned
from fer.neurons.warn import warnings_of_trials_dropped

SHARES: Final = (0.25, 0.5, 0.75, 0.875)
"""Shares of a group's neurons whose removal is tried."""

MOST_HELD_OUT: Final = 512
"""Largest number of held-out samples on which outputs are compared."""

MOST_VALUES: Final = 2**16
"""Largest number of values of an output that are compared per batch; beyond it, a random sample is drawn."""

LARGEST: Final = 1e6
"""Largest damage; also the damage of outputs that are no longer finite."""


@warnings_of_trials_dropped()
def measure_damage(
    network: nn.Module,
    batches: Batches,
    measurement: Measurement,
    criterion: Criterion,
    merge: MergeRule = "refit",
) -> dict[str, dict[int, float]]:
    """Return how much the outputs change when a single group loses neurons.

    Four of five samples are used to measure and to fit jointly, and outputs are compared on the rest. With
    fewer than five samples, all are used for both.

    Args:
        network: The network that was measured.
        batches: The batches that it was measured on.
        measurement: Measurement of it, on samples that were not rescaled.
        criterion: Criterion that selects the neurons; the measurement must hold gradients if it needs them.
        merge: How the next layers are corrected.

    Returns:
        By name of the group and number of removed neurons: the mean square of the change as a share of the
        variance of the outputs, summed over all floating-point outputs.
    """
    fitted, held_out = split(InputBatches.of(batches, network))
    found = replace(measurement, statistics=measure_inputs(network, measurement.groups, fitted))
    whole, rule = _outputs(network, held_out), Rule(criterion, merge)
    damage: dict[str, dict[int, float]] = {group.name: {} for group in found.groups}
    for share in SHARES:
        plans = plan_groups(network, found, criterion=criterion, merge=merge, share_removed=share)
        fits = fit_jointly(network, fitted, planned(found.groups, plans), found.statistics, rule)
        for group, plan in planned(found.groups, plans):
            masked = corrected(network, [(group, plan)], fits, found.statistics, rule)
            damage[group.name][len(plan.removals)] = _distance(whole, _outputs(masked, held_out))
    return damage


def damage_costs(
    network: nn.Module,
    batches: Batches,
    measurement: Measurement,
    criterion: Criterion,
    merge: MergeRule = "refit",
) -> dict[str, list[float]]:
    """Return how much damage each removal adds when the neurons of a group are removed one after another.

    The measured damage (:func:`measure_damage`) fixes the sums at the numbers of neurons that were tried; the
    costs of the criterion distribute it over the neurons in between.

    Args:
        network: See :func:`measure_damage`.
        batches: See :func:`measure_damage`.
        measurement: See :func:`measure_damage`.
        criterion: See :func:`measure_damage`.
        merge: See :func:`measure_damage`.

    Returns:
        By name of the group, in the order of the removals, for all neurons but one of each block.
    """
    damage = measure_damage(network, batches, measurement, criterion, merge)
    if criterion.has_costs:
        costs = removal_costs(network, measurement, criterion)
    else:
        costs = {group.name: [1.0] * (group.num_neurons - group.num_blocks) for group in measurement.groups}
    return {name: scaled(costs[name], points) for name, points in damage.items()}


def scaled(costs: list[float], points: Mapping[int, float]) -> list[float]:
    """Scale costs so that their running sums match the measured ones; the factor is linear between points.

    Args:
        costs: Costs of successive removals.
        points: Measured sums, by the number of removals.

    >>> scaled([1.0, 1.0, 2.0, 4.0], {2: 4.0, 4: 32.0})
    [2.0, 2.0, 8.0, 20.0]
    """
    sums = np.cumsum([0.0, *costs])
    known = [(num, value / sums[num]) for num, value in sorted(points.items()) if sums[num] > 0]
    if not known:
        return [0.0 for _ in costs]
    nums, ratios = (np.array(each) for each in zip(*known, strict=True))
    factors = np.interp(np.arange(len(sums)), nums, ratios)
    return np.diff(np.maximum.accumulate(sums * factors)).tolist()  # type: ignore[no-any-return]


class _Fitted:
    """Samples that are not held out, batch by batch."""

    def __init__(self, batches: InputBatches) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Inputs]:
        yield from _picked(self.batches, lambda numbers: numbers % HELD_OUT != 0)


def split(batches: InputBatches) -> tuple[InputBatches, list[Inputs]]:
    """Return four of five samples, and up to :data:`MOST_HELD_OUT` of the others."""
    num = sum(map(len, batches))
    if num < HELD_OUT:
        return batches, list(batches)
    every = HELD_OUT * math.ceil(num / HELD_OUT / MOST_HELD_OUT)
    held_out = list(_picked(batches, lambda numbers: numbers % every == 0))
    return replace(batches, batches=_Fitted(batches), seen=[]), held_out


def _picked(batches: InputBatches, choose: Callable[[Tensor], Tensor]) -> Iterator[Inputs]:
    """Yield the samples whose indices are chosen, batch by batch."""
    first = 0
    for inputs in batches:
        chosen = choose(torch.arange(first, first + len(inputs)))
        first += len(inputs)
        if chosen.any():
            yield inputs.pick(chosen)


def _outputs(network: nn.Module, batches: Batches) -> list[list[Tensor]]:
    """Return the values of all floating-point tensors that a network returns, batch by batch, in float64."""
    with eval_state(network):
        return [
            [_some(each) for each in tensors_in(call(network, inputs)) if each.is_floating_point()]
            for inputs in batches
        ]


def _some(output: Tensor) -> Tensor:
    """Return all values of an output, or a random sample that is the same for each network."""
    values = output.flatten()
    if len(values) > MOST_VALUES:
        chosen = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))[:MOST_VALUES]
        values = values[chosen.to(values.device)]
    return values.double()


def _distance(whole: list[list[Tensor]], other: list[list[Tensor]]) -> float:
    """Return the mean squared changes of outputs over their variances, summed over the outputs.

    Values that were not finite before are left out.
    """
    total = 0.0
    for before, after in zip(zip(*whole, strict=True), zip(*other, strict=True), strict=True):
        first, second = (torch.cat(part) for part in (before, after))
        is_known = first.isfinite()
        first, second = first[is_known], second[is_known]
        change, variance = (second - first).square().sum(), (first - first.mean()).square().sum()
        if change > 0 or not change.isfinite():
            total += float(change / variance)
    return total if total < LARGEST else LARGEST
