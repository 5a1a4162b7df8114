"""Settings for a network of a given size, in multiply-adds."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from torch import nn

from fer.errors import InputError
from fer.neurons import Criterion, Measurement, PrunePlan, Removal, cut, plan_groups
from fer.neurons.criteria import CriterionName, Pairs
from fer.neurons.planning import removal_costs
from fer.pruning.settings import PruneSettings
from fer.pruning.size import count_macs

WIDEST: Final = 90.0
"""Largest threshold, degrees: every two neurons are similar or complementary."""

WIDTH_STEP: Final = 16
"""Multiple of feature maps that a wide layer keeps: AVX-512 computes 16 at a time, and a width between two
multiples takes as long as the next one."""

PRICE_STEPS: Final = 24
"""Halvings in the search for the price of a multiply-add, over 16 decades."""

LARGEST_SHARE: Final = 0.999
"""Largest share of a layer's neurons that is removed; at least one is kept."""

SHARE_STEPS: Final = 10
"""Halvings in the search for a share: to 0.001."""

THRESHOLD_STEPS: Final = 12
"""Halvings of :data:`WIDEST` in the search for a threshold: to 0.02 degrees."""


def settings_at_macs(
    settings: PruneSettings, network: nn.Module, measurement: Measurement, example: Any, max_macs: float
) -> PruneSettings:
    """Return the settings that leave at most a given number of multiply-adds.

    A criterion with costs removes from each layer what costs least (:func:`counts_at_macs`). Pairs and the
    published rules have no costs, but thresholds: one is found for all layers (:func:`threshold_at_macs`). A
    criterion with neither, such as ``l1``, removes the same share of each layer (:func:`share_at_macs`).

    Args:
        settings: The settings to change.
        network: The network before pruning.
        measurement: Its measurement.
        example: A batch that it takes, of one sample or more.
        max_macs: Largest number of multiply-adds for one sample.

    Raises:
        InputError: The network cannot be made that small.
    """
    criterion, size = settings.method.criterion, (network, measurement, example, max_macs)
    if criterion.has_costs:
        return replace(settings, num_removed=counts_at_macs(*size, criterion))
    if not isinstance(criterion, Pairs):
        return replace(settings, share_removed=share_at_macs(*size, criterion))
    degrees = threshold_at_macs(*size, settings)
    return replace(settings, similar_below=degrees, complementary_above=180 - degrees)


def threshold_at_macs(
    network: nn.Module,
    measurement: Measurement,
    example: Any,
    max_macs: float,
    settings: PruneSettings,
) -> float:
    """Return the narrowest threshold that leaves at most a given number of multiply-adds.

    Only plans are made and cut, without compensation, which does not change the size.

    Args:
        network: The network before pruning.
        measurement: Its measurement.
        example: A batch that it takes, of one sample or more.
        max_macs: Largest number of multiply-adds for one sample.
        settings: Criterion, merge and rule; the thresholds are ignored.

    Returns:
        Threshold in degrees from 0 and from 180.

    Raises:
        InputError: No threshold leaves so few.
    """

    def macs_at(threshold: float) -> int:
        plans = plan_groups(
            *(network, measurement),
            similar_below=threshold,
            complementary_above=180 - threshold,
            criterion=settings.criterion,
            merge=settings.merge,
            rule=settings.rule,
        )
        return count_macs(cut(network, measurement.groups, plans), example)

    return _bisect(macs_at, WIDEST, THRESHOLD_STEPS, max_macs)


def share_at_macs(
    network: nn.Module,
    measurement: Measurement,
    example: Any,
    max_macs: float,
    criterion: Criterion,
) -> float:
    """Return the smallest share of each layer whose removal leaves at most a number of multiply-adds.

    Args:
        network: The network before pruning.
        measurement: Its measurement.
        example: A batch that it takes, of one sample or more.
        max_macs: Largest number of multiply-adds for one sample.
        criterion: Decides which neurons are removed.

    Raises:
        InputError: The network cannot be made that small.
    """

    def macs_at(share: float) -> int:
        plans = plan_groups(network, measurement, criterion=criterion, share_removed=share)
        return count_macs(cut(network, measurement.groups, plans), example)

    return _bisect(macs_at, LARGEST_SHARE, SHARE_STEPS, max_macs)


def _bisect(macs_at: Callable[[float], int], largest: float, num_steps: int, max_macs: float) -> float:
    """Return the smallest value from 0 to ``largest`` that leaves at most a number of multiply-adds."""
    low, high = 0.0, largest
    if (fewest := macs_at(high)) > max_macs:
        raise _out_of_reach(max_macs, fewest)
    for _ in range(num_steps):
        middle = (low + high) / 2
        low, high = (low, middle) if macs_at(middle) <= max_macs else (middle, high)
    return high


def counts_at_macs(
    network: nn.Module,
    measurement: Measurement,
    example: Any,
    max_macs: float,
    criterion: CriterionName | Criterion = "span",
) -> dict[str, int]:
    """Return how many neurons to remove from each group to leave at most a given number of multiply-adds.

    Each group loses the neurons that cost the next layers least per multiply-add saved. A wide layer keeps a
    multiple of :data:`WIDTH_STEP` neurons.

    Args:
        network: The network before pruning.
        measurement: Its measurement, of samples that were not rescaled.
        example: A batch that it takes, of one sample or more.
        max_macs: Largest number of multiply-adds for one sample.
        criterion: A criterion with costs.

    Raises:
        InputError: The network cannot be made that small.
    """
    costs, whole = removal_costs(network, measurement, criterion), count_macs(network, example)
    sizes = {group.name: group.num_neurons for group in measurement.groups}
    blocks = {group.name: group.num_blocks for group in measurement.groups}

    def macs_without(counts: Mapping[str, int]) -> int:
        plans = {
            name: PrunePlan(
                sizes[name], tuple(Removal(k, "criterion") for k in _evenly(sizes[name], blocks[name], count))
            )
            for name, count in counts.items()
        }
        return count_macs(cut(network, measurement.groups, plans), example)

    saved = {
        name: (whole - macs_without({name: size // 2})) / (size // 2)
        for name, size in sizes.items()
        if size > 1
    }

    def counts_at(price: float) -> dict[str, int]:
        """Remove the neurons that cost at most a price per share of multiply-adds saved."""
        counts = {}
        for name, share in saved.items():
            count = bisect_right(costs[name], price * share / whole)
            step = math.lcm(WIDTH_STEP if sizes[name] >= 2 * WIDTH_STEP else 1, blocks[name])
            kept = min(sizes[name], step * math.ceil((sizes[name] - count) / step))
            counts[name] = sizes[name] - kept
        return counts

    low, high = math.log(1e-8), math.log(1e8)
    if (fewest := macs_without(counts_at(math.exp(high)))) > max_macs:
        raise _out_of_reach(max_macs, fewest)
    for _ in range(PRICE_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if macs_without(counts_at(math.exp(middle))) <= max_macs else (middle, high)
    return counts_at(math.exp(high))


def _evenly(size: int, num_blocks: int, count: int) -> Iterator[int]:
    """Yield the first neurons of each block, equally many."""
    for start in range(0, size, size // num_blocks):
        yield from range(start, start + count // num_blocks)


def _out_of_reach(max_macs: float, fewest: int) -> InputError:
    return InputError(
        f"{max_macs:,.0f} multiply-adds cannot be reached, {fewest:,} are the fewest: raise --target_macs or "
        "name more layers in --prune.layers"
    )
