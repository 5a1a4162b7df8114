"""What W&B keeps of a run's files: offline as a record for later, online on a server."""

import json
import logging
import subprocess
import sys

import pytest
import wandb
from loopback import Loopback

from fer.dashboards import finish, wandb_logger
from fer.dashboards.artifacts import artifact_name, describe, log_artifacts, use_checkpoint
from fer.runs import Run

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


@pytest.mark.slow
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
@pytest.mark.slow
def test_what_is_kept_is_chosen(which, num, run_dir):
    logger = wandb_logger(run_dir)
    assert len(log_artifacts(logger, run_dir, "first", which, ABOUT)) == num
    finish()
    assert Run(run_dir).artifacts_path.is_file() == bool(num)


@pytest.mark.slow
def test_a_server_out_of_reach_makes_no_failure_of_what_was_trained(run_dir, monkeypatch, caplog):
    logger = wandb_logger(run_dir)

    def log_artifact(*args, **kwargs):
        raise wandb.errors.CommError("no connection")

    monkeypatch.setattr(logger.experiment, "log_artifact", log_artifact)
    monkeypatch.setattr(logging.getLogger("fer"), "propagate", True)
    assert log_artifacts(logger, run_dir, "first", "all", ABOUT) == []
    finish()
    assert not Run(run_dir).artifacts_path.exists()
    assert "W&B did not accept first-" in caplog.text


@pytest.mark.slow
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


@pytest.mark.slow
def test_offline_nothing_is_said_of_where_a_run_began(run_dir, tmp_path):
    logger = wandb_logger(run_dir)
    log_artifacts(logger, run_dir, "first", "best", ABOUT)
    finish()
    second = wandb_logger(tmp_path / "second")
    assert use_checkpoint(second, run_dir / "checkpoints" / "best.ckpt") is None
    finish()


class Store(Loopback):
    """A server that knows one artifact that it was given, and notes who uses it."""

    def __init__(self):
        super().__init__()
        self.used = []

    def _artifact_membership_by_name(self, v):
        name, alias = v["name"].split(":")
        known = [each for each in self.artifacts if each["artifactCollectionName"] == name]
        if not known:
            return {"project": {"artifactCollectionMembership": None}}
        project = {"id": "1", "internalId": "1", "name": v["project"], "entity": {"name": v["entity"]}}
        collection = {"__typename": "ArtifactSequence", "name": name, "project": project}
        artifact = {"__typename": "Artifact", "id": f"of {v['name']}", "artifactSequence": collection}
        artifact |= {"versionIndex": 0, "artifactType": {"name": "model"}, "description": None}
        artifact |= {"metadata": "{}", "ttlDurationSeconds": -1, "ttlIsInherited": False, "tags": []}
        artifact |= {"historyStep": None, "state": "COMMITTED", "size": 4, "digest": "", "commitHash": ""}
        artifact |= {"fileCount": 1, "createdAt": "2026-01-01T00:00:00", "updatedAt": None, "aliases": []}
        alias = {"__typename": "ArtifactAlias", "id": "1", "alias": alias}
        membership = {"__typename": "ArtifactCollectionMembership", "id": "1", "versionIndex": 0}
        membership |= {"createdAt": "2026-01-01T00:00:00", "aliases": [alias]}
        membership |= {"artifactCollection": collection, "artifact": artifact}
        return {"project": {"artifactCollectionMembership": membership}}

    def _use_artifact(self, v):
        self.used.append((v["runName"], v["artifactID"]))
        return {"useArtifact": {"artifact": {"id": v["artifactID"]}}}


@pytest.fixture
def server(monkeypatch, tmp_path):
    with Store() as store:
        for name, value in store.environment(tmp_path / "client").items():
            monkeypatch.setenv(name, value)
        wandb.teardown()  # the client has read the environment, and must again
        yield store
        finish()  # while there is a server, or the client would wait for one
    wandb.teardown()


@pytest.mark.slow
def test_a_server_is_given_the_networks_and_told_where_a_run_began(server, run_dir, tmp_path, caplog):
    first = wandb_logger(run_dir)
    log_artifacts(first, run_dir, "first", "best", ABOUT)
    id = first.experiment.id
    finish()
    kept = [(each["artifactCollectionName"], each["artifactTypeName"]) for each in server.artifacts]
    assert kept == [(f"first-{id}", "model")] * 3
    aliases = [{alias["alias"] for alias in each["aliases"]} - {"latest"} for each in server.artifacts]
    assert aliases == [{"best"}, {"pruned"}, {"onnx"}]
    assert json.loads(server.artifacts[0]["metadata"])["test/n"] == 4

    second = wandb_logger(tmp_path / "second")
    began = use_checkpoint(second, run_dir / "checkpoints" / "best.ckpt")
    assert began == f"team/fer/first-{id}:best"
    assert use_checkpoint(second, run_dir / "checkpoints" / "last.ckpt") is None
    assert server.used == [(second.experiment.id, f"of first-{id}:best")]
    # Of a run that was never synced it knows nothing, and that ends none.
    Run(run_dir).artifacts_path.write_text(json.dumps({"best": "fer/never-synced:best"}))
    assert use_checkpoint(second, run_dir / "checkpoints" / "best.ckpt") is None
    assert "W&B does not know fer/never-synced:best" in caplog.text
    finish()
