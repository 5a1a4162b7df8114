"""Compare two classifiers on the same samples."""

from typing import NamedTuple

from torch import Tensor


class Comparison(NamedTuple):
    """Comparison of two classifiers on the same samples.

    Attributes:
        lost: Number of samples that the first gets right and the second wrong.
        won: Number of samples that the first gets wrong and the second right.
        p: Two-sided p-value: probability of a difference at least this large if both were equally good.
    """

    lost: int
    won: int
    p: float


def mcnemar(before: Tensor, after: Tensor) -> Comparison:
    """Run McNemar's exact test of two classifiers on the same samples.

    Args:
        before: Whether the first classifier is right about each sample, bool, shape ``(N,)``.
        after: Whether the second classifier is right about each sample, bool, shape ``(N,)``.

    Raises:
        ValueError: The shapes differ.

    Source: McNemar, "Note on the Sampling Error of the Difference between Correlated Proportions or
    Percentages", 1947; here with the exact binomial distribution.

    >>> import torch
    >>> mcnemar(torch.tensor([True, True, False]), torch.tensor([True, False, False]))
    Comparison(lost=1, won=0, p=1.0)
    """
    if before.shape != after.shape:
        msg = f"shapes {tuple(before.shape)} and {tuple(after.shape)} differ: compare the same samples"
        raise ValueError(msg)
    from scipy.stats import binomtest  # not at the top: it is slow to import

    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    p = float(binomtest(lost, lost + won).pvalue) if lost + won else 1.0
    return Comparison(lost, won, p)
