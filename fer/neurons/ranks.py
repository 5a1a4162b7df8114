"""Effective rank of a layer's activations: how many different neurons it has."""

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor

from fer.neurons.statistics import BLOCK, ActivationStatistics

MOST_EXACT: Final = 512
"""Largest number of neurons for which all eigenvalues are computed; wider layers are estimated."""

SEED: Final = 0
"""Seed of an estimate's random vectors, which is fixed so that all measurements of a run err alike."""

TOP: Final = 64
"""Number of random vectors that find the largest eigenvalues."""

TOP_STEPS: Final = 3
"""Lanczos steps for each of these vectors."""

PROBES: Final = 16
"""Number of random vectors that sample the other eigenvalues."""

PROBE_STEPS: Final = 32
"""Lanczos steps for each of these vectors."""


class Ranks(NamedTuple):
    """Number of directions in which the activations of a layer vary.

    Attributes:
        effective: See :func:`effective_rank`.
        participation: See :func:`participation_ratio`.
    """

    effective: float
    participation: float


def ranks(statistics: ActivationStatistics) -> Ranks:
    """Return the effective rank and the participation ratio of a layer."""
    upper, trace = _varying(statistics)
    return Ranks(_effective(upper, trace), _participation(upper, trace))


def effective_rank(statistics: ActivationStatistics) -> float:
    """Return the effective rank: the exponential of the entropy of the shares of variance.

    With the eigenvalues λ of the scatter and p = λ / Σλ it is exp(-Σ p log p): the number of directions that
    count. Neurons that are not finite or never change are left out.

    For more than :data:`MOST_EXACT` neurons the rank is estimated. In 36 trials the error was at most 2.0 %,
    and 0.3 % on average: 15 on layers of 4,096 ReLU neurons with 512 to 2,048 samples, 21 on spectra of 1,200
    neurons that are flat, decay by a power law or exponentially, or end abruptly. The random vectors are
    always the same, so measurements of similar layers have similar errors.

    Args:
        statistics: Statistics of C neurons over N samples.

    Returns:
        1 to C, and at most N - 1; C if all directions vary alike. NaN if no neuron varies.

    Source: Roy and Vetterli, "The Effective Rank: A Measure of Effective Dimensionality", 2007.
    """
    return _effective(*_varying(statistics))


def participation_ratio(statistics: ActivationStatistics) -> float:
    """Return the participation ratio (Σλ)² / Σλ² of the eigenvalues λ of the scatter.

    It is tr(S)² / ||S||² of the scatter S, in the Frobenius norm, and needs no eigenvalues. Large eigenvalues
    count more than in :func:`effective_rank`, which is never smaller.

    Args:
        statistics: Statistics of C neurons over N samples.

    Returns:
        1 to C, and at most N - 1; NaN if no neuron varies.
    """
    return _participation(*_varying(statistics))


def _varying(statistics: ActivationStatistics) -> tuple[Tensor, float]:
    """Return the scatter's upper triangle and trace, for the neurons that are finite and vary."""
    varies = ~(statistics.dead | statistics.constant | statistics.non_finite)
    upper = statistics.upper if varies.all() else statistics.upper[varies][:, varies]
    return upper, float(upper.diagonal().sum())


def _effective(upper: Tensor, trace: float) -> float:
    """Return the effective rank of a scatter from :func:`_varying`."""
    if not trace > 0:
        return math.nan
    if len(upper) > MOST_EXACT:
        entropy = _estimate_entropy(_symmetric(upper, 1 / trace, torch.float32))
    else:
        shares = torch.linalg.eigvalsh(_symmetric(upper, 1 / trace, torch.float64)).clamp(min=0)
        entropy = float(torch.special.entr(shares).sum())
    return min(max(1.0, math.exp(entropy)), float(len(upper)))


def _participation(upper: Tensor, trace: float) -> float:
    """Return the participation ratio of a scatter from :func:`_varying`."""
    if not trace > 0:
        return math.nan
    squares = 0.0
    for start in range(0, len(upper), BLOCK):
        rows = upper[start : start + BLOCK, start:].triu() / trace
        squares += float(2 * rows.square().sum() - rows.diagonal().square().sum())
    return 1 / squares


def _symmetric(upper: Tensor, factor: float, dtype: torch.dtype) -> Tensor:
    """Return a factor times the symmetric matrix with this upper triangle; entries below it are not valid."""
    whole = torch.empty_like(upper, dtype=dtype)
    for start in range(0, len(upper), BLOCK):
        rows = (upper[start : start + BLOCK, start:] * factor).to(dtype)
        height = len(rows)
        rows[:, :height] = rows[:, :height].triu() + rows[:, :height].triu(1).T
        whole[start : start + height, start:] = rows
        whole[start:, start : start + height] = rows.T
    return whole


def _estimate_entropy(shares: Tensor) -> float:
    """Return an estimate of -tr(P log P) of a symmetric matrix P whose trace is 1.

    The trace is split into two parts: the subspace near the eigenvectors of the largest eigenvalues, found by
    two products with random vectors, and its orthogonal complement, sampled by random vectors. For each
    vector, Lanczos steps give the quadratic form by Gauss quadrature. A line a p + b, whose trace is known,
    is fitted to -p log p at the nodes as a control variate.

    Source: Ubaru, Chen and Saad, "Fast Estimation of tr(f(A)) via Stochastic Lanczos Quadrature", 2017;
    splitting off the largest eigenvalues: Meyer and others, "Hutch++: Optimal Stochastic Trace Estimation",
    2021.
    """
    width = len(shares)
    generator = torch.Generator().manual_seed(SEED)
    drawn = torch.randn(width, TOP + PROBES, generator=generator).to(shares)
    top, probes = drawn[:, :TOP], drawn[:, TOP:]
    for _ in range(2):
        top = torch.linalg.qr(shares @ top)[0]
    top = top @ torch.linalg.eigh(top.T @ (shares @ top))[1]
    nodes, weights = _quadrature(shares, top, TOP_STEPS)
    entropy = (torch.special.entr(nodes) * weights).sum()
    left = 1 - (nodes * weights).sum()

    nodes, weights = _quadrature(shares, probes - top @ (top.T @ probes), PROBE_STEPS)
    values = torch.special.entr(nodes)
    mean, middle = ((each * weights).sum() / weights.sum() for each in (values, nodes))
    steps = nodes - middle
    slope = (steps * values * weights).sum() / (steps.square() * weights).sum().clamp(min=1e-300)
    # Each probe represents an equal part of the remaining directions; the exact trace corrects the total.
    return float(entropy + (width - TOP) * mean + slope * (left - (width - TOP) * middle))


def _quadrature(shares: Tensor, begins: Tensor, num_steps: int) -> tuple[Tensor, Tensor]:
    """Return nodes and weights with vᵀ f(P) v ≈ Σ weight f(node) for each unit vector v.

    Args:
        shares: P, shape ``(C, C)``.
        begins: Vectors v, times any length, shape ``(C, V)``.
        num_steps: Lanczos steps, each with one product by P; all directions are kept orthogonal.

    Returns:
        Shapes ``(V, num_steps)``, float64; nodes are not negative.
    """
    directions = [begins / torch.linalg.vector_norm(begins, dim=0)]
    diagonal, beside = [], []
    for _ in range(num_steps):
        step = shares @ directions[-1]
        diagonal.append((step * directions[-1]).sum(dim=0))
        for each in directions:
            step -= each * (each * step).sum(dim=0)
        beside.append(torch.linalg.vector_norm(step, dim=0))
        directions.append(step / beside[-1].clamp(min=torch.finfo(step.dtype).tiny))
    aside = torch.stack(beside[:-1], dim=1).double()
    tridiagonal = torch.diag_embed(torch.stack(diagonal, dim=1).double())
    tridiagonal += torch.diag_embed(aside, 1) + torch.diag_embed(aside, -1)
    nodes, vectors = torch.linalg.eigh(tridiagonal)
    return nodes.clamp(min=0), vectors[:, 0].square()
