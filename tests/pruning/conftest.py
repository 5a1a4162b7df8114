"""A network with redundant neurons and labelled batches, without Lightning."""

import pytest
import torch

from fer.models import Conv6Net


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Conv6Net(widths=(4, 6, 6, 6, 6), image_size=32).eval()


@pytest.fixture
def copies(network):
    """The same, with copies in its second layer, of which pruning keeps one."""
    with torch.no_grad():
        for tensor in (network.conv2.weight, network.conv2.bias):
            tensor[1:] = tensor[0]
    return network


@pytest.fixture
def train():
    """Batches ``(inputs, labels)`` of 42 samples."""
    return _batches(6, seed=1)


@pytest.fixture
def val():
    """Batches ``(inputs, labels)`` of 14 samples."""
    return _batches(2, seed=2)


def _batches(num, seed):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(7, 1, 32, 32, generator=generator), torch.arange(7)) for _ in range(num)]
