"""Features: filled, clipped and scaled by what train says, and by nothing else."""

import numpy as np
import pytest
import torch

from fer.data.features import FeatureDataModule, FeatureScaling, FeatureSplit, far_outliers
from fer.errors import InputError

NAN = float("nan")
RNG = np.random.default_rng(0)


def _column(*values):
    return np.array(values, float)[:, None]


@pytest.mark.parametrize(
    ("train", "settings", "expected"),
    [
        pytest.param(_column(1, 3), {"scale": "column"}, [-1, 1], id="z-score"),
        pytest.param(_column(1, 3), {"scale": "none"}, [1, 3], id="as they are"),
        pytest.param(_column(2, 4, 10), {"scale": "minmax"}, [0, 0.25, 1], id="0 to 1"),
        pytest.param(_column(1, NAN, 3), {"scale": "none"}, [1, 2, 3], id="the mean fills"),
        pytest.param(_column(5, 5), {"scale": "column"}, [0, 0], id="constant"),
        pytest.param(_column(0.1, 0.1, 0.1), {"scale": "column"}, [0, 0, 0], id="constant, but for rounding"),
        pytest.param(_column(NAN, NAN), {"scale": "column"}, [0, 0], id="missing altogether"),
        # numpy's quantiles of 0, 1, 2, 3, 4 at .25 and .75 are 1 and 3
        pytest.param(_column(0, 1, 2, 3, 4), {"scale": "none", "clip": 0.25}, [1, 1, 2, 3, 3], id="clipped"),
    ],
)
def test_one_column(train, settings, expected):
    scaling = FeatureScaling.fit(train, **({"clip": 0} | settings))
    output = scaling.transform(train)
    assert output.dtype == np.float32
    np.testing.assert_allclose(output[:, 0], expected, rtol=1e-6, atol=1e-12)


def test_pooled_scaling_keeps_the_proportions_within_a_descriptor():
    train = np.array([[0.0, 10.0, 7.0], [2.0, 12.0, 9.0]])
    kinds = np.array(["LPQ", "LPQ", "PHOG"])
    output = FeatureScaling.fit(train, scale="pooled", clip=0, descriptors=kinds).transform(train)
    spread = np.std([0, 10, 2, 12])  # around their mean, 6
    np.testing.assert_allclose(
        output, [[-6 / spread, 4 / spread, -1], [-4 / spread, 6 / spread, 1]], rtol=1e-6
    )


@pytest.mark.parametrize("scale", ["column", "pooled", "minmax", "none"])
def test_what_is_fitted_does_not_depend_on_the_order_of_rows(scale):
    train = RNG.normal(size=(50, 3))
    train[4, 1] = NAN
    first, again = (FeatureScaling.fit(rows, scale=scale) for rows in (train, train[::-1]))
    np.testing.assert_allclose(first.transform(train), again.transform(train), rtol=1e-5, atol=1e-7)


def test_far_outliers():
    column = np.arange(20.0)[:, None]  # median 9.5, median absolute deviation 5
    column[3] = 9.5 + 10 * 1.4826 * 5 + 20
    column[5] = NAN
    assert np.flatnonzero(far_outliers(column)).tolist() == [3]
    assert not far_outliers(np.hstack((column, np.full((20, 1), NAN))))[:, 1].any()


class TenRows(FeatureDataModule):
    num_features = 2

    def load_splits(self):
        features = np.arange(20.0).reshape(10, 2)
        split = FeatureSplit(features=features, labels=np.arange(10) % 7, names=np.arange(10).astype(str))
        far = FeatureSplit(features=features + 1000, labels=split.labels, names=split.names)
        return {"train": split, "val": far, "test": far}


def test_batches_are_scaled_by_train_alone():
    data = TenRows(batch_size=10, clip=0)
    data.setup()
    inputs, labels = next(iter(data.train_dataloader()))
    torch.testing.assert_close(inputs.mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(inputs.std(0, correction=0), torch.ones(2))
    assert (inputs.dtype, labels.dtype) == (torch.float32, torch.int64)
    far, _ = next(iter(data.val_dataloader()))
    assert far.min() > 100


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        pytest.param({"scale": "z"}, r"data.scale is 'z': it must be one of column", id="scale"),
        pytest.param({"clip": 0.5}, r"data.clip is 0.5: it must be", id="clip"),
        pytest.param({"clip": -0.1}, r"data.clip is -0.1", id="negative clip"),
    ],
)
def test_unusable_settings_are_named(settings, reason):
    with pytest.raises(InputError, match=reason):
        TenRows(**settings)
