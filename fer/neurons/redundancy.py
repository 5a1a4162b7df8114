"""Which share of a layer is of no use: neurons that hardly fire, clones, and sums of the others."""

import math

import torch
from torch import Tensor

from fer.neurons.angles import SIMILAR_BELOW, Origin, angles
from fer.neurons.criteria import SPAN_RIDGE
from fer.neurons.statistics import ActivationStatistics


def redundant_share(
    statistics: ActivationStatistics, *, similar_below: float = SIMILAR_BELOW, normalise: Origin = "centre"
) -> float:
    """Return the share of neurons that the others of their layer can nearly compute together.

    With R the cosines between C neurons, neuron i is at the angle arcsin(1 / (R⁻¹)ᵢᵢ^½) to the linear span of
    all others. Each neuron is looked at by itself: of two clones both are redundant, though one has to stay.

    Args:
        statistics: Statistics of C neurons, of many more samples than neurons: with fewer samples than
            neurons every neuron is in the span of the others.
        similar_below: Angle to the span below which a neuron is redundant; degrees.
        normalise: Where the activation vectors start from; ``centre`` is the span with a constant.

    Returns:
        0 to 1, of all neurons; those that never change have no direction, and count as redundant.
    """
    degrees = span_angles(angles(statistics, normalise))
    return float((degrees.isnan() | (degrees < similar_below)).double().mean())


def span_angles(degrees: Tensor) -> Tensor:
    """Return the angle between each neuron and the linear span of the others.

    Args:
        degrees: Angles between C neurons, shape ``(C, C)``; NaN for neurons without a direction.

    Returns:
        Degrees, 0 to 90, shape ``(C,)``; NaN for neurons without a direction.
    """
    members = ~degrees.diagonal().isnan()
    cosines = degrees[members][:, members].deg2rad().cos()
    cosines.diagonal().add_(SPAN_RIDGE)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(cosines))
    found = torch.full_like(degrees.diagonal(), math.nan)
    found[members] = inverse.diagonal().reciprocal().clamp(0, 1).sqrt().asin().rad2deg()
    return found


def cloned_share(statistics: ActivationStatistics, *, similar_below: float = SIMILAR_BELOW) -> float:
    """Return the share of a layer's variance that groups of similar neurons explain by their means.

    Neurons are in one group if a chain of similar neurons leads from one to the other. Each is rescaled to a
    variance of 1, since a clone may be larger than the other. A group of one explains nothing.

    Args:
        statistics: Statistics of C neurons.
        similar_below: Two neurons with a smaller angle, around their means, are similar; degrees.

    Returns:
        0 (no two neurons are similar) to 1 (every neuron has a clone).

    Source: after Joudaki et al., "Barriers for Learning in an Evolving World", arXiv 2510.00304, 2025, who
    find that cloned units end learning.
    """
    degrees = angles(statistics, "centre")
    members = ~degrees.diagonal().isnan()
    degrees = degrees[members][:, members]
    if not len(degrees):
        return math.nan
    cosines = degrees.deg2rad().cos()
    groups = groups_of(degrees < similar_below)
    explained = 0.0
    for number in set(groups.tolist()):
        group = groups == number
        size = int(group.sum())
        if size > 1:
            explained += float(cosines[group][:, group].sum()) / size
    return explained / len(degrees)


def groups_of(are_linked: Tensor) -> Tensor:
    """Return the number of each neuron's group, the smallest index in it; linked neurons share a group.

    Args:
        are_linked: Which neurons are linked, symmetric, shape ``(C, C)``, bool.
    """
    numbers = torch.arange(len(are_linked))
    linked = are_linked.cpu() | torch.eye(len(are_linked), dtype=torch.bool)
    while True:
        smallest = torch.where(linked, numbers, len(numbers)).amin(dim=1)
        smallest = smallest[smallest]
        if torch.equal(smallest, numbers):
            return numbers
        numbers = smallest
