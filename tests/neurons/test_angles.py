"""Angles between neurons: the printed ones, cases by hand, invariants, bounds near 0 and 180, oracles."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity
from torch import nn

from fer.errors import InputError
from fer.neurons import ActivationStatistics, angles, angular_speed, classify, measure
from fer.neurons.angles import pair_angles, summarise

# Activations of 6 logistic units over 16 samples, and the angles as printed: Gedeon and Harris, 1991.
PRINTED = torch.tensor(
    [
        [0.33, 1.0, 0.91, 0.582, 0.593, 0.381],
        [0.091, 0.994, 0.339, 0.101, 0.834, 0.839],
        [0.098, 0.994, 0.348, 0.13, 0.874, 0.868],
        [0.022, 0.488, 0.026, 0.012, 0.96, 0.982],
        [0.094, 0.994, 0.325, 0.128, 0.853, 0.849],
        [0.021, 0.489, 0.024, 0.012, 0.952, 0.979],
        [0.023, 0.488, 0.025, 0.016, 0.965, 0.984],
        [0.005, 0.006, 0.001, 0.001, 0.99, 0.998],
        [0.117, 0.994, 0.339, 0.132, 0.875, 0.87],
        [0.026, 0.488, 0.025, 0.012, 0.96, 0.983],
        [0.029, 0.488, 0.026, 0.016, 0.971, 0.986],
        [0.006, 0.006, 0.001, 0.001, 0.991, 0.998],
        [0.027, 0.489, 0.024, 0.016, 0.965, 0.984],
        [0.006, 0.006, 0.001, 0.001, 0.99, 0.998],
        [0.006, 0.006, 0.001, 0.002, 0.992, 0.998],
        [0.001, 0.0, 0.0, 0.0, 0.998, 1.0],
    ],
    dtype=torch.float64,
)
# Pairs (1, 2), (1, 3), ... (5, 6). They were made from 15 samples: without one of the near copies among
# the 16, all agree within 0.4 degrees.
PRINTED_DEGREES = [
    81.8,
    25.2,
    8.4,
    176.5,
    169.9,
    63.0,
    77.8,
    100.8,
    103.7,
    18.0,
    157.7,
    163.7,
    173.7,
    177.5,
    7.3,
]
NORMALISATIONS = ("half", "centre", "layer_minmax", "unit_minmax", "none")
COSINE_ERROR = 4e-15
"""The docstring's bound."""


def of(*columns, **settings):
    """Statistics of neurons, each given as its activation vector."""
    return ActivationStatistics.of(torch.tensor(columns, dtype=torch.float64).T, **settings)


def outputs(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def upper(matrix):
    return matrix[tuple(torch.triu_indices(*matrix.shape, offset=1))]


def test_half_gives_the_printed_angles_and_classes():
    statistics = ActivationStatistics.of(PRINTED, unit="logistic")
    degrees = angles(statistics)
    printed = torch.tensor(PRINTED_DEGREES, dtype=torch.float64)
    assert (upper(degrees) - printed).abs().max() < 1.3
    classes = classify(statistics, degrees)
    assert (classes.similar + 1).tolist() == [[1, 4], [5, 6]]
    assert (classes.complementary + 1).tolist() == [[1, 5], [1, 6], [4, 5], [4, 6]]
    shorter = upper(angles(ActivationStatistics.of(torch.cat([PRINTED[:3], PRINTED[4:]])), "half"))
    assert (shorter - printed).abs().max() < 0.41


@pytest.mark.parametrize("normalise", ["centre", "unit_minmax", "none"])
def test_other_normalisations_do_not_give_the_printed_angles(normalise):
    degrees = upper(angles(ActivationStatistics.of(PRINTED), normalise))
    assert (degrees - torch.tensor(PRINTED_DEGREES, dtype=torch.float64)).abs().max() > 15


@pytest.mark.parametrize(
    ("normalise", "first", "second", "expected"),
    [
        pytest.param("none", [1, 0], [0, 1], 90, id="at right angles"),
        pytest.param("none", [1, 0, 0], [1, 1, 0], 45, id="between"),
        pytest.param("none", [1, 2], [-2, -4], 180, id="opposite"),
        pytest.param("none", [1, 3**0.5], [1, 0], 60, id="half of a triangle"),
        pytest.param("half", [1.5, 0.5], [0.5, 1.5], 90, id="from the middle of a logistic unit"),
        pytest.param("centre", [0, 1, 2], [5, 7, 9], 0, id="a straight line"),
        pytest.param("centre", [0, 1, 2], [1, 0, 1], 90, id="uncorrelated"),
        pytest.param("layer_minmax", [0, 4], [4, 2], 135, id="from the layer's middle, 2"),
        pytest.param(
            "unit_minmax", [0, 4, 2, 2], [10, 11, 10, 11], 45, id="from each unit's middle, 2 and 10.5"
        ),
    ],
)
def test_by_hand(normalise, first, second, expected):
    degrees = angles(of(first, second), normalise)
    assert float(degrees[0, 1]) == pytest.approx(expected, abs=5.2e-6)


@pytest.mark.parametrize(
    ("settings", "same_as"),
    [
        pytest.param({"unit": "logistic"}, "half", id="logistic"),
        pytest.param({"unit": "tanh"}, "none", id="tanh"),
        pytest.param({}, "centre", id="other"),
        pytest.param({"unit": "logistic", "pattern_minmax": True}, "none", id="rescaled"),
    ],
)
def test_auto_looks_at_the_unit(settings, same_as):
    statistics = ActivationStatistics.of(outputs(30, 4) + 0.3, **settings)
    assert angles(statistics).equal(angles(statistics, same_as))
    others = {"half", "none", "centre"} - {same_as}
    assert not any(angles(statistics).equal(angles(statistics, other)) for other in others)


@pytest.mark.parametrize("normalise", NORMALISATIONS)
@pytest.mark.parametrize("num_neurons", [1, 40, 1100], ids=lambda num: f"{num} neurons")
def test_the_matrix_is_symmetric_with_zeros_on_its_diagonal(normalise, num_neurons):
    degrees = angles(ActivationStatistics.of(outputs(60, num_neurons)), normalise)
    assert degrees.shape == (num_neurons, num_neurons)
    assert degrees.equal(degrees.T)
    assert (degrees.diagonal() == 0).all()
    assert ((degrees >= 0) & (degrees <= 180)).all()


def rescaled(values, normalise):
    """What the papers do to activations before they measure, neuron by neuron."""
    low, high = values.amin(0), values.amax(0)
    match normalise:
        case "half":
            return values - 0.5
        case "centre":
            return values - values.mean(0)
        case "layer_minmax":
            return (values - low.min()) / (high.max() - low.min()) - 0.5
        case "unit_minmax":
            return (values - low) / (high - low) - 0.5
        case _:
            return values


@pytest.mark.parametrize("normalise", NORMALISATIONS)
def test_agrees_with_the_cosine_of_scikit_learn(normalise):
    """The cosines, since the arc cosine of one that is rounded has lost the small angles."""
    values = outputs(300, 600).relu()
    expected = cosine_similarity(rescaled(values, normalise).T.numpy())
    degrees = angles(ActivationStatistics.of(values), normalise)
    np.testing.assert_allclose(np.cos(np.radians(degrees.numpy())), expected, atol=1e-13)


def test_centred_angles_are_those_of_the_pearson_correlation():
    values = outputs(50, 5)
    degrees = angles(ActivationStatistics.of(values), "centre")
    np.testing.assert_allclose(np.cos(np.radians(degrees.numpy())), np.corrcoef(values.T.numpy()), atol=1e-13)


def test_planted_copies_complements_constants_and_dead_neurons():
    values = outputs(500, 8)
    values[:, 3] = 2.5 * values[:, 0] + 7
    values[:, 4] = -0.1 * values[:, 0] + 1
    values[:, 5] = 0
    values[:, 6] = 0.3
    statistics = ActivationStatistics.of(values)
    degrees = angles(statistics, "centre")
    classes = classify(statistics, degrees)
    assert classes.similar.tolist() == [[0, 3]]
    assert classes.complementary.tolist() == [[0, 4], [3, 4]]
    assert classes.dead.tolist() == [5]
    assert classes.constant.tolist() == [6]
    assert classes.non_finite.tolist() == []
    assert degrees.isnan().nonzero().unique(dim=0).shape == (8 * 8 - 6 * 6, 2)
    assert classes.shares == {
        "dead": 1 / 8,
        "constant": 1 / 8,
        "non_finite": 0,
        "similar": 1 / 15,
        "complementary": 2 / 15,
    }


@pytest.mark.parametrize("normalise", NORMALISATIONS)
def test_neurons_that_are_not_finite_have_no_angle_and_leave_the_others_theirs(normalise):
    values = outputs(90, 5)
    others = angles(ActivationStatistics.of(values[:, 1:]), normalise)
    values[4, 0] = torch.nan
    statistics = ActivationStatistics.of(values)
    degrees = angles(statistics, normalise)
    assert degrees[0].isnan().all()
    torch.testing.assert_close(degrees[1:, 1:], others, rtol=0, atol=5e-6)
    assert classify(statistics, degrees).non_finite.tolist() == [0]


def test_a_layer_that_is_nan_throughout_has_no_angles():
    statistics = ActivationStatistics.of(torch.full((5, 3), torch.nan))
    for normalise in NORMALISATIONS:
        assert angles(statistics, normalise).isnan().all()


@pytest.mark.parametrize("normalise", NORMALISATIONS)
def test_reordered_neurons_have_reordered_angles(normalise):
    values, order = outputs(200, 30), torch.randperm(30, generator=torch.Generator().manual_seed(1))
    degrees = angles(ActivationStatistics.of(values), normalise)
    reordered = angles(ActivationStatistics.of(values[:, order]), normalise)
    torch.testing.assert_close(reordered, degrees[order][:, order], rtol=0, atol=1e-10)


@pytest.mark.parametrize("normalise", NORMALISATIONS)
def test_reordered_patterns_have_the_same_angles(normalise):
    values, order = outputs(200, 30), torch.randperm(200, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        angles(ActivationStatistics.of(values[order]), normalise),
        angles(ActivationStatistics.of(values), normalise),
        rtol=0,
        atol=1e-10,
    )


@pytest.mark.parametrize("normalise", ["centre", "unit_minmax", "none"])
@pytest.mark.parametrize("largest", [0, 3], ids=["alike", "from 1e-3 to 1e3"])
def test_scales_of_neurons_do_not_count(normalise, largest):
    values, scales = outputs(200, 6), torch.logspace(-largest, largest, 6, dtype=torch.float64)
    torch.testing.assert_close(
        angles(ActivationStatistics.of(values * scales * 1e-4), normalise),
        angles(ActivationStatistics.of(values), normalise),
        rtol=0,
        atol=1e-10,
    )


def test_streamed_batches_give_the_angles_of_the_whole():
    values = outputs(1000, 20) + 1
    statistics = ActivationStatistics.of(values[:7])
    for batch in values[7:].split(64):
        statistics.update(batch)
    whole = ActivationStatistics.of(values)
    for normalise in NORMALISATIONS:
        torch.testing.assert_close(
            angles(statistics, normalise), angles(whole, normalise), rtol=0, atol=1e-10
        )


def test_a_mean_a_thousand_times_the_spread_leaves_the_angles():
    values = (outputs(5000, 10) * 2**20).round() / 2**20
    torch.testing.assert_close(
        angles(ActivationStatistics.of(values + 1000), "centre"),
        angles(ActivationStatistics.of(values), "centre"),
        rtol=0,
        atol=1e-9,
    )


def exact_radians(values, normalise):
    """Angles from the vectors themselves, in extended precision."""
    vectors = values.numpy().astype(np.longdouble)
    vectors = vectors - vectors.mean(0) if normalise == "centre" else vectors
    vectors = vectors / np.sqrt((vectors**2).sum(0))
    apart = np.sqrt(((vectors[:, :, None] - vectors[:, None]) ** 2).sum(0))
    along = np.sqrt(((vectors[:, :, None] + vectors[:, None]) ** 2).sum(0))
    return 2 * np.arctan2(apart, along)


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="no extended precision on this machine")
@pytest.mark.parametrize("normalise", ["none", "centre"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num_samples", [100, 30_000])
@pytest.mark.parametrize("relu", [False, True], ids=["both signs", "ReLU"])
def test_the_error_stays_within_its_bound(num_samples, dtype, normalise, relu):
    """Vectors 1e-7 rad apart, nearly opposite ones, threefold and exact copies, and some in between."""
    u = outputs(num_samples, 2).relu() if relu else outputs(num_samples, 2)
    step = outputs(num_samples, 2, seed=1)
    v = u + 1e-7 * step * (u.norm(dim=0) / step.norm(dim=0))
    values = torch.cat([u, v, -v, 3 * u, u], dim=1).to(dtype)

    degrees = angles(ActivationStatistics.of(values), normalise)
    exact = exact_radians(values, normalise)

    error = np.abs(np.radians(degrees.numpy()) - exact)
    sine = np.maximum(np.sin(exact), np.finfo(float).tiny)
    bound = np.minimum(math.sqrt(2 * COSINE_ERROR), 2 * COSINE_ERROR / sine)
    # Beside e comes the rounding of the result itself, in degrees.
    assert (error <= bound + 4 * np.finfo(float).eps).all()
    near = exact[0, 2]
    assert 0.5e-7 < near < 2.5e-7
    assert math.radians(degrees[0, 2]) == pytest.approx(float(near), rel=0.3)


def test_exact_copies_stand_at_zero_within_the_bound():
    values = outputs(1000, 1).expand(-1, 5)
    assert angles(ActivationStatistics.of(values), "none").max() < 5.2e-6


def test_no_patterns_one_pattern_one_neuron():
    with pytest.raises(InputError, match="the analysis set is empty"):
        angles(ActivationStatistics.of(torch.empty(0, 3)))
    one_pattern = ActivationStatistics.of(torch.tensor([[1.0, 2.0]]))
    assert angles(one_pattern).isnan().all()
    one_neuron = ActivationStatistics.of(outputs(9, 1))
    assert angles(one_neuron).tolist() == [[0]]
    assert classify(one_neuron, angles(one_neuron)).shares["similar"] == 0


def test_unknown_normalisations_are_refused():
    with pytest.raises(InputError, match="normalise is 'zscore': it must be one of auto, half"):
        angles(ActivationStatistics.of(outputs(5, 2)), "zscore")


@pytest.mark.parametrize(("below", "above"), [(-1, 165), (15, 181), (100, 80)])
def test_thresholds_out_of_order_are_refused(below, above):
    statistics = ActivationStatistics.of(outputs(5, 2))
    with pytest.raises(InputError, match="must be 0 to 180 degrees in this order"):
        classify(statistics, angles(statistics), similar_below=below, complementary_above=above)


def test_angles_of_other_neurons_are_refused():
    with pytest.raises(ValueError, match="not those of 2 neurons"):
        classify(ActivationStatistics.of(outputs(5, 2)), torch.zeros(3, 3))


def test_summary_of_angles_by_hand():
    nan = float("nan")
    degrees = torch.tensor([[0.0, 10, 90, nan], [10, 0, 50, nan], [90, 50, 0, nan], [nan] * 4])
    assert pair_angles(degrees).tolist() == [10, 90, 50]
    assert summarise(degrees) == {
        **{"mean": 50, "min": 10, "q05": 10, "q25": 10, "median": 50, "q75": 50, "q95": 50, "max": 90}
    }
    assert all(math.isnan(value) for value in summarise(degrees[2:, 2:]).values())


def test_angular_speed_by_hand():
    nan = float("nan")
    before = torch.tensor([[0.0, 10, nan], [10, 0, 50], [nan, 50, 0]])
    after = torch.tensor([[0.0, 16, 70], [16, 0, 48], [70, 48, 0]])
    assert angular_speed(before, after) == 4
    assert angular_speed(before, after, num_epochs=2) == 2
    assert math.isnan(angular_speed(before, torch.full_like(after, nan)))


def test_the_statistics_of_several_layers_are_refused():
    statistics = measure(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)), torch.rand(5, 2))
    with pytest.raises(InputError, match=r"several layers: \{name: angles\(each\)"):
        angles(statistics)
