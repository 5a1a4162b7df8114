"""Confidence intervals of the mean over repeated trainings with different seeds."""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

from fer.metrics.classification import CONFIDENCE


def normal_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of many independent values, with the normal distribution.

    Returns:
        Lower and upper end; NaN for fewer than two values.

    >>> low, high = normal_interval([0.0, 1.0] * 500)
    >>> f"{low:.3f} {high:.3f}"
    '0.469 0.531'
    """
    if len(values) < 2:
        return math.nan, math.nan
    margin = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * stdev(values) / math.sqrt(len(values))
    mean = fmean(values)
    return mean - margin, mean + margin


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return Student's 95 % interval of the mean of independent values, such as accuracies of several seeds.

    With few values it is wide: with three, 2.5 standard deviations to each side.

    Returns:
        Lower and upper end; NaN for fewer than two values, or if one is NaN.

    Source: Student, "The Probable Error of a Mean", Biometrika 6, 1908.

    >>> low, high = mean_interval([0.70, 0.71, 0.72])
    >>> f"{low:.4f} {high:.4f}"
    '0.6852 0.7348'
    """
    n = len(values)
    if n < 2 or any(math.isnan(value) for value in values):
        return math.nan, math.nan
    from scipy.stats import t  # not at the top: it is slow to import

    mean = fmean(values)
    margin = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * stdev(values) / math.sqrt(n)
    return mean - margin, mean + margin
