"""How many different neurons a layer has: the effective rank of its activations."""

import torch
from torch import Tensor

from fer.neurons.statistics import ActivationStatistics


def effective_rank(statistics: ActivationStatistics) -> float:
    """Return the exponential of the entropy of the shares of variance: how many directions count.

    With the eigenvalues λ of the scatter and p = λ / Σλ it is exp(-Σ p log p).

    Args:
        statistics: Statistics of C neurons over two samples or more.

    Returns:
        1 to C; C where all directions vary alike. NaN if no neuron varies.

    Source: Roy and Vetterli, "The Effective Rank: A Measure of Effective Dimensionality", 2007.
    """
    shares = variance_shares(statistics)
    return float(torch.special.entr(shares).sum().exp()) if len(shares) else float("nan")


def participation_ratio(statistics: ActivationStatistics) -> float:
    """Return (Σλ)² / Σλ² of the eigenvalues λ of the scatter: the number of directions, by their squares.

    Large eigenvalues count more than in :func:`effective_rank`, which is never smaller.

    Args:
        statistics: Statistics of C neurons over two samples or more.

    Returns:
        1 to C; NaN if no neuron varies.
    """
    shares = variance_shares(statistics)
    return float(1 / shares.square().sum()) if len(shares) else float("nan")


def variance_shares(statistics: ActivationStatistics) -> Tensor:
    """Return the eigenvalues of the scatter, as shares of their sum, ascending.

    Neurons that are not finite are left out.

    Returns:
        Shape ``(C,)``; empty if no neuron varies.
    """
    finite = ~statistics.non_finite
    values: Tensor = torch.linalg.eigvalsh(statistics.scatter[finite][:, finite]).clamp(min=0)
    total = values.sum()
    return values / total if total > 0 else values[:0]
