"""A pruned network that computes something else than the unpruned network is an error, not a result."""

import pytest
import torch
from torch import nn

from fer.models import AnnNet, CbamResNet, Conv2Net, ResNet
from fer.neurons import measure_groups, prune, surgery
from fer.neurons.verify import PruneError
from fer.pruning import Limit, PruneSettings, prune_in_rounds, prune_once

WIDE = {"share_removed": 0.5, "merge": "affine"}


def make(network):
    torch.manual_seed(0)
    return network().eval()


NETWORKS = {
    "linear": (lambda: AnnNet(hidden=9), (10,)),
    "behind a flatten": (lambda: Conv2Net(widths=(4, 5), hidden=(8, 6), image_size=16), (3, 16, 16)),
    "residual": (lambda: ResNet(depth=18, width=8), (1, 32, 32)),
    "mean and maximum over maps": (lambda: CbamResNet(depth=18, width=8, reduction=4), (1, 32, 32)),
    "concatenated": (
        lambda: nn.Sequential(nn.Conv2d(1, 6, 3), Doubled(), nn.Conv2d(12, 4, 1), nn.Flatten()),
        (1, 8, 8),
    ),
    "grouped": (
        lambda: nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 12, 3, groups=2), nn.Flatten()),
        (1, 8, 8),
    ),
}


class Doubled(nn.Module):
    def forward(self, maps):
        return torch.cat([maps, maps.relu()], 1)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", NETWORKS)
def test_what_is_cut_right_is_returned(kind, dtype):
    network, shape = make(NETWORKS[kind][0]).to(dtype), NETWORKS[kind][1]
    batches, state = [torch.rand(8, *shape)], torch.get_rng_state()
    pruned = prune(network, batches, idle_below=0, **WIDE)
    assert pruned.report["parameters"]["after"] < pruned.report["parameters"]["before"]
    assert next(pruned.network.parameters()).dtype == dtype
    assert torch.get_rng_state().equal(state)


def break_columns(original):
    """Cut the columns beside the right ones."""

    def slice_(module, rows, columns):
        width = getattr(module, "in_channels", getattr(module, "in_features", 0))
        return original(module, rows, {(column + 1) % width for column in columns})

    return slice_


def break_rows(original):
    """Cut the rows beside the right ones."""

    def slice_(module, rows, columns):
        return original(module, {(row + 1) % len(module.weight) for row in rows}, columns)

    return slice_


def swap_rows(original):
    """Cut the right number, and leave two rows in the wrong order."""

    def slice_(module, rows, columns):
        original(module, rows, columns)
        if rows and len(module.weight) > 1:
            with torch.no_grad():
                module.weight[[0, 1]] = module.weight[[1, 0]]

    return slice_


@pytest.mark.parametrize("broken", [break_columns, break_rows, swap_rows])
@pytest.mark.parametrize("kind", [kind for kind in NETWORKS if kind != "grouped"])
@pytest.mark.slow
def test_broken_surgery_is_an_error(kind, broken, monkeypatch):
    network, shape = make(NETWORKS[kind][0]), NETWORKS[kind][1]
    batches = [torch.rand(8, *shape)]
    measured = measure_groups(network, batches)
    monkeypatch.setattr(surgery, "_slice", broken(surgery._slice))
    with pytest.raises(PruneError, match=r"(values that differ by|does not run).*report this network") as e:
        prune(network, batches, measurement=measured, **WIDE)
    assert "\n" not in str(e.value)


def test_neurons_that_another_depends_on_are_an_error_even_where_they_were_not_refused(monkeypatch):
    """The reference computes the removed neurons, so that it does not rely on the test before."""

    class Share(nn.Module):
        def forward(self, maps):
            return maps / (maps.sum(1, keepdim=True) + 1)

    network = make(lambda: nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), Share(), nn.Conv2d(6, 4, 1)))
    batches = [torch.rand(8, 1, 8, 8)]
    with monkeypatch.context() as patch:
        patch.setattr("fer.neurons.prunable.DirectTest.dependent", lambda *_, **__: {})
        measured = measure_groups(network, batches)
    with pytest.raises(PruneError, match="values that differ by"):
        prune(network, batches, measurement=measured, **WIDE)


@pytest.mark.slow
def test_a_wrong_network_is_no_result_of_a_pruning_nor_of_a_round(monkeypatch):
    network = make(lambda: nn.Sequential(nn.Linear(5, 30), nn.ReLU(), nn.Linear(30, 3)))
    batches, settings = [(torch.rand(300, 5), torch.arange(300) % 3)], PruneSettings(criterion="span")
    rounds = prune_in_rounds(
        network, batches, batches, settings, rounds=2, tolerance=1, limit=Limit("macs", 0.5, of=network)
    )
    next(rounds)
    monkeypatch.setattr("fer.neurons.prunable._difference", lambda *_: None)
    monkeypatch.setattr(surgery, "_slice", break_columns(surgery._slice))
    with pytest.raises(PruneError):
        next(rounds)
    with pytest.raises(PruneError):
        prune_once(network, batches, PruneSettings(share_removed=0.5))
