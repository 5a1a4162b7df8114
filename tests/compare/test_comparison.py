"""Runs side by side, from folders that are made up."""

import csv
import io
import json

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure

from fer.compare import compare_runs, read_runs, write_comparison
from fer.compare.answers import Answers, pair, why_not_paired
from fer.errors import InputError

CONFIG = {"network": "conv6", "dataset": "fer2013", "model": {"lr": 0.1, "hidden": 3}, "runs_dir": "runs"}


def answers(predicted, labels="aabb", names="1234"):
    return Answers(*(np.array([*each]) for each in (names, labels, predicted)))


def make_run(folder, *, lr=0.1, predicted=None, right=None, names="1234", labels="aabb", **settings):
    """Write what a run leaves, without a checkpoint."""
    folder.mkdir(parents=True)
    config = {**CONFIG, "model": {"lr": lr, "hidden": 3}, "run_name": folder.name, **settings}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    if right is not None:
        confusion = [[right, 10 - right], [0, 10]]
        facts = {"class_names": ["a", "b"], "protocol": "official", "epochs": 2, "fit_seconds": 90}
        facts["splits"] = {split: {"confusion": confusion} for split in ("val", "test")}
        (folder / "results.json").write_text(json.dumps(facts))
    if predicted is not None:
        rows = [f"test,{','.join(row)}" for row in zip(names, labels, predicted, strict=True)]
        (folder / "predictions.csv").write_text("\n".join(["split,name,label,predicted", *rows, ""]))
    (folder / "metrics.csv").write_text("epoch,train/loss,val/acc\n0,1.5,0.2\n1,1.0,0.4\n")
    return folder


def compared(*folders):
    return compare_runs(read_runs(folders), {}, {})


def test_mcnemar_counts_what_one_of_two_gets_right():
    found = pair(answers("aabb"), answers("abab"))
    assert (found.lost, found.won) == (2, 0)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        pytest.param(answers("abab"), "", id="the same samples"),
        pytest.param(answers("aab", "aab", "123"), "their test splits differ: 4 and 3 samples", id="fewer"),
        pytest.param(answers("abab", names="1235"), "their test splits hold different samples", id="names"),
        pytest.param(answers("abab", "abab"), "their test splits hold different samples", id="labels"),
        pytest.param(answers("cccc", "aabc"), "their test samples have different classes", id="classes"),
    ],
)
def test_only_answers_on_the_same_samples_are_paired(other, reason):
    assert why_not_paired(answers("aabb"), other) == reason


def test_two_runs_side_by_side(tmp_path):
    runs = (
        make_run(tmp_path / "a", predicted="aabb", right=5),
        make_run(tmp_path / "b", lr=0.2, predicted="abab", right=8),
    )
    found = compared(*runs)
    text = found.text()
    assert "75.00 % [53.13, 88.81] n = 20" in text  # Wilson, 15 of 20
    assert "2 wrong only here, 0 right only here, p = 0.5" in text
    assert [row.name for row in found.tables["settings that differ"]] == ["model.lr"]
    assert found.values["b"]["mcnemar/test/lost"] == 2
    table = {name: cells for name, *cells in csv.reader(io.StringIO(found.csv()))}
    assert table["name"] == ["a", "b"]
    assert table["test/acc"] == ["0.75", "0.9"]
    assert table["setting/model.lr"] == ["0.1", "0.2"]


def test_answers_alone_give_an_accuracy(tmp_path):
    found = compared(make_run(tmp_path / "a", predicted="aaba"), make_run(tmp_path / "b", predicted="aabb"))
    assert [found.values[run]["test/acc"] for run in "ab"] == [0.75, 1.0]


@pytest.mark.parametrize(
    ("other", "note"),
    [
        pytest.param({}, "not tested, it has no results.json: it is still running", id="unfinished"),
        pytest.param({"test": False}, "it was trained with --test false: run fer test", id="untested"),
        pytest.param({"right": 5}, "no McNemar's test, which needs test predictions", id="no answers"),
        pytest.param(
            {"predicted": "aab", "labels": "aab", "names": "123"},
            "on test, their test splits differ: 4 and 3 samples",
            id="another split",
        ),
        pytest.param(
            {"predicted": "aabb", "dataset": "sfew"}, "one is on fer2013 and the other on sfew", id="data"
        ),
        pytest.param({"predicted": "aabb", "right": 5}, "4 of 4 are correct; in its results", id="results"),
    ],
)
def test_what_cannot_be_compared_is_said(other, note, tmp_path):
    found = compared(make_run(tmp_path / "a", predicted="abab"), make_run(tmp_path / "b", **other))
    assert any(note in each for each in found.notes), found.notes
    assert note in found.text()


def test_a_pruned_run_has_the_accuracy_after_pruning(tmp_path):
    runs = [make_run(tmp_path / name, right=5) for name in "ab"]
    (runs[1] / "results.json").unlink()
    after = {"acc": 0.6, "interval": [0.5, 0.7]}
    (runs[1] / "prune.json").write_text(json.dumps({"n": 20, "after": after, "layers": {}}))
    found = compared(*runs)
    assert (found.values["b"]["state"], found.values["b"]["val/acc"]) == ("pruned", 0.6)


def test_a_training_that_was_pruned_at_its_end_is_compared_by_its_whole_network(tmp_path):
    runs = [make_run(tmp_path / name, right=5) for name in "ab"]
    after = {"acc": 0.6, "interval": [0.5, 0.7]}
    (runs[1] / "prune.json").write_text(json.dumps({"n": 20, "after": after, "layers": {}}))
    found = compared(*runs)
    assert (found.values["b"]["state"], found.values["b"]["val/acc"]) == ("tested", 0.75)


def test_three_p_values_are_said_to_be_uncorrected(tmp_path):
    found = compared(*(make_run(tmp_path / name, predicted="aabb") for name in "abc"))
    assert "The 2 p-values are not corrected for multiple comparisons." in found.notes


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param(["a"], "give two runs or more", id="one"),
        pytest.param(["a", "./a"], "are the same run", id="twice"),
        pytest.param(["a", "bb"], "bb: no such folder; did you mean b? give", id="typo"),
        pytest.param(
            ["a", "a/config.yaml"],
            "config.yaml: a file, not a folder; give a folder that fer wrote",
            id="file",
        ),
        pytest.param(["a", "folds"], "is a cross-validation, whose test samples differ", id="crossval"),
        pytest.param(["a", "search"], "is a sweep: give the folders of its trials", id="sweep"),
        pytest.param(["a", "."], "holds no run; did you mean a?", id="folder of runs"),
        pytest.param(["a", "empty"], "holds no run: give the folder of a run", id="empty"),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(names, message, tmp_path):
    from pathlib import Path

    for name in "ab":
        make_run(tmp_path / name)
    for name in ("folds", "search", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "folds" / "settings.json").write_text('{"folds": 2}')
    (tmp_path / "search" / "study.json").write_text("{}")
    with pytest.raises(InputError, match=r".") as refused:
        read_runs([Path(name) for name in names])
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_damaged_table_of_predictions_is_named(tmp_path):
    runs = [make_run(tmp_path / name, predicted="aabb") for name in "ab"]
    (runs[0] / "predictions.csv").write_text("split,name\ntest,1\n")
    with pytest.raises(InputError, match=r"predictions\.csv is damaged: 'label'"):
        read_runs(runs)


def test_the_files(tmp_path):
    folders = [make_run(tmp_path / name, predicted="aabb", right=5) for name in "ab"]
    runs = read_runs(folders)
    found = compare_runs(runs, {}, {})
    paths = write_comparison(tmp_path / "out", found, runs)
    assert {path.name for path in paths} == {"comparison.csv", "samples.csv", "comparison.html", "curves.png"}
    assert (tmp_path / "out" / "samples.csv").read_text().splitlines()[:2] == ["name,label,a,b", "1,a,a,a"]
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--out"):
        write_comparison(tmp_path / "file", found, [])


@pytest.mark.parametrize(
    ("all_names", "expected"),
    [
        (([*"ab"], [*"cd"]), 0.5),
        (([*"ab"], [*"abc"]), None),
        (([*"ab"], 5), 0.5),  # damaged, which is as good as unknown
        (([], None), None),
    ],
)
def test_chance_is_drawn_if_the_runs_have_the_same_number_of_classes(
    all_names, expected, tmp_path, monkeypatch
):
    drawn = []

    def draw(*_, chance):
        drawn.append(chance)
        return Figure()

    monkeypatch.setattr("fer.compare.write.overlay_figure", draw)
    runs = read_runs([make_run(tmp_path / name, predicted="aabb") for name in "ab"])
    for run, names in zip(runs, all_names, strict=True):
        run.results["class_names"] = names
    write_comparison(tmp_path / "out", compare_runs(runs, {}, {}), runs)
    assert drawn == [expected]


def test_names_and_settings_cannot_become_tags(tmp_path):
    runs = [make_run(tmp_path / f"<b>{number}", lr=f"<i>{number}", right=5) for number in range(2)]
    found = compared(*runs)
    write_comparison(tmp_path / "out", found, [])
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "<b>" not in page
    assert "<i>" not in page
