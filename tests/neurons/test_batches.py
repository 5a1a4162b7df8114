"""Passes over a loader that shuffles or augments: the same each time, or refused; training epochs differ."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from fer.errors import InputError
from fer.neurons import prune
from fer.neurons.batches import InputBatches
from fer.pruning import fine_tune


class Augmented(Dataset):
    """Twelve samples, to which numbers of three random generators are added."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return torch.tensor([index + torch.rand(()).item(), random.random(), np.random.rand()])


def own_generator():
    return torch.Generator().manual_seed(0)


def passes(loader, num=2):
    batches = InputBatches.of(loader, nn.Identity())
    return [torch.cat([inputs.args[0] for inputs in batches.titled(str(each))]) for each in range(num)]


def states():
    return torch.rand(()).item(), random.random(), np.random.rand()


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_loader_that_shuffles_and_augments_yields_the_same_in_each_pass(num_workers):
    loader = DataLoader(Augmented(), 5, shuffle=True, num_workers=num_workers)
    one, other = passes(loader)
    assert torch.equal(one, other)
    indices = one[:, 0].long()
    assert sorted(indices.tolist()) == [*range(12)] != indices.tolist()
    assert len(set(one.frac().flatten().tolist())) > 30


def test_a_pass_uses_up_no_random_numbers_of_others():
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    expected = states()
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    passes(DataLoader(Augmented(), 5, shuffle=True))
    assert states() == expected


def test_what_runs_between_two_batches_has_its_own_random_numbers():
    loader = DataLoader(Augmented(), 5, shuffle=True)
    (expected,) = passes(loader, 1)
    found = []
    for inputs in InputBatches.of(loader, nn.Identity()):
        found.append(inputs.args[0])
        states()
    assert torch.equal(torch.cat(found), expected)


def test_batches_that_still_differ_are_refused():
    samples = TensorDataset(torch.rand(40, 3))
    loader = DataLoader(samples, 5, shuffle=True, generator=own_generator())
    with pytest.raises(InputError, match="differ from pass to pass"):
        passes(loader)
    with pytest.raises(InputError, match="differ from pass to pass"):
        prune(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), loader)
    assert len(passes(loader, 1)[0]) == 40


def test_nan_is_the_same_in_each_pass():
    one, other = passes(DataLoader(TensorDataset(torch.full((4, 3), torch.nan)), 2))
    assert one.isnan().all()
    assert other.isnan().all()


@pytest.mark.parametrize("refit", ["sequential", "joint"])
def test_a_network_is_pruned_alike_whether_its_loader_shuffles(refit):
    torch.manual_seed(0)
    basis = torch.rand(3, 6)
    inputs = torch.rand(300, 6)
    network = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 2))
    network[0].weight.data = torch.rand(12, 3) @ basis  # of rank 3, so that half of the neurons can go
    errors = []
    for shuffle in (False, True):
        loader = DataLoader(TensorDataset(inputs), 32, shuffle=shuffle)
        small = prune(network, loader, criterion="span", share_removed=0.5, refit=refit).network
        errors.append((small(inputs) - network(inputs)).square().mean().item())
    variance = network(inputs).var().item()
    assert max(errors) < 0.05 * variance
    assert errors[1] == pytest.approx(errors[0], abs=0.01 * variance)


def test_epochs_of_fine_tuning_are_shuffled_anew():
    samples = TensorDataset(torch.arange(40.0)[:, None].expand(40, 3), torch.arange(40) % 2)
    orders = []

    def loss(output, batch):
        orders.append(batch[0][:, 0].tolist())
        return output.square().mean()

    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    fine_tune(network, DataLoader(samples, 40, shuffle=True), loss=loss, epochs=2)
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]
