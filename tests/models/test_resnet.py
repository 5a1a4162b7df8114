import pytest
import torch
import torchvision

from fer.models import ResNet


@pytest.mark.parametrize("depth", [18, 34, 50])
@pytest.mark.slow
def test_with_colour_it_is_torchvisions_network(depth):
    """The oracle's state dict fits strictly, and gives the oracle's logits."""
    oracle = getattr(torchvision.models, f"resnet{depth}")(weights=None, num_classes=7).eval()
    network = ResNet(depth=depth, channels=3).eval()
    network.load_state_dict(oracle.state_dict())
    inputs = torch.randn(2, 3, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(network(inputs), oracle(inputs))
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in oracle.parameters())


@pytest.mark.slow
def test_number_of_parameters():
    assert sum(p.numel() for p in ResNet(channels=3).parameters()) == 21_288_263
    assert sum(p.numel() for p in ResNet().parameters()) == 21_288_263 - 2 * 64 * 7 * 7


@pytest.mark.parametrize(("stem", "positions"), [("imagenet", 2), ("small", 6)])
def test_the_small_stem_leaves_more_positions(stem, positions):
    network = ResNet(depth=18, stem=stem).eval()
    shapes = []
    network.layer4.register_forward_hook(lambda _layer, _inputs, maps: shapes.append(maps.shape))
    with torch.no_grad():
        network(torch.randn(1, 1, 48, 48))
    assert shapes == [(1, 512, positions, positions)]


def test_each_block_begins_as_the_identity():
    network = ResNet(depth=18)
    assert not network.layer1[0].bn2.weight.any()
    maps = torch.rand(1, 64, 4, 4)
    torch.testing.assert_close(network.layer1(maps), maps)


def test_dropout_stands_before_the_last_layer():
    network = ResNet(depth=18, dropout=0.5)
    assert network.dropout.p == 0.5
    network.dropout.register_forward_hook(lambda _layer, _inputs, features: torch.zeros_like(features))
    torch.testing.assert_close(network(torch.randn(2, 1, 32, 32)), network.fc.bias.expand(2, 7))
