"""Following neurons through the graph as ranges, and finding the groups that fail a trial."""

import random

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch_pruning._helpers import _HybridIndex

from fer.neurons import find_prunable, prunable, trace
from fer.neurons import follow as follow_module
from fer.neurons.culprits import Fault, culprits
from fer.neurons.follow import MAX_INDICES, Ranges, follow
from fer.neurons.groups import NeuronGroup
from fer.neurons.inputs import inputs_of
from fer.neurons.networks import copy_to_trace

IMAGES = torch.rand(2, 3, 8, 8)


class Reshaped(nn.Module):
    """Many channels that are split, concatenated, cut, added and flattened."""

    def __init__(self, width=32):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width)
        self.left, self.right = nn.Conv2d(width, width, 1), nn.Conv2d(width, 24, 1)
        self.body = nn.Conv2d(width + 24, width + 24, 1)
        self.hidden, self.out = nn.Linear((width + 24) * 16, 40), nn.Linear(20, 7)

    def forward(self, images):
        first, second = self.norm(self.stem(images)).relu().chunk(2, dim=1)
        both = torch.cat([self.left(first) + second, self.right(first)], dim=1)
        both = nn.functional.max_pool2d(both + self.body(both).relu(), 2)
        return self.out(self.hidden(both.flatten(1))[:, :20])


class ChannelAttention(nn.Module):
    """Weights of channels from a convolution along them: each is traced to as many as there are."""

    def __init__(self, width=64):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, width, 3), nn.Conv2d(width, 7, 1)
        self.along, self.width = nn.Conv1d(1, 1, 3, padding=1), width

    def forward(self, images):
        maps = self.first(images)
        weights = self.along(maps.mean((2, 3)).view(len(maps), 1, -1)).view(len(maps), -1, 1, 1)
        return self.last(maps * weights.sigmoid().expand_as(maps))


class Mixer(nn.Module):
    """Channels that are reshaped to pixels, split, and multiplied by others, as in EfficientViM."""

    def __init__(self, width=8, num_states=5):
        super().__init__()
        self.stem, self.along = nn.Conv2d(3, width, 1), nn.Conv1d(width, 3 * num_states, 1)
        self.depth = nn.Conv2d(3 * num_states, 3 * num_states, 3, padding=1, groups=3 * num_states)
        self.mix, self.back = nn.Conv1d(width, 2 * width, 1), nn.Conv1d(width, width, 1)
        self.head, self.out, self.num_states = nn.Linear(width, 6), nn.Linear(6, 7), num_states

    def forward(self, images):
        maps = self.stem(images)
        flat = maps.flatten(2)
        states = self.depth(self.along(flat).unflatten(2, maps.shape[2:])).flatten(2)
        first, second, third = states.split(self.num_states, dim=1)
        one, other = self.mix(flat @ (first.softmax(-1) * second).mT).chunk(2, dim=1)
        mixed = (self.back(one * other.sigmoid() + one) @ third).unflatten(2, maps.shape[2:])
        return self.out(self.head((mixed + maps).mean((2, 3))))


def graph_of(network):
    twin = copy_to_trace(network).double()
    graph, _ = trace._trace(twin, inputs_of(IMAGES.double()))
    layers = {name: each for name, each in twin.named_modules() if isinstance(each, nn.Conv2d | nn.Linear)}
    return graph, layers


@pytest.mark.parametrize("make", [Reshaped, ChannelAttention])
def test_the_same_indices_are_found_as_by_torch_pruning(make):
    graph, layers = graph_of(make())
    for layer in layers.values():
        prune = graph.get_pruner_of_module(layer).prune_out_channels
        theirs = graph.get_pruning_group(layer, prune, list(range(len(layer.weight))))
        ours = follow(graph, layer)
        assert [each.node for each in ours] == [each.dep.target for each in theirs.items]
        for one, other in zip(ours, theirs.items, strict=True):
            assert one.as_outputs == (other.dep.handler.__name__ == "prune_out_channels")
            assert sorted(index for index, _ in one.indices()) == sorted(other.idxs)
            if make is not ChannelAttention:  # where one index is of all neurons, Torch-Pruning takes any
                assert set(one.indices()) == set(zip(other.idxs, other.root_idxs, strict=True))


def test_following_many_channels_makes_no_object_for_each_index(monkeypatch):
    graph, layers = graph_of(ChannelAttention(64))
    made = []
    monkeypatch.setattr(_HybridIndex, "__new__", lambda *_, **__: made.append(1))
    items = follow(graph, layers["first"])
    assert made == []
    assert max(len(ranges.starts) for item in items for ranges in item.ranges) == 64
    assert max(ranges.length for item in items for ranges in item.ranges) == 64


def test_flattened_maps_are_one_range_for_each_neuron():
    graph, layers = graph_of(Reshaped(32))
    items = {item.module: item for item in follow(graph, layers["right"])}
    (columns,) = items[layers["hidden"]].ranges
    assert columns.length == 16
    assert columns.starts.tolist() == [16 * (32 + neuron) for neuron in range(24)]


def test_indices_that_are_followed_in_circles_end():
    rows = np.arange(MAX_INDICES // 4)
    assert Ranges(rows, rows).flattened(4).length == 4
    with pytest.raises(OverflowError):
        Ranges(rows, rows).flattened(5)


def test_a_search_in_circles_ends_and_all_layers_in_them_are_refused_at_once(monkeypatch):
    searches, search = [], trace.follow
    monkeypatch.setattr(trace, "follow", lambda graph, layer: searches.append(1) or search(graph, layer))
    images = torch.rand(2, 3, 7, 7)
    assert [group.name for group in find_prunable(Mixer(), images).groups] == ["head"]
    monkeypatch.setattr(follow_module, "MAX_VISITS", 2)
    searches.clear()
    found = find_prunable(Mixer(), images)
    assert "circles" in found.refused["stem"]
    assert [group.name for group in found.groups] == ["head"]
    assert len(searches) == 3  # the stem with all that it leads to, the head, and the outputs


@pytest.mark.slow
def test_an_endless_search_in_a_network_of_timm_ends():
    torch.manual_seed(0)
    network = timm.create_model("efficientvim_m1", num_classes=7)
    found = find_prunable(network, torch.rand(2, 3, 64, 64))
    assert any("circles" in reason for reason in found.refused.values())
    assert found.groups


@pytest.mark.slow
def test_neurons_that_are_traced_to_channels_a_layer_lacks_are_refused_before_any_trial(monkeypatch):
    trials, trial = [], prunable._difference
    monkeypatch.setattr(prunable, "_difference", lambda *given: trials.append(given[-1]) or trial(*given))
    torch.manual_seed(0)
    found = find_prunable(timm.create_model("cs3darknet_focus_s", num_classes=7), torch.rand(2, 3, 64, 64))
    lacking = [reason for reason in found.refused.values() if "they would lead to" in reason]
    assert "192 channels of stages.1.conv_exp.conv, which has 128" in "; ".join(lacking)
    assert len(lacking) == 4
    assert [len(groups) for groups in trials] == [18]


def group(name):
    return NeuronGroup(name, 4, {name: ((0,), (1,), (2,), (3,))}, {}, ())


@pytest.mark.parametrize("has_layer", [True, False])
@pytest.mark.parametrize("num_wrong", [0, 1, 3, 20, 64])
def test_the_wrong_groups_are_found_whatever_their_number(num_wrong, has_layer):
    groups = [group(f"layer{number}") for number in range(64)]
    wrong = {each.name for each in random.Random(num_wrong).sample(groups, num_wrong)}
    tests = []

    def check(tested):
        tests.append(len(tested))
        found = [each.name for each in tested if each.name in wrong]
        return Fault(f"reason of {found[0]}", found[0] if has_layer else "") if found else None

    assert culprits(groups, check) == {
        each.name: f"reason of {each.name}" for each in groups if each.name in wrong
    }
    if has_layer:  # one test of what is left and one of the suspect
        assert len(tests) == 2 * num_wrong + (num_wrong < 64) - (num_wrong == 64)
    else:
        assert len(tests) <= 2 * 64


def test_groups_that_are_wrong_only_together_are_not_refused():
    groups = [group(name) for name in "abcd"]
    assert culprits(groups, lambda tested: Fault("together", "a") if len(tested) > 1 else None) == {}
