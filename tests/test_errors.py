"""A path that is missing: the nearest one that exists is suggested."""

import os
import re
from pathlib import Path

import pytest
from command import call

from fer.errors import suggest_path
from fer.runs import Run


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Runs, the newest first, and a folder that is none."""
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate(("first", "second", "third", "conv6-fer2013")):
        checkpoint = Run(Path("runs") / name).best_checkpoint
        checkpoint.parent.mkdir(parents=True)
        checkpoint.touch()
        (Path("runs") / name / "results.json").write_text("{}")
        os.utime(Path("runs") / name, (1000 - age, 1000 - age))
    Path("runs/firsts").mkdir()
    Path("runs/latest").symlink_to("first")


def is_wanted(path):
    return path.suffix == ".ckpt" or Run(path).is_run


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        pytest.param("runs/frst", "did you mean runs/first? ", id="typo"),
        pytest.param("runs/latst", "did you mean runs/latest? ", id="the link to the newest"),
        pytest.param("frst", "did you mean runs/first? ", id="without its folder"),
        pytest.param("runs/frst/checkpoints/best.ckpt", "runs/first/checkpoints/best.ckpt? ", id="file"),
        pytest.param("runs/frst/checkpoints/gone.ckpt", "did you mean runs/first? ", id="neither"),
        pytest.param(
            "runs/first/checkpoints/x.ckpt", "runs/first/checkpoints/best.ckpt? ", id="the only one"
        ),
        pytest.param(
            "runs/typo", "the newest ones are runs/first, runs/second, runs/third; ", id="none near"
        ),
        pytest.param("/nowhere/at/all", "", id="none at all"),
    ],
)
@pytest.mark.usefixtures("runs")
def test_the_nearest_path_is_suggested(path, hint):
    found = suggest_path(Path(path), is_wanted)
    assert found.endswith(hint)
    assert bool(found) == bool(hint)


@pytest.mark.parametrize("command", ["prune", "test", "report", "compare runs/second", "export"])
@pytest.mark.usefixtures("runs")
def test_all_commands_suggest_the_run_that_was_meant(command):
    called = call(*command.split(), "runs/frst")
    assert called.status == 2
    message = r"runs/frst: no such (checkpoint|folder); did you mean runs/first\? give "
    assert re.search(message, called.err), called.err
