"""Rival methods, for comparison: what they choose, and what they make of copies."""

import pytest
import torch
from torch import nn

from fer.errors import InputError
from fer.neurons import ActivationStatistics, PrunePlan, Removal, prune
from fer.neurons.evidence import Limits, Neurons
from fer.neurons.merge import coefficients
from fer.neurons.rivals import Closest, Clusters, Lasso, Magnitude
from fer.neurons.rules import RIVALS


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def neurons(weights, activations=None):
    activations = normal(50, len(weights)) if activations is None else activations
    return Neurons(ActivationStatistics.of(activations), normal(len(weights), 3, seed=1), weights)


def gone(criterion, of, num):
    return {(one.neuron, one.into) for one in criterion.removals(of, Limits(num_removed=num))}


def test_magnitude_removes_the_smallest_norms():
    assert gone(Magnitude(), neurons(torch.tensor([[3.0, 0], [1, 1], [0, 2]])), 1) == {(1, None)}


def test_clusters_merge_what_lies_together():
    weights = torch.tensor([[0.0, 9], [5, 0], [0, 9.1], [5.1, 0], [-7, -7]])
    assert gone(Clusters(), neurons(weights), 2) == {(2, 0), (3, 1)}


def test_merging_takes_the_nearest_direction_or_none():
    weights = torch.tensor([[9.0, 0], [0, 8], [0.1, 1], [-1, -0.1]])
    assert gone(Closest(), neurons(weights), 2) == {(2, 1), (3, None)}


def test_the_lasso_leaves_out_what_adds_least():
    activations = normal(400, 4) * torch.tensor([1, 0.1, 0.01, 2])
    of = Neurons(ActivationStatistics.of(activations), torch.ones(4, 1, dtype=torch.float64))
    assert [one.neuron for one in Lasso().removals(of, Limits(num_removed=3))] == [2, 1, 0]


def test_gram_is_a_ridge_regression_without_a_constant():
    activations = normal(200, 5) + 1
    plan = PrunePlan(5, (Removal(1, "criterion"), Removal(4, "criterion")))
    matrix, constant = coefficients(plan, ActivationStatistics.of(activations), "gram")
    kept = activations[:, [0, 2, 3]]
    ridge = 1e-3 * kept.square().sum(0).mean() * torch.eye(3, dtype=torch.float64)
    expected = torch.linalg.solve(kept.T @ kept + ridge, kept.T @ activations[:, [1, 4]])
    torch.testing.assert_close(matrix[:, [1, 4]], expected)
    assert not constant.any()


def network():
    torch.manual_seed(0)
    layers = nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)),
    )
    layers[1].bias.data.normal_()
    return layers.double().eval()


@pytest.mark.parametrize("rule", ["grail", "folding", "neuron_merging"])
def test_copies_go_without_a_change(rule):
    """The copies have the smaller weights, which batch norm makes equal again; clusters take equal ones."""
    whole, inputs = network(), normal(60, 1, 9, 9)
    whole[1].eps = 0
    factor = 1 if rule == "folding" else 0.1
    with torch.no_grad():
        for tensor, power in (*((each, 1) for each in whole[0].parameters()), (whole[1].running_var, 2)):
            tensor[4:] = tensor[:4] * factor**power
        whole[1].bias[4:] = whole[1].bias[:4]
    small = prune(whole, inputs, rule=rule, num_removed={"0": 4}).network
    assert small[0].out_channels == 4
    largest = (small(inputs) - whole(inputs)).abs().max()
    assert largest < (1e-2 if rule == "grail" else 1e-9) * whole(inputs).abs().max()  # by its ridge


def test_folding_takes_means_of_weights_and_batch_norm():
    whole, inputs = network(), normal(60, 1, 9, 9)
    pruned = prune(whole, inputs, rule="folding", num_removed={"0": 1})
    (removal,) = pruned.plans["0"].removals
    place = [*pruned.plans["0"].kept].index(removal.into)
    for layer, name in ((0, "weight"), (0, "bias"), (1, "bias"), (1, "running_var")):
        old, new = (getattr(each[layer], name).detach() for each in (whole, pruned.network))
        torch.testing.assert_close(new[place], (old[removal.neuron] + old[removal.into]) / 2)


@pytest.mark.parametrize("rule", RIVALS)
def test_they_need_a_number(rule):
    with pytest.raises(InputError, match="has no threshold: set num_removed"):
        prune(network(), normal(60, 1, 9, 9), rule=rule)
