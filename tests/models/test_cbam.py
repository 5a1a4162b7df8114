import math

import pytest
import torch
from torch import nn

from fer.errors import InputError
from fer.models import Cbam, CbamResNet, ResNet


def _sigmoid(x):
    return 1 / (1 + math.exp(-x))


def _channel_weights(maps, cbam):
    """Equation 2 for one image, number by number; maps as nested lists."""
    fc1, fc2 = (layer.weight.flatten(1).tolist() for layer in (cbam.channel.fc1, cbam.channel.fc2))

    def mlp(values):
        hidden = [max(0, sum(w * v for w, v in zip(row, values, strict=True))) for row in fc1]
        return [sum(w * h for w, h in zip(row, hidden, strict=True)) for row in fc2]

    flat = [[x for row in one for x in row] for one in maps]
    of_mean, of_max = mlp([sum(one) / len(one) for one in flat]), mlp([max(one) for one in flat])
    return [_sigmoid(a + b) for a, b in zip(of_mean, of_max, strict=True)]


def _spatial_weights(maps, cbam):
    """Equation 3 for one image: a 7x7 window over means and maxima, zeros outside."""
    kernel = cbam.spatial.conv.weight[0].tolist()
    height, width = len(maps[0]), len(maps[0][0])
    weights = []
    for i in range(height):
        row = []
        for j in range(width):
            total = 0.0
            for di in range(-3, 4):
                for dj in range(-3, 4):
                    if 0 <= i + di < height and 0 <= j + dj < width:
                        values = [one[i + di][j + dj] for one in maps]
                        total += kernel[0][di + 3][dj + 3] * sum(values) / len(values)
                        total += kernel[1][di + 3][dj + 3] * max(values)
            row.append(_sigmoid(total))
        weights.append(row)
    return weights


@pytest.mark.parametrize("arrangement", ["serial", "parallel"])
def test_agrees_with_the_equations_number_by_number(arrangement):
    torch.manual_seed(0)
    cbam = Cbam(6, reduction=2, arrangement=arrangement)
    inputs = torch.randn(2, 6, 5, 4)
    expected = []
    for maps in inputs.tolist():
        by_map = _channel_weights(maps, cbam)
        weighed = [[[w * x for x in row] for row in one] for w, one in zip(by_map, maps, strict=True)]
        by_position = torch.tensor(_spatial_weights(weighed if arrangement == "serial" else maps, cbam))
        expected.append(torch.tensor(weighed) * by_position)
    torch.testing.assert_close(cbam(inputs), torch.stack(expected))


def test_serial_and_parallel_differ():
    serial, parallel = Cbam(8, arrangement="serial"), Cbam(8, arrangement="parallel")
    parallel.load_state_dict(serial.state_dict())
    inputs = torch.randn(2, 8, 9, 9)
    assert not torch.allclose(serial(inputs), parallel(inputs), rtol=1e-3)


@pytest.mark.parametrize(("width", "hidden"), [(64, 4), (16, 1), (3, 1)])
def test_number_of_parameters(width, hidden):
    assert sum(p.numel() for p in Cbam(width).parameters()) == 2 * width * hidden + 98


@pytest.mark.parametrize("settings", [{"reduction": 0}, {"arrangement": "both"}])
def test_unsuitable_settings_are_named(settings):
    (name,) = settings
    with pytest.raises(InputError, match=f"{name}="):
        Cbam(8, **settings)


@pytest.mark.parametrize(
    ("depth", "blocks", "expansion"), [(18, (2, 2, 2, 2), 1), (34, (3, 4, 6, 3), 1), (50, (3, 4, 6, 3), 4)]
)
@pytest.mark.slow
def test_the_residual_network_has_one_after_each_block(depth, blocks, expansion):
    network, plain = CbamResNet(depth=depth), ResNet(depth=depth)
    widths = [expansion * width for width in (64, 128, 256, 512)]
    extra = sum(n * (2 * width * width // 16 + 98) for n, width in zip(blocks, widths, strict=True))
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in plain.parameters()) + extra
    names = [name for name, _ in network.layer1.named_children()]
    assert names == [f"{kind}{i}" for i in range(blocks[0]) for kind in ("", "cbam")]
    missing, unexpected = network.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all(".cbam" in name for name in missing)


def test_attention_weighs_the_blocks_output():
    network = CbamResNet(depth=18, arrangement="parallel")
    maps = torch.randn(2, 64, 4, 4)
    first = network.layer1.cbam0(network.layer1[0](maps))
    torch.testing.assert_close(network.layer1[:2](maps), first)
    assert network.layer1.cbam0.arrangement == "parallel"
    assert isinstance(network.layer1, nn.Sequential)


@pytest.mark.slow
def test_the_images_still_show_in_the_last_layer_at_the_start():
    """Sixteen gates of about 1/4 in a row must not shut the signal off."""
    torch.manual_seed(0)
    network = CbamResNet()
    logits = network(torch.randn(8, 1, 48, 48))
    assert logits.std(dim=0).mean() > 0.01
