"""Tabular features as network inputs: clipped, imputed and scaled by statistics of the train split."""

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
"""Scaling of features, fitted on the train split.

- ``column``: each column to mean 0 and standard deviation 1.
- ``pooled``: as ``column``, with one mean and deviation for all columns of a descriptor (one reading of
  Markou, equation 1).
- ``minmax``: each column to 0..1 (Jain).
- ``none``: no scaling.
"""


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureSplit(Split):
    """Rows of features with their labels.

    Attributes:
        features: float64, shape (N, F); NaN for a missing value.
    """

    features: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FeatureScaling:
    """Clipping, imputation and scaling, fitted on the train split and applied to every split.

    Attributes:
        low: Lower clipping bound of each column, shape (F,).
        high: Upper clipping bound of each column, shape (F,).
        filling: Value that replaces a missing one, shape (F,).
        shift: Value that is subtracted, shape (F,).
        divisor: Value that is divided by, shape (F,).
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
        """Fit clipping, imputation and scaling on the train split.

        Args:
            features: Shape (N, F), NaN for a missing value.
            scale: See :data:`Scale`.
            clip: Share of values clipped at each end of a column, to its quantiles; 0: none.
            descriptors: Descriptor of each column, shape (F,), for ``pooled``. None: the columns all belong
                to one.

        Returns:
            The fitted steps. They turn a column that is constant, or has no values, into zeros.
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
        # The deviation of a constant column may be a rounding error instead of 0.
        is_flat = divisor <= 1e-12 * np.abs(whole).max(axis=0)
        return cls(low, high, filling, shift, np.where(is_flat, 1.0, divisor))

    def transform(self, features: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return features (N, F), clipped, imputed and scaled."""
        clipped = np.clip(features, self.low, self.high)
        whole = np.where(np.isnan(clipped), self.filling, clipped)
        return ((whole - self.shift) / self.divisor).astype(np.float32)


def far_outliers(features: NDArray[np.float64], *, deviations: float = 10.0) -> NDArray[np.bool_]:
    """Return a mask of the outliers of each column, shape (N, F).

    Args:
        features: Shape (N, F); a missing value is not an outlier.
        deviations: Distance from the column's median beyond which a value is an outlier, in robust standard
            deviations (1.4826 times the median absolute deviation).
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
        clip: Share of values clipped at each end of a column, to quantiles of the train split; 0: none.
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
        """Descriptor of each column, shape (F,); None: the columns all belong to one."""
        return None

    @property
    def augments(self) -> bool:
        """Whether training samples are augmented: never."""
        return False

    def fit(self, train: FeatureSplit) -> None:
        """Fit clipping, imputation and scaling on the train split."""
        self.scaling = FeatureScaling.fit(
            train.features, scale=self.scale, clip=self.clip, descriptors=self.descriptors
        )

    def dataset(self, name: str, *, augmented: bool = False) -> TensorDataset:
        """Return a split as a dataset of network inputs; features are never augmented."""
        split = self.splits[name]
        inputs: Tensor = torch.from_numpy(self.scaling.transform(split.features))
        return TensorDataset(inputs, torch.from_numpy(split.targets_of(training=augmented)))
