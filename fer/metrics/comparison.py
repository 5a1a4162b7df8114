"""Whether two classifiers differ on the same samples."""

from typing import NamedTuple

from torch import Tensor


class Comparison(NamedTuple):
    """Two classifiers on the same samples.

    Attributes:
        lost: Samples that the first gets right and the second wrong.
        won: Samples that the first gets wrong and the second right.
        p: Probability of so unequal a split of these, or a more unequal one, if the two were equally good.
    """

    lost: int
    won: int
    p: float


def mcnemar(before: Tensor, after: Tensor) -> Comparison:
    """Return McNemar's exact test of two classifiers on the same samples.

    Args:
        before: Whether the first is right about each sample, bool, shape ``(N,)``.
        after: The same of the second.

    Raises:
        ValueError: They are not of the same samples.

    Source: McNemar, "Note on the Sampling Error of the Difference between Correlated Proportions or
    Percentages", 1947; exact by the binomial distribution.

    >>> import torch
    >>> mcnemar(torch.tensor([True, True, False]), torch.tensor([True, False, False]))
    Comparison(lost=1, won=0, p=1.0)
    """
    if before.shape != after.shape:
        msg = f"answers of shape {tuple(before.shape)} and {tuple(after.shape)} are not of the same samples"
        raise ValueError(msg)
    from scipy.stats import binomtest  # not above: it is slow to import

    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    p = float(binomtest(lost, lost + won).pvalue) if lost + won else 1.0
    return Comparison(lost, won, p)
