"""SFEW's feature rows for the small networks, split and scaled by a protocol."""

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
    from sklearn.model_selection import StratifiedKFold  # here, since it is slow to import

    splitter = StratifiedKFold(num_folds, shuffle=True, random_state=seed)
    yield from splitter.split(pool.features, pool.labels)


def hold_out(pool: FeatureSplit, num_train: int, seed: int) -> tuple[Indices, Indices]:
    """Return random training and test rows."""
    order = np.random.default_rng(seed).permutation(len(pool))
    return order[:num_train], order[num_train:]


def scaled(
    pool: FeatureSplit, train: Indices, test: Indices, scale: Scale, *, fit_on_test: bool = False
) -> Rows:
    """Return rows with a scaling that is fitted on the training rows, without clipping.

    Args:
        pool: All rows.
        train: Indices of the training rows.
        test: Indices of the test rows.
        scale: See :data:`fer.data.features.Scale`.
        fit_on_test: Whether the scaling of the test rows is fitted on the test rows, as in Jain's code.
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
