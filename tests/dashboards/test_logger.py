"""W&B's run: which mode, what it is called, and that nothing asks or is left open."""

import json
import re

import pytest
import wandb
from lightning.pytorch.utilities import rank_zero_only

from fer.dashboards import LEET_STATE, finish, wandb_logger
from fer.processes import process_rank


@pytest.fixture
def asked(monkeypatch):
    """Take the place of wandb.init and of the user's login; keep what was asked for."""
    asked = {}

    class Run:
        def __init__(self, folder):
            self.axes, self.dir = [], str(folder / "wandb" / "run" / "files")

        def define_metric(self, name, step_metric=None):
            self.axes.append((name, step_metric))

    def init(**settings):
        asked.update(settings, run=Run(settings["dir"]))
        return asked["run"]

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr("fer.dashboards.WandbLogger", lambda save_dir: (save_dir, None))
    monkeypatch.setattr(
        "fer.dashboards._RunLogger", lambda is_shown, save_dir, experiment: (save_dir, experiment)
    )
    return asked


@pytest.mark.parametrize(
    ("mode", "environment", "logged_in", "expected"),
    [
        pytest.param("auto", None, True, "online", id="a user who is logged in"),
        pytest.param("auto", None, False, "offline", id="a user who is not"),
        pytest.param("auto", "offline", True, "offline", id="WANDB_MODE"),
        pytest.param("online", "offline", False, "online", id="the setting before WANDB_MODE"),
        pytest.param("offline", None, True, "offline", id="offline"),
    ],
)
def test_mode(mode, environment, logged_in, expected, asked, monkeypatch, tmp_path):
    monkeypatch.setattr(wandb, "login", lambda prompt: logged_in)
    monkeypatch.delenv("WANDB_MODE")
    if environment is not None:
        monkeypatch.setenv("WANDB_MODE", environment)
    wandb_logger(tmp_path, mode=mode)
    assert asked["mode"] == expected
    assert asked["settings"].silent == (expected == "offline")


@pytest.mark.parametrize("error", [wandb.errors.UsageError("no key"), OSError("no network")])
def test_a_login_that_fails_is_offline(error, asked, monkeypatch, tmp_path):
    def login(prompt):
        raise error

    monkeypatch.setattr(wandb, "login", login)
    monkeypatch.delenv("WANDB_MODE")
    wandb_logger(tmp_path)
    assert asked["mode"] == "offline"


@pytest.mark.parametrize(("mode", "environment"), [("disabled", "online"), ("auto", "disabled")])
def test_disabled_starts_no_run(mode, environment, asked, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", environment)
    assert wandb_logger(tmp_path, mode=mode) is None
    assert asked == {}


def test_a_run_is_called_like_its_folder_and_drawn_over_epochs(asked, tmp_path):
    save_dir, run = wandb_logger(tmp_path / "conv6-1", group="folds", tags=("a", "b"))
    assert (asked["name"], asked["group"], asked["tags"], asked["project"]) == (
        "conv6-1",
        "folds",
        ["a", "b"],
        "fer",
    )
    assert asked["dir"] == save_dir == tmp_path / "conv6-1"
    assert run.axes == [("epoch", None), ("*", "epoch")]
    wandb_logger(tmp_path / "conv6-1", name="mine")
    assert (asked["name"], asked["tags"]) == ("mine", None)


def test_only_the_first_process_starts_a_run(asked, monkeypatch, tmp_path):
    assert process_rank() == 0
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert process_rank() == 1
    assert wandb_logger(tmp_path) == (tmp_path, None)
    assert asked == {}


def test_an_offline_run_is_opened_and_closed(tmp_path):
    logger = wandb_logger(tmp_path)
    logger.log_hyperparams({"model.lr": 0.1})
    assert wandb.run.config["model.lr"] == 0.1
    finish()
    assert wandb.run is None
    finish()  # once more does no harm
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert list(folder.glob("*.wandb"))


def test_the_terminal_viewer_opens_on_loss_and_accuracy_unless_the_user_filtered_otherwise(asked, tmp_path):
    state = tmp_path / "wandb" / LEET_STATE
    wandb_logger(tmp_path, mode="offline")
    shown = re.compile(json.loads(state.read_text())["metrics_filter"]["query"])
    keys = [
        "angles/conv1/mean",
        "collapse/nc1",
        "train/loss",
        "train_loss",
        "val/acc",
        "val/acc_best",
        "stage/fc",
    ]
    assert [key for key in keys if shown.search(key)] == [
        "train/loss",
        "train_loss",
        "val/acc",
        "val/acc_best",
    ]
    state.write_text("{}")
    wandb_logger(tmp_path, mode="offline")
    assert state.read_text() == "{}"
