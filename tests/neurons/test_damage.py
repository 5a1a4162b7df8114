"""Damage of pruning in the outputs of a network."""

import pytest
import torch
from torch import nn

from fer.neurons import damage, eval_state, measure_groups, prune
from fer.neurons.batches import InputBatches
from fer.neurons.criteria import make_criterion
from fer.neurons.damage import SHARES, damage_costs, measure_damage, scaled, split
from fer.pruning import PruneSettings, prune_once

SPAN = make_criterion("span")


class TwoLayers(nn.Module):
    """Two hidden layers side by side: of ``copies`` half are copies, of ``own`` none can be replaced."""

    def __init__(self, outputs=None):
        super().__init__()
        torch.manual_seed(0)
        self.copies, self.own = nn.Linear(16, 16), nn.Linear(16, 16)
        self.last, self.other = nn.Linear(16, 3), nn.Linear(16, 3)
        self.outputs = outputs or (lambda one, two: one + two)
        with torch.no_grad():
            for tensor in (self.copies.weight, self.copies.bias):
                tensor[8:] = 2 * tensor[:8]
            self.last.weight.mul_(100)  # its own sums are large, so that its neurons look dear
            self.own.weight.copy_(torch.eye(16))
            self.own.bias.zero_()

    def forward(self, inputs):
        shrunk = self.last(self.copies(inputs).relu()) / 100
        return self.outputs(shrunk, self.other(self.own(inputs)))


@pytest.fixture
def samples():
    torch.manual_seed(1)
    return list(torch.randn(1000, 16).double().split(100))


@pytest.mark.slow
def test_neurons_go_where_they_are_redundant(samples):
    network = TwoLayers().double()
    pruning = prune_once(network, samples, PruneSettings(criterion="span"), max_params=486)

    assert pruning.settings.num_removed == {"copies": 8, "own": 0}
    with eval_state(network):
        torch.testing.assert_close(pruning.network(samples[0]), network(samples[0]))


def test_neurons_are_priced_by_the_merge_that_is_used(samples):
    """Where nothing takes over their weights, copies are not free."""
    network = TwoLayers().double()

    pruning = prune_once(network, samples, PruneSettings(criterion="span", merge="drop"), max_params=486)

    assert pruning.settings.num_removed["own"] > 0


@pytest.mark.slow
def test_the_damage_is_what_the_outputs_of_a_pruned_network_lose(samples):
    network = TwoLayers().double()
    measurement = measure_groups(network, samples)

    damage = measure_damage(network, samples, measurement, SPAN)

    fitted, held_out = split(InputBatches.of(samples, network))
    for name, points in damage.items():
        for num, found in points.items():
            small = prune(
                *(network, list(fitted)),
                criterion="span",
                refit="joint",
                num_removed={"copies": 0, "own": 0, name: num},
            ).network
            with eval_state(network):
                before, after = (
                    torch.cat([each(*inputs.args) for inputs in held_out]) for each in (network, small)
                )
            expected = (after - before).square().sum() / (before - before.mean()).square().sum()
            assert found == pytest.approx(float(expected), abs=1e-12)
    assert all(len(points) == len(SHARES) for points in damage.values())
    assert damage["copies"][8] < 1e-12
    assert damage["own"][8] > 0.1


def test_the_costs_of_a_layer_add_up_to_the_measured_damage(samples):
    network = TwoLayers().double()
    measurement = measure_groups(network, samples)

    costs = damage_costs(network, samples, measurement, SPAN)

    damage = measure_damage(network, samples, measurement, SPAN)
    for name, points in damage.items():
        assert len(costs[name]) == 15
        for num, expected in points.items():
            assert sum(costs[name][:num]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("costs", "points", "expected"),
    [
        pytest.param([1.0, 1.0, 2.0], {2: 4.0}, [2.0, 2.0, 4.0], id="one point"),
        pytest.param([1.0, 1.0, 2.0, 4.0], {2: 4.0, 4: 32.0}, [2.0, 2.0, 8.0, 20.0], id="the factor grows"),
        pytest.param([0.0, 0.0, 1.0], {1: 0.0, 3: 5.0}, [0.0, 0.0, 5.0], id="dead neurons"),
        pytest.param([1.0, 1.0], {1: 4.0, 2: 1.0}, [4.0, 0.0], id="noise"),
        pytest.param([0.0, 0.0], {1: 0.0}, [0.0, 0.0], id="nothing costs anything"),
    ],
)
def test_costs_are_scaled_to_measured_sums(costs, points, expected):
    assert scaled(costs, points) == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    "outputs",
    [
        pytest.param(lambda one, two: (one, two), id="a tuple"),
        pytest.param(lambda one, two: {"a": one, "b": [two.sum()]}, id="nested, without samples"),
        pytest.param(lambda one, two: (one + two, (one + two).argmax(1)), id="classes, too"),
        pytest.param(lambda one, two: (one + two)[:, :1], id="one number"),
        pytest.param(lambda one, two: (one + two, torch.zeros(3)), id="a constant"),
    ],
)
def test_networks_may_return_anything(outputs, samples):
    network = TwoLayers(outputs).double()

    pruning = prune_once(network, samples, PruneSettings(criterion="span"), max_params=486)

    assert pruning.settings.num_removed["copies"] >= 7


@pytest.mark.slow
def test_numbers_of_classes_are_no_damage(samples):
    networks = [TwoLayers(outputs).double() for outputs in (None, lambda one, two: (one + two, two.long()))]

    found = [measure_damage(each, samples, measure_groups(each, samples), SPAN) for each in networks]

    assert found[0] == found[1]


@pytest.mark.parametrize("num", [2, 4, 9, 23])
def test_few_samples_are_enough(num):
    network = TwoLayers()

    pruning = prune_once(network, torch.randn(num, 16), PruneSettings(criterion="span"), max_params=486)

    assert sum(each.numel() for each in pruning.network.parameters()) <= 486


def test_outputs_that_are_not_finite_are_damage_without_end(samples):
    """Without its neurons the root of a negative number is taken."""
    network = TwoLayers(lambda one, two: (two - two.detach()).sqrt() + one).double()
    measurement = measure_groups(network, samples)

    damage = measure_damage(network, samples, measurement, SPAN)

    assert all(value <= 1e6 for points in damage.values() for value in points.values())


def test_one_of_five_samples_is_held_out_whatever_the_batches():
    numbers = torch.arange(23)
    for size in (1, 4, 23):
        fitted, held_out = split(
            InputBatches.of([part[:, None] for part in numbers.split(size)], TwoLayers())
        )
        for _ in range(2):  # the samples can be iterated over again
            assert torch.cat([each.args[0] for each in held_out]).flatten().tolist() == [0, 5, 10, 15, 20]
            kept = torch.cat([each.args[0] for each in fitted]).flatten().tolist()
            assert kept == [number for number in range(23) if number % 5]


def test_few_values_of_large_outputs_are_held(monkeypatch):
    network, batches = nn.Conv2d(1, 4, 3), [torch.randn(2, 1, 9, 9)] * 3
    monkeypatch.setattr(damage, "MOST_VALUES", 50)

    first, second = (damage._outputs(network, batches) for _ in range(2))

    assert [len(values) for (values,) in first] == [50, 50, 50]
    assert all(one.equal(two) for (one,), (two,) in zip(first, second, strict=True))
