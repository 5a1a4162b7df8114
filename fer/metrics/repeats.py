"""Trainings that differ in their seed alone: the mean of a value and its interval."""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

from fer.metrics.classification import CONFIDENCE


def normal_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of many independent values, by the normal distribution.

    Returns:
        Low and high end; NaN of fewer than two values.

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

    With few values it is wide: of three, 2.5 standard deviations to either side.

    Returns:
        Low and high end; NaN of fewer than two values, or where one is NaN.

    Source: Student, "The Probable Error of a Mean", Biometrika 6, 1908.

    >>> low, high = mean_interval([0.70, 0.71, 0.72])
    >>> f"{low:.4f} {high:.4f}"
    '0.6852 0.7348'
    """
    n = len(values)
    if n < 2 or any(math.isnan(value) for value in values):
        return math.nan, math.nan
    from scipy.stats import t  # not above: it is slow to import

    mean = fmean(values)
    margin = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * stdev(values) / math.sqrt(n)
    return mean - margin, mean + margin
