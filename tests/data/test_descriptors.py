"""Ten features of an image: what principal components are, their signs, and what cannot be fitted."""

import numpy as np
import pytest

from fer.data.descriptors import NUM_COMPONENTS, NUM_FEATURES, Descriptors, _fit_components
from fer.errors import InputError


def descriptors(num_samples, num_features, *, seed=0):
    """Rows whose spread falls from direction to direction, so that the order of components is certain."""
    rng = np.random.default_rng(seed)
    directions, _ = np.linalg.qr(rng.normal(size=(num_features, num_features)))
    spreads = 0.8 ** np.arange(num_features)
    rows = rng.normal(size=(num_samples, num_features)) * spreads @ directions
    return rows + rng.normal(size=num_features)


def images(num, *, seed=0):
    return np.random.default_rng(seed).integers(256, size=(num, 24, 24), dtype=np.uint8)


def test_components_by_hand():
    """Points on two crosses: 4 apart along (3, 4) / 5, 2 apart across it, and less along three other axes."""
    cross = np.array([[1.2, 1.6], [-1.2, -1.6], [-0.8, 0.6], [0.8, -0.6]])
    rows = np.zeros((10, 5))
    rows[:4, :2] = cross
    rows[4:, 2:] = np.repeat(np.diag([0.5, 0.4, 0.3]), 2, axis=0) * np.tile([1, -1], 3)[:, None]
    fitted = _fit_components(rows + 10)
    np.testing.assert_allclose(fitted.mean_, np.full(5, 10))
    expected = np.zeros((5, 5))
    expected[:2, :2] = [[0.6, 0.8], [0.8, -0.6]]
    expected[2:, 2:] = np.eye(3)
    np.testing.assert_allclose(fitted.components_, expected, atol=1e-12)
    np.testing.assert_allclose(
        fitted.transform(rows + 10)[:4, :2], [[2, 0], [-2, 0], [0, -1], [0, 1]], atol=1e-12
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("num_samples", "num_features"),
    [
        pytest.param(200, 30, id="more images than numbers"),
        pytest.param(20, 80, id="fewer images than numbers"),
    ],
)
def test_components_agree_with_a_singular_value_decomposition(num_samples, num_features, dtype):
    train = descriptors(num_samples, num_features).astype(dtype)
    test = descriptors(10, num_features, seed=1).astype(dtype)
    mean = train.mean(axis=0, dtype=np.float64)
    axes = np.linalg.svd(train - mean, full_matrices=False)[2][:NUM_COMPONENTS]
    axes *= np.sign(axes[np.arange(NUM_COMPONENTS), np.abs(axes).argmax(axis=1)])[:, None]

    fitted = _fit_components(train)

    np.testing.assert_allclose(fitted.components_, axes, atol=1e-6)
    np.testing.assert_allclose(fitted.transform(test), (test - mean) @ axes.T, atol=1e-5)


def test_components_of_train_are_centred_uncorrelated_and_sorted():
    values = (train := _fit_components(rows := descriptors(100, 20))).transform(rows)
    assert train.components_.shape == (5, 20)
    covariance = np.cov(values, rowvar=False)
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-12)
    assert (np.diff(np.diag(covariance)) < 0).all()


def test_signs_do_not_depend_on_the_order_of_the_images():
    rows = descriptors(50, 20)
    first, second = _fit_components(rows), _fit_components(rows[::-1])
    np.testing.assert_allclose(first.components_, second.components_, atol=1e-10)
    largest = np.abs(first.components_).argmax(axis=1)
    assert (first.components_[np.arange(5), largest] > 0).all()


def test_features_of_train_have_mean_0_and_deviation_1():
    features = Descriptors.fit(train := images(40)).transform(train)
    assert features.shape == (40, NUM_FEATURES)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(features.std(axis=0), 1, atol=1e-5)


def test_features_of_an_image_do_not_depend_on_the_others():
    fitted, test = Descriptors.fit(images(40)), images(6, seed=1)
    one_by_one = np.concatenate([fitted.transform(image[None]) for image in test])
    np.testing.assert_allclose(fitted.transform(test), one_by_one, atol=1e-5)


def test_images_that_are_all_the_same_have_features_of_zero():
    same = np.repeat(images(1), 10, axis=0)
    assert np.abs(Descriptors.fit(same).transform(same)).max() < 1e-12


def test_fewer_images_than_components_are_refused():
    with pytest.raises(InputError, match=r"4 images, but data.descriptors needs 5 or more"):
        Descriptors.fit(images(4))
    assert Descriptors.fit(images(5)).transform(images(5)).shape == (5, NUM_FEATURES)
