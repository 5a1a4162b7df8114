"""What W&B keeps of a run's files: offline as a record for later, online on a server."""

import json
import logging
import subprocess
import sys

import pytest
import wandb

from fer.dashboards import finish, wandb_logger
from fer.dashboards.artifacts import RECORD, artifact_name, describe, log_artifacts, use_checkpoint

ABOUT = {"network": "conv6", "dataset": "fer2013", "protocol": "official"}
RESULTS = {
    "network": "Conv6Net",
    "parameters": 409_461,
    "epochs": 3,
    "seed": 1,
    "best_val_acc": 0.25,
    "splits": {
        "val": {"n": 8, "acc": 0.25, "interval": [0.07, 0.59], "confusion": [[2]]},
        "test": {"n": 4, "acc": 0.5, "interval": [0.15, 0.85], "confusion": [[2]]},
    },
}
PRUNE = {
    "n": 8,
    "after": {"acc": 0.125, "parameters": 1000},
    "layers": {"conv1": {"before": 16, "after": 9, "dead": 7}},
}


@pytest.fixture
def run_dir(tmp_path):
    """The folder of a run that was trained, pruned and exported, whose faces were cropped."""
    folder = tmp_path / "runs" / "first"
    files = {
        "checkpoints/best.ckpt": "best",
        "checkpoints/last.ckpt": "last",
        "checkpoints/pruned.ckpt": "pruned",
        "model.onnx": "onnx",
        "angles/epoch-0000.npz": "0",
        "angles/epoch-0001.npz": "1",
        "crops.csv": "path",
        "results.json": json.dumps(RESULTS),
        "prune.json": json.dumps(PRUNE),
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def recorded(run_dir):
    """Return the artifacts that an offline run's record has for ``wandb sync``."""
    (folder,) = (run_dir / "wandb").glob("offline-run-*")
    words = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    return [record["artifact"] for record in map(json.loads, lines) if record["type"] == "artifact"]


def test_an_offline_run_holds_what_will_be_synced(run_dir):
    logger = wandb_logger(run_dir)
    names = log_artifacts(logger, run_dir, "first", "all", ABOUT)
    id = logger.experiment.id
    finish()
    assert names == [
        *(f"first-{id}:{alias}" for alias in ("best", "pruned", "onnx")),
        *(f"first-{id}-{kind}:latest" for kind in ("angles", "crops")),
    ]
    found = recorded(run_dir)
    assert [(each["type"], {file["path"] for file in each["manifest"]["contents"]}) for each in found] == [
        ("model", {"best.ckpt"}),
        ("model", {"pruned.ckpt"}),
        ("model", {"model.onnx"}),
        ("angles", {"epoch-0000.npz", "epoch-0001.npz"}),
        ("crops", {"crops.csv"}),
    ]
    assert all(ABOUT.items() <= json.loads(each["metadata"]).items() for each in found)
    # Nothing is copied: sync reads the files where they are.
    paths = [file["local_path"] for each in found for file in each["manifest"]["contents"]]
    assert all(path.startswith(str(run_dir.resolve())) for path in paths)


@pytest.mark.parametrize(
    ("which", "num"), [pytest.param("none", 0, id="none"), pytest.param("best", 3, id="networks")]
)
def test_what_is_kept_is_chosen(which, num, run_dir):
    logger = wandb_logger(run_dir)
    assert len(log_artifacts(logger, run_dir, "first", which, ABOUT)) == num
    finish()
    assert (run_dir / RECORD).is_file() == bool(num)


def test_a_server_out_of_reach_makes_no_failure_of_what_was_trained(run_dir, monkeypatch, caplog):
    logger = wandb_logger(run_dir)

    def log_artifact(*args, **kwargs):
        raise wandb.errors.CommError("no connection")

    monkeypatch.setattr(logger.experiment, "log_artifact", log_artifact)
    monkeypatch.setattr(logging.getLogger("fer"), "propagate", True)
    assert log_artifacts(logger, run_dir, "first", "all", ABOUT) == []
    finish()
    assert not (run_dir / RECORD).exists()
    assert "W&B did not take first-" in caplog.text


def test_a_run_without_a_network_keeps_none(tmp_path):
    logger = wandb_logger(tmp_path)
    assert log_artifacts(logger, tmp_path, "test", "all", ABOUT) == []
    finish()


def test_metadata_says_how_good_on_how_many_and_by_which_code(run_dir):
    best, pruned = describe(run_dir, "best"), describe(run_dir, "pruned")
    assert (best["test/acc"], best["test/n"], best["test/interval"]) == (0.5, 4, [0.15, 0.85])
    assert (best["val/acc"], best["val/n"], best["seed"], best["parameters"]) == (0.25, 8, 1, 409_461)
    assert (pruned["val/acc"], pruned["val/n"], pruned["parameters"]) == (0.125, 8, 1000)
    assert pruned["widths"] == {"conv1": 9}
    assert best["commit"] is None or len(best["commit"]) == 40


def test_metadata_of_a_run_that_was_not_tested(tmp_path):
    assert set(describe(tmp_path, "best")) == {"fer", "commit"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("resnet fer2013 lr=0.1 …", "resnet-fer2013-lr-0.1-"), ("a" * 200, "a" * 128), ("mühe/1", "m-he-1")],
)
def test_names_are_what_the_client_takes(name, expected):
    assert artifact_name(name) == expected
    wandb.Artifact(artifact_name(name), type="model")


def test_offline_nothing_is_said_of_where_a_run_began(run_dir, tmp_path):
    logger = wandb_logger(run_dir)
    log_artifacts(logger, run_dir, "first", "best", ABOUT)
    finish()
    second = wandb_logger(tmp_path / "second")
    assert use_checkpoint(second, run_dir / "checkpoints" / "best.ckpt") is None
    finish()
