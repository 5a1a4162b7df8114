"""Features as network inputs: filled, clipped and scaled by what is fitted on train."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import TensorDataset

from fer.data.base import ExpressionDataModule, Split
from fer.errors import InputError, check_choice

Scale = Literal["column", "pooled", "minmax", "none"]
"""How features are scaled, by what is fitted on train.

- ``column``: each column to mean 0 and deviation 1.
- ``pooled``: the columns of one descriptor together (one reading of Markou, equation 1).
- ``minmax``: each column to 0..1 (Jain).
- ``none``: as they are.
"""


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureSplit(Split):
    """Rows of features with their labels.

    Attributes:
        features: float64, shape (N, F); NaN where a value is missing.
    """

    features: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FeatureScaling:
    """What was fitted on the train split, and is applied to every split.

    Attributes:
        low: Smallest value a column keeps, shape (F,).
        high: Largest value a column keeps, shape (F,).
        filling: What stands in for a missing value, shape (F,).
        shift: Subtracted, shape (F,).
        divisor: Divided by, shape (F,).
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    filling: NDArray[np.float64]
    shift: NDArray[np.float64]
    divisor: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        features: NDArray[np.float64],
        *,
        scale: Scale = "column",
        clip: float = 0.01,
        descriptors: NDArray[np.str_] | None = None,
    ) -> "FeatureScaling":
        """Fit the steps, in their order, on train.

        Args:
            features: Shape (N, F), NaN where a value is missing.
            scale: See :data:`Scale`.
            clip: Share of values at either end of a column that are clipped to the quantile there;
                0 clips nothing.
            descriptors: For each column the descriptor that it is of, shape (F,); what ``pooled`` pools.
                None: all are of one.

        Returns:
            The fitted steps. A column that is constant, or missing altogether, becomes zeros.
        """
        absent = np.isnan(features).all(axis=0)
        known = np.where(absent, 0.0, features)
        if clip > 0:
            low, high = np.nanquantile(known, (clip, 1 - clip), axis=0)
        else:
            low, high = np.full((2, known.shape[1]), ((-np.inf,), (np.inf,)))
        clipped = np.clip(known, low, high)
        filling = np.nanmean(clipped, axis=0)
        whole = np.where(np.isnan(clipped), filling, clipped)
        num_columns = whole.shape[1]
        shift, divisor = np.zeros(num_columns), np.ones(num_columns)
        if scale == "minmax":
            shift, divisor = whole.min(axis=0), np.ptp(whole, axis=0)
        elif scale == "column":
            shift, divisor = whole.mean(axis=0), whole.std(axis=0)
        elif scale == "pooled":
            kinds = np.zeros(num_columns, np.int64) if descriptors is None else descriptors
            for kind in np.unique(kinds):
                shift[kinds == kind] = whole[:, kinds == kind].mean()
                divisor[kinds == kind] = whole[:, kinds == kind].std()
        # A sum of equal numbers is off by a rounding error, which must not be divided by.
        is_flat = divisor <= 1e-12 * np.abs(whole).max(axis=0)
        return cls(low, high, filling, shift, np.where(is_flat, 1.0, divisor))

    def transform(self, features: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return features (N, F), clipped, filled and scaled."""
        clipped = np.clip(features, self.low, self.high)
        whole = np.where(np.isnan(clipped), self.filling, clipped)
        return ((whole - self.shift) / self.divisor).astype(np.float32)


def far_outliers(features: NDArray[np.float64], *, deviations: float = 10.0) -> NDArray[np.bool_]:
    """Return which values lie far outside of their column, shape (N, F).

    Args:
        features: Shape (N, F); a missing value is no outlier.
        deviations: Distance from the column's median, in robust standard deviations (1.4826 times the
            median absolute deviation).
    """
    far = np.zeros(features.shape, np.bool_)
    there = ~np.isnan(features).all(axis=0)
    distance = np.abs(features[:, there] - np.nanmedian(features[:, there], axis=0))
    far[:, there] = distance > deviations * 1.4826 * np.nanmedian(distance, axis=0)
    return far


class FeatureDataModule(ExpressionDataModule):
    """Rows of features with class labels, as batches ``(inputs, labels)``.

    ``inputs`` are float32 of shape (N, F), ``labels`` int64 of shape (N,).

    Args:
        scale: How columns are scaled; see :data:`Scale`.
        clip: Share of values at either end of a column that are clipped, by quantiles of train; 0: none.
        **kwargs: See :class:`fer.data.base.ExpressionDataModule`.

    Raises:
        InputError: A setting is out of its range.
    """

    splits: dict[str, FeatureSplit]

    def __init__(self, *, scale: Scale = "column", clip: float = 0.01, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_choice("data.scale", scale, Scale)
        if not 0 <= clip < 0.5:
            msg = f"data.clip is {clip}: it must be 0 (none) or more, and less than 0.5"
            raise InputError(msg)
        self.scale = scale
        self.clip = clip

    @property
    def descriptors(self) -> NDArray[np.str_] | None:
        """For each column the descriptor that it is of, shape (F,); None: all are of one."""
        return None

    @property
    def augments(self) -> bool:
        """Never."""
        return False

    def fit(self, train: FeatureSplit) -> None:
        """Fit clipping, filling and scaling on train."""
        self.scaling = FeatureScaling.fit(
            train.features, scale=self.scale, clip=self.clip, descriptors=self.descriptors
        )

    def dataset(self, name: str, *, augmented: bool = False) -> TensorDataset:
        """Return a split as a dataset of network inputs; features are never augmented."""
        split = self.splits[name]
        inputs: Tensor = torch.from_numpy(self.scaling.transform(split.features))
        return TensorDataset(inputs, torch.from_numpy(split.targets_of(training=augmented)))
