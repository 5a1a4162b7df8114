"""Principal components: a case by hand, what a component is, scikit-learn as oracle."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from fer.errors import InputError
from fer.features import Components


def descriptors(num_samples, num_features, *, seed=0):
    """Rows whose spread falls from direction to direction, so that the order of components is certain."""
    rng = np.random.default_rng(seed)
    directions, _ = np.linalg.qr(rng.normal(size=(num_features, num_features)))
    spreads = 0.8 ** np.arange(num_features)
    rows = rng.normal(size=(num_samples, num_features)) * spreads @ directions
    return rows + rng.normal(size=num_features)


def test_by_hand():
    """Points on a cross: 4 apart along (3, 4) / 5, 2 apart across it."""
    cross = np.array([[11.2, 21.6], [8.8, 18.4], [9.2, 20.6], [10.8, 19.4]])
    components = Components.fit(cross, num_components=2)
    np.testing.assert_allclose(components.mean, [10, 20])
    np.testing.assert_allclose(components.axes, [[0.6, 0.8], [0.8, -0.6]])
    np.testing.assert_allclose(components.transform(cross), [[2, 0], [-2, 0], [0, -1], [0, 1]], atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("num_samples", "num_features"),
    [
        pytest.param(200, 30, id="more images than numbers"),
        pytest.param(20, 80, id="fewer images than numbers"),
    ],
)
def test_agrees_with_scikit_learn_up_to_sign(num_samples, num_features, dtype):
    train = descriptors(num_samples, num_features).astype(dtype)
    test = descriptors(10, num_features, seed=1).astype(dtype)
    oracle = PCA(5, svd_solver="full").fit(train.astype(float))

    components = Components.fit(train)

    signs = np.sign((components.axes * oracle.components_).sum(axis=1))
    np.testing.assert_allclose(components.axes, oracle.components_ * signs[:, None], atol=1e-6)
    np.testing.assert_allclose(components.transform(test), oracle.transform(test) * signs, atol=1e-5)


def test_components_of_train_are_centred_uncorrelated_and_sorted():
    values = (train := Components.fit(rows := descriptors(100, 20))).transform(rows)
    assert train.axes.shape == (5, 20)
    covariance = np.cov(values, rowvar=False)
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-12)
    assert (np.diff(np.diag(covariance)) < 0).all()


def test_a_component_of_a_pattern_does_not_hang_on_who_comes_with_it():
    components = Components.fit(descriptors(50, 20))
    test = descriptors(10, 20, seed=1) + 3
    one_by_one = np.concatenate([components.transform(row[None]) for row in test])
    np.testing.assert_allclose(components.transform(test), one_by_one, atol=1e-12)


def test_signs_do_not_hang_on_the_order_of_the_images():
    rows = descriptors(50, 20)
    first, second = Components.fit(rows), Components.fit(rows[::-1])
    np.testing.assert_allclose(first.axes, second.axes, atol=1e-10)
    largest = np.abs(first.axes).argmax(axis=1)
    assert (first.axes[np.arange(5), largest] > 0).all()


def test_images_that_are_all_the_same_have_components_of_zero():
    rows = np.tile(descriptors(1, 20), (10, 1))
    assert np.abs(Components.fit(rows).transform(rows)).max() < 1e-12


@pytest.mark.parametrize(
    ("rows", "num_components", "reason"),
    [
        pytest.param(descriptors(4, 20), 5, "4 images .* allow 1 to 4", id="few images"),
        pytest.param(descriptors(20, 3), 5, "3 numbers allow 1 to 3", id="few numbers"),
        pytest.param(descriptors(20, 20), 0, "num_components is 0", id="none"),
    ],
)
def test_more_components_than_there_can_be_are_refused(rows, num_components, reason):
    with pytest.raises(InputError, match=reason):
        Components.fit(rows, num_components=num_components)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(np.full((10, 6), np.nan), id="missing values"),
        pytest.param(np.zeros(10), id="one descriptor"),
    ],
)
def test_only_finite_matrices_are_taken(rows):
    with pytest.raises(ValueError, match="expected finite descriptors"):
        Components.fit(rows)
