"""Neurons whose next columns depend on other neurons, and layers that one trial run does not call."""

import copy
import random

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from fer.errors import InputError
from fer.neurons import find_prunable, prune
from fer.neurons.unreached import NOT_CALLED

SUM = "inputs of b depend on several of them"


class Between(nn.Module):
    """Two convolutions with a function between them."""

    def __init__(self, function):
        super().__init__()
        self.a, self.b, self.function = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 7, 1), function

    def forward(self, inputs):
        return self.b(self.function(self.a(inputs).relu()))


MIXED = {
    "share of the sum": (lambda x: x / (x.sum(1, keepdim=True) + 1), SUM),
    "gate": (lambda x: x * x.sum(1, keepdim=True).sigmoid(), SUM),
    "attention map": (lambda x: x * x.pow(2).sum(1)[:, None].tanh(), SUM),
    "unit length": (F.normalize, SUM),
    "mean": (lambda x: x - x.mean(1, keepdim=True), "the mean over them is not taken by a convolution"),
    "maximum": (lambda x: x - x.amax(1, keepdim=True), "the maximum over them is not taken by a convolution"),
    "softmax": (lambda x: x.softmax(1), "a layer normalises or sums over them"),
    "layer norm": (lambda x: F.layer_norm(x.mT, x.shape[-2:-1]).mT + F.group_norm(x, 1), "normalises"),
    "neighbours": (lambda x: F.local_response_norm(x, 3), "normalises"),
    "one of another": (lambda x: torch.cat([x[:, :7], x[:, 7:] * x[:, :1].relu().sum((2, 3), True)], 1), ""),
}


class Centred(nn.Module):
    """Subtracts the batch's mean in training mode, and in eval mode what it has kept of such means."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.factor = 1.0

    def forward(self, inputs):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * inputs.mean()
            self.factor = 2.0
        return self.factor * (inputs - (inputs.mean() if self.training else self.mean))


def test_what_a_run_in_training_mode_changes_does_not_change_the_next_test():
    network = nn.Sequential(Centred(), nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    found = find_prunable(network, torch.rand(4, 8))
    assert [group.name for group in found.groups] == ["1"]


@pytest.mark.parametrize("kind", MIXED)
def test_neurons_whose_columns_depend_on_other_neurons_are_refused(kind):
    torch.manual_seed(0)
    function, reason = MIXED[kind]
    found = find_prunable(Between(function), torch.rand(2, 3, 6, 6))
    assert found.groups == ()
    assert reason in found.refused["a"]


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda x: x / (1 + x.sum((2, 3), keepdim=True)), id="sum over positions"),
        pytest.param(lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(), id="gate of its own"),
        pytest.param(lambda x: F.instance_norm(F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 1)), id="norm by map"),
        pytest.param(lambda x: F.dropout2d(x, training=False).cumsum(2).clamp(max=3), id="sum along a map"),
        pytest.param(lambda x: x.exp(), id="no bounds"),
    ],
)
def test_neurons_that_stand_for_themselves_are_pruned(function):
    torch.manual_seed(0)
    found = find_prunable(Between(function), torch.rand(2, 3, 6, 6))
    assert [group.name for group in found.groups] == ["a"]


class Two(nn.Module):
    """The sum over one layer's neurons weighs the neurons of another."""

    def __init__(self):
        super().__init__()
        self.a, self.gate = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 6, 1)
        self.b, self.c = nn.Conv2d(8, 7, 1), nn.Conv2d(6, 7, 1)

    def forward(self, inputs):
        maps, gates = self.a(inputs).relu(), self.gate(inputs).relu()
        return self.b(maps * gates.sum(1, keepdim=True)) + self.c(gates)


def test_of_two_layers_only_the_one_that_the_other_depends_on_is_refused():
    torch.manual_seed(0)
    found = find_prunable(Two(), torch.rand(2, 3, 6, 6))
    assert [group.name for group in found.groups] == ["a"]
    assert found.refused["gate"] == "inputs of b that belong to other neurons depend on them"


class Revealing(Between):
    def forward(self, inputs):
        maps = self.a(inputs).relu()
        return self.b(maps), maps.pow(2).sum(1)


def test_neurons_whose_sum_is_returned_are_refused():
    found = find_prunable(Revealing(None), torch.rand(2, 3, 6, 6))
    assert found.refused["a"] == "the network's outputs depend on them directly"


class Branching(nn.Module):
    """A second head that a condition decides on, and neurons that it does not take."""

    def __init__(self, condition, head):
        super().__init__()
        self.stem, self.a, self.b = nn.Linear(3, 6), nn.Linear(6, 8), nn.Linear(8, 7)
        self.head, self.condition = head, condition

    def forward(self, inputs):
        hidden = self.a(self.stem(inputs).relu()).relu()
        if self.condition(self, inputs):
            return self.b(hidden) + self.head(hidden)
        return self.b(hidden)


HEADS = {
    "linear": lambda: nn.Linear(8, 7),
    "several layers": lambda: nn.Sequential(nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 7)),
    "mean and convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (8, 1, 1)), nn.Conv2d(8, 7, 1), nn.Flatten()
    ),
}


@pytest.mark.parametrize("head", HEADS)
def test_neurons_that_a_head_takes_in_training_mode_are_refused_and_others_go(head):
    torch.manual_seed(0)
    network = Branching(lambda net, _: net.training, HEADS[head]())
    inputs = torch.rand(40, 3)
    statistics = torch.get_rng_state(), random.getstate(), copy.deepcopy(network.state_dict())
    pruned = prune(network.eval(), [inputs], share_removed=0.5)
    assert [*pruned.plans] == ["stem"]
    assert "training mode" in pruned.report["refused"]["a"]
    assert pruned.network.train()(inputs).shape == (40, 7)
    assert torch.get_rng_state().equal(statistics[0])
    assert random.getstate() == statistics[1]
    assert all(value.equal(statistics[2][name]) for name, value in network.state_dict().items())


def test_neurons_that_reach_the_output_in_training_mode_are_refused():
    class Distilled(Branching):
        def forward(self, inputs):
            hidden = self.a(self.stem(inputs).relu()).relu()
            return (self.b(hidden), hidden.sum(1)) if self.training else self.b(hidden)

    found = find_prunable(Distilled(None, None), torch.rand(2, 3))
    assert found.refused["a"] == "in training mode the network's outputs depend on them directly"
    assert [group.name for group in found.groups] == ["stem"]


@pytest.mark.parametrize("head", HEADS)
def test_neurons_that_a_layer_may_take_that_no_run_calls_are_refused(head):
    network = Branching(lambda _, inputs: inputs.mean() > 100, HEADS[head]())
    found = find_prunable(network, torch.rand(2, 3))
    assert [group.name for group in found.groups] == ["stem"]
    assert "no trial run uses head" in found.refused["a"]
    assert NOT_CALLED in found.refused.values()


def test_a_parameter_that_no_run_uses_keeps_neurons_of_its_size():
    network = Branching(lambda *_: False, None)
    network.centres = nn.Parameter(torch.zeros(7, 8))
    found = find_prunable(network, torch.rand(2, 3))
    assert "no trial run uses centres" in found.refused["a"]
    assert [group.name for group in found.groups] == ["stem"]


def test_unused_layers_of_other_sizes_keep_nothing():
    network = Branching(lambda *_: False, nn.Linear(512, 7))
    found = find_prunable(network, torch.rand(2, 3))
    assert [group.name for group in found.groups] == ["stem", "a"]
    assert found.refused["head"] == NOT_CALLED


class Demanding(Branching):
    """In training mode it does not run on a batch without labels."""

    def forward(self, inputs, labels=None):
        if self.training:
            raise ValueError(labels)
        return super().forward(inputs)


def test_a_network_that_does_not_run_in_training_mode_is_tried_in_eval_mode():
    found = find_prunable(Demanding(lambda *_: False, None), torch.rand(2, 3))
    assert [group.name for group in found.groups] == ["stem", "a"]


def test_the_error_names_what_keeps_the_only_layer():
    torch.manual_seed(0)
    network = Between(lambda x: x / (x.sum(1, keepdim=True) + 1))
    with pytest.raises(InputError, match=r"can be removed \(.*inputs of b depend on several"):
        prune(network, [torch.rand(8, 3, 6, 6)], similar_below=0.5, complementary_above=179.9)


@pytest.mark.parametrize(
    ("make", "num_groups", "refused"),
    [
        pytest.param(lambda: torchvision.models.mobilenet_v2(), 25, {"classifier.1"}, id="mobilenet_v2"),
        pytest.param(lambda: timm.create_model("regnety_002"), 44, {"head.fc"}, id="squeeze and excitation"),
    ],
)
@pytest.mark.slow
def test_networks_of_others_keep_what_they_could_do(make, num_groups, refused):
    found = find_prunable(make(), torch.rand(2, 3, 32, 32))
    assert len(found.groups) == num_groups
    assert found.refused.keys() == refused
