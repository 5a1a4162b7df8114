"""What a run is called on the dashboard."""

import pytest

from fer.commands.naming import MOST, following, standard, title

USUAL = {
    "run_name": None,
    "seed_everything": 0,
    "ema": False,
    "trainer.max_epochs": 30,
    "trainer.devices": "auto",
    "data.protocol": "official",
    "data.root": None,
    "model.lr": 0.1,
    "model.depth": 34,
    "model.dropout": 0.5,
    "model.widths": [16, 32],
    "wandb.project": "fer",
}
RUN = {**USUAL, "network": "resnet", "dataset": "fer2013"}


@pytest.mark.parametrize(
    ("changes", "command", "expected"),
    [
        pytest.param({}, "fit", "resnet fer2013", id="as its config"),
        pytest.param(
            {"model.lr": 0.003, "model.depth": 18},
            "fit",
            "resnet fer2013 lr=0.003 depth=18",
            id="two settings",
        ),
        pytest.param({"model.lr": 1.0e-5}, "fit", "resnet fer2013 lr=1e-05", id="a small number"),
        pytest.param({"model.dropout": None}, "fit", "resnet fer2013 dropout=null", id="null"),
        pytest.param({"model.widths": [8, 16]}, "fit", "resnet fer2013 widths=8-16", id="a list"),
        pytest.param({"seed_everything": 3}, "fit", "resnet fer2013 seed=3", id="the seed"),
        pytest.param({"trainer.max_epochs": 5}, "fit", "resnet fer2013 epochs=5", id="the epochs"),
        pytest.param({"data.root": "/d", "trainer.devices": 1}, "fit", "resnet fer2013", id="the machine"),
        pytest.param({}, "test", "resnet fer2013 test", id="another command"),
    ],
)
def test_a_name_says_what_differs(changes, command, expected):
    assert title({**RUN, **changes}, USUAL, command=command) == expected


def test_a_name_can_be_read_whatever_differs():
    usual = {f"model.s{i}": 0 for i in range(20)}
    name = title({"network": "ann", "dataset": "sfew", **dict.fromkeys(usual, "x" * 300)}, usual)
    assert name.count("=") == MOST
    assert name.endswith(" …")
    assert len(name) < 200


def test_a_config_says_nothing_of_other_data():
    config = {"dataset": "fer2013", "data.protocol": "official", "model.lr": 0.2}
    assert standard(RUN, config) == config
    assert standard({**RUN, "dataset": "sfew"}, config) == {"dataset": "fer2013", "model.lr": 0.2}


def test_group_job_type_and_tags_follow():
    assert following(RUN, USUAL, command="prune") == {
        "name": "resnet fer2013 prune",
        "group": "resnet-fer2013",
        "job_type": "prune",
        "tags": ["resnet", "fer2013", "official"],
    }
    assert following({**RUN, "run_name": "mine"}, USUAL, command="fit")["name"] == "mine"
    del (features := dict(RUN))["data.protocol"]
    assert following(features, USUAL, command="fit")["tags"] == ["resnet", "fer2013"]


def test_what_a_sweep_says_of_its_trials_stands(monkeypatch):
    monkeypatch.setenv("WANDB_RUN_GROUP", "search")
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", "params.yaml")
    found = following({**RUN, "run_name": "fit", "model.lr": 0.2}, USUAL, command="fit")
    assert "group" not in found
    assert found["name"] == "resnet fer2013 lr=0.2"
