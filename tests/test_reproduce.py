"""The command ``reproduce``: what it prints and writes, and that it reuses what is finished."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from command import call, done

from fer.data.features import FeatureSplit
from fer.studies.papers import feature_items
from fer.studies.papers.facts import find_item, read_papers
from fer.studies.papers.feature_networks import Settings
from fer.studies.papers.protocols import Protocol
from fer.studies.papers.replay import proportion
from fer.studies.papers.replaying import Replaying
from fer.studies.papers.run_items import Step, accuracies
from fer.studies.papers.store import Store

PAPERS = read_papers()


def test_list_shows_every_item():
    out = done("reproduce", "--list")
    assert "s0-table3" in out
    assert "s4-fig6" in out
    assert (
        "s2-fig15          convolutional block attention: not replayed: a drawing of an architecture" in out
    )


@pytest.mark.slow
def test_checks_say_what_needs_data():
    out = done("reproduce", "--checks")
    assert "not checked   needs SFEW's features" in out
    assert "18 of 18 findings are confirmed" in out
    assert "6 need data: no folder was given" in out


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        pytest.param([], "give one of ITEM, --list and --checks", id="nothing"),
        pytest.param(["s0-table3", "--list"], "give one of", id="two"),
        pytest.param(["s4-fig2"], "s4-fig2 is not replayed: a drawing", id="drawing"),
        pytest.param(["s9-fig2"], "no item 's9-fig2'", id="unknown"),
    ],
)
def test_what_cannot_be_replayed_is_said_in_a_line(words, problem):
    called = call("reproduce", *words)
    assert called.status == 2
    assert problem in called.err


def test_an_item_is_printed_and_written_without_data(tmp_path):
    out = done("reproduce", "s0-table2", "--runs_dir", tmp_path)
    assert "25,715,719" in out
    folder = tmp_path / "reproduce" / "s0-table2"
    content = json.loads((folder / "s0-table2.json").read_text())
    assert content["place"] == "Table 2"
    with (folder / "s0-table2.csv").open(newline="") as file:
        rows = {row["label"]: row for row in csv.DictReader(file)}
    assert rows["fc 1"]["printed"] == "128.0"
    assert rows["all weights"]["recomputed"] == "25715719.0"


def test_a_proportion_has_wilsons_interval():
    found = proportion([27 / 55], 55)
    assert (found.n, found.seeds) == (55, 1)
    assert (found.low, found.high) == pytest.approx((36.4, 61.9), abs=0.05)


@pytest.fixture
def pool() -> FeatureSplit:
    """675 rows of noise."""
    rng = np.random.default_rng(0)
    names = np.array([str(row) for row in range(675)])
    return FeatureSplit(features=rng.normal(size=(675, 10)), labels=np.arange(675) % 7, names=names)


def test_small_networks_are_trained_once(tmp_path, pool, monkeypatch):
    monkeypatch.setattr(feature_items, "MARKOU", Settings(5, "sigmoid", "sgd", 0.01, 20, step=10, gamma=0.5))
    first = feature_items.ann_angles(2, PAPERS, pool, Store(tmp_path), quick=True)
    assert len(list(tmp_path.glob("*.json"))) == 5
    assert [panel.y for panel in first.panels] == ["angle in degrees (Markou, equation 5)", "cross-entropy"]
    monkeypatch.setattr(feature_items, "train", None)
    assert feature_items.ann_angles(2, PAPERS, pool, Store(tmp_path), quick=True) == first
    accuracy = feature_items.ann_accuracy(PAPERS, pool, Store(tmp_path), quick=True).ours["ANN"]
    assert accuracy.n == 675


def test_pruning_by_size_is_replayed(tmp_path, pool, monkeypatch):
    monkeypatch.setattr(feature_items, "JAIN", Settings(20, "relu", "adam", 0.04, 5))
    found = feature_items.ann20_pruned(PAPERS, pool, Store(tmp_path), quick=True)
    assert found.ours["ann: test"].seeds == 3
    assert 0 <= found.ours["neurons pruned of 20"].value <= 20
    table = feature_items.unit_angles(PAPERS, pool, Store(tmp_path), quick=True)
    assert set(PAPERS["s4"]["angles"].rows) < set(table.ours)


def results(right: int) -> dict:
    confusion = [[0] * 7 for _ in range(7)]
    confusion[0][0], confusion[0][1] = right, 10 - right
    return {"splits": {"test": {"confusion": confusion}}}


def test_finished_runs_are_reused_and_failures_named(tmp_path):
    """Two steps: one finishes, the other lacks its data; a second call runs only what is left."""
    called: list[list[str]] = []

    def run(command: str, words: list[str]) -> None:
        from fer.errors import InputError

        called.append([command, *words])
        if "--config" not in words or words[words.index("--config") + 1] == "bad":
            msg = "no stills"
            raise InputError(msg)
        folder = Path(words[words.index("--runs_dir") + 1]) / words[words.index("--run_name") + 1]
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(results(7)))

    steps = (
        Step("one", "CNN", ("fit", "--config", "good")),
        Step("two", "T-Res", ("fit", "--config", "bad")),
    )
    protocol = Protocol(steps=steps, read=accuracies)
    replaying = Replaying(tmp_path, quick=True, root="data", run=run)
    item = find_item(PAPERS, "s0-table3")
    shown = replaying.replay(PAPERS, item, protocol, None, "").text

    assert "not run (T-Res): no stills" in shown
    assert "--quick" in shown
    assert [words[0] for words in called] == ["fit", "fit"]
    assert called[0][-2:] == ["--data.root", "data"]
    assert "--trainer.limit_train_batches" in called[0]
    (row,) = [row for row in shown.splitlines() if row.startswith("CNN")]
    assert row.split()[1:4] == ["37.72", "-", "70.00"]

    replaying.replay(PAPERS, item, protocol, None, "")
    assert [words[2] for words in called] == ["good", "bad", "bad"]


def test_a_run_of_other_settings_is_not_reused(tmp_path):
    step = Step("one", "CNN", ("fit", "--config", "good"))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "one.words.json").write_text('{"words": ["fit", "--config", "other"]}')
    replaying = Replaying(tmp_path, quick=False, root=None, run=lambda command, words: None)
    done = replaying.replay(
        PAPERS, find_item(PAPERS, "s0-table3"), Protocol(steps=(step,), read=accuracies), None, ""
    )
    assert "has other settings than this version's protocol" in done.text
