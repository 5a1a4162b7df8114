"""Which neurons are shown: the strongest among the most distinct."""

import numpy as np
import pytest
import torch
from torch import nn

from fer.explain import distinctness_of
from fer.explain.answering import answering_neurons, choose_neurons
from fer.neurons import distinctness
from fer.predict.default import load_default

NAN = float("nan")
# 0 and 1 do the same, 2 is the opposite of 3, 4 stands alone, 5 is dead.
DEGREES = np.full((6, 6), 90.0)
np.fill_diagonal(DEGREES, 0)
DEGREES[0, 1] = DEGREES[1, 0] = 5
DEGREES[2, 3] = DEGREES[3, 2] = 160
DEGREES[5] = DEGREES[:, 5] = NAN


def test_distinctness_is_the_angle_to_the_nearest_twin_or_opposite():
    assert np.allclose(distinctness(torch.from_numpy(DEGREES)), [5, 5, 20, 20, 90, NAN], equal_nan=True)


def test_a_single_neuron_is_as_distinct_as_can_be():
    assert distinctness(torch.zeros(1, 1)).tolist() == [90]


@pytest.mark.parametrize(
    ("strengths", "degrees", "chosen"),
    [
        pytest.param(
            [9, 8, 1, 3, 2, 0], DEGREES, [3, 4, 2], id="twins are left out, though they are stronger"
        ),
        pytest.param([9, 8, 1, -3, 0, 0], DEGREES, [3, 2], id="what does not answer is left out"),
        pytest.param([9, 8, 1, 3, 2, 0], None, [0, 1, 3, 4, 2], id="without angles the strongest"),
        pytest.param([0, 0, 0, 0, 0, 0], DEGREES, [], id="none answers"),
    ],
)
def test_the_strongest_of_the_distinct_half(strengths, degrees, chosen):
    apart = None if degrees is None else distinctness(torch.from_numpy(degrees)).numpy()
    assert choose_neurons(np.array(strengths, float), apart) == chosen


def test_no_more_than_asked_for():
    assert choose_neurons(np.arange(9.0), None, num=2) == [8, 7]


def test_maps_of_layers_in_order_and_layers_without_angles():
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(4 * 64, 5), nn.ReLU(), nn.Linear(5, 2)),
    )
    image = torch.rand(1, 1, 8, 8)
    apart = distinctness(torch.from_numpy(DEGREES)).numpy()
    found, without = answering_neurons(network, image, {"0": apart, "2": apart})
    assert list(found) == ["0", "2"]  # a linear layer has no maps
    assert without == ["2"]  # 4 neurons, and what was measured of 6
    maps = network[:2](image)[0].detach()
    for neuron in found["0"]:
        assert neuron.index in (2, 3, 4)
        assert np.allclose(neuron.values, maps[neuron.index])
        assert neuron.strength == pytest.approx(float(maps[neuron.index].mean()))
    assert all(np.isnan(neuron.degrees) for neuron in found["2"])


def test_it_is_known_of_the_network_that_ships_how_distinct_its_neurons_are():
    preprocessing, network = load_default()
    size = preprocessing.image_size
    image = torch.rand(1, preprocessing.channels, size, size)
    found, without = answering_neurons(network.module, image, distinctness_of(None))
    assert without == []
    assert all(0 < neuron.degrees <= 90 for neurons in found.values() for neuron in neurons)
