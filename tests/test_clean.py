"""``fer clean`` removes what can be done without, after a question, and nothing else."""

import os
import sys
from pathlib import Path

import pytest
from command import call, done

from fer.commands import clean
from fer.files import in_use

OLD = 1e9
CHECKPOINTS = ("best", "last", "previous", "pruned")


def _run(folder: Path, *, results: str = "{}", epochs: int = 2, names: tuple[str, ...] = CHECKPOINTS) -> Path:
    """Make the folder of an old run of 2 epochs, tested if it has results."""
    (folder / "checkpoints").mkdir(parents=True)
    for name in names:
        (folder / "checkpoints" / f"{name}.ckpt").write_bytes(bytes(1000))
    (folder / "checkpoints" / "mine.ckpt").write_bytes(b"")
    (folder / "config.yaml").write_text("network: ann\ndataset: sfew\ntrainer:\n  max_epochs: 2\n")
    rows = "".join(f"{epoch},0.5\n" for epoch in range(epochs))
    (folder / "metrics.csv").write_text(f"epoch,val/acc\n{rows}")
    if results:
        (folder / "results.json").write_text(results)
    for path in (*folder.iterdir(), *(folder / "checkpoints").iterdir()):
        os.utime(path, (OLD, OLD))
    return folder


def _left(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "checkpoints").iterdir() if path.stem != "mine")


def test_a_measurement_of_neurons_is_no_complete_epoch(tmp_path):
    run = _run(tmp_path / "runs" / "a", results="", epochs=1)
    (run / "metrics.csv").write_text("epoch,stage/network,val/acc\n0,,0.5\n1.0,0.0,\n")
    os.utime(run / "metrics.csv", (OLD, OLD))
    assert "nothing to remove" in done("clean", "--yes")
    assert _left(run) == sorted(CHECKPOINTS)


@pytest.mark.parametrize(
    ("options", "left"),
    [
        pytest.param((), ["best", "pruned"], id="usual"),
        pytest.param(("--best",), [], id="the best as well"),
        pytest.param(("--dry_run",), [*CHECKPOINTS], id="list only"),
        pytest.param(("--older_than", "1e6"), [*CHECKPOINTS], id="not old enough"),
    ],
)
def test_checkpoints_of_a_complete_run_are_removed(options, left, tmp_path):
    run = _run(tmp_path / "runs" / "a")
    done("clean", "--yes", *options)
    assert _left(run) == left
    assert (run / "checkpoints" / "mine.ckpt").is_file()
    assert (run / "results.json").is_file()


@pytest.mark.parametrize(
    ("how", "options", "left"),
    [
        pytest.param({"results": ""}, (), ["best", "pruned"], id="complete and not tested"),
        pytest.param({"results": "", "epochs": 1}, (), [*CHECKPOINTS], id="can be resumed"),
        pytest.param({"results": "", "epochs": 1}, ("--unfinished",), ["best", "pruned"], id="asked for"),
        pytest.param({"names": ("last",)}, (), ["last"], id="no other checkpoint"),
    ],
)
def test_what_a_run_still_needs_stays(how, options, left, tmp_path):
    run = _run(tmp_path / "runs" / "sweep" / "trial-1", **how)
    done("clean", "--yes", *options)
    assert _left(run) == left


def test_runs_in_use_the_newest_and_unknown_folders_stay(tmp_path):
    runs = tmp_path / "runs"
    used, newest, linked, plain = (_run(runs / name) for name in ("used", "newest", "elsewhere", "plain"))
    new = _run(runs / "new")
    (new / "metrics.csv").write_text("")
    (plain / "config.yaml").unlink()
    (plain / "metrics.csv").unlink()
    (plain / "results.json").unlink()
    (runs / "latest").symlink_to("newest")
    moved = linked.rename(tmp_path / "elsewhere")
    (runs / "link").symlink_to(moved)
    with in_use(used):
        done("clean", "--yes")
    for folder in (used, newest, moved, plain, new):
        assert _left(folder) == [*CHECKPOINTS], folder
    assert (runs / "latest").is_symlink()
    assert done("clean", "--yes").endswith("removed 2 kB\n")
    assert _left(used) == ["best", "pruned"]


def test_drafts_and_the_old_cache_are_removed(tmp_path):
    (tmp_path / "runs").mkdir()
    crops = tmp_path / "cache" / "crops" / "ab"
    crops.mkdir(parents=True)
    draft, old, new, unknown = (
        *(tmp_path / "runs" / ".last.ckpt.0a1b2c3d-1-00000000.tmp", crops / "old.npz"),
        *(crops / "new.npz", crops / "notes.txt"),
    )
    for path in (draft, old, new, unknown):
        path.write_bytes(bytes(2000))
    for path in (draft, old, unknown):
        os.utime(path, (OLD, OLD))
    lines = done("clean", "--yes").splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["2", "kB"], ["2", "kB"]]
    assert "cropped faces, 1 file" in lines[1]
    assert "drafts, 1 file" in lines[2]
    assert lines[-2:] == ["2 files, 4 kB", "removed 4 kB"]
    assert [path.exists() for path in (draft, old, new, unknown)] == [False, False, True, True]


@pytest.mark.parametrize(
    ("answer", "left"),
    [("y", ["best", "pruned"]), ("", [*CHECKPOINTS]), ("n", [*CHECKPOINTS])],
)
def test_it_asks_first(answer, left, tmp_path, monkeypatch):
    run = _run(tmp_path / "runs" / "a")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(clean.CONSOLE, "input", lambda question: answer)
    done("clean")
    assert _left(run) == left


def test_without_a_terminal_it_removes_nothing(tmp_path):
    run = _run(tmp_path / "runs" / "a")
    called = call("clean")
    assert called.status == 2
    assert called.err == (
        "fer clean: error: nothing was removed, since there is no terminal to ask on: add --yes, "
        "or --dry_run to list only\n"
    )
    assert _left(run) == [*CHECKPOINTS]


def test_a_folder_that_is_not_there_is_named():
    assert call("clean", "gone").err == (
        "fer clean: error: gone: no such folder; give the folder of runs, such as runs\n"
    )


def test_nothing_to_remove_is_told(tmp_path):
    (tmp_path / "runs").mkdir()
    assert "runs: nothing to remove" in done("clean")
