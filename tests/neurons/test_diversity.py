"""Ranks, redundancy, CKA and neural collapse, against cases by hand and independent formulas."""

import math

import numpy as np
import pytest
import torch

from fer.neurons.angles import angles
from fer.neurons.cka import linear_cka
from fer.neurons.collapse import Collapse
from fer.neurons.ranks import MOST_EXACT, effective_rank, participation_ratio, ranks
from fer.neurons.redundancy import cloned_share, dormant_share, groups_of, redundant_share, span_angles
from fer.neurons.statistics import ActivationStatistics


def draw(num, width, seed=0):
    return torch.randn(num, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def orthonormal(num, width):
    """Return centred columns of length 1 at right angles."""
    values = draw(num, width)
    return torch.linalg.qr(values - values.mean(dim=0))[0]


def of(values):
    return ActivationStatistics.of(values)


# Ranks


@pytest.mark.parametrize("width", [1, 5])
def test_directions_that_vary_alike_all_count(width):
    statistics = of(orthonormal(50, width))
    assert effective_rank(statistics) == pytest.approx(width)
    assert participation_ratio(statistics) == pytest.approx(width)


def test_two_directions_by_hand():
    statistics = of(orthonormal(50, 2) * torch.tensor([3.0, 1.0]))  # shares of variance 0.9 and 0.1
    assert effective_rank(statistics) == pytest.approx(math.exp(-0.9 * math.log(0.9) - 0.1 * math.log(0.1)))
    assert participation_ratio(statistics) == pytest.approx(1 / (0.81 + 0.01))


def test_ranks_are_those_of_the_singular_values():
    values = draw(200, 12) @ draw(12, 12, seed=1)
    singular = np.linalg.svd((values - values.mean(dim=0)).numpy(), compute_uv=False) ** 2
    shares = singular / singular.sum()
    statistics = of(values)
    assert effective_rank(statistics) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert participation_ratio(statistics) == pytest.approx(1 / (shares**2).sum())
    assert 1 <= participation_ratio(statistics) <= effective_rank(statistics) <= 12


def test_neurons_that_are_not_finite_are_left_out():
    values = torch.cat([orthonormal(50, 3), torch.full((50, 1), math.nan)], dim=1)
    assert effective_rank(of(values)) == pytest.approx(3)


def test_no_variance_has_no_rank():
    assert math.isnan(effective_rank(of(torch.ones(5, 3))))
    assert math.isnan(participation_ratio(of(torch.zeros(5, 3))))


def spectrum(name, width):
    """Return eigenvalues that fall in some way."""
    number = torch.arange(1, width + 1, dtype=torch.float64)
    return {
        "flat": torch.ones(width, dtype=torch.float64),
        "power": number**-1,
        "steep": number**-2,
        "exponential": torch.exp(-number / 100),
        "three large": torch.where(number <= 3, width, 1.0),
        "ends": torch.where(number <= 300, number**-0.7, 0.0),
        "two": torch.where(number <= 2, 1.0, 0.0),
    }[name]


def with_spectrum(values, seed=0):
    """Return statistics of neurons whose scatter has these eigenvalues, in random directions."""
    width = len(values)
    rotation = torch.linalg.qr(draw(width, width, seed))[0]
    statistics = of(draw(2, width))
    statistics.upper = (rotation * values) @ rotation.T
    return statistics


@pytest.mark.parametrize("name", ["flat", "power", "steep", "exponential", "three large", "ends", "two"])
def test_the_estimate_of_a_wide_layer_errs_by_little(name):
    values = spectrum(name, MOST_EXACT + 100)
    shares = (values / values.sum()).numpy()
    exact = np.exp(-sum(share * np.log(share) for share in shares if share))
    found = ranks(with_spectrum(values))
    assert found.effective == pytest.approx(exact, rel=0.015)
    assert found.participation == pytest.approx(1 / (shares**2).sum())  # exact at any width
    assert ranks(with_spectrum(values)) == found  # the random vectors are always the same


def test_a_wide_layer_of_few_samples():
    """The eigenvalues are those of the kernel between samples, too."""
    values = torch.relu(draw(150, 20) @ draw(20, MOST_EXACT + 300, seed=1))
    centred = values - values.mean(dim=0)
    eigenvalues = np.linalg.eigvalsh((centred @ centred.T).numpy()).clip(1e-300)
    shares = eigenvalues / eigenvalues.sum()
    assert effective_rank(of(values)) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=0.015)


def test_neurons_that_never_change_are_left_out():
    values = torch.cat([orthonormal(50, 3), torch.ones(50, 1), torch.zeros(50, 1)], dim=1)
    assert ranks(of(values)) == pytest.approx((3, 3))


# Redundancy


def test_dormant_neurons_by_hand():
    """The layer's mean of 1, 0.1, 0, 2 and 1.9 is 1: neurons up to 0.1 are dormant, and a sign is none."""
    values = torch.tensor([[1.0, 0.1, 0.0, -2.0, 1.9], [-1.0, 0.1, 0.0, 2.0, 1.9]], dtype=torch.float64)
    statistics = of(values)
    assert statistics.magnitude.tolist() == [1, 0.1, 0, 2, 1.9]
    assert dormant_share(statistics, tau=0.11) == pytest.approx(2 / 5)
    assert dormant_share(statistics, tau=0.09) == dormant_share(statistics, tau=0) == pytest.approx(1 / 5)


@pytest.mark.parametrize(
    ("values", "share"),
    [
        pytest.param(torch.zeros(5, 3), 1.0, id="all dead"),
        pytest.param(torch.ones(5, 1), 0.0, id="one neuron"),
        pytest.param(torch.tensor([[1.0, 0.0, math.nan]] * 5), 0.5, id="NaN left out"),
        pytest.param(torch.full((5, 2), math.inf), math.nan, id="none finite"),
    ],
)
def test_dormant_shares_of_odd_layers(values, share):
    assert dormant_share(of(values)) == pytest.approx(share, nan_ok=True)


def test_statistics_of_older_versions_know_no_dormant_neurons():
    saved = of(draw(9, 4)).to_dict()
    del saved["magnitude"]
    loaded = ActivationStatistics.from_dict(saved)
    assert loaded.magnitude.isnan().all()
    assert math.isnan(dormant_share(loaded))
    assert math.isnan(dormant_share(loaded + of(draw(9, 4))))


def test_a_sum_of_others_is_redundant_and_so_are_they():
    values = orthonormal(60, 4)
    values = torch.cat([values, values[:, :1] + values[:, 1:2] + 7], dim=1)
    assert redundant_share(of(values)) == pytest.approx(3 / 5)  # any of the three follows from the other two
    assert redundant_share(of(orthonormal(60, 4))) == 0


def test_the_angle_to_the_span_is_that_of_least_squares():
    values = draw(100, 6) @ draw(6, 6, seed=1)
    centred = (values - values.mean(dim=0)).numpy()
    expected = []
    for neuron in range(6):
        others = np.delete(centred, neuron, axis=1)
        fitted = others @ np.linalg.lstsq(others, centred[:, neuron], rcond=None)[0]
        error = np.linalg.norm(centred[:, neuron] - fitted) / np.linalg.norm(centred[:, neuron])
        expected.append(np.degrees(np.arcsin(error)))
    assert span_angles(angles(of(values), "centre")).tolist() == pytest.approx(expected, abs=1e-4)


def test_a_neuron_that_never_changes_is_redundant():
    values = torch.cat([orthonormal(60, 3), torch.ones(60, 1)], dim=1)
    assert redundant_share(of(values)) == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("num_samples", "share"),
    [pytest.param(8, math.nan, id="fewer than neurons"), pytest.param(19, math.nan, id="few"), (20, 0.0)],
)
def test_with_few_samples_no_neuron_is_called_redundant_for_that(num_samples, share):
    """Ten independent neurons: in the space of eight samples each is a sum of the others."""
    assert redundant_share(of(draw(num_samples, 10))) == pytest.approx(share, nan_ok=True)


def test_the_angle_to_the_span_does_not_shrink_with_the_samples():
    """One neuron in 40 is at 20 degrees from the rest, which 100 samples alone would show as 15."""
    shares = []
    for seed in range(40):
        others = draw(100, 39, seed)
        mixed = others.sum(dim=1, keepdim=True) / 39**0.5
        radians = math.radians(20)
        last = math.cos(radians) * mixed + math.sin(radians) * draw(100, 1, seed + 100)
        shares.append(redundant_share(of(torch.cat([others, last], dim=1)), similar_below=18))
    assert np.mean(shares) < 0.25 / 40


def test_known_angles_are_taken():
    values = torch.cat([orthonormal(60, 3), orthonormal(60, 3)[:, :1]], dim=1)
    known = angles(of(values), "centre")
    assert redundant_share(of(values), known) == redundant_share(of(values)) == pytest.approx(2 / 4)
    assert cloned_share(of(values), known) == cloned_share(of(values)) == pytest.approx(2 / 4)
    apart = torch.where(torch.eye(4) == 1, 0.0, 90.0).double()
    assert (redundant_share(of(values), apart), cloned_share(of(values), apart)) == (0, 0)


@pytest.mark.parametrize(
    ("values", "redundant", "cloned"),
    [
        pytest.param(torch.zeros(9, 3), 1.0, math.nan, id="all dead"),
        pytest.param(draw(9, 1), 0.0, 0.0, id="one neuron"),
        pytest.param(torch.full((9, 2), math.nan), math.nan, math.nan, id="all NaN"),
        pytest.param(torch.cat([draw(9, 2), torch.full((9, 1), math.nan)], dim=1), 0.0, 0.0, id="one NaN"),
    ],
)
def test_shares_of_odd_layers(values, redundant, cloned):
    assert redundant_share(of(values)) == pytest.approx(redundant, nan_ok=True)
    assert cloned_share(of(values)) == pytest.approx(cloned, nan_ok=True)


def test_two_samples_have_no_clones():
    assert math.isnan(cloned_share(of(draw(2, 5))))


def test_clones_are_explained_by_their_mean():
    values = orthonormal(60, 2)
    clones = torch.cat([values[:, :1], 3 * values[:, :1] + 1, values[:, 1:]], dim=1)
    assert cloned_share(of(clones)) == pytest.approx(2 / 3)
    assert cloned_share(of(values)) == 0
    assert cloned_share(of(torch.cat([values[:, :1], -values[:, :1]], dim=1))) == 0  # complementary, no clone
    assert math.isnan(cloned_share(of(torch.ones(5, 3))))


def test_a_pair_at_an_angle_is_explained_in_part():
    base = orthonormal(60, 2)
    radians = math.radians(10)
    pair = torch.stack([base[:, 0], math.cos(radians) * base[:, 0] + math.sin(radians) * base[:, 1]], dim=1)
    assert cloned_share(of(pair)) == pytest.approx((1 + math.cos(radians)) / 2)
    assert cloned_share(of(pair), similar_below=9) == 0


def test_chains_of_similar_neurons_are_one_group():
    linked = torch.zeros(6, 6, dtype=torch.bool)
    for left, right in ((0, 3), (3, 5), (1, 2)):
        linked[left, right] = linked[right, left] = True
    assert groups_of(linked).tolist() == [0, 1, 1, 0, 4, 0]


# CKA


def test_cka_knows_no_rotation_and_no_scale():
    values = draw(40, 8)
    rotation = torch.linalg.qr(draw(8, 8, seed=1))[0]
    assert linear_cka(values, 3 * values @ rotation + 1) == pytest.approx(1)
    orthogonal = orthonormal(40, 8)
    assert linear_cka(orthogonal[:, :4], orthogonal[:, 4:]) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("widths", [(8, 5), (60, 5), (60, 70)], ids=str)
def test_cka_is_hsic_of_linear_kernels(widths):
    left, right = draw(40, widths[0]), draw(40, widths[1], seed=1) + draw(40, widths[0])[:, :1]
    centring = np.eye(40) - 1 / 40
    kernels = [centring @ (each @ each.T).numpy() @ centring for each in (left, right)]
    expected = np.trace(kernels[0] @ kernels[1]) / np.sqrt(
        np.trace(kernels[0] @ kernels[0]) * np.trace(kernels[1] @ kernels[1])
    )
    assert linear_cka(left, right) == pytest.approx(expected)


def test_cka_of_nothing_is_unknown():
    assert math.isnan(linear_cka(torch.ones(5, 2), draw(5, 2)))
    with pytest.raises(ValueError, match="there are 4 and 5"):
        linear_cka(draw(4, 2), draw(5, 2))


# Neural collapse


def simplex(classes):
    """Return class means at the angles of a collapsed network."""
    return torch.eye(classes, dtype=torch.float64) - 1 / classes


def test_a_collapsed_layer():
    labels = torch.arange(7).repeat(10)
    found = Collapse.of(simplex(7)[labels] + 5, labels, labels)
    assert found.nc1 == pytest.approx(0, abs=1e-12)
    assert found.nc2_angle == pytest.approx(math.degrees(math.acos(-1 / 6)))
    assert found.nc2_angle == pytest.approx(99.59, abs=0.005)
    assert found.nc2_spread == pytest.approx(0, abs=1e-5)
    assert found.nc4 == 1.0


def test_the_mean_angle_tells_no_collapse_but_the_spread_does():
    """Means of equal length that sum to zero, two by two opposite: far from a simplex."""
    labels = torch.arange(4).repeat(10)
    pairs = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.1, 1.0], [-0.1, -1.0]], dtype=torch.float64)
    cross, collapsed = (Collapse.of(means[labels], labels, labels) for means in (pairs, simplex(4)))
    assert cross.nc2_angle == pytest.approx(collapsed.nc2_angle, abs=11)
    assert collapsed.nc2_spread == pytest.approx(0, abs=1e-5)
    assert cross.nc2_spread > 40


def test_nc1_is_the_trace_with_the_pseudoinverse():
    labels = torch.arange(90) % 4
    values = draw(90, 6) + 2 * draw(4, 6, seed=1)[labels]
    means = torch.stack([values[labels == each].mean(dim=0) for each in range(4)])
    offsets = means - values.mean(dim=0)
    counts = torch.bincount(labels).double()
    between = (offsets.T * counts / 90) @ offsets
    within = (values - means[labels]).T @ (values - means[labels]) / 90
    expected = torch.trace(within @ torch.linalg.pinv(between, rtol=1e-9)) / 4
    assert Collapse.of(values, labels, labels).nc1 == pytest.approx(float(expected))


def test_answers_that_are_not_the_nearest_mean():
    labels = torch.arange(2).repeat(5)
    predicted = labels.clone()
    predicted[0] = 1
    assert Collapse.of(simplex(2)[labels], labels, predicted).nc4 == pytest.approx(0.9)


def test_classes_without_samples_are_left_out():
    labels = torch.tensor([2, 5]).repeat(5)
    found = Collapse.of(simplex(2)[labels // 5], labels, labels)
    assert (found.nc2_angle, found.nc4) == (pytest.approx(180), 1.0)


@pytest.mark.parametrize("values", [torch.full((4, 2), math.nan), torch.ones(4, 2)], ids=["NaN", "one class"])
def test_what_cannot_be_said_is_unknown(values):
    assert math.isnan(Collapse.of(values, torch.zeros(4, dtype=torch.long), torch.zeros(4)).nc1)
