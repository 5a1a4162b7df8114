"""The few directions in which descriptors differ most, fitted on train."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fer.errors import InputError


@dataclass(frozen=True, eq=False)
class Components:
    """The first principal components of a descriptor.

    Fit it on the train split alone, one for each descriptor, and transform every split by it.

    Attributes:
        mean: Of the fitted descriptors, shape (D,).
        axes: Unit vectors, the one of largest variance first, shape (K, D). The entry of largest size is
            positive in each, so that the same descriptors give the same signs everywhere.

    >>> descriptors = np.array([[0.0, 1.0], [3.0, 1.0], [6.0, 1.0]])
    >>> Components.fit(descriptors, num_components=1).transform(descriptors).tolist()
    [[-3.0], [0.0], [3.0]]
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]

    @classmethod
    def fit(cls, descriptors: NDArray[np.floating[Any]], *, num_components: int = 5) -> Self:
        """Fit the components.

        Args:
            descriptors: Of the train split, shape (N, D).
            num_components: How many to keep, K; 5 as in SFEW's published features.

        Raises:
            ValueError: The descriptors are no matrix, or not all of them are finite.
            InputError: There are fewer numbers or fewer images than components.
        """
        if descriptors.ndim != 2 or not np.isfinite(descriptors).all():
            msg = f"expected finite descriptors (N, D); there are {descriptors.shape}, or some are not finite"
            raise ValueError(msg)
        if not 1 <= num_components <= min(descriptors.shape):
            num_samples, num_features = descriptors.shape
            msg = (
                f"num_components is {num_components}: {num_samples} images with descriptors of "
                f"{num_features} numbers allow 1 to {min(descriptors.shape)}"
            )
            raise InputError(msg)
        mean = descriptors.mean(axis=0, dtype=np.float64)
        _, _, axes = np.linalg.svd(descriptors - mean, full_matrices=False)
        axes = axes[:num_components]
        largest = np.abs(axes).argmax(axis=1)
        signs = np.sign(axes[np.arange(num_components), largest])
        return cls(mean, axes * signs[:, None])

    def transform(self, descriptors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return the components of descriptors (N, D), shape (N, K)."""
        return (descriptors - self.mean) @ self.axes.T
