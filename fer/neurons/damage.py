"""Damage: how far a network's outputs move when a group loses neurons, after compensation.

The cost of a neuron by a criterion is measured where the next layer takes it, so costs of different layers do
not compare. Here each group is pruned by itself at a few widths, the next layers are corrected, and the
outputs are compared on held-out samples: one unit for all layers.
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
"""Held-out samples that outputs are compared on."""

MOST_VALUES: Final = 2**16
"""Values of an output that are compared for a batch; of more, as of one for each pixel, a random sample."""

LARGEST: Final = 1e6
"""Largest damage, also of outputs that are no longer finite."""


@warnings_of_trials_dropped()
def measure_damage(
    network: nn.Module,
    batches: Batches,
    measurement: Measurement,
    criterion: Criterion,
    merge: MergeRule = "refit",
) -> dict[str, dict[int, float]]:
    """Return how much the outputs change when one group alone loses neurons.

    Four of five samples are measured and fitted on, jointly, and the outputs for the others are compared. Of
    fewer than five samples all are used for both.

    Args:
        network: The network that was measured.
        batches: The batches that it was measured on.
        measurement: Measurement of it, of samples that were not rescaled.
        criterion: Selects the neurons; it has the measurement's gradients if it needs them.
        merge: How the next layers are corrected.

    Returns:
        By the name of a group and the number of its neurons that are removed: the mean square of the change
        as a share of the variance of the outputs, summed over all output tensors of a floating-point type.
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
    """Return what it costs the outputs to remove the neurons of each group one after the other.

    The costs of the criterion say how the damage of a group is spread over its neurons, the measured damage
    (:func:`measure_damage`) how much it is: at the numbers that were tried, the costs add up to it.

    Args:
        network: As for :func:`measure_damage`.
        batches: As for :func:`measure_damage`.
        measurement: As for :func:`measure_damage`.
        criterion: As for :func:`measure_damage`.
        merge: As for :func:`measure_damage`.

    Returns:
        By the name of a group, in the order of the removals, for all neurons but one of each block.
    """
    damage = measure_damage(network, batches, measurement, criterion, merge)
    if criterion.has_costs:
        costs = removal_costs(network, measurement, criterion)
    else:
        costs = {group.name: [1.0] * (group.num_neurons - group.num_blocks) for group in measurement.groups}
    return {name: scaled(costs[name], points) for name, points in damage.items()}


def scaled(costs: list[float], points: Mapping[int, float]) -> list[float]:
    """Return costs whose sums are those that were measured; between the points the factor is linear.

    Args:
        costs: Costs of removals one after the other.
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
    """The samples that are not held out, batch by batch."""

    def __init__(self, batches: InputBatches) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Inputs]:
        yield from _picked(self.batches, lambda numbers: numbers % HELD_OUT != 0)


def split(batches: InputBatches) -> tuple[InputBatches, list[Inputs]]:
    """Return four of five samples, and the others, of which there are :data:`MOST_HELD_OUT` at most."""
    num = sum(map(len, batches))
    if num < HELD_OUT:
        return batches, list(batches)
    every = HELD_OUT * math.ceil(num / HELD_OUT / MOST_HELD_OUT)
    held_out = list(_picked(batches, lambda numbers: numbers % every == 0))
    return replace(batches, batches=_Fitted(batches)), held_out


def _picked(batches: InputBatches, choose: Callable[[Tensor], Tensor]) -> Iterator[Inputs]:
    """Yield the samples whose numbers are chosen, batch by batch."""
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
    """Return the values of an output, or the same of them for each network."""
    values = output.flatten()
    if len(values) > MOST_VALUES:
        chosen = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))[:MOST_VALUES]
        values = values[chosen.to(values.device)]
    return values.double()


def _distance(whole: list[list[Tensor]], other: list[list[Tensor]]) -> float:
    """Return the mean squares of the changes of outputs over their variances, summed over the outputs.

    What was not finite before is left out.
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
