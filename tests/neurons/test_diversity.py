"""Ranks, redundancy, CKA and neural collapse, against cases by hand and independent formulas."""

import math

import numpy as np
import pytest
import torch

from fer.neurons.cka import linear_cka
from fer.neurons.collapse import Collapse
from fer.neurons.ranks import effective_rank, participation_ratio
from fer.neurons.redundancy import cloned_share, groups_of, redundant_share, span_angles
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


# Redundancy


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
    from fer.neurons.angles import angles

    assert span_angles(angles(of(values), "centre")).tolist() == pytest.approx(expected, abs=1e-4)


def test_a_neuron_that_never_changes_is_redundant():
    values = torch.cat([orthonormal(60, 3), torch.ones(60, 1)], dim=1)
    assert redundant_share(of(values)) == pytest.approx(1 / 4)


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
    with pytest.raises(ValueError, match="4 and 5 samples"):
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
