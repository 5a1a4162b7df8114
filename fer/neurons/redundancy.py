"""Redundant shares of a layer: neurons that hardly fire, clones, and neurons that the others can compute."""

import math
from typing import Final

import torch
from torch import Tensor

from fer.neurons.angles import SIMILAR_BELOW, angles
from fer.neurons.criteria import SPAN_RIDGE
from fer.neurons.statistics import ActivationStatistics

DORMANT_BELOW: Final = 0.1
"""Share of their layer's mean absolute output up to which neurons are dormant (Sokar et al.)."""

LEAST_SAMPLES: Final = 2
"""Smallest number of samples per neuron for :func:`redundant_share`; with fewer, every neuron is fitted."""


def dormant_share(statistics: ActivationStatistics, tau: float = DORMANT_BELOW) -> float:
    """Return the share of dormant neurons, whose mean absolute output is small compared with their layer's.

    Args:
        statistics: Statistics of C neurons.
        tau: Share of the layer's mean up to which a neuron is dormant; 0: dead neurons only.

    Returns:
        0 to 1, of the finite neurons; 1 if all are dead. NaN if none is finite, or if the statistics were
        saved by an older version that did not measure magnitudes.

    Source: Sokar, Agarwal, Castro and Evci, "The Dormant Neuron Phenomenon in Deep Reinforcement Learning",
    2023, definition 3.1.
    """
    magnitude = statistics.magnitude[~statistics.non_finite]
    if not len(magnitude) or bool(magnitude.isnan().any()):
        return math.nan
    return float((magnitude <= tau * magnitude.mean()).double().mean())


def redundant_share(
    statistics: ActivationStatistics, degrees: Tensor | None = None, *, similar_below: float = SIMILAR_BELOW
) -> float:
    """Return the share of neurons that the other neurons of their layer can nearly compute together.

    With R the cosines between C neurons, neuron i is at the angle arcsin(1 / (R⁻¹)ᵢᵢ^½) to the linear span of
    all others. Neurons are evaluated one by one: both of two clones are redundant, though one has to stay.

    A fit to few samples is too good, since only N - C of N samples are left to evaluate it. The squared sine
    is therefore multiplied by (N - 1) / (N - C), as in the adjusted coefficient of determination.

    Args:
        statistics: Statistics of C neurons over N samples.
        degrees: Angles between the neurons, of any normalisation, if already known; None: those around the
            means.
        similar_below: Angle to the linear span below which a neuron is redundant; degrees.

    Returns:
        0 to 1, of the finite neurons; neurons that never change have no direction and count as redundant. NaN
        if none is finite, or if N is less than :data:`LEAST_SAMPLES` times C: N - 1 or more neurons always
        span all samples.
    """
    finite = ~statistics.non_finite
    num = int((finite & ~statistics.dead & ~statistics.constant).sum())
    if not finite.any() or statistics.count < LEAST_SAMPLES * num:
        return math.nan
    found = span_angles(angles(statistics, "centre") if degrees is None else degrees)[finite]
    adjustment = (statistics.count - 1) / max(1, statistics.count - num)
    is_near = found.deg2rad().sin().square() * adjustment < math.sin(math.radians(similar_below)) ** 2
    return float((found.isnan() | is_near).double().mean())


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


def cloned_share(
    statistics: ActivationStatistics, degrees: Tensor | None = None, *, similar_below: float = SIMILAR_BELOW
) -> float:
    """Return the share of a layer's variance that groups of similar neurons explain by their means.

    Two neurons are in one group if a chain of similar neurons connects them. Each neuron is rescaled to a
    variance of 1, because clones may differ in size. A group of one neuron explains nothing.

    Args:
        statistics: Statistics of C neurons.
        degrees: Angles between the neurons, if already known; None: those around the means. With angles from
            another origin, the variance is that around this origin.
        similar_below: Two neurons with a smaller angle are similar; degrees.

    Returns:
        0 (no two neurons are similar) to 1 (every neuron has a clone), of the neurons that have an angle. NaN
        if no neuron has one, or for two samples, between which all angles are 0 or 180.

    Source: after Joudaki et al., "Barriers for Learning in an Evolving World", arXiv 2510.00304, 2025, who
    find that cloned units stop learning.
    """
    if statistics.count <= 2:
        return math.nan
    degrees = angles(statistics, "centre") if degrees is None else degrees
    num = int((~degrees.diagonal().isnan()).sum())
    similar = degrees < similar_below
    members = similar.sum(dim=1) > 1  # each neuron is similar to itself
    if num == 0 or not members.any():
        return 0.0 if num else math.nan
    groups = groups_of(similar[members][:, members]).to(degrees.device)
    sums = torch.where(groups[:, None] == groups, degrees[members][:, members].deg2rad().cos(), 0).sum(dim=1)
    return float((sums / torch.bincount(groups)[groups]).sum()) / num


def groups_of(are_linked: Tensor) -> Tensor:
    """Return the group of each neuron as the smallest index in it; linked neurons share a group.

    Args:
        are_linked: Whether two neurons are linked, symmetric, shape ``(C, C)``, bool.
    """
    numbers = torch.arange(len(are_linked))
    linked = are_linked.cpu() | torch.eye(len(are_linked), dtype=torch.bool)
    while True:
        smallest = torch.where(linked, numbers, len(numbers)).amin(dim=1)
        smallest = smallest[smallest]
        if torch.equal(smallest, numbers):
            return numbers
        numbers = smallest
