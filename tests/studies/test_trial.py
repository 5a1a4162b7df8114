"""A trial's values as it writes them, and how its end is judged."""

import json
import math

import pytest

from fer.studies.trial import broken_line, classify_end, read_values


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path


def values(folder):
    return read_values(folder, folder / "run", "val/acc_best")


def test_values_are_those_that_were_logged(folder):
    (folder / "run" / "metrics.csv").write_text("epoch,val/acc_best\n0,0.25\n0,\n1,0.5\n")
    assert values(folder) == [0.25, 0.5]


def test_half_a_line_is_not_read(folder):
    path = folder / "run" / "metrics.csv"
    path.write_text("epoch,val/acc_best\n0,0.25\n1,0.5")  # of 0.5432
    assert values(folder) == [0.25]
    path.write_text("epoch,val/acc")
    assert values(folder) == []
    (folder / "metrics.jsonl").write_text('{"val/acc_best": 0.125}\n{"val/acc')
    assert values(folder) == [0.125]


@pytest.mark.parametrize("name", ["crossval", "repeat"])
def test_a_study_of_several_runs_has_one_value(folder, name):
    (folder / "run" / f"{name}.json").write_text(json.dumps({"val/acc_best": 0.4, "val/acc_std": None}))
    assert values(folder) == [0.4]


def test_what_is_no_number_is_nan(folder):
    (folder / "metrics.jsonl").write_text('{"val/acc_best": null}\n{"val/acc_best": NaN}\n{"other": 1}\n')
    assert [math.isnan(value) for value in values(folder)] == [True, True]


@pytest.mark.parametrize("line", ["hello", "3", "[1]", "null"])
def test_what_is_no_json_object_is_passed_over(folder, line):
    (folder / "metrics.jsonl").write_text(f'{{"val/acc_best": 0.5, "a": "\u2028"}}\n{line}\n{{"val')
    assert values(folder) == [0.5]
    assert broken_line(folder) == "line 2 of metrics.jsonl is not a JSON object"


NAN = float("nan")


@pytest.mark.parametrize(
    ("status", "logged", "stopped_for", "state", "reason"),
    [
        pytest.param(0, [0.1], "", "finished", "", id="well"),
        pytest.param(0, [], "", "failed", "it logged no m\na\nlast line", id="no value"),
        pytest.param(0, [0.1, NAN], "", "failed", "value 2 of m is nan", id="NaN"),
        pytest.param(1, [0.1], "", "failed", "exit status 1\na\nlast line", id="error"),
        pytest.param(
            -9, [0.1], "", "failed", "killed by SIGKILL: perhaps memory ran out\na\nlast line", id="killed"
        ),
        pytest.param(0, [0.1], "hyperband", "stopped", "hyperband", id="hyperband"),
        pytest.param(
            -9, [0.1], "hyperband", "stopped", "hyperband; exit status -9", id="hyperband had to kill"
        ),
        pytest.param(0, [0.1], "interrupted", "cut off", "interrupted", id="Ctrl-C"),
        pytest.param(
            0, [0.1, NAN], "value 2 of m is nan", "failed", "value 2 of m is nan", id="ended for NaN"
        ),
    ],
)
def test_how_a_trial_ended(status, logged, stopped_for, state, reason):
    assert classify_end(status, logged, "m", stopped_for, "a\n\nlast line\n") == (state, reason)


def test_of_a_long_log_the_end_is_kept():
    _, reason = classify_end(1, [], "m", "", "\n".join(f"line {i} {'x' * 60}" for i in range(100)))
    assert reason.count("\n") <= 9
    assert "line 99" in reason
    assert "line 80" not in reason
