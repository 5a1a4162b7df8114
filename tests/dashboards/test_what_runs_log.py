"""The dashboard shows only what runs log."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from forked import run_python

from fer.dashboards.workspace import OBJECTIVE, RESULTS, chapters

DATA = ["--data.num_train", "70", "--data.num_val", "35", "--data.num_test", "35", "--data.batch_size", "16"]


MOST_NUMBERS = 60
"""Numbers of a run that a person can look through."""


@pytest.fixture(scope="module")
def logged(tmp_path_factory, sandboxed):
    """All keys in the record of a run that was trained, tested and pruned, with those of each layer."""
    words = ["--trainer.max_epochs", "2", "--prune.enabled", "true", "--distinctiveness.log", "all"]
    return keys_of_run(tmp_path_factory.mktemp("logged"), sandboxed, *words)


def keys_of_run(folder, sandboxed, *words):
    with sandboxed(folder):
        small = ["--trainer.accelerator", "cpu", "--model.widths", "[4, 6, 6, 8, 8]"]
        # In a process of its own, so that no W&B run of another test is open.
        called = run_python("-m", "fer", "fit", *DATA, *small, *words, "--run_name", "run", cwd=folder)
    assert called.returncode == 0, called.stderr
    # Of so few samples, and of nothing else.
    few = "fewer than 10 per neuron", "fewer samples than neurons", "windows, fewer than its"
    assert all(any(each in line for each in few) for line in called.stderr.splitlines()), called.stderr
    (record,) = Path(folder, "runs", "run", "wandb").glob("offline-run-*/*.wandb")
    inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(record)]
    shown = subprocess.run(inspect, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    keys = set()
    for each in map(json.loads, lines):
        if each["type"] == "history":
            keys |= each["history"]["item"].keys()
    return keys


@pytest.mark.slow
@pytest.mark.parametrize("chapter", [c for c in chapters() if c.name != "System"], ids=lambda c: c.name)
def test_every_panel_has_something_to_show(chapter, logged):
    named, samples, images = set(), set(), set()
    for panel in chapter.panels:
        y = getattr(panel, "y", [])
        named |= {str(key) for key in y} if isinstance(y, list) else {y.name}
        named |= set(getattr(panel, "metrics", []))
        samples |= {sample for sample in [getattr(panel, "metric_regex", None)] if sample}
        images |= set(getattr(panel, "media_keys", []))
    assert named - logged == set()
    assert {key for key in images if f"{key}.filenames" not in logged} == set()
    assert {sample for sample in samples if not any(re.match(sample, key) for key in logged)} == set()


@pytest.mark.slow
def test_the_table_of_runs_has_its_columns(logged):
    assert {*RESULTS, OBJECTIVE, "prune/compression", "epoch"} - logged == set()


@pytest.mark.slow
def test_by_default_a_run_logs_what_a_person_can_look_through(tmp_path, sandboxed):
    keys = keys_of_run(tmp_path, sandboxed, "--trainer.max_epochs", "1")

    numbers = {key for key in keys if not key.startswith(("_", "figures/"))}
    assert {"train/loss", "val/acc", "test/acc", "angles/mean", "stage/network"} <= numbers
    assert len(numbers) <= MOST_NUMBERS
