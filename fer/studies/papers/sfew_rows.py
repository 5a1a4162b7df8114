"""SFEW's rows for the small networks: split and scaled as a protocol says."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from fer.data.features import FeatureScaling, FeatureSplit, Scale
from fer.data.sfew import DESCRIPTORS
from fer.studies.papers.feature_networks import Rows

Indices = NDArray[np.intp]


def folds(pool: FeatureSplit, num_folds: int, seed: int = 0) -> Iterator[tuple[Indices, Indices]]:
    """Yield the training and test rows of random stratified folds."""
    from sklearn.model_selection import StratifiedKFold  # not above: it is slow to import

    splitter = StratifiedKFold(num_folds, shuffle=True, random_state=seed)
    yield from splitter.split(pool.features, pool.labels)


def hold_out(pool: FeatureSplit, num_train: int, seed: int) -> tuple[Indices, Indices]:
    """Return random training and test rows."""
    order = np.random.default_rng(seed).permutation(len(pool))
    return order[:num_train], order[num_train:]


def scaled(
    pool: FeatureSplit, train: Indices, test: Indices, scale: Scale, *, fit_on_test: bool = False
) -> Rows:
    """Return rows scaled by what is fitted on the training rows, nothing clipped.

    Args:
        pool: All rows.
        train: Rows that train.
        test: Rows that test.
        scale: See :data:`fer.data.features.Scale`.
        fit_on_test: Whether the test rows are scaled by themselves, as in Jain's code.
    """
    parts: list[torch.Tensor] = []
    scaling = FeatureScaling.fit(pool.features[train], scale=scale, clip=0, descriptors=DESCRIPTORS)
    for rows in (train, test):
        if rows is test and fit_on_test:
            scaling = FeatureScaling.fit(pool.features[test], scale=scale, clip=0, descriptors=DESCRIPTORS)
        parts += [
            torch.from_numpy(scaling.transform(pool.features[rows])),
            torch.from_numpy(pool.labels[rows]),
        ]
    return Rows(*parts)
