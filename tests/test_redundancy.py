"""The bench that asks whether redundancy predicts how many neurons can go."""

import math

import pytest
import torch
from bench.pruning import Subject
from bench.redundancy import MEASURES, correlation, correlations, draw, removable, rows_of, summary
from torch import nn

from fer.pruning.curves import measure_twice


def row(network, layer, lost, **values):
    return {
        "network": network,
        "layer": layer,
        "width": 8,
        "n": 100,
        "lost": {"0.5": lost, "0.875": 2 * lost},
        "measures": dict.fromkeys(MEASURES, 0.5) | values,
    }


@pytest.mark.parametrize(
    ("lost", "share"),
    [
        pytest.param({"0.5": 0.0, "0.875": 0.0}, 0.875, id="nothing lost"),
        pytest.param({"0.5": -0.02, "0.875": 0.02}, 0.6875, id="halfway"),
        pytest.param({"0.5": 0.04, "0.875": 0.0}, 0.125, id="what is lost early counts"),
    ],
)
def test_the_share_that_can_go_is_read_between_the_widths(lost, share):
    assert removable(lost, 0.01) == pytest.approx(share)


def test_correlations_are_taken_within_a_training():
    rows = [
        row(f"net net-{seed}", f"layer{place}", 0.02 * place + 0.01 * seed, cloned=1 - 0.1 * place)
        for seed in range(2)
        for place in range(4)
    ]
    assert correlations(rows, 0.01)["net"]["cloned"] == pytest.approx([1, 1])
    assert all(map(math.isnan, correlations(rows, 0.01)["net"]["similar"]))  # it is the same everywhere
    assert "| net | 2 | 4 |" in summary(rows, 0.01)
    assert math.isnan(correlation([0.1, math.nan, 0.3], [1, 2, 3]))


@pytest.mark.drawn
def test_the_figure_has_a_panel_for_each_measure():
    rows = [row(name, "conv1", 0.01) for name in ("a a-0", "b b-0")]
    assert [axes.get_title() for axes in draw(rows, 0.01).axes] == list(MEASURES)


@pytest.mark.slow
def test_a_layer_of_clones_can_lose_most_of_its_neurons_and_is_measured_as_redundant():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    with torch.no_grad():
        for parameter in (network[2].weight, network[2].bias):
            parameter.copy_(parameter[:1].expand_as(parameter).clone())
    inputs = torch.randn(200, 6)
    batches = [(inputs, network(inputs).argmax(dim=1))]
    subject = Subject("net net-0", network, [inputs], measure_twice(network, [inputs]), {}, {"val": batches})
    first, clones = rows_of(subject, [])
    assert clones["lost"]["0.875"] == pytest.approx(0)
    assert clones["measures"]["reproducible"] == 1
    assert first["measures"]["effective rank"] > clones["measures"]["effective rank"] == pytest.approx(1 / 8)
    assert [each["layer"] for each in rows_of(subject, [first])] == [clones["layer"]]
