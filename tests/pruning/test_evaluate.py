"""Evaluation and size by hand."""

import math

import pytest
import torch
from torch import nn

from fer.pruning import evaluate, measure_sizes
from fer.pruning.size import BATCH_SIZES, MIN_RUNS, NUM_WARM_UPS


def test_evaluating_by_hand():
    network = nn.Linear(7, 7, bias=False)
    nn.init.eye_(network.weight)
    inputs = 100 * torch.eye(7)[[0, 1, 2, 3]]

    found = evaluate(network, [(inputs[:2], torch.tensor([0, 1])), (inputs[2:], torch.tensor([2, 6]))])

    assert found.right.tolist() == [True, True, True, False]
    assert found.report.accuracy == 0.75
    assert found.loss == pytest.approx(25.0)
    assert network.training


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_there_are_as_many_classes_as_logits(num_classes):
    network = nn.Identity()
    batches = [(torch.eye(num_classes), torch.arange(num_classes))]
    names = [f"kind {k}" for k in range(num_classes)]

    found = evaluate(network, batches, names)

    assert found.report.confusion.tolist() == torch.eye(num_classes).int().tolist()
    assert found.report.class_names == tuple(names)


def test_samples_whose_logits_are_not_finite_are_never_right():
    logits = torch.tensor([[0.0, 1.0], [1.0, 0.0], [math.nan, math.nan], [0.0, math.inf]])

    found = evaluate(nn.Identity(), [(logits, torch.tensor([1, 0, 0, 1]))])

    assert found.right.tolist() == [True, True, False, False]
    assert found.report.accuracy == 0.5
    assert found.report.non_finite.tolist() == [1, 1]
    assert math.isnan(found.loss)


def test_a_network_without_a_finite_logit_has_no_accuracy():
    found = evaluate(nn.Identity(), [(torch.full((3, 2), math.nan), torch.tensor([0, 0, 1]))])

    assert math.isnan(found.report.accuracy)


def test_size_by_hand(monkeypatch):
    monkeypatch.setattr("fer.pruning.size.BATCH_SIZES", BATCH_SIZES)  # not those of a shortened test
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(2 * 16, 7))

    size = measure_sizes({"whole": network}, torch.randn(3, 1, 4, 4))["whole"]

    assert size.parameters == 2 * 9 + 2 + 7 * 32 + 7
    assert size.macs == 16 * 2 * 9 + 7 * 32
    assert 4 * size.parameters < size.bytes < 4 * size.parameters + 4096
    assert set(size.milliseconds) == {1, 64}
    assert all(value > 0 for value in size.milliseconds.values())


def test_networks_are_timed_in_turn_equally_often_and_left_as_they_are():
    calls = []
    networks = {name: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Dropout()) for name in "ab"}
    for name, network in networks.items():
        network.register_forward_hook(lambda *_, name=name: calls.append(name))

    measure_sizes(networks, torch.randn(1, 1, 4, 4))

    timed = calls[2 * NUM_WARM_UPS :][: 2 * MIN_RUNS]
    assert timed == ["a", "b"] * MIN_RUNS
    assert calls.count("a") == calls.count("b")
    assert all(network.training for network in networks.values())
