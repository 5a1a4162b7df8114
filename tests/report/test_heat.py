"""The angles of all epochs: nothing lost but the rounding, and never too large."""

import base64
import zlib

import numpy as np
import pytest

from fer.report.heat import BUDGET, STEP, heat_maps
from fer.runs import Run


def _unpack(layer, num_epochs):
    """As the page's script does it."""
    packed = np.frombuffer(zlib.decompress(base64.b64decode(layer["data"])), np.uint8)
    return packed.reshape(num_epochs, -1).cumsum(axis=0, dtype=np.uint8)


def test_every_angle_comes_back(run_dir):
    found = heat_maps(run_dir)
    assert found["epochs"] == list(range(12))
    for layer in found["layers"]:
        shown = layer["shown"]
        rows, columns = np.triu_indices(len(shown), 1)
        for epoch, codes in zip(found["epochs"], _unpack(layer, 12), strict=True):
            degrees = Run(run_dir).read_angles(epoch)[layer["name"]][np.ix_(shown, shown)][rows, columns]
            assert np.array_equal(codes, np.floor(degrees / STEP))


def test_a_neuron_without_an_angle_at_the_end_is_left_out_and_counted(run_dir):
    conv1, conv2 = heat_maps(run_dir)["layers"]
    assert sorted(conv1["shown"]) == list(range(8))
    assert (conv1["without"], conv2["without"]) == (0, 1)
    assert sorted(conv2["shown"]) == [neuron for neuron in range(16) if neuron != 3]


def test_alike_neurons_stand_side_by_side(tmp_path):
    degrees = np.full((4, 4), 90.0)
    np.fill_diagonal(degrees, 0)
    degrees[0, 3] = degrees[3, 0] = 2
    Run(tmp_path).write_angles(0, {"fc1": degrees})
    shown = heat_maps(tmp_path)["layers"][0]["shown"]
    assert abs(shown.index(0) - shown.index(3)) == 1


def test_a_run_without_angles_has_no_map(tmp_path):
    assert heat_maps(tmp_path) is None


@pytest.mark.parametrize(("neurons", "epochs"), [(32, 60), (200, 3)])
def test_what_does_not_fit_is_thinned_out_between_the_first_and_the_last_epoch(tmp_path, neurons, epochs):
    rng = np.random.default_rng(0)
    for epoch in range(epochs):
        degrees = np.triu(rng.uniform(0, 180, size=(neurons, neurons)), 1)
        Run(tmp_path).write_angles(2 * epoch, {"fc1": degrees + degrees.T})
    budget = 15_000
    found = heat_maps(tmp_path, budget)
    assert found["measured"] == epochs
    assert found["epochs"][0] == 0
    assert found["epochs"][-1] == 2 * (epochs - 1)
    assert len(found["epochs"]) < epochs or len(found["layers"][0]["shown"]) < neurons
    raw = zlib.decompress(base64.b64decode(found["layers"][0]["data"]))
    assert 0 < len(raw) <= budget < BUDGET
