"""Grad-CAM and occlusion of networks whose answer is known to rest on one corner."""

import numpy as np
import pytest
import torch
from torch import nn

from fer.errors import InputError
from fer.explain.maps import find_map_layer, occlusion_map, relevance_map

SIZE = 24


class Corner(nn.Module):
    """Two classes: how bright the top right corner is, beyond which it sees nothing, and a constant."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AvgPool2d(4)
        self.fc = nn.Linear(2 * 36, 2)
        nn.init.dirac_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)
        with torch.no_grad():  # the first map, top row of 6 x 6, last column
            self.fc.weight[0, 5] = 4
        seen = torch.zeros(SIZE, SIZE)
        seen[: SIZE // 6, -(SIZE // 6) :] = 1
        self.register_buffer("seen", seen)

    def forward(self, inputs):
        return self.fc(self.pool(self.relu(self.conv(inputs) * self.seen)).flatten(1))


@pytest.fixture
def corner():
    return Corner().eval()


def peak(values):
    return np.unravel_index(np.abs(values).argmax(), values.shape)


def test_both_maps_peak_where_the_network_looks(corner):
    image = torch.ones(1, 1, SIZE, SIZE)
    layer = find_map_layer(corner, image)
    for values in (relevance_map(corner, image, 0, layer), occlusion_map(corner, image, 0)):
        row, column = peak(values)
        assert row < SIZE / 4
        assert column >= 3 * SIZE / 4
        assert values.max() > 0
        assert values[SIZE // 2 :, : SIZE // 2].max() <= 0.01 * values.max()


def test_what_speaks_against_a_class_is_below_zero_and_no_relevance(corner):
    image = torch.ones(1, 1, SIZE, SIZE)
    assert relevance_map(corner, image, 1, "pool").max() == 0
    values = occlusion_map(corner, image, 1)
    assert values.min() < 0
    assert peak(values)[1] >= 3 * SIZE / 4


def test_occlusion_is_the_drop_in_probability(corner):
    """A patch that hides all of the corner leaves logits 0 and 0."""
    image = torch.ones(1, 1, SIZE, SIZE)
    drop = float(corner(image).detach().softmax(1)[0, 0]) - 0.5
    values = occlusion_map(corner, image, 0)
    assert values[0, -1] == pytest.approx(drop)  # one patch alone hides the last pixel
    assert values.max() == pytest.approx(drop)


def test_colours_count_once(corner):
    """Three equal channels are hidden together, so that the drop is the same."""
    colour = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False), corner).eval()
    nn.init.constant_(colour[0].weight, 1 / 3)
    image = torch.ones(1, 3, SIZE, SIZE)
    grey = occlusion_map(corner, image[:, :1], 0)
    assert np.allclose(occlusion_map(colour, image, 0), grey, atol=1e-6)


def test_the_network_is_left_as_it_was(corner):
    corner.train()
    before = {name: value.clone() for name, value in corner.state_dict().items()}
    image = torch.ones(1, 1, SIZE, SIZE)
    relevance_map(corner, image, 0, find_map_layer(corner, image))
    occlusion_map(corner, image, 0)
    assert corner.training
    assert all(torch.equal(value, before[name]) for name, value in corner.state_dict().items())
    assert all(parameter.grad is None for parameter in corner.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in corner.modules())


class Twice(nn.Module):
    """A module that is called twice, and maps that become ever smaller."""

    def __init__(self):
        super().__init__()
        self.body, self.relu = nn.Conv2d(1, 1, 3, padding=1), nn.ReLU()
        self.small = nn.AdaptiveAvgPool2d(2)

    def forward(self, inputs):
        return self.small(self.relu(self.body(self.relu(inputs)))).flatten(1)


@pytest.mark.parametrize(
    ("network", "size", "layer"),
    [
        pytest.param(Corner(), SIZE, "pool", id="the last"),
        pytest.param(Twice(), 8, "body", id="not called twice, not 2 x 2"),
        pytest.param(
            nn.Sequential(nn.Conv2d(1, 1, 2, 2), nn.Flatten()), 4, "0", id="2 x 2 where there is no more"
        ),
        pytest.param(
            nn.Sequential(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU()), nn.Flatten()),
            *(8, "0"),
            id="a block as a whole",
        ),
    ],
)
def test_the_layer_is_found(network, size, layer):
    assert find_map_layer(network, torch.rand(1, 1, size, size)) == layer


def test_a_network_without_feature_maps_is_refused():
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with pytest.raises(InputError, match=r"Sequential has no feature maps: .* needs a convolution"):
        find_map_layer(network, torch.rand(1, 1, 4, 4))
