"""W&B's own client and agents run our sweeps against a server on this machine that holds what it was told."""

import csv
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from loopback import Loopback, Run

from fer.metrics.keys import is_summary

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
PATIENCE = 600.0
"""Seconds after which a test gives up; the machine may be slow."""

TINY = [
    *("--network", "conv6", "--model.widths", "[2, 2, 2, 2, 2]", "--data.image_size", "32"),
    *("--dataset", "synthetic", "--data.num_train", "14", "--data.num_val", "7"),
    *("--data.num_test", "7", "--data.batch_size", "7", "--data.augment", "none"),
    *("--trainer.accelerator", "cpu", "--trainer.num_sanity_val_steps", "0"),
    *("--distinctiveness.every_n_epochs", "0", "--stages.enabled", "false"),
    *("--gradients.every_n_epochs", "0", "--test", "false"),
]


class Machine:
    """Where agents run: a folder, and the server that they know."""

    def __init__(self, server: Loopback, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.environment = os.environ | server.environment(folder)
        self.environment |= {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "WANDB_AGENT_REPORT_INTERVAL": "1",
        }

    def sweep(self, method: str, parameters: dict, command: list[str] | None = None, **others: object) -> str:
        """Make a sweep by W&B's command, and return its address."""
        self.write("sweep.yaml", method, parameters, command, **others)
        self.wait_for_end(self.start("wandb", "sweep", "sweep.yaml"))
        return f"team/fer/{list(self.server.sweeps)[-1]}"

    def write(
        self, name: str, method: str, parameters: dict, command: list[str] | None = None, **others: object
    ) -> None:
        """Write a sweep file."""
        words = command or ["fit", *TINY]
        content = {
            "program": "fer",
            "command": ["${env}", "${interpreter}", "-m", "fer", *words, "--config", "${args_json_file}"],
            "project": "fer",
            "method": method,
            "metric": {"name": "val/acc_best", "goal": "maximize"},
            "parameters": parameters,
            **others,
        }
        (self.folder / name).write_text(yaml.safe_dump(content))

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own, where it can be sent Ctrl-C; what it says is kept."""
        with self.log(len(self.processes)).open("wb") as log:
            process = subprocess.Popen(
                words,
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def log(self, number: int) -> Path:
        return self.folder / f"log-{number}.txt"

    def said(self) -> str:
        """Return what all programs said."""
        return "\n".join(self.log(number).read_text() for number in range(len(self.processes)))

    def wait_for(self, what: Callable[[], object]) -> None:
        """Wait until something is so."""
        until = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < until, self.said()
            time.sleep(0.1)

    def wait_for_end(self, process: subprocess.Popen[bytes]) -> int:
        """Wait until a program ends by itself, and return its status."""
        self.wait_for(lambda: process.poll() is not None)
        return process.wait()

    def run_dir(self, run: Run) -> Path:
        """Return the folder of a run that the server knows."""
        (of_wandb,) = self.folder.glob(f"runs/*/wandb/run-*-{run.name}")
        return of_wandb.parents[1]

    def end(self) -> None:
        """Kill what is left, trials included: they are in groups of their own in the agents' sessions."""
        for process in self.processes:
            for group in groups_of(process.pid):
                os.killpg(group, signal.SIGKILL)
            process.wait()


def groups_of(session: int) -> set[int]:
    """Return the process groups of a session."""
    groups = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(words[3]) == session and words[0] != "Z":
            groups.add(int(words[2]))
    return groups


@pytest.fixture
def machine(tmp_path) -> Iterator[Machine]:
    with Loopback() as server:
        machine = Machine(server, tmp_path)
        yield machine
        machine.end()


def columns(rows) -> dict[str, list[float]]:
    """Return all values of each metric, in the order of epochs."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for key, value in row.items():
            if "/" in key and key != "trainer/global_step" and isinstance(value, (int, float)):
                found.setdefault(key, []).append(float(value))
    return found


def trained(run_dir: Path) -> dict[str, list[float]]:
    with (run_dir / "metrics.csv").open() as file:
        rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    return columns([{k: v for k, v in row.items() if not math.isnan(v)} for row in rows])


def check(machine: Machine, run: Run) -> None:
    """See that the server holds what was trained: its settings, its history and how it ended."""
    run_dir = machine.run_dir(run)
    settings = yaml.safe_load((run_dir / "config.yaml").read_text())
    for name, value in run.args.items():
        group, _, key = name.partition(".")
        assert run.settings[name] == value == (settings[group][key] if key else settings[group])
    assert not [name for name, value in run.settings.items() if isinstance(value, dict) and value]
    assert {name.split(".")[-1] for name in run.settings} >= {"lr", "max_epochs", "batch_size"}
    assert "lr" not in run.settings  # each setting stands once, under its name on the command line
    history, written = columns(run.history), trained(run_dir)
    assert written
    for key, values in written.items():
        if not is_summary(key):
            assert key not in history
            continue
        assert history[key] == pytest.approx(values), key
    assert run.summary["val/acc_best"] == pytest.approx(max(written["val/acc"]))
    assert (run_dir / "checkpoints" / "last.ckpt").is_file()
    assert (run_dir / "checkpoints" / "best.ckpt").is_file()


def test_two_agents_share_a_grid_and_a_failing_trial_fails_alone(machine):
    parameters = {
        "model.lr": {"values": [1e-3, 1e30, 1e-2]},  # the second explodes
        "model.milestones": {"value": [1]},
        "model.nesterov": {"value": False},
        "prune.layers": {"value": None},
        "trainer.detect_anomaly": {"value": True},
        "trainer.max_epochs": {"value": 2},
    }
    sweep = machine.sweep("grid", parameters, run_cap=3)
    agents = [machine.start("wandb", "agent", sweep) for _ in range(2)]
    assert [machine.wait_for_end(agent) for agent in agents] == [0, 0]
    runs = {run.args["model.lr"]: run for run in machine.server.runs.values()}
    assert {lr: run.state for lr, run in runs.items()} == {
        1e-3: "finished",
        1e30: "failed",
        1e-2: "finished",
    }, machine.said()
    assert len({run.agent for run in runs.values()}) == 2
    for run in (runs[1e-3], runs[1e-2]):
        check(machine, run)
        assert len(trained(machine.run_dir(run))["val/acc"]) == 2
        assert run.sweep == sweep.split("/")[-1]
        assert any(name.startswith("media/images/figures/curves") for name in run.files)
    assert "locked" not in machine.said()
    assert "Ignoring" not in machine.said()


def test_of_a_file_a_sweep_is_made_and_worked_on(machine):
    parameters = {"model.lr": {"values": [1e-3, 2e-3]}, "trainer.max_epochs": {"value": 1}}
    machine.write("lr-grid.yaml", "grid", parameters)
    assert machine.wait_for_end(machine.start("fer", "agent", "lr-grid.yaml", "--count", "1")) == 0
    (sweep,) = machine.server.sweeps.values()
    (run,) = machine.server.runs.values()
    assert sweep.config["name"] == "lr-grid"
    assert (run.sweep, run.state) == (sweep.name, "finished"), machine.said()
    check(machine, run)
    assert f"fer agent team/fer/{sweep.name}" in machine.said()


def test_what_a_killed_agent_had_is_run_by_another_and_a_server_that_goes_comes_back(machine):
    parameters = {
        "model.lr": {"distribution": "uniform", "min": 1e-3, "max": 1e-2},
        "trainer.max_epochs": {"value": 60},
    }
    server = machine.server
    server.patience = 12.0
    sweep = machine.sweep("random", parameters, run_cap=1)
    killed = machine.start("wandb", "agent", sweep)
    machine.wait_for(lambda: any(run.history for run in server.runs.values()))
    for group in groups_of(killed.pid):
        os.killpg(group, signal.SIGKILL)
    second = machine.start("wandb", "agent", "--count", "1", sweep)
    machine.wait_for(lambda: len(server.runs) == 2 and server.runs["trial1"].history)
    before = len(server.runs["trial1"].history)
    server.end()
    time.sleep(5)  # a run that ends waits 20 s for the server, and names `wandb sync` then
    server.start()
    assert machine.wait_for_end(second) == 0
    lost, run = server.runs.values()
    assert (lost.state, run.state) == ("crashed", "finished"), machine.said()
    assert lost.args == run.args
    assert len(run.history) > before
    check(machine, run)
    assert len(trained(machine.run_dir(run))["val/acc"]) == 60


def test_a_trial_that_is_to_stop_ends_with_a_checkpoint_and_a_whole_record(machine):
    parameters = {"model.lr": {"values": [1e-3, 2e-3, 3e-3]}, "trainer.max_epochs": {"value": 100_000}}
    asked = {"trial0": "by the agent", "trial1": "by the stream"}

    def stop(run: Run) -> None:
        if run.history:
            run.stop = asked.get(run.name)

    machine.server.on_history = stop
    sweep = machine.sweep("grid", parameters, run_cap=3)
    agent = machine.start("wandb", "agent", "--forward-signals", sweep)
    machine.wait_for(lambda: "trial2" in machine.server.runs and machine.server.runs["trial2"].history)
    os.kill(agent.pid, signal.SIGINT)  # Ctrl-C
    machine.wait_for_end(agent)
    runs = machine.server.runs
    assert {name: run.state for name, run in runs.items()} == dict.fromkeys(
        ["trial0", "trial1", "trial2"], "finished"
    ), machine.said()
    for run in runs.values():
        check(machine, run)
    assert "failed runs" not in machine.said()  # of which an agent takes three, and ends


def test_the_folds_are_runs_of_their_own_and_their_summary_is_the_trial(machine, make_images):
    root = make_images(machine.folder / "images", num=10)
    words = [
        *("crossval", "--network", "ann", "--dataset", "folder", "--folds", "2"),
        *("--data.root", str(root), "--data.image_size", "4", "--data.val_share", "0.3"),
        *("--data.batch_size", "8"),
        *("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"),
        *("--gradients.every_n_epochs", "0", "--distinctiveness.every_n_epochs", "0"),
        *("--stages.enabled", "false"),
    ]
    sweep = machine.sweep("grid", {"model.hidden": {"values": [3]}}, words, run_cap=1)
    assert machine.wait_for_end(machine.start("fer", "agent", sweep)) == 0
    trial = machine.server.runs.pop("trial0")
    folds = machine.server.runs.values()
    assert len(folds) == 2
    assert trial.state == "finished"
    assert trial.sweep == sweep.split("/")[-1]
    assert trial.settings["model.hidden"] == 3
    assert [fold.sweep for fold in folds] == [None, None]
    assert [fold.settings["data.fold"] for fold in folds] == [0, 1]
    assert [fold.about["project"] for fold in folds] == ["fer", "fer"]
    accuracies = [fold.summary["val/acc_best"] for fold in folds]
    assert trial.summary["val/acc_best"] == pytest.approx(sum(accuracies) / 2)
    assert "locked" not in machine.said()


def test_wandbs_own_scheduler_with_optuna_draws_what_our_trials_take(machine):
    pytest.importorskip("optuna")  # of the extra for Bayesian search
    parameters = {
        "model.lr": {"distribution": "log_uniform_values", "min": 1e-3, "max": 1e-2},
        "model.nesterov": {"values": [False, True]},
        "trainer.max_epochs": {"value": 1},
    }
    sweep = machine.sweep("custom", parameters, scheduler={"engine": "optuna"}, run_cap=2)
    scheduler = machine.start("wandb", "sweep-scheduler", "--batch-size", "1", "--poll-interval", "1", sweep)
    agent = machine.start("wandb", "agent", "--count", "2", sweep)
    assert machine.wait_for_end(agent) == 0
    runs = [run for run in machine.server.runs.values() if run.agent]
    assert [run.state for run in runs] == ["finished", "finished"], machine.said()
    for run in runs:
        assert 1e-3 <= run.args["model.lr"] <= 1e-2
        check(machine, run)
    assert len({run.args["model.lr"] for run in runs}) == 2
    scheduler.terminate()
    machine.wait_for_end(scheduler)
