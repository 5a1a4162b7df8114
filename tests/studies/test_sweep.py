"""A sweep's trials as processes: how they end, what is run again, and when it all ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fer.errors import InputError
from fer.studies.journal import Journal, Trial
from fer.studies.sweep import Limits, open_study, run_sweep
from fer.studies.sweepfile import read_sweep
from fer.studies.trial import take_lock

# What a trial does, by the value of its one parameter.
PROGRAM = """\
import json, os, signal, sys, time
x = json.load(open(sys.argv[1]))["x"]
stopped = []
def log(value):
    with open(os.environ["FER_SWEEP_METRICS"], "a") as file:
        file.write(json.dumps({"m": value}) + "\\n")
if x == "nan":
    log(0.1)
    log(float("nan"))
    time.sleep(60)
elif x == "error":
    sys.exit("it went wrong")
elif x == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
elif x == "silent":
    pass
elif x == "environment":
    log(1.0)
    print(json.dumps({k: v for k, v in os.environ.items() if k.startswith(("WANDB", "CUDA"))}))
elif x == "slow":
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    log(0.1)
    while not stopped:
        time.sleep(0.02)
    log(0.2)
elif x == "once":  # the first time it never ends
    log(0.5)
    if not os.path.exists("began"):
        open("began", "w").close()
        time.sleep(60)
elif x == "hello":
    log(0.4)
    with open(os.environ["FER_SWEEP_METRICS"], "a") as file:
        file.write("\\nhello\\n")
else:
    for epoch in range(3):
        log(x / 10)
"""


@pytest.fixture
def sweep_of():
    """A maker of sweeps over values of one parameter."""
    Path("trial.py").write_text(PROGRAM)

    def make(*values, method="grid", **content):
        command = ["${interpreter}", "-S", "-E", "${program}", "${args_json_file}"]
        Path("sweep.yaml").write_text(
            json.dumps(
                {
                    "program": "trial.py",
                    "method": method,
                    "metric": {"name": "m", "goal": "maximize"},
                    "parameters": {"x": {"values": list(values)}},
                    "command": command,
                    **content,
                }
            )
        )
        return read_sweep(Path("sweep.yaml"))

    return make


def run(sweep, seed=0, watch=lambda trials, changed: None, devices=(), **limits):
    study = open_study(Path("study"), sweep, seed)
    return run_sweep(study, Limits(**limits), watch, devices=devices)


def ends(trials):
    return [(trial.point["x"], trial.state, trial.value) for trial in trials]


def test_each_point_of_a_grid_is_a_trial(sweep_of):
    trials = run(sweep_of(3, 5, 4), agents=2)
    assert ends(trials) == [(3, "finished", 0.3), (5, "finished", 0.5), (4, "finished", 0.4)]
    study = open_study(Path("study"), sweep_of(3, 5, 4), 0)
    assert study.best(trials).point == {"x": 5}
    assert run(sweep_of(3, 5, 4)) == trials  # nothing is left to do


def test_there_are_as_many_points_as_are_wanted(sweep_of):
    sweep = sweep_of(1, 2, 3, 4, run_cap=3)
    assert len(run(sweep, count=1)) == 1
    assert len(run(sweep, count=2)) == 2
    assert len(run(sweep)) == 3


def test_a_trial_that_fails_is_kept_with_its_reason_and_the_others_go_on(sweep_of):
    trials = run(sweep_of("error", 1, "nan", 2, "silent", 3, "killed"))
    reasons = {trial.point["x"]: trial.reason for trial in trials if trial.state == "failed"}
    assert reasons == {
        "error": "exit status 1\nit went wrong",
        "nan": "value 2 of m is nan",
        "silent": "it logged no m",
        "killed": "killed by SIGKILL: perhaps memory ran out",
    }
    assert [trial.value for trial in trials if trial.state == "finished"] == [0.1, 0.2, 0.3]


def test_a_line_that_is_no_json_object_fails_its_trial_alone(sweep_of):
    trials = run(sweep_of("hello", 1))
    assert ends(trials) == [("hello", "failed", None), (1, "finished", 0.1)]
    assert trials[0].reason == "line 3 of metrics.jsonl is no JSON object"


def test_failures_in_a_row_end_it(sweep_of):
    sweep = sweep_of(1, "error", "silent", 2, 3)
    with pytest.raises(
        InputError, match=r"2 trials failed in a row, the last \(trial-0003\): it logged no m"
    ):
        run(sweep, max_failures=2)
    assert len(Journal(Path("study")).read()) == 3


def test_a_program_that_cannot_be_started_ends_it(sweep_of):
    sweep = sweep_of(1, 2, 3, 4, command=["./none", "${args}"])
    with pytest.raises(InputError, match=r"3 trials failed in a row.*it cannot be started: .*none"):
        run(sweep)


def test_what_failed_is_run_again_if_wanted(sweep_of):
    sweep = sweep_of("error", 1)
    assert ends(run(sweep)) == ends(run(sweep)) == [("error", "failed", None), (1, "finished", 0.1)]
    again = run(sweep, retry_failed=True)
    assert ends(again)[2:] == [("error", "failed", None)]
    assert [trial.point_number for trial in again] == [1, 2, 1]


def test_hyperband_ends_a_trial_well_and_keeps_its_value(sweep_of):
    sweep = sweep_of(9, "slow", early_terminate={"type": "hyperband", "min_iter": 1})
    trials = run(sweep)
    assert ends(trials) == [(9, "finished", 0.9), ("slow", "stopped", 0.2)]
    assert trials[1].reason == "hyperband"


def test_the_target_ends_it(sweep_of):
    sweep = sweep_of(1, 5, 9, 2, metric={"name": "m", "goal": "maximize", "target": 0.45})
    assert [trial.point["x"] for trial in run(sweep)] == [1, 5]


def test_a_trial_has_the_environment_of_an_agents(sweep_of, monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "of another")
    monkeypatch.setenv("WANDB_SERVICE", "of a run in this process")
    run(sweep_of("environment", project="faces"), devices=["3"])
    trial = Path("study/trial-0001").resolve()
    found = json.loads((trial / "log.txt").read_text())
    key = json.loads(Path("study/study.json").read_text())["key"]
    assert found == {
        "WANDB_MODE": "offline",
        "WANDB_PROJECT": "faces",
        "WANDB_SWEEP_PARAM_PATH": str(trial / "params.yaml"),
        "WANDB_RUN_GROUP": "study",
        "WANDB_RUN_ID": f"{key}-1",
        "WANDB_DIR": str(trial),
        "CUDA_VISIBLE_DEVICES": "3",
    }
    text = (trial / "params.yaml").read_text()
    assert text == "wandb_version: 1\nx:\n  value: environment\n"


def test_agents_share_the_devices_in_turn(sweep_of):
    trials = run(sweep_of(1, 2, 3, 4), agents=2, devices=["0", "1"])
    assert {trial.agent for trial in trials} == {0, 1}


def test_ctrl_c_ends_trials_well_and_the_next_call_goes_on(sweep_of):
    sweep = sweep_of("slow", 2)

    def watch(trials, changed):
        if trials and trials[0].values:
            raise KeyboardInterrupt

    with pytest.raises(InputError, match=r"the same command with --run_name study to continue"):
        run(sweep, watch=watch)
    (trial,) = Journal(Path("study")).read()
    assert (trial.state, list(trial.values)) == ("cut off", [0.1, 0.2])  # it had time to end


WORKER = """\
import sys
from pathlib import Path
from fer.studies.sweep import Limits, open_study, run_sweep
from fer.studies.sweepfile import read_sweep
study = open_study(Path("study"), read_sweep(Path("sweep.yaml")), 0)
run_sweep(study, Limits(), lambda trials, changed: None)
"""


def worker():
    return subprocess.Popen([sys.executable, "-c", WORKER], env={**os.environ, "OMP_NUM_THREADS": "1"})


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_what_was_killed_with_its_sweep_is_run_again(sweep_of):
    sweep = sweep_of("once", 2)
    process = worker()
    wait_for(lambda: Path("began").exists())
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder = Path("study/trial-0001")

    def is_free():  # its trial ends with it
        lock = take_lock(folder)
        if lock is not None:
            lock.close()
        return lock is not None

    wait_for(is_free)
    trials = run(sweep)
    assert ends(trials) == [("once", "cut off", None), ("once", "finished", 0.5), (2, "finished", 0.2)]
    assert [trial.point_number for trial in trials] == [1, 1, 2]
    assert trials[0].reason == "the process that ran it ended"


@pytest.mark.slow
def test_processes_share_the_points(sweep_of):
    sweep_of(*range(8))
    workers = [worker() for _ in range(2)]
    assert [process.wait(120) for process in workers] == [0, 0]
    trials = Journal(Path("study")).read()
    assert [trial.point["x"] for trial in trials] == list(range(8))
    assert {trial.state for trial in trials} == {"finished"}


def test_a_trial_of_another_process_is_left_alone(sweep_of):
    sweep = sweep_of(1, 2)
    study = open_study(Path("study"), sweep, 0)
    study.journal.write(Trial(1, 1, {"x": 1}, []))
    with take_lock(Path("study/trial-0001")):
        assert [trial.state for trial in run(sweep)] == ["running", "finished"]


def test_a_point_that_is_cut_off_again_and_again_is_given_up(sweep_of):
    sweep = sweep_of(1)
    study = open_study(Path("study"), sweep, 0)
    for number in (1, 2, 3):
        study.journal.write(Trial(number, 1, {"x": 1}, [], state="cut off"))
    assert len(run(sweep)) == 3
    assert ends(run(sweep, retry_failed=True))[3:] == [(1, "finished", 0.1)]


def test_a_point_that_the_user_interrupts_is_never_given_up(sweep_of):
    sweep = sweep_of(1)
    study = open_study(Path("study"), sweep, 0)
    for number in (1, 2, 3):
        study.journal.write(Trial(number, 1, {"x": 1}, [], state="cut off", reason="interrupted"))
    assert ends(run(sweep))[3:] == [(1, "finished", 0.1)]


def test_half_a_line_of_a_journal_is_passed_over(tmp_path):
    journal = Journal(tmp_path)
    journal.write(Trial(1, 1, {"x": 1}, []))
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"number": 2, "poi')
    journal.write(Trial(3, 3, {"x": 3}, []))
    assert [trial.number for trial in journal.read()] == [1, 3]


def test_a_folder_holds_one_sweep(sweep_of):
    open_study(Path("study"), sweep_of(1, 2), 0)
    with pytest.raises(InputError, match=r"holds a sweep with other parameters"):
        open_study(Path("study"), sweep_of(1, 3), 0)
    with pytest.raises(InputError, match=r"holds a sweep with other seed \(0; now 1\)"):
        open_study(Path("study"), sweep_of(1, 2), 1)
    Path("other").mkdir()
    Path("other/file").touch()
    with pytest.raises(InputError, match=r"other is not the folder of a sweep"):
        open_study(Path("other"), sweep_of(1), 0)


def test_bayes_takes_the_worst_for_what_failed(sweep_of):
    pytest.importorskip("optuna")
    sweep = sweep_of(1, 2, "error", 3, method="bayes", run_cap=4)
    trials = run(sweep)
    assert len(trials) == 4
    assert len({str(trial.point) for trial in trials}) == 4
