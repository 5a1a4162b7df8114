"""Settings that leave a network of a given size; see :mod:`fer.pruning.limits` for the kinds of size."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from torch import nn

from fer.neurons import Measurement, PrunePlan, Removal, cut, plan_groups
from fer.neurons.criteria import Pairs
from fer.neurons.damage import damage_costs
from fer.neurons.groups import NeuronGroup
from fer.neurons.inputs import Batches
from fer.pruning.limits import Meter, Reading
from fer.pruning.settings import PruneSettings

WIDEST: Final = 90.0
"""Largest threshold, in degrees, at which every two neurons are similar or complementary."""

LARGEST_SHARE: Final = 0.999
"""Largest share of a layer's neurons that is removed; at least one neuron is kept."""

SHARE_STEPS: Final = 10
"""Number of halvings in the search for a share: a precision of 0.001."""

THRESHOLD_STEPS: Final = 12
"""Number of halvings of :data:`WIDEST` in the search for a threshold: a precision of 0.02 degrees."""

PRICES: Final = (1e-16, 1e16)
"""Lowest and highest price of the network's whole size."""

FREE: Final = 1e-9
"""Cost, as a share of the outputs' variance, up to which a dead or constant neuron is always removed."""

LEAST_SAVED: Final = 1e-6
"""Smallest share of the size that a neuron is taken to save, for when a measured latency shows no saving."""


def settings_at_size(
    settings: PruneSettings, network: nn.Module, measurement: Measurement, batches: Batches, meter: Meter
) -> PruneSettings:
    """Return the settings that leave a network no larger than a limit.

    For a criterion, each layer loses the neurons that damage the network's outputs least for what they save
    (:func:`counts_at_size`). Published rules have no costs: rules by angles get one threshold for all layers
    (:func:`threshold_at_size`), and other rules remove the same share of each layer (:func:`share_at_size`).

    Args:
        settings: Settings to change.
        network: Network before pruning.
        measurement: Measurement of the network.
        batches: Batches that it was measured on.
        meter: Meter of the size limit.

    Raises:
        InputError: The network cannot be made that small.
    """
    if settings.rule is None:
        costs = damage_costs(network, batches, measurement, settings.method.criterion, settings.merge)
        return replace(settings, num_removed=counts_at_size(network, measurement, costs, meter))
    if not isinstance(settings.method.criterion, Pairs):
        return replace(settings, share_removed=share_at_size(settings, network, measurement, meter))
    degrees = threshold_at_size(settings, network, measurement, meter)
    return replace(settings, similar_below=degrees, complementary_above=180 - degrees)


def threshold_at_size(
    settings: PruneSettings, network: nn.Module, measurement: Measurement, meter: Meter
) -> float:
    """Return the narrowest threshold, in degrees from 0 and from 180, that leaves a network small enough.

    Plans are only made and cut. Compensation is left out, because it does not change the size.

    Args:
        settings: Criterion, merge and rule; their thresholds are ignored.
        network: Network before pruning.
        measurement: Measurement of the network.
        meter: Meter of the size limit.

    Raises:
        InputError: No threshold leaves the network small enough.
    """

    def plans_at(threshold: float) -> dict[str, PrunePlan]:
        return plan_groups(
            *(network, measurement),
            similar_below=threshold,
            complementary_above=180 - threshold,
            criterion=settings.criterion,
            merge=settings.merge,
            rule=settings.rule,
        )

    return _bisect(plans_at, network, measurement, meter, (0.0, WIDEST), THRESHOLD_STEPS)


def share_at_size(
    settings: PruneSettings, network: nn.Module, measurement: Measurement, meter: Meter
) -> float:
    """Return the smallest share to remove from each layer that leaves a network small enough.

    Args:
        settings: Criterion or rule.
        network: Network before pruning.
        measurement: Measurement of the network.
        meter: Meter of the size limit.

    Raises:
        InputError: The network cannot be made that small.
    """

    def plans_at(share: float) -> dict[str, PrunePlan]:
        criterion = settings.method.criterion
        return plan_groups(network, measurement, criterion=criterion, share_removed=share)

    return _bisect(plans_at, network, measurement, meter, (0.0, LARGEST_SHARE), SHARE_STEPS)


def _bisect(
    plans_at: Callable[[float], Mapping[str, PrunePlan]],
    network: nn.Module,
    measurement: Measurement,
    meter: Meter,
    ends: tuple[float, float],
    num_steps: int,
) -> float:
    """Return the smallest value between two ends whose plans leave a network small enough."""

    def is_met(value: float) -> bool:
        return meter.is_met(meter.read(cut(network, measurement.groups, plans_at(value))))

    low, high = ends
    if not meter.is_met(least := meter.read(cut(network, measurement.groups, plans_at(high)))):
        raise meter.out_of_reach(least)
    for _ in range(num_steps):
        middle = (low + high) / 2
        low, high = (low, middle) if is_met(middle) else (middle, high)
    return high


def counts_at_size(
    network: nn.Module, measurement: Measurement, costs: Mapping[str, list[float]], meter: Meter
) -> dict[str, int]:
    """Return how many neurons to remove from each group to leave a network small enough.

    Each group loses the neurons whose cost per saving is at most one price, the same for all groups, and all
    dead and constant neurons that cost nothing, whatever they save. What a neuron saves depends on the widths
    of the layers around it, so savings are measured in the unpruned network first and then again at the
    widths that were found.

    Args:
        network: Network before pruning.
        measurement: Measurement of the network, on samples that were not rescaled.
        costs: Cost of each successive removal, by the name of a group; see
            :func:`fer.neurons.damage.damage_costs`.
        meter: Meter of the size limit.

    Raises:
        InputError: The network cannot be made that small.
    """
    search = _Search(network, measurement, {name: _rising(each) for name, each in costs.items()}, meter)
    least = search.counts_at(math.inf)
    if not meter.is_met(reading := search.read(least)):
        raise meter.out_of_reach(reading)
    search.measure_savings({})
    counts = search.run()
    if meter.kind.count is None:
        return counts
    search.measure_savings(counts)
    return search.filled(search.run())


def _rising(costs: list[float]) -> list[float]:
    """Return costs that never fall: each cost is raised to the largest one before it."""
    highest = 0.0
    return [highest := max(highest, cost) for cost in costs]


@dataclass(eq=False)
class _Search:
    """Search for the lowest price at which a network is small enough.

    Attributes:
        network: Network before pruning.
        measurement: Measurement of the network.
        costs: Non-decreasing costs, by the name of a group.
        meter: Meter of the size limit.
        saved: Share of the whole size that one neuron saves, by the name of a group.
    """

    network: nn.Module
    measurement: Measurement
    costs: Mapping[str, list[float]]
    meter: Meter
    saved: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.groups = {group.name: group for group in self.measurement.groups}
        self.silent = {name: self._count_silent(group) for name, group in self.groups.items()}
        """Numbers of dead and constant neurons that cost nothing, by group; they are removed first."""

    def _count_silent(self, group: NeuronGroup) -> int:
        statistics = self.measurement.statistics_of(group)
        is_silent = statistics.dead | statistics.constant
        of_block = min(int(is_silent[block].sum()) for block in group.blocks)  # each loses as many
        return min(of_block * group.num_blocks, bisect_right(self.costs[group.name], FREE))

    def read(self, counts: Mapping[str, int]) -> Reading:
        """Return the size of the network with ``counts`` neurons removed from each group."""
        plans = {
            name: PrunePlan(
                group.num_neurons,
                tuple(
                    Removal(neuron, "criterion")
                    for block in group.blocks
                    for neuron in range(block.start, block.start + counts.get(name, 0) // group.num_blocks)
                ),
            )
            for name, group in self.groups.items()
        }
        return self.meter.read(cut(self.network, self.measurement.groups, plans))

    def is_met(self, counts: Mapping[str, int]) -> bool:
        """Return whether the network is small enough with ``counts`` neurons removed."""
        return self.meter.is_met(self.read(counts))

    def step(self, name: str) -> int:
        """Return the multiple of neurons that a group keeps."""
        group, width = self.groups[name], self.meter.kind.width_step
        return math.lcm(width if group.num_neurons >= 2 * width else 1, group.num_blocks)

    def measure_savings(self, counts: Mapping[str, int]) -> None:
        """Measure what a neuron of each group saves with ``counts`` neurons removed from the other groups."""
        size = self.read(counts).value
        for name, group in self.groups.items():
            kept = group.num_neurons - counts.get(name, 0)
            half = kept // 2 // group.num_blocks * group.num_blocks or -counts.get(name, 0)
            if half == 0:
                self.saved[name] = LEAST_SAVED
                continue
            other = self.read({**counts, name: counts.get(name, 0) + half}).value
            self.saved[name] = max(LEAST_SAVED, (size - other) / half / self.meter.whole.value)

    def counts_at(self, price: float) -> dict[str, int]:
        """Return how many neurons of each group cost at most a price."""
        counts = {}
        for name in self.groups:
            gone = bisect_right(self.costs[name], price * self.saved.get(name, 1))
            counts[name] = self.whole_steps(name, max(gone, self.silent[name]))
        return counts

    def whole_steps(self, name: str, gone: int) -> int:
        """Return how many neurons of a group are removed, at most so many, if it keeps whole steps."""
        num, step = self.groups[name].num_neurons, self.step(name)
        return num - min(num, step * math.ceil((num - gone) / step))

    def run(self) -> dict[str, int]:
        """Return the counts at the lowest price at which the network is small enough."""
        low, high = map(math.log, PRICES)
        step = (high - low) / 2**self.meter.kind.num_steps
        for _ in range(self.meter.kind.num_steps):
            middle = (low + high) / 2
            low, high = (low, middle) if self.is_met(self.counts_at(math.exp(middle))) else (middle, high)
        while high < math.log(PRICES[1]) and not self.is_met(self.counts_at(math.exp(high))):
            high, step = high + step, 2 * step  # an earlier timing met the limit only by chance
        return self.counts_at(math.exp(high))

    def filled(self, counts: dict[str, int]) -> dict[str, int]:
        """Give neurons back while the network stays small enough, the most costly ones first."""

        def price(name: str) -> float:
            return self.costs[name][counts[name] - 1] / self.saved[name] if counts[name] else 0.0

        for name in sorted(counts, key=price, reverse=True):
            least = self.whole_steps(name, self.silent[name])
            steps = range(counts[name], least - 1, -self.step(name))  # a network grows from one to the next
            num_met = bisect_left(steps, True, key=lambda num: not self.is_met({**counts, name: num}))
            counts[name] = steps[max(0, num_met - 1)]
        return counts
