"""Pruning of what is unusual: too few samples, vanishing layers, one class, half precision, train mode."""

import copy
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from fer.errors import InputError
from fer.neurons import measure_groups
from fer.pruning import PruneSettings, compare, evaluate, fine_tune, prune_in_rounds, prune_once

HALF = PruneSettings(criterion="span", share_removed=0.5)
METHODS = [
    *({"criterion": name} for name in ("pairs", "span", "l1", "taylor", "fisher")),
    *({"rule": name} for name in ("grail", "folding", "neuron_merging", "he2017")),
    {"refit": "joint"},
]


def prune_and_check(network, batches, settings=HALF):
    """Prune, check what must not change, and return the results."""
    state = copy.deepcopy(network.state_dict())
    modes = [module.training for module in network.modules()]
    pruning = prune_once(network, batches, settings)
    results = compare(network, pruning, batches)
    assert all(tensor.equal(state[name]) for name, tensor in network.state_dict().items())
    assert [module.training for module in network.modules()] == modes
    assert pruning.network.training == network.training
    for name, tensor in pruning.network.state_dict().items():
        assert tensor.isfinite().all()
        assert tensor.dtype == state[name].dtype
    assert results.after.macs < results.before.macs
    return results


@pytest.mark.parametrize("num", [1, 2, 3])
@pytest.mark.slow
def test_of_fewer_samples_than_unknowns_it_is_said_how_many_would_do(network, num, caplog):
    """Those that were asked for suffice for all layers."""

    def advice(num):
        caplog.clear()
        prune_once(network, [torch.randn(num, 1, 32, 32)], HALF)
        return re.findall(r"keeps the joint fit: .* give (\d+) samples", caplog.text)

    (enough,) = advice(num)
    assert num < int(enough)
    assert advice(int(enough)) == []


@pytest.mark.slow
def test_layers_of_which_too_few_windows_are_known_keep_the_joint_fit(network):
    batches = [torch.randn(1, 1, 32, 32)]
    nets = [
        prune_once(network, batches, replace(HALF, refit=mode)).network for mode in ("sequential", "joint")
    ]

    assert nets[0].conv6.weight.equal(nets[1].conv6.weight)  # one window a sample


@pytest.mark.parametrize("method", METHODS, ids=lambda method: next(iter(method.values())))
@pytest.mark.slow
def test_samples_may_be_of_one_class(network, train, method):
    batches = [(inputs, torch.full_like(labels, 3)) for inputs, labels in train]

    assert prune_and_check(network, batches, replace(HALF, **method)).n == 42


@pytest.mark.parametrize(
    ("method", "dtype"), [*((each, torch.bfloat16) for each in METHODS), (METHODS[0], torch.float16)]
)
@pytest.mark.slow
def test_half_precision_is_kept(network, train, method, dtype):
    prune_and_check(network.to(dtype), train, replace(HALF, **method))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_copies_go_without_loss_in_half_precision(copies, train, dtype):
    settings = replace(HALF, criterion="pairs", share_removed=None, layers=["conv2"], recalibrate=False)
    copies.to(dtype)

    pruning = prune_once(copies, train, settings)

    assert pruning.layers["conv2"]["after"] == 1
    with torch.no_grad():
        one, two = (each(train[0][0].to(dtype)).float() for each in (copies, pruning.network))
    assert torch.allclose(one, two, atol=8 * torch.finfo(dtype).eps * float(one.abs().max()))


@pytest.mark.parametrize("criterion", ["pairs", "span", "fisher"])
@pytest.mark.slow
def test_a_network_in_train_mode_stays_so(network, train, criterion):
    network.train()
    network.bn2.eval()

    prune_and_check(network, train, replace(HALF, criterion=criterion))


@pytest.mark.slow
def test_rounds_keep_train_mode_and_half_precision(network, train, val):
    network.bfloat16().train()
    settings = replace(HALF, share_removed=None, similar_below=60.0)

    rounds = list(
        prune_in_rounds(
            *(network, train, val, settings),
            rounds=2,
            tolerance=1.0,
            fine_tune=lambda small, widths: fine_tune(small, train, whole=network),
        )
    )

    assert len(rounds) == 2
    for each in rounds:
        assert each.pruning.network.training
        assert {parameter.dtype for parameter in each.pruning.network.parameters()} == {torch.bfloat16}


@pytest.mark.slow
@pytest.mark.parametrize("criterion", ["pairs", "span"])
def test_of_a_dead_layer_one_neuron_is_left(network, train, criterion):
    with torch.no_grad():
        network.conv2.weight.zero_()
        network.conv2.bias.zero_()
        network.bn2.bias.fill_(-1)
    settings = replace(HALF, criterion=criterion, share_removed=None, recalibrate=False)

    pruning = prune_once(network, train, settings)

    assert pruning.layers["conv2"]["after"] == 1
    assert evaluate(pruning.network, train).report.accuracy == evaluate(network, train).report.accuracy


@pytest.mark.parametrize("num", [-1, 6, 60])
def test_no_layer_vanishes(network, train, num):
    settings = replace(HALF, share_removed=None, num_removed={"conv2": num})

    with pytest.raises(InputError, match=f"num_removed of 'conv2' is {num}: of its 6 neurons 0 to 5 can"):
        prune_once(network, train, settings)
    assert measure_groups(network, train).groups  # the network can be pruned otherwise


@pytest.mark.slow
def test_the_largest_share_leaves_a_neuron_in_each_layer(network, train):
    pruning = prune_once(network, train, replace(HALF, share_removed=0.999))

    assert all(layer["after"] >= 1 for layer in pruning.layers.values())
    assert sum(layer["after"] for layer in pruning.layers.values()) < 10


@pytest.mark.slow
@pytest.mark.parametrize("is_training", [True, False])
def test_batch_norm_of_one_sample_is_kept_and_of_batches_of_one_recalibrated(is_training, caplog):
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(12)
    network = nn.Sequential(nn.Linear(5, 12), norm, nn.ReLU(), nn.Linear(12, 3)).train(is_training)
    one = [(torch.randn(1, 5), torch.tensor([0]))]

    prune_and_check(network, one)
    assert "batch norm of 1 got fewer than two values" in caplog.text

    many = [(torch.randn(1, 5), torch.tensor([0])) for _ in range(40)]
    pruning = prune_once(network, many, HALF)
    taken = pruning.network[0](torch.cat([inputs for inputs, _ in many])).detach()
    assert torch.allclose(pruning.network[1].running_var, taken.var(0), rtol=1e-4)
