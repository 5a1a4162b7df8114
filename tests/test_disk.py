"""A training says what it will write, and a full disk costs it nothing that is safe."""

import errno
import os
import re
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from command import call
from command import done_on_few as done

from fer.checkpoints import read_any_checkpoint
from fer.runs import Run

FIT = (
    *("fit", "--dataset", "synthetic", "--network", "ann", "--wandb.mode", "disabled", "--run_name", "a"),
    *("--data.num_train", "70", "--data.num_val", "35", "--data.num_test", "35", "--data.batch_size", "16"),
    *("--data.image_size", "8", "--trainer.max_epochs", "3", "--trainer.accelerator", "cpu"),
    *("--gradients.every_n_epochs", "0", "--stages.enabled", "false", "--model.schedule", "none"),
)
RUN = Run(Path("runs/a"))
NO_SPACE = "(No space left on device)"


def _fill(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """Let the disk be full from the moment on when a file is written for the n-th time."""
    left, sync = [number], os.fsync

    def refuse(descriptor: int) -> None:
        written = Path(f"/proc/self/fd/{descriptor}").readlink().name
        left[0] -= written.startswith(f".{name}.")
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)


@pytest.mark.parametrize(
    ("name", "number", "message"),
    [
        pytest.param(
            "config.yaml", 1, "nothing was trained; free some space, and run the", id="at the start"
        ),
        pytest.param("epoch-0000.npz", 1, "no epoch is complete; free some space, then", id="first epoch"),
        pytest.param("last.ckpt", 2, "the run is safe up to epoch 1; free some space, then", id="checkpoint"),
        pytest.param(
            "epoch-0002.npz", 1, "the run is safe up to epoch 2; free some space, then", id="angles"
        ),
        pytest.param("last.ckpt", 3, "all epochs are trained; free some space, then", id="last checkpoint"),
        pytest.param("results.json", 1, "the run is safe up to epoch 3; free some space, then", id="results"),
    ],
)
@pytest.mark.slow
def test_a_full_disk_ends_in_one_line_that_says_what_is_safe(name, number, message, monkeypatch):
    _fill(monkeypatch, name, number)
    called = call(*FIT)
    assert called.status == 2
    problem = [line for line in called.err.splitlines() if "error" in line]
    assert len(problem) == 1
    place = r".*runs/a/[\w/.-]+"
    assert re.match(rf"fer fit: error: {place} cannot be written \(No space left", problem[0])
    assert f"{NO_SPACE}: {message}" in problem[0]
    assert problem[0].endswith(("--resume runs/a", "run the same command again"))
    assert not list(Path().rglob("*.tmp"))
    for path in Path().rglob("*.ckpt"):
        read_any_checkpoint(path)
    assert RUN.folder.exists() == (name != "config.yaml")


@pytest.mark.slow
def test_a_training_that_has_ended_is_tested_on_a_full_disk(monkeypatch):
    _fill(monkeypatch, "last.ckpt", 3)
    assert "n = 35" in call(*FIT).out  # the test's accuracy


@pytest.mark.slow
def test_figures_that_cannot_be_written_do_not_fail_the_run(monkeypatch):
    sync = os.fsync

    def refuse(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffixes[:1] == [".png"]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    called = call(*FIT)
    assert called.status == 0
    assert called.err.count("is left out") == 1
    assert re.search(
        r"without +\d+ figures: .*curves.*confusion-test.*\(No space left on device\)", called.out
    )
    assert RUN.read_results()["splits"]["test"]["n"] == 35


@pytest.mark.slow
def test_a_run_says_what_it_will_write_and_keeps_to_it(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(9e9, 0, 2_000_000_000))
    out = done(*FIT, "--checkpoints", "last", "--distinctiveness.keep_epochs", "2")
    found = re.search(
        r"disk +up to (\d+) kB \(2 checkpoints of (\d+) kB, angles (\d+) kB\); 2.0 GB free", out
    )
    most, one, angles = map(int, found.groups())
    files = [path for path in RUN.folder.rglob("*") if path.suffix in (".ckpt", ".npz")]
    assert sorted(path.name for path in files) == [
        "best.ckpt",
        "epoch-0001.npz",
        "epoch-0002.npz",
        "last.ckpt",
    ]
    sizes = {path.name: path.stat().st_size for path in files}
    assert most >= 3 * one + angles - 2
    assert sizes["last.ckpt"] < 1.5 * 1000 * one + 50_000  # states of callbacks and random numbers
    assert sizes["epoch-0001.npz"] + sizes["epoch-0002.npz"] <= 1000 * (angles + 1)


@pytest.mark.slow
def test_a_run_warns_where_it_will_not_fit(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(9e9, 0, 1000))
    err = call(*FIT, "--checkpoints", "best").err
    assert re.search(r"runs/a has 1 kB free, and this run writes up to \d+ kB: free some space, or keep", err)
    assert [path.name for path in RUN.checkpoints_dir.iterdir()] == ["best.ckpt"]
