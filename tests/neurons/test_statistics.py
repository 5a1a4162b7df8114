"""Statistics of activations: a case by hand, adding up, what is refused, NumPy as oracle."""

import re

import numpy as np
import pytest
import torch

from fer.errors import InputError
from fer.neurons import ActivationStatistics
from fer.neurons.statistics import MAX_NEURONS, pattern_minmax

FIELDS = ("mean", "scatter", "minimum", "maximum", "magnitude")


def outputs(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def assert_same(one, other, **tolerances):
    assert one.count == other.count
    for name in FIELDS:
        torch.testing.assert_close(getattr(one, name), getattr(other, name), **tolerances)


def test_by_hand():
    statistics = ActivationStatistics.of(torch.tensor([[1.0, 0.0], [3.0, 0.0], [5.0, 6.0]]))
    assert statistics.count == 3
    assert statistics.num_neurons == 2
    assert statistics.sum.tolist() == [9, 6]
    assert statistics.mean.tolist() == [3, 2]
    assert statistics.scatter.tolist() == [[8, 12], [12, 24]]
    assert statistics.gram.tolist() == [[35, 30], [30, 36]]
    assert statistics.minimum.tolist() == [1, 0]
    assert statistics.maximum.tolist() == [5, 6]
    assert ActivationStatistics.of(torch.tensor([[1.0], [-3.0]])).magnitude.tolist() == [2]
    torch.testing.assert_close(statistics.std, torch.tensor([8 / 3, 8.0], dtype=torch.float64).sqrt())


@pytest.mark.parametrize(
    ("maps", "expected"),
    [
        pytest.param("positions", [[0, 10], [1, 11], [2, 12], [3, 13]], id="a sample a position"),
        pytest.param("mean", [[0.5, 10.5], [2.5, 12.5]], id="a sample an image"),
    ],
)
def test_patterns_of_a_feature_map(maps, expected):
    """Two images, two maps, 1 x 2 positions."""
    images = torch.tensor([[[[0.0, 1]], [[10, 11]]], [[[2, 3]], [[12, 13]]]])
    statistics = ActivationStatistics.of(images, maps=maps)
    assert_same(statistics, ActivationStatistics.of(torch.tensor(expected)))


@pytest.mark.parametrize("num_neurons", [1, 5, 700], ids=lambda num: f"{num} neurons")
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_agrees_with_numpy(num_neurons, dtype):
    values = (outputs(50, num_neurons) + 2).to(dtype)
    statistics = ActivationStatistics.of(values)
    exact = values.double().numpy()
    np.testing.assert_allclose(statistics.mean, exact.mean(0), rtol=1e-13)
    np.testing.assert_allclose(statistics.scatter, 50 * np.atleast_2d(np.cov(exact.T, bias=True)), atol=1e-11)
    np.testing.assert_allclose(statistics.gram, exact.T @ exact, rtol=1e-12)
    assert all(getattr(statistics, name).dtype == torch.float64 for name in FIELDS)


@pytest.mark.parametrize("sizes", [[100], [1] * 100, [1, 99], [64, 36], [0, 30, 0, 70]], ids=str)
@pytest.mark.parametrize("shape", [(100, 6), (100, 6, 3, 2)], ids=["matrix", "maps"])
def test_batches_give_what_the_whole_gives(sizes, shape):
    values = outputs(*shape) + 3
    whole = ActivationStatistics.of(values)
    first, *rest = values.split(sizes)
    streamed = ActivationStatistics.of(first)
    added = ActivationStatistics.of(first)
    for batch in rest:
        streamed.update(batch)
        added = added + ActivationStatistics.of(batch)
    assert_same(streamed, whole, rtol=1e-12, atol=1e-10)
    assert_same(added, whole, rtol=1e-12, atol=1e-10)


def test_chunks_and_blocks_leave_no_seam():
    values = outputs(1100, 600)
    centred = values - values.mean(0)
    torch.testing.assert_close(
        ActivationStatistics.of(values).scatter, centred.T @ centred, rtol=1e-12, atol=1e-9
    )


def test_adding_changes_neither_part():
    one, other = ActivationStatistics.of(outputs(9, 3)), ActivationStatistics.of(outputs(5, 3, seed=1))
    before = [part.to_dict() for part in (one, other)]
    (one + other).update(outputs(4, 3))
    for part, values in zip((one, other), before, strict=True):
        assert_same(part, ActivationStatistics.from_dict(values), rtol=0, atol=0)


@pytest.mark.parametrize("offset", [0, 1e3, -1e6], ids=lambda offset: f"mean {offset:g} times the spread")
def test_a_large_mean_costs_no_digits_of_the_spread(offset):
    """Powers of two, so that the shifted outputs are the same numbers shifted."""
    values = (outputs(4000, 4) * 2**20).round() / 2**20
    expected = ActivationStatistics.of(values).scatter
    statistics = ActivationStatistics.of(values[:1] + offset)
    for batch in values[1:].split(100):
        statistics.update(batch + offset)
    torch.testing.assert_close(statistics.scatter, expected, rtol=1e-10, atol=1e-7)


def test_neurons_out_of_use():
    values = outputs(200, 6).float()
    values[:, 1] = 0
    values[:, 2] = 0.1
    values[:, 3] = 5 + 1e-7 * values[:, 3]  # what float32 leaves of 5
    values[:, 4] = values[:, 4].relu()
    values[7, 5] = torch.inf
    statistics = ActivationStatistics.of(values)
    assert statistics.dead.nonzero().flatten().tolist() == [1]
    assert statistics.constant.nonzero().flatten().tolist() == [2, 3]
    assert statistics.non_finite.nonzero().flatten().tolist() == [5]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("row", [0, 60], ids=["first batch", "later batch"])
def test_a_neuron_that_is_not_finite_does_not_touch_its_neighbours(value, row):
    values = outputs(100, 4)
    others = ActivationStatistics.of(values[:, 1:])
    values[row, 0] = value
    statistics = ActivationStatistics.of(values[:50])
    statistics.update(values[50:])
    assert statistics.non_finite.tolist() == [True, False, False, False]
    torch.testing.assert_close(statistics.scatter[1:, 1:], others.scatter)
    assert statistics.scatter[0].isnan().all()
    assert not statistics.constant.any()


def test_one_pattern_leaves_constants_and_no_pattern_nothing():
    assert ActivationStatistics.of(torch.tensor([[1.0, 2.0, 0.0]])).constant.tolist() == [True, True, False]
    empty = ActivationStatistics.of(torch.empty(0, 3))
    assert empty.count == 0
    assert_same(empty + ActivationStatistics.of(outputs(5, 3)), ActivationStatistics.of(outputs(5, 3)))
    assert (empty + empty).count == 0


@pytest.mark.parametrize(
    "activations",
    [
        pytest.param(torch.zeros(4), id="a vector"),
        pytest.param(torch.zeros(4, 3, 2), id="tokens"),
        pytest.param(torch.zeros(4, 0), id="no neurons"),
        pytest.param(torch.zeros(4, 3, 0, 2), id="maps without positions"),
    ],
)
def test_other_shapes_are_refused(activations):
    with pytest.raises(InputError, match=re.escape(f"the shape is {tuple(activations.shape)}")):
        ActivationStatistics.of(activations)


def test_a_layer_of_20000_neurons_is_refused_before_memory_is_gone():
    with pytest.raises(InputError, match=r"20,000 neurons are more than the 16,384 .* takes 3\.0 GiB"):
        ActivationStatistics.of(torch.zeros(1, 20_000))
    assert MAX_NEURONS == 16_384


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(ActivationStatistics.of(outputs(5, 4)), id="other neurons"),
        pytest.param(ActivationStatistics.of(outputs(5, 3), maps="mean"), id="other samples"),
        pytest.param(ActivationStatistics.of(outputs(5, 3), pattern_minmax=True), id="rescaled"),
        pytest.param(ActivationStatistics.of(outputs(5, 3), unit="tanh"), id="another unit"),
    ],
)
def test_what_differs_does_not_add(other):
    with pytest.raises(ValueError, match="cannot be added to statistics of"):
        ActivationStatistics.of(outputs(5, 3)) + other


def test_a_batch_of_other_neurons_does_not_add():
    with pytest.raises(InputError, match="the batch has 4 neurons, but the statistics have 3"):
        ActivationStatistics.of(outputs(5, 3)).update(outputs(5, 4))


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        pytest.param({"maps": "max"}, "maps is 'max': it must be one of positions, mean", id="maps"),
        pytest.param({"unit": "relu"}, "unit is 'relu': it must be one of logistic, tanh", id="unit"),
    ],
)
def test_unknown_choices_are_refused(choice, reason):
    with pytest.raises(InputError, match=reason):
        ActivationStatistics.of(outputs(5, 3), **choice)


def test_statistics_are_saved_and_come_back(tmp_path):
    statistics = ActivationStatistics.of(outputs(40, 600), maps="mean", pattern_minmax=True, unit="tanh")
    torch.save(statistics.to_dict(), tmp_path / "statistics.pt")
    loaded = ActivationStatistics.from_dict(torch.load(tmp_path / "statistics.pt", weights_only=True))
    assert_same(loaded, statistics, rtol=0, atol=0)
    assert (loaded.maps, loaded.pattern_minmax, loaded.unit) == ("mean", True, "tanh")
    loaded.update(outputs(4, 600))  # and go on


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"extra": 1}, "not activation statistics", id="unknown part"),
        pytest.param({"scatter": torch.zeros(2, 2)}, r"scatter of 3 neurons has shape \(2, 2\)", id="shape"),
    ],
)
def test_other_dictionaries_are_refused(change, reason):
    values = ActivationStatistics.of(outputs(5, 3)).to_dict() | change
    with pytest.raises(ValueError, match=reason):
        ActivationStatistics.from_dict(values)


def test_statistics_of_inference_mode_go_on_outside_and_carry_no_gradient():
    with torch.inference_mode():
        statistics = ActivationStatistics.of(outputs(5, 3))
        both = statistics + statistics
    statistics.update(outputs(5, 3).requires_grad_())
    both.update(outputs(5, 3))
    assert not statistics.scatter.requires_grad
    assert (statistics.count, both.count) == (10, 15)


def test_pattern_minmax_by_hand():
    samples = torch.tensor([[0.0, 1.0, 4.0], [3.0, 2.0, 1.0], [7.0, 7.0, 7.0]])
    expected = [[-0.5, -0.25, 0.5], [0.5, 0.0, -0.5], [0.0, 0.0, 0.0]]
    assert pattern_minmax(samples).tolist() == expected
    assert pattern_minmax(samples[:, :, None, None]).flatten(1).tolist() == expected
    given = ActivationStatistics.of(samples, pattern_minmax=True)
    assert_same(given, ActivationStatistics.of(torch.tensor(expected)))
