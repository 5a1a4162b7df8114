"""Many prunings as one: curves begin with the network itself, searches hit their aim, rounds end in time."""

import copy

import pytest
import torch
from torch import nn

from fer.callbacks import StopCallback
from fer.callbacks.prune import evaluate, inputs_of, macs_of
from fer.errors import InputError
from fer.neurons import measure_groups
from fer.studies.pruning import (
    WAYS,
    measure_ways,
    measurement_of,
    prune_in_rounds,
    recalibrate_,
    threshold_curves,
    threshold_of_macs,
)
from fer.tasks import Conv6Task

BELOW_80 = {"similar_below": 80.0, "complementary_above": 100.0}


@pytest.fixture
def trained(tiny_data):
    """A task with neurons of which some are alike, its data, and what it is measured on."""
    torch.manual_seed(0)
    data = tiny_data(size=32, num_train=42)
    data.prepare_data()
    data.setup()
    task = Conv6Task(widths=(4, 6, 6, 6, 6), image_size=32, optimizer="sgd").eval()
    return task, data, inputs_of(task, data, 42)


@pytest.fixture
def copies(trained):
    """The same with a second layer of copies, of which the first round leaves one."""
    task, _, _ = trained
    with torch.no_grad():
        for tensor in (task.network.conv2.weight, task.network.conv2.bias):
            tensor[1:] = tensor[0]
    return trained


def test_a_curve_begins_with_the_network_as_it_is(trained):
    task, data, inputs = trained
    state = copy.deepcopy(task.network.state_dict())
    rows: dict[str, list] = {}
    for way, row in threshold_curves(task, data, inputs, thresholds=(30.0, 80.0)):
        rows.setdefault(way, []).append(row)
    assert list(rows) == list(WAYS)
    accuracy = evaluate(task.network, data.val_dataloader(), task.device).report.accuracy
    for way in rows.values():
        assert [row["threshold"] for row in way] == [0, 30, 80]
        assert way[0]["acc"] == accuracy
        assert way[0]["neurons"] == way[0]["macs"] == 1
        shares = [row["neurons"] for row in way]
        assert shares == sorted(shares, reverse=True)
        assert all(row["acc_low"] <= row["acc"] <= row["acc_high"] for row in way)
    assert min(way[-1]["neurons"] for way in rows.values()) < 1
    assert all(tensor.equal(state[name]) for name, tensor in task.network.state_dict().items())


def test_each_way_is_given_the_patterns_that_it_is_for(trained):
    task, _, inputs = trained
    measurements = measure_ways(task.network, inputs)
    rescaled = {name for name, way in WAYS.items() if measurement_of(way, measurements).pattern_minmax}
    assert rescaled == {"jain"}


def test_a_threshold_is_found_for_a_share_of_the_multiply_adds(trained):
    task, _, inputs = trained
    measurement = measure_groups(task.network, inputs)
    whole = macs_of(task.network, inputs[0])
    degrees = threshold_of_macs(task.network, measurement, inputs[0], 0.7 * whole, criterion="span")
    assert 0 < degrees <= 90
    with pytest.raises(InputError, match="no threshold leaves as few as"):
        threshold_of_macs(task.network, measurement, inputs[0], 1, criterion="span")


def test_rounds_stop_when_val_falls_too_far(trained, tiny_trainer):
    task, data, inputs = trained
    before = copy.deepcopy(task.network)
    settings = {"rounds": 3, "tune_epochs": 1, "tune_lr": 1e-4, **BELOW_80}
    rounds = list(
        prune_in_rounds(
            *(task, data, inputs, lambda num: tiny_trainer(max_epochs=num)), tolerance=1.0, **settings
        )
    )
    assert [round_.threshold for round_ in rounds] == pytest.approx([80 / 3, 160 / 3, 80])
    assert all(round_.is_kept for round_ in rounds)
    assert task.widths is not None
    assert macs_of(task.network, inputs[0]) == rounds[-1].macs < macs_of(before, inputs[0])

    task.network, task.widths = before, None
    state = copy.deepcopy(before.state_dict())
    (only,) = prune_in_rounds(
        *(task, data, inputs, lambda num: tiny_trainer(max_epochs=num)), tolerance=-1.0, **settings
    )
    assert not only.is_kept
    assert task.widths is None
    assert all(tensor.equal(state[name]) for name, tensor in task.network.state_dict().items())


def test_rounds_have_two_thresholds(trained, tiny_trainer):
    (only,) = prune_in_rounds(
        *(*trained, lambda num: tiny_trainer(max_epochs=num)),
        **{"rounds": 1, "tune_epochs": 0, "tune_lr": 1e-4, "tolerance": 1.0},
        **(BELOW_80 | {"complementary_above": 180.0}),
    )
    assert sum(layer["similar"] for layer in only.layers.values()) > 0
    assert not any(layer["complementary"] for layer in only.layers.values())


def test_a_round_that_finds_nothing_leaves_what_the_last_one_left(copies, caplog):
    """The first takes all copies but one, so that the layer has nothing that can go."""
    task, data, inputs = copies
    settings = {"rounds": 2, "tune_epochs": 0, "tune_lr": 1e-4, "tolerance": 1.0, **BELOW_80}
    (only,) = prune_in_rounds(task, data, inputs, lambda _: None, layers=["conv2"], **settings)
    assert only.layers["conv2"]["after"] == 1
    assert "no round 2, the earlier ones are kept: " in caplog.text
    assert task.widths is not None
    assert macs_of(task.network, inputs[0]) == only.macs


def test_neurons_left_are_those_of_all_layers(copies):
    """A layer that has come down to one neuron is in no later plan."""
    task, data, inputs = copies
    settings = {"rounds": 2, "tune_epochs": 0, "tune_lr": 1e-4, "tolerance": 1.0, **BELOW_80}
    first, second = prune_in_rounds(task, data, inputs, lambda _: None, **settings)
    assert first.layers["conv2"]["after"] == 1
    assert "conv2" not in second.layers
    assert second.neurons == 1 + sum(layer["after"] for layer in second.layers.values())


def test_a_round_that_is_asked_to_stop_leaves_what_the_last_one_left(trained, tiny_trainer):
    task, data, inputs = trained
    stop = StopCallback()
    settings = {"rounds": 3, "tune_epochs": 1, "tune_lr": 1e-4, "tolerance": 1.0, **BELOW_80}

    def make_trainer(num):
        return tiny_trainer(max_epochs=num, callbacks=[stop])

    for found in prune_in_rounds(task, data, inputs, make_trainer, **settings):
        macs = found.macs
        stop.asked.set()  # as Ctrl-C in the second round does
    assert macs_of(task.network, inputs[0]) == macs
    assert task.widths is not None


def test_batch_norm_is_measured_anew():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.5)).train()
    batches = [torch.randn(6, 1, 3, 3) for _ in range(3)]
    recalibrate_(network, [*batches, torch.randn(1, 1, 3, 3)])
    with torch.no_grad():
        outputs = [network[0](batch).transpose(0, 1).flatten(1) for batch in batches]
    mean = torch.stack([one.mean(1) for one in outputs]).mean(0)
    variance = torch.stack([one.var(1) for one in outputs]).mean(0)
    torch.testing.assert_close(network[1].running_mean, mean)
    torch.testing.assert_close(network[1].running_var, variance)
    assert network[1].momentum == 0.1
    assert all(module.training for module in network.modules())
