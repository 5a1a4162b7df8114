"""Criteria: each against a hand-made case or a slow computation; one's own class; costs that compare."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fer.errors import InputError
from fer.neurons import Criterion, Removal, measure_groups, plan_groups, prune
from fer.neurons.criteria import CRITERIA, Pairs, _register, make_criterion
from fer.neurons.planning import removal_costs


def problem(dtype=torch.float64):
    """A trained-like network, inputs and labels."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(45, 3))
    ).to(dtype)
    inputs, labels = torch.randn(30, 1, 7, 7, dtype=dtype), torch.randint(3, (30,))
    return network, list(zip(inputs.split(10), labels.split(10), strict=True))


def order(network, batches, criterion, layer="0", num=4):
    measurement = measure_groups(network, batches, criterion=criterion)
    plan = plan_groups(network, measurement, criterion=criterion, num_removed={layer: num})[layer]
    return plan.removals


class Gate(nn.Module):
    """A factor on each map."""

    def __init__(self, layer, width):
        super().__init__()
        self.layer, self.factor = layer, nn.Parameter(torch.ones(width, dtype=torch.float64))

    def forward(self, inputs):
        return self.layer(inputs) * self.factor[:, None, None]


def slopes(network, batches, layer):
    """Return the derivative of each sample's loss with respect to a factor on each map, one by one."""
    gated = nn.Sequential(*network[: layer + 1], Gate(nn.Identity(), network[layer - 1].out_channels))
    gated.extend(network[layer + 1 :])
    found = []
    for inputs, labels in batches:
        for sample, label in zip(inputs, labels, strict=True):
            loss = F.cross_entropy(gated(sample[None]), label[None])
            found.append(torch.autograd.grad(loss, gated[layer + 1].factor)[0])
    return torch.stack(found).view(len(batches), -1, found[0].numel())


@pytest.mark.parametrize(("layer", "activation"), [("0", 1), ("2", 3)])
def test_taylor_and_fisher_agree_with_the_derivatives_of_a_factor(layer, activation):
    network, batches = problem()
    each = slopes(network, batches, activation)
    expected = {"taylor": each.mean(1).square().mean(0), "fisher": each.square().mean((0, 1)) / 2}
    for criterion, costs in expected.items():
        removals = order(network, batches, criterion, layer)
        assert [one.neuron for one in removals] == costs.argsort()[:4].tolist()
        torch.testing.assert_close(
            torch.tensor([one.cost for one in removals]), costs.sort().values[:4].float()
        )
        assert {one.reason for one in removals} == {"criterion"}


def test_gradients_leave_no_trace():
    network, batches = problem()
    network.train()
    before = torch.random.get_rng_state()
    measure_groups(network, batches, criterion="fisher")
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_pre_hooks for module in network.modules())
    assert network.training
    assert torch.random.get_rng_state().equal(before)


def test_gradients_are_measured_in_a_frozen_network_and_with_soft_labels():
    network, batches = problem()
    expected = order(network, batches, "fisher")
    network.requires_grad_(requires_grad=False)
    soft = [(inputs, F.one_hot(labels, 3).double()) for inputs, labels in batches]
    found = order(network, soft, "fisher")
    assert [one.neuron for one in found] == [one.neuron for one in expected]


class Residual(nn.Module):
    """Two layers whose outputs are added, of which two others take the sum."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 6)
        self.c, self.d = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, inputs, factor=1.0):
        hidden = self.a(inputs).relu()
        hidden = (hidden + self.b(hidden)).tanh()
        return self.c(hidden) + self.d(hidden * 2)


def test_the_slopes_of_all_next_layers_are_added():
    torch.manual_seed(0)
    network = Residual().double()
    inputs, labels = torch.randn(20, 4, dtype=torch.float64), torch.randint(3, (20,))
    measurement = measure_groups(network, [(inputs, labels)], criterion="fisher")
    (group,) = measurement.groups
    factors = [torch.ones(6, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    total = torch.zeros(6, dtype=torch.float64)
    for sample, label in zip(inputs, labels, strict=True):
        hidden = network.a(sample).relu()
        added = (hidden + network.b(hidden * factors[0])).tanh()
        logits = network.c(added * factors[1]) + network.d(added * 2 * factors[2])
        F.cross_entropy(logits, label).backward()
        slope = sum(factor.grad for factor in factors)
        for factor in factors:
            factor.grad = None
        total = total + slope.square()
    torch.testing.assert_close(measurement.gradients[group.name].of_samples, total / 20)


def test_the_smallest_weights_go_first():
    network, batches = problem()
    with torch.no_grad():
        for neuron, size in enumerate([3.0, 1.0, 2.0, 9.0, 0.5, 7.0]):
            network[0].weight[neuron] *= size / network[0].weight[neuron].abs().sum()
    assert [one.neuron for one in order(network, batches, "l1")] == [4, 1, 2, 0]
    assert [one.cost for one in order(network, batches, "l1")] == pytest.approx([0.5, 1, 2, 3])


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_prunes_a_network_by_number_and_by_share(criterion):
    network, batches = problem()
    for numbers in ({"num_removed": {"0": 3, "2": 2}}, {"share_removed": 0.5}):
        pruned = prune(network, batches, criterion=criterion, **numbers)
        assert {name: len(plan.kept) for name, plan in pruned.plans.items()} == {"0": 3, "2": 3}
        assert pruned.network(batches[0][0]).isfinite().all()


@pytest.mark.parametrize("criterion", ["l1", "taylor", "fisher"])
def test_a_criterion_without_thresholds_says_what_to_give(criterion):
    network, batches = problem()
    with pytest.raises(InputError, match=rf"{criterion} has no threshold: set num_removed .*target_macs"):
        prune(network, batches, criterion=criterion)


@pytest.mark.parametrize("criterion", ["taylor", "fisher"])
def test_a_criterion_that_needs_labels_says_so(criterion):
    network, batches = problem()
    with pytest.raises(
        InputError, match=r"needs labels, but a batch has none: give batches \(inputs, labels\)"
    ):
        prune(network, [inputs for inputs, _ in batches], criterion=criterion, share_removed=0.5)
    with pytest.raises(InputError, match="but the measurement has none"):
        plan_groups(network, measure_groups(network, batches), criterion=criterion, share_removed=0.5)
    shifted = [(inputs, labels + 5) for inputs, labels in batches]
    with pytest.raises(InputError, match=r"labels of shape \(10,\) do not fit outputs of shape \(10, 3\)"):
        prune(network, shifted, criterion=criterion, share_removed=0.5)


def test_costs_compare_between_layers_where_the_theory_says_so():
    network, batches = problem()
    measurement = measure_groups(network, batches, criterion="fisher")
    for criterion in ("span", "taylor", "fisher"):
        for layer, costs in removal_costs(network, measurement, criterion).items():
            assert len(costs) == {"0": 5, "2": 4}[layer]
            assert costs == sorted(costs)
    for criterion in ("pairs", "l1"):
        with pytest.raises(InputError, match=f"the costs of criterion '{criterion}' are not comparable"):
            removal_costs(network, measurement, criterion)


@dataclass(frozen=True)
class LastFirst(Criterion):
    """Remove the last neurons of each layer."""

    num: int = 1

    def removals(self, neurons, limits):
        last = neurons.statistics.num_neurons - 1
        return [Removal(last - k, "criterion") for k in range(limits.num_removed or self.num)]


def test_a_class_of_ones_own_works_by_path_and_as_an_instance():
    network, batches = problem()
    by_path = prune(network, batches, criterion=f"{__name__}.LastFirst")
    assert by_path.plans["0"].kept == (0, 1, 2, 3, 4)
    assert prune(network, batches, criterion=LastFirst(2)).plans["2"].kept == (0, 1, 2)


def test_a_new_criterion_is_registered_by_its_definition(monkeypatch):
    monkeypatch.setattr("fer.neurons.criteria.CRITERIA", dict(CRITERIA))
    with pytest.raises(InputError, match="must be one of pairs, span, l1, taylor, fisher, or the path"):
        make_criterion("last")
    _register("last")(LastFirst)
    assert make_criterion("last") == LastFirst()


@pytest.mark.parametrize(
    ("criterion", "reason"),
    [
        pytest.param("fischer", "did you mean 'fisher'", id="a slip"),
        pytest.param("no_package.Class", "cannot be imported: No module named", id="no module"),
        pytest.param("fer.neurons.Nothing", "cannot be imported", id="no class"),
        pytest.param("torch.nn.Linear", "cannot be created without arguments", id="arguments"),
        pytest.param("torch.nn.ReLU", "does not follow the protocol", id="another class"),
        pytest.param(3, "does not follow the protocol", id="a number"),
        pytest.param(Pairs, None, id="a class"),
    ],
)
def test_what_is_no_criterion_is_refused(criterion, reason):
    if reason is None:
        assert make_criterion(criterion) == Pairs()
        return
    with pytest.raises(InputError, match=reason):
        make_criterion(criterion)
