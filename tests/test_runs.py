"""The folder of a run: what is read is what was written, damaged files are named, ``latest`` is a link."""

import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from fer.errors import InputError
from fer.lookup import find_checkpoint
from fer.runs import LATEST, Run, mark_latest

CONFUSION = [[3, 1], [0, 4]]
INTERVAL = {"stage": "plateau", "reason": "stuck", "begin": 0.0, "end": 3.6, "confirmed_by": ["rank"]}
CONTENTS = {
    "results": {"splits": {"test": {"n": 8, "confusion": CONFUSION}}},
    "stages": {"conv1": {"final": [INTERVAL], "live": []}},
    "prune": {"before": {"acc": 0.5}, "after": {"acc": 0.4}, "layers": {"conv1": {"before": 3, "after": 2}}},
    "curve": {"n": 8, "rules": {"pairs": {"acc": [0.5, 0.4], "threshold": [0, 15]}}},
    "artifacts": {"best": "me/fer/conv6:v0"},
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "runs" / "first")
    run.folder.mkdir(parents=True)
    return run


@pytest.mark.parametrize("name", CONTENTS)
def test_what_is_written_is_read(run: Run, name: str) -> None:
    assert getattr(run, f"read_{name}")() == {}
    getattr(run, f"write_{name}")(CONTENTS[name])
    assert getattr(run, f"read_{name}")() == CONTENTS[name]
    assert getattr(run, f"{name}_path").is_file()


def test_stages_of_older_runs_are_read_in_epochs_trained(run: Run) -> None:
    old = {"stage": "plateau", "reason": "stuck", "first": 4, "last": 9}
    run.write_stages({"conv1": {"final": [old], "live": []}})
    new = {"stage": "plateau", "reason": "stuck", "begin": 4, "end": 10}
    assert run.read_stages() == {"conv1": {"final": [new], "live": []}}


def test_a_config_is_read_as_it_was_written(run: Run) -> None:
    assert run.read_config() == {}
    assert not run.is_run
    run.write_config("# lightning==2.6\nnetwork: ann\ndataset: folder\nmodel: {lr: 0.1}\n")
    assert run.read_config() == {"network": "ann", "dataset": "folder", "model": {"lr": 0.1}}
    assert run.is_run


def test_angles_are_read_epoch_by_epoch(run: Run) -> None:
    assert run.measured_epochs() == []
    for epoch in (10, 0):
        run.write_angles(epoch, {"conv1": np.full((2, 2), epoch, np.float64)})
    assert run.measured_epochs() == [0, 10]
    np.testing.assert_array_equal(run.read_angles()["conv1"], np.full((2, 2), 10, np.float32))
    np.testing.assert_array_equal(run.read_angles(0)["conv1"], np.zeros((2, 2), np.float32))
    with pytest.raises(InputError, match="no angles of epoch 5: those of epochs 0, 10 were measured"):
        run.read_angles(5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("epoch,lr\n0,0.5\n1,\n", {"epoch": [0, 1], "lr": [0.5, math.nan]}, id="a missing value"),
        pytest.param("epoch,lr\n0,0.5\n1", {"epoch": [0], "lr": [0.5]}, id="a line still being written"),
        pytest.param("epoch,lr\n", {}, id="no rows"),
        pytest.param("", {}, id="empty"),
    ],
)
def test_metrics_are_read_by_column(run: Run, text: str, expected: dict[str, list[float]]) -> None:
    run.metrics_path.write_text(text)
    read = run.read_metrics()
    assert read.keys() == expected.keys()
    for key, column in expected.items():
        np.testing.assert_array_equal(read[key], column)


def _json(name: str, content: object, problem: str) -> tuple[str, bytes, str]:
    return name, json.dumps(content).encode(), problem


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        pytest.param("config.yaml", b"network: ann\ndataset: [", "config.yaml is damaged", id="cut YAML"),
        pytest.param("config.yaml", b"network: ann\n", "dataset is missing", id="YAML cut at a line's end"),
        pytest.param("config.yaml", b"- 1\n", "the content is list", id="YAML of a list"),
        pytest.param("config.yaml", b"network: 2024-13-45\n", "month must be", id="YAML with no date"),
        pytest.param("config.yaml", b"\xff\xfe\x00", "decode", id="YAML in bytes"),
        pytest.param("metrics.csv", b"epoch,lr\n0,x\n", "could not convert", id="CSV of words"),
        pytest.param("metrics.csv", b"epoch,lr\n0\n1,2\n", "line 2 has 1 cells", id="a short CSV line"),
        pytest.param("metrics.csv", b"epoch\n" + b"1" * 131_073 + b"\n", "larger", id="a huge CSV cell"),
        pytest.param("metrics.csv", b"epoch\n\xff\n", "decode", id="CSV in bytes"),
        pytest.param("results.json", b'{"splits": {', "results.json is damaged", id="cut JSON"),
        pytest.param("results.json", b"[1]", "no JSON object", id="JSON of a list"),
        pytest.param("results.json", b"[" * 100_000, "recursion", id="JSON too deep"),
        pytest.param(*_json("results.json", {"splits": [1]}, "splits is list"), id="splits as a list"),
        pytest.param(
            *_json("results.json", {"splits": {"test": {"confusion": [[1, 2]]}}}, "not square"), id="oblong"
        ),
        pytest.param(*_json("stages.json", {"a": {"final": 1, "live": []}}, "a.final is int"), id="stages"),
        pytest.param(
            *_json(
                "stages.json", {"a": {"final": [{"stage": "x", "reason": "", "end": 1}], "live": []}}, "begin"
            ),
            id="an interval without a begin",
        ),
        pytest.param(*_json("prune.json", {"layers": {}}, "after is missing"), id="prune"),
        pytest.param(*_json("curve.json", {"rules": {"a": {"acc": ["x"]}}}, "acc.0 is str"), id="curve"),
        pytest.param(*_json("artifacts.json", {"best": 1}, "best is int"), id="artifacts"),
        pytest.param("angles/epoch-0000.npz", b"PK\x03\x04 cut", "epoch-0000.npz", id="no archive"),
        pytest.param("angles/epoch-0000.npz", b"", "epoch-0000.npz", id="an empty archive"),
        pytest.param("angles/epoch-abc.npz", b"", "its name has no epoch", id="a name without an epoch"),
    ],
)
def test_a_damaged_file_is_named_with_a_way_out(run: Run, name: str, content: bytes, problem: str) -> None:
    path = run.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        getattr(run, f"read_{path.stem if path.parent == run.folder else 'angles'}")()
    message = str(raised.value)
    assert str(path) in message
    assert problem in message
    assert "move it away" in message
    assert "\n" not in message


def test_a_truncated_angles_file_is_named(run: Run) -> None:
    run.write_angles(0, {"conv1": np.random.default_rng(0).normal(size=(40, 40))})
    path = run.angles_path(0)
    whole = path.read_bytes()
    for cut in range(0, len(whole), 97):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"epoch-0000\.npz is damaged"):
            run.read_angles()
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 255]) + whole[201:])
    with pytest.raises(InputError, match=r"epoch-0000\.npz is damaged"):
        run.read_angles()


def test_angles_of_another_shape_are_refused(run: Run) -> None:
    run.angles_dir.mkdir()
    np.savez(run.angles_path(0), conv1=np.zeros((2, 3)))
    with pytest.raises(InputError, match="conv1 is not a square matrix"):
        run.read_angles()
    with zipfile.ZipFile(run.angles_path(0), "w") as archive:
        archive.writestr("conv1.npy", "text")
    with pytest.raises(InputError, match="damaged"):
        run.read_angles()


# The newest run


def test_latest_is_a_relative_link_to_the_run_that_started_last(run: Run) -> None:
    second = Run(run.folder.with_name("second"))
    second.folder.mkdir()
    for each in (run, second):
        assert mark_latest(each)
        link = run.folder.with_name(LATEST)
        assert link.readlink() == Path(each.folder.name)  # relative: the folder of runs may be moved
        assert sorted(path.name for path in link.parent.iterdir()) == ["first", "latest", "second"]


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_file_or_folder_named_latest_stays(run: Run, is_folder: bool) -> None:
    path = run.folder.with_name(LATEST)
    path.mkdir() if is_folder else path.touch()
    assert not mark_latest(run)
    assert not path.is_symlink()


def test_without_symbolic_links_there_is_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError

    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert not mark_latest(run)
    assert [path.name for path in run.folder.parent.iterdir()] == ["first"]


# A run's folder in a checkpoint's place


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()


def test_a_runs_folder_means_its_best_checkpoint(run: Run) -> None:
    _touch(run.pruned_checkpoint)
    assert find_checkpoint(run.folder) == run.pruned_checkpoint
    _touch(run.best_checkpoint, run.last_checkpoint)
    assert find_checkpoint(run.folder) == run.best_checkpoint
    assert find_checkpoint(run.folder, resume=True) == run.last_checkpoint
    assert find_checkpoint(run.pruned_checkpoint) == run.pruned_checkpoint


def test_latest_is_replaced_by_the_run_it_links_to(run: Run) -> None:
    _touch(run.best_checkpoint)
    mark_latest(run)
    link = run.folder.with_name(LATEST)
    assert find_checkpoint(link) == run.best_checkpoint
    assert find_checkpoint(link / "checkpoints" / "best.ckpt") == run.best_checkpoint


def test_a_run_that_evaluated_a_checkpoint_means_that_one(run: Run) -> None:
    _touch(run.best_checkpoint)
    other = Run(run.folder.with_name("test"))
    other.folder.mkdir()
    settings = {"network": "ann", "dataset": "folder", "ckpt_path": str(run.best_checkpoint)}
    other.write_config(yaml.safe_dump(settings))
    assert find_checkpoint(other.folder) == run.best_checkpoint


@pytest.mark.parametrize(
    ("name", "said"), [("gone", "no such checkpoint"), ("first", "no checkpoint in checkpoints/")]
)
def test_a_path_without_a_checkpoint_is_refused(run: Run, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        find_checkpoint(run.folder.with_name(name))
