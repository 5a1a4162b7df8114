"""The command ``fer sweep``: what it refuses before it begins, what it says, and real trials of ours."""

import csv
import io
import itertools
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from command import call, done
from rich.console import Console
from shortened import shorten

import fer.commands.agent
import fer.commands.sweep
from fer.studies.study import open_study
from fer.studies.sweepfile import read_sweep
from fer.studies.trials import Trial, read_trials
from fer.studies.warm import WarmServer

PROGRAM = """\
import json, os, sys
x, y = (json.load(open(sys.argv[1]))[name] for name in ("x", "y"))
with open(os.environ["FER_SWEEP_METRICS"], "a") as file:
    file.write(json.dumps({"loss": (x - 0.3) ** 2 + y}) + "\\n")
"""
TOY = {
    "program": "train.py",
    "method": "random",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"min": 0.0, "max": 1.0}, "y": {"values": [0, 1]}, "z": {"value": "a"}},
    "command": ["${interpreter}", "-S", "-E", "${program}", "${args_json_file}"],
}
FIT = {
    "method": "grid",
    "metric": {"name": "val/acc_best", "goal": "maximize"},
    "command": [
        "${env}",
        "${interpreter}",
        "-m",
        "fer",
        "fit",
        "--network",
        "ann",
        "--config",
        "${args_json_file}",
    ],
    "parameters": {"model.lr": {"values": [0.01, 0.001]}, "model.hidden": {"value": 8}},
}


def write(content):
    path = Path("sweep.yaml")
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture
def toy():
    Path("train.py").write_text(PROGRAM)
    return write(TOY)


@pytest.mark.drawn
@pytest.mark.slow
def test_a_sweep_says_what_it_does_and_what_was_best(toy):
    out = done("sweep", toy, "--count", "9", "--agents", "3", "--run_name", "s")
    assert "sweep        sweep.yaml: random, 9 points, 3 in parallel" in out
    trials = read_trials(Path("runs/s"))
    best = min(trials, key=lambda trial: trial.value)
    assert len(re.findall(r"^trial-\d+  finished  \d\.\d{4}  ", out, re.MULTILINE)) == 9
    assert f"best         {best.name}: loss {best.value:.4f}\n" in out
    assert f"  x {best.point['x']:.4g}\n" in out
    (again,) = re.findall("^again        (.*)$", out, re.MULTILINE)
    assert again.endswith(f"train.py runs/s/{best.name}/params.json")
    assert json.loads(Path("runs/s/best.json").read_text())["parameters"] == best.point
    for name in ("best-so-far", "parallel", "slices", "importances"):
        assert Path(f"runs/s/figures/{name}.png").stat().st_size > 8_000
    assert "nothing" not in done("sweep", toy, "--count", "9", "--run_name", "s")  # goes on, with none left
    assert len(read_trials(Path("runs/s"))) == 9


def test_the_table_of_a_small_terminal_has_the_best_then_what_runs(toy, monkeypatch):
    parameters = {"model.lr": {"min": 0.0, "max": 1.0}, "x.a": {"values": [1, 2]}, "y.a": {"values": [1, 2]}}
    study = open_study(Path("s"), read_sweep(write(TOY | {"parameters": parameters})), 0)
    point = {"model.lr": 0.123456, "x.a": 1, "y.a": 2}
    trials = [Trial(n, n, point, [], state="finished", value=abs(n - 3), values=[1.0]) for n in range(1, 39)]
    trials += [Trial(39, 39, point, []), Trial(40, 40, point, [], state="failed", reason="exit status 1")]
    console = Console(width=80, height=24, file=io.StringIO())
    monkeypatch.setattr(fer.commands.sweep, "CONSOLE", console)
    console.print(fer.commands.sweep._table(study, 40, trials))
    title, head, *rows = console.file.getvalue().splitlines()
    assert (title.strip(), head.split()[0]) == ("s: 39 of 40", "trial")
    assert [row.split()[0] for row in rows] == [f"trial-{n:04d}" for n in (3, 39, 40, *range(38, 21, -1))]
    assert "lr=0.1235  x.a=1" in rows[0]
    assert "(exit status 1)" in rows[2]
    assert rows[2].rstrip().endswith("…")


@pytest.mark.slow
def test_the_same_seed_gives_the_same_points(toy):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        done("sweep", toy, "--count", "2", "--run_name", name, "--seed", seed)
    points = {name: [trial.point for trial in read_trials(Path("runs") / name)] for name in "abc"}
    assert points["a"] == points["b"] != points["c"]


@pytest.mark.slow
def test_a_sweep_that_fails_ends_with_a_status(toy):
    Path("train.py").write_text("raise SystemExit('no luck')")
    called = call("sweep", toy, "--count", "9", "--run_name", "s")
    assert called.status == 2
    assert "3 trials failed in a row, the last (trial-0003): exit status 1\nno luck" in called.err
    assert "trial-0001 failed: exit status 1" in called.out
    assert "no trial has a value of loss" in called.out


@pytest.mark.drawn
@pytest.mark.slow
def test_searches_are_compared(toy):
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)  # only the comparison is looked at
        for method, seed in itertools.product(("random", "bayes"), (0, 1)):
            words = ("--count", "3", "--method", method, "--seed", seed, "--run_name", f"{method}-{seed}")
            done("sweep", toy, *words)
    folders = [Path("runs") / f"{method}-{seed}" for method in ("bayes", "random") for seed in (0, 1)]
    out = done("sweep", "--compare", *folders, "--out", "compared.png")
    assert "random   2 seeds, 3 trials each: best loss " in out
    assert Path("compared.png").stat().st_size > 10_000
    assert "runs holds no sweep" in call("sweep", "--compare", "runs").err


def test_the_old_name_of_out_is_read():
    Path("runs").mkdir()
    said = call("sweep", "--compare", "runs", "--output", "compared.png").err
    assert "--output is now called --out" in said
    assert "runs holds no sweep" in said


@pytest.mark.slow
def test_what_is_not_the_same_search_by_another_seed_is_not_compared(toy):
    done("sweep", toy, "--count", "1", "--run_name", "a")
    done("sweep", toy, "--count", "1", "--run_name", "b")
    done(
        "sweep",
        write(TOY | {"parameters": {"x": {"value": 1}, "y": {"values": [0, 1]}}}),
        "--count",
        "1",
        "--run_name",
        "c",
        "--seed",
        "1",
    )
    said = call("sweep", "--compare", "runs/a", "runs/b").err
    assert "runs/a and runs/b are the same search, random with seed 0: give one of them" in said
    assert (
        "runs/a and runs/c cannot be compared, they differ in parameters"
        in call("sweep", "--compare", "runs/a", "runs/c").err
    )
    Path("runs/b/study.json").write_text('{"key": "ab')
    said = call("sweep", "--compare", "runs/a", "runs/b").err
    assert "runs/b/study.json is damaged" in said
    assert "start the sweep again with another --run_name" in said
    assert not Path("searches.png").exists()


@pytest.mark.slow
def test_where_a_image_cannot_be_written_the_best_is_known_all_the_same(toy):
    done("sweep", toy, "--count", "1", "--run_name", "s")
    shutil.rmtree("runs/s/figures")
    Path("runs/s/figures").touch()
    Path("runs/s/best.json").unlink()
    called = call("sweep", toy, "--count", "1", "--run_name", "s")
    assert called.status == 2
    assert "best         trial-0001" in called.out
    assert Path("runs/s/best.json").is_file()
    assert re.search(r"best-so-far.png cannot be written \(.*\): free some space", called.err)
    assert "cannot be written" in call("sweep", toy, "--count", "1", "--runs_dir", "train.py").err


@pytest.mark.slow
def test_a_sweep_without_a_value_ends_with_a_status_and_is_not_compared(toy):
    done("sweep", toy, "--count", "2", "--run_name", "good", "--seed", "1")
    Path("train.py").write_text("raise SystemExit('no luck')")
    called = call("sweep", toy, "--count", "2", "--run_name", "bad")
    assert called.status == 2
    assert "all 2 trials failed, the last (trial-0002): exit status 1\nno luck" in called.err
    out = done("sweep", "--compare", "runs/good", "runs/bad", "--out", "compared.png")
    assert "left out     runs/bad: no trial has a value" in out
    assert "random   1 seeds" in out
    assert "no trial of runs/bad has a value" in call("sweep", "--compare", "runs/bad").err


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        pytest.param(
            {"parameters": {"model.lrr": {"values": [0.1]}}},
            "model.lrr",
            r"'lrr'; did you mean model\.lr",
            id="an unknown parameter",
        ),
        pytest.param(
            {"parameters": {"model": {"parameters": {"lrr": {"values": [0.1]}}}}},
            "lrr",
            r"'lrr'; did you mean model\.lr",
            id="an unknown parameter, nested",
        ),
        pytest.param(
            {"parameters": {"model.hidden": {"value": 8}, "model.lr": {"values": [0.1, "fast"]}}},
            "model.lr",
            r"fast",
            id="a value of another type",
        ),
        pytest.param(
            {"parameters": {"model.hidden": {"value": 8}, "model.lr": {"values": [0.1, -1.0]}}},
            "model.lr",
            r"-1\.0",
            id="a value that the optimiser refuses",
        ),
        pytest.param(
            {"parameters": {"model.hidden": {"values": [8, 0]}}},
            "model.hidden",
            r"hidden",
            id="a value that the network refuses",
        ),
        pytest.param(
            {"parameters": {"data.batch_size": {"min": 0, "max": 8}}},
            "data.batch_size",
            r"batch_size",
            id="an end that the data refuses",
        ),
        pytest.param(
            {"metric": {"name": "val/acc_bets", "goal": "maximize"}},
            "name",
            "did you mean 'val/acc_best'",
            id="metric",
        ),
        pytest.param(
            {"metric": {"name": "test/acc", "goal": "maximize"}},
            "name",
            "not selected on the test split",
            id="test",
        ),
        pytest.param(
            {"metric": {"name": "angles/hidden/nonsense"}}, "name", "fer fit does not log it", id="angles"
        ),
        pytest.param(
            {"metric": {"name": "prune/acc_after", "goal": "maximize"}},
            "name",
            "logged only with prune.enabled, which is off",
            id="a metric that is off",
        ),
        pytest.param(
            {
                "metric": {"name": "val/nonsense"},
                "command": ["fer", "crossval", "--config", "conv1", "--config", "${args_json_file}"],
                "parameters": {"model.lr": {"value": 0.1}},
            },
            "name",
            "fer crossval does not log it",
            id="a metric of crossval",
        ),
        pytest.param(
            {
                "metric": {"name": "val/nonsense"},
                "command": [
                    "fer",
                    "repeat",
                    "--seeds",
                    "2",
                    "--config",
                    "ann",
                    "--config",
                    "${args_json_file}",
                ],
                "parameters": {"model.lr": {"value": 0.1}},
            },
            "name",
            "fer repeat does not log it",
            id="a metric of repeat",
        ),
        pytest.param(
            {"command": ["fer", "crossval", "--config", "demo"]},
            "command",
            "cannot be cross-validated",
            id="data that cannot be cross-validated",
        ),
        pytest.param(
            {"command": ["fer", "tset", "${args}"]}, "command", "fer tset cannot be a trial", id="command"
        ),
        pytest.param(
            {"command": ["fer", "prune", "${envvar:NONE}/best.ckpt", "--config", "${args_json_file}"]},
            "command",
            "NONE}? is not set; NONE=… fer sweep",
            id="a variable",
        ),
        pytest.param({"command": ["fer", "fit", "--config", "nonet"]}, "command", "nonet", id="config"),
        pytest.param({"command": ["./nothing", "${args}"]}, "command", "no program ./nothing", id="program"),
        pytest.param(
            {"command": ["${env}", "A=1", "./nothing", "${args}"]},
            "command",
            "no program ./nothing",
            id="a program behind env",
        ),
        pytest.param(
            {"parameters": {"model.lr": {"values": [0.1, 0.2]}, "model.hidden": {"value": 0}}},
            "model.hidden",
            "hidden",
            id="a constant that the network refuses",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(change, key, words, monkeypatch):
    monkeypatch.setattr(fer.commands.sweep, "run_sweep", lambda *args, **kwargs: pytest.fail("it began"))
    path = write(FIT | change)
    lines = path.read_text().splitlines()
    line = next(number for number, text in enumerate(lines, start=1) if text.strip().startswith(f"{key}:"))
    called = call("sweep", path)
    assert called.status == 2
    assert called.err.startswith(f"fer sweep: error: sweep.yaml, line {line}: ")
    assert re.search(words, called.err)
    assert not Path("runs").exists()


@pytest.mark.slow
def test_env_may_set_variables(toy):
    write(TOY | {"command": ["${env}", "A=1", *TOY["command"]]})
    assert "1 finished" in done("sweep", toy, "--count", "1")


def test_a_search_without_an_end_is_refused(toy):
    called = call("sweep", toy)
    assert (called.status, "--count is missing" in called.err) == (2, True)


@pytest.fixture
def _account(monkeypatch):
    """An account on W&B, where no sweep may be created."""
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(fer.commands.agent, "is_logged_in", lambda: True)
    monkeypatch.setattr(fer.commands.agent, "create_sweep", lambda *args: pytest.fail("it began"))


@pytest.mark.usefixtures("_account")
def test_a_search_without_an_end_is_refused_by_an_agent(toy):
    called = call("agent", toy)
    assert (called.status, "--count is missing" in called.err) == (2, True)


@pytest.mark.usefixtures("_account")
def test_a_metric_that_wandb_does_not_get_is_refused_by_an_agent():
    change = {"metric": {"name": "angles/fc1/mean", "goal": "maximize"}}
    called = call("agent", write(FIT | change))
    assert "add that to the command" in called.err, called
    command = [*FIT["command"], "--distinctiveness.log", "all"]
    with pytest.raises(pytest.fail.Exception, match="it began"):
        call("agent", write(FIT | change | {"command": command}))


def test_options_are_checked(toy):
    assert "--agents 0: give a whole number above 0" in call("sweep", toy, "--agents", "0").err
    assert "no sweep file: give one" in call("sweep").err


QUICK = {
    "data.num_train": 35,
    "data.num_val": 14,
    "data.num_test": 14,
    "data.batch_size": 7,
    "trainer.accelerator": "cpu",
    "trainer.max_epochs": 3,
    "distinctiveness.every_n_epochs": 0,
    "stages.enabled": False,
    "gradients.every_n_epochs": 0,
}


@pytest.fixture
def forked(monkeypatch):
    """The process of each trial that was forked, None for another, in order."""
    started = []
    start = WarmServer.start

    def remember(*args, **kwargs):
        started.append(start(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(WarmServer, "start", remember)
    return started


@pytest.mark.slow
def test_trials_of_ours_are_runs_of_one_group(forked):
    parameters = {
        "model.lr": {"values": [0.01, 0.001]},
        "model.hidden": {"value": 8},
        "test": {"value": False},
        **{name: {"value": value} for name, value in QUICK.items()},
    }
    out = done(
        "sweep",
        write(FIT | {"parameters": parameters, "project": "faces"}),
        "--run_name",
        "s",
        "--agents",
        "2",
    )
    trials = read_trials(Path("runs/s"))
    assert [trial.state for trial in trials] == ["finished", "finished"]
    for trial in trials:
        run_dir = Path("runs/s") / trial.name / f"s-{trial.name}"
        with (run_dir / "metrics.csv").open() as file:
            logged = [float(row["val/acc_best"]) for row in csv.DictReader(file) if row["val/acc_best"]]
        assert trial.values == logged
        assert len(logged) == 3
        assert (run_dir / "checkpoints" / "best.ckpt").is_file()
        config = yaml.safe_load((run_dir / "config.yaml").read_text())
        assert config["model"]["lr"] == trial.point["model.lr"]
        assert config["wandb"]["project"] == "faces"
        assert next(run_dir.glob("wandb/offline-run-*")).name.endswith(f"-{trial.number}")
    assert "wandb sync runs/s/trial-*/*/wandb/offline-run-*" in out

    # They were forked, and are what a new process makes of the same command.
    assert [process is not None for process in forked] == [True, True]
    (again,) = re.findall("^again        (.*)$", out, re.MULTILINE)
    subprocess.run([*shlex.split(again), "--run_name", "again"], check=True, capture_output=True)
    best = json.loads(Path("runs/s/best.json").read_text())["trial"]
    assert losses(Path("runs/again")) == losses(Path("runs/s") / best / f"s-{best}")


def losses(run_dir):
    with (run_dir / "metrics.csv").open() as file:
        rows = [
            {key: value for key, value in row.items() if "time" not in key} for row in csv.DictReader(file)
        ]
    assert len(rows) >= 3
    return rows
