"""``fer models``: every network once, with the numbers that a training with its config has."""

import json
import sys

import pytest
from command import call, done

from fer.tasks import TASKS


def test_every_network_is_listed_as_json():
    listed = {each["name"]: each for each in json.loads(done("models", "ann", "conv1", "--json"))}
    assert listed["ann"] == {
        **{"name": "ann", "parameters": 10 * 50 + 50 + 50 * 7 + 7, "macs": 10 * 50 + 50 * 7},
        **{"input": [10], "layers": ["fc1"], "paper": listed["ann"]["paper"]},
    }
    assert listed["conv1"]["input"] == [3, 96, 96]  # of its config, not the 1 x 48 x 48 of the class
    assert listed["conv1"]["paper"].startswith("Jain, ")


def test_without_a_name_all_networks_are_listed(monkeypatch):
    from fer.commands import models

    monkeypatch.setattr(models, "describe", lambda name, shape: models.Listed(name, 1, 2, (3,), (), ""))
    out = done("models")
    assert all(name in out for name in TASKS)


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "ownnets.py").write_text(
        "from torch import nn\n\n\n"
        "class Small(nn.Sequential):\n"
        "    def __init__(self, num_classes=7):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(48, 5), nn.ReLU(), nn.Linear(5, num_classes))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "ownnets.Small"
    sys.modules.pop("ownnets", None)


def test_a_network_of_ones_own_is_listed_by_its_class_path(own):
    (listed,) = json.loads(done("models", own, "--input", "3,4,4", "--json"))
    assert (listed["parameters"], listed["macs"], listed["paper"]) == (
        48 * 5 + 5 + 5 * 7 + 7,
        48 * 5 + 35,
        "",
    )
    assert listed["layers"] == ["1"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["conv9"], "conv9 is unknown", id="no such network"),
        pytest.param(["conv6", "--input", "48"], "shape (48,)", id="a shape that does not fit"),
        pytest.param(["conv6", "--input", "1x48"], "--input 1x48: give channels", id="no shape"),
        pytest.param(["ownnets.Small"], "--input sets the shape", id="another shape is needed"),
    ],
)
def test_what_cannot_be_listed_is_one_line(words, expected, own):
    called = call("models", *words)
    assert (called.status, called.err.count("\n")) == (2, 1)
    assert expected in called.err
