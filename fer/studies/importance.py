"""Importance of each parameter of a sweep for its metric."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestRegressor

LEAST_TRIALS: Final = 8
"""Smallest number of trials for which importances are computed."""


def importances(
    points: Sequence[Mapping[str, Any]], values: Sequence[float], *, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Return the importance of each parameter and its correlation with the metric.

    Importance is the parameter's share of the impurity reduction in a random forest, as in W&B's panel; the
    shares sum to 1. Correlation is Spearman's, NaN for values without an order.

    Args:
        points: Parameters of N trials, with the same names.
        values: N values of the metric.
        seed: Seed of the forest.

    Returns:
        Parameters with more than one value, the most important first; empty with fewer than
        :data:`LEAST_TRIALS` trials, or if the metric is the same in all of them.
    """
    y = np.asarray(values, dtype=float)
    if len(points) < LEAST_TRIALS or np.ptp(y) == 0:
        return {}
    columns = {
        name: column
        for name in points[0]
        if len({repr(point[name]) for point in points}) > 1
        for column in [_columns([point[name] for point in points])]
    }
    if not columns:
        return {}
    forest = RandomForestRegressor(n_estimators=300, min_samples_leaf=2, random_state=seed)
    forest.fit(np.concatenate(list(columns.values()), axis=1), y)
    bounds = np.cumsum([column.shape[1] for column in columns.values()])[:-1]
    shares = [float(part.sum()) for part in np.split(forest.feature_importances_, bounds)]
    correlations = [
        float(spearmanr(column[:, 0], y).statistic)
        if is_numeric([point[name] for point in points])
        else np.nan
        for name, column in columns.items()
    ]
    found = dict(zip(columns, zip(shares, correlations, strict=True), strict=True))
    return dict(sorted(found.items(), key=lambda item: -item[1][0]))


def is_numeric(values: Sequence[Any]) -> bool:
    """Return whether values are numbers, which have an order."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _columns(values: Sequence[Any]) -> NDArray[np.float64]:
    """Return numbers as one column, anything else one-hot encoded."""
    if is_numeric(values):
        return np.asarray(values, dtype=float)[:, None]
    texts = [repr(value) for value in values]
    return np.array([[text == each for each in sorted(set(texts))] for text in texts], dtype=float)
