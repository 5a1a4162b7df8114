"""Batch norm recalibration: exact means and variances over all samples, and nothing else changes."""

import pytest
import torch
from torch import nn

from fer.neurons.recalibrate import batch_norms, recalibrate_, recalibrated


def two_norms():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Flatten(), nn.Linear(18, 4), nn.BatchNorm1d(4)),
    ).train()


def samples(num=24):
    return 3 + 2 * torch.randn(num, 1, 3, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("sizes", [[24], [8, 8, 8], [5, 18, 1], [1] * 24], ids=str)
def test_statistics_are_those_of_all_samples_whatever_the_batches(sizes):
    network, inputs = two_norms(), samples()

    recalibrate_(network, inputs.split(sizes))

    with torch.no_grad():
        taken = network[0](inputs).transpose(0, 1).flatten(1)
    torch.testing.assert_close(network[1].running_mean, taken.mean(1))
    torch.testing.assert_close(network[1].running_var, taken.var(1))
    assert network[1].momentum == 0.1
    assert network[1].num_batches_tracked == 0
    assert all(module.training for module in network.modules())


def test_in_one_batch_later_statistics_are_exact_too():
    network, inputs = two_norms(), samples()

    recalibrate_(network, [inputs])

    network.eval()
    with torch.no_grad():
        taken = network[:6](inputs)
    torch.testing.assert_close(network[6].running_mean, taken.mean(0))
    torch.testing.assert_close(network[6].running_var, taken.var(0))


def test_weights_and_the_original_do_not_change():
    network = two_norms()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    twin = recalibrated(network, [samples()])

    assert all(tensor.equal(before[name]) for name, tensor in network.state_dict().items())
    changed = {name for name, tensor in twin.state_dict().items() if not tensor.equal(before[name])}
    assert changed == {f"{k}.running_{what}" for k in (1, 6) for what in ("mean", "var")}


def test_without_batch_norm_there_is_nothing_to_recalibrate():
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, track_running_stats=False))

    assert batch_norms(network) == {}
    assert recalibrated(network, [torch.randn(4, 3)]) is None


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param(torch.zeros(1, 3), id="one sample"),
        pytest.param(torch.full((4, 3), torch.nan), id="not finite"),
    ],
)
def test_norms_without_a_variance_are_kept_in_words(inputs, caplog):
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))

    recalibrate_(network, [inputs])

    assert network[1].running_mean.equal(torch.zeros(2))
    assert network[1].running_var.equal(torch.ones(2))
    assert (
        "batch norm of 1 got fewer than two values, or some that are not finite: it was kept" in caplog.text
    )


def test_channels_that_do_not_vary_keep_their_variance():
    """By a variance of 0, what one of them returns for another sample would be divided by 0.003."""
    network = nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3)).eval()
    inputs = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    inputs[:, 1], inputs[:, 2] = -1, 0.1

    recalibrate_(network, inputs.split(7))

    torch.testing.assert_close(network[1].running_mean[1:], torch.tensor([0, 0.1]))
    assert network[1].running_var[1:].equal(torch.ones(2))
    assert network[1].running_var[0] < 0.5


def test_half_precision_sums_do_not_overflow():
    network = nn.Sequential(nn.BatchNorm1d(2)).half()

    recalibrate_(network, [torch.full((8, 2), 300.0) + torch.arange(8)[:, None]])

    assert network[0].running_mean[0] == 303.5
    assert network[0].running_var[0] == 6
