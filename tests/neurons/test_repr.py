"""What a notebook shows of each result fits a screen, however large the network."""

import re

import pytest
import torch
from torch import nn

from fer.neurons import angles, classify, find_hidden_layers, find_prunable, measure, measure_groups, prune
from fer.neurons.batches import InputBatches
from fer.neurons.inputs import Inputs
from fer.pruning import prune_once

WIDTH, DEPTH = 40, 12


def network():
    torch.manual_seed(0)
    layers = [layer for _ in range(DEPTH) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 3))


BATCHES = [(torch.rand(500, WIDTH, generator=torch.Generator().manual_seed(0)), torch.arange(500) % 3)]
NAMED = "0, 2, 4, 6, 8, 10, ... (12 in all)"
SIZES = "0: 40, 2: 40, 4: 40, 6: 40, 8: 40, 10: 40, ... (12 in all)"
LEFT = SIZES.replace(": 40", ": 20 of 40")


@pytest.fixture(scope="module")
def results():
    whole = network()
    statistics = measure(whole, BATCHES)["0"]
    statistics.maximum[0] = statistics.minimum[0] = 0.0
    statistics.mean[0] = 0.0
    pruned = prune(whole, BATCHES, share_removed=0.5)
    measurement = measure_groups(whole, BATCHES, criterion="taylor")
    return {
        "statistics": statistics,
        "classes": classify(statistics, angles(statistics)),
        "hidden": find_hidden_layers(whole, BATCHES[0]),
        "prunable": find_prunable(whole, BATCHES[0]),
        "group": measurement.groups[0],
        "measurement": measurement,
        "gradients": measurement.gradients["0"],
        "plan": pruned.plans["0"],
        "pruned": pruned,
        "pruning": prune_once(whole, BATCHES),
        "inputs": Inputs.of(BATCHES[0]),
        "batches": InputBatches.of(BATCHES, whole),
    }


EXPECTED = {
    "statistics": r"ActivationStatistics\(40 neurons, 500 samples, means 0 to 0\.\d+, 1 dead, 0 constant\)",
    "classes": r"NeuronClasses\(40 neurons: 1 dead, 0 constant, 0 non-finite; pairs: \d+ similar, \d+ co.*\)",
    "hidden": rf"HiddenLayers\({NAMED}; refused: 24\)",
    "prunable": rf"PrunableLayers\({SIZES}; refused: 24\)",
    "group": r"NeuronGroup\(40 neurons of 0, taken by 2\)",
    "measurement": rf"Measurement\(neurons: {SIZES}; 500 samples at the first\)",
    "gradients": r"Gradients\(40 neurons\)",
    "plan": r"PrunePlan\(20 of 40 neurons kept; removed: \d+ similar.*\)",
    "pruned": rf"Pruned\(Sequential, 5,503 of 19,803 parameters; neurons left: {LEFT}\)",
    "pruning": r"Pruning\(Sequential; neurons left: 0: \d+ of 40, .* in all\); removed blocks: none\)",
    "inputs": r"Inputs\(float32 \(500, 40\), int64 \(500,\)\)",
    "batches": r"InputBatches\(list for Sequential\)",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_result_is_shown_in_a_line_or_two(results, name):
    pattern = EXPECTED[name].replace(" (12 in all)", r" \(12 in all\)")
    assert re.fullmatch(pattern, repr(results[name])), repr(results[name])
    assert len(repr(results[name])) < 250
