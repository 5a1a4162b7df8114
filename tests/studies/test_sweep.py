"""A sweep's trials as processes: how they end, what is run again, and when it all ends."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from old_sweep import write_old
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from fer.errors import InputError
from fer.studies.storage import take_lock
from fer.studies.study import open_study
from fer.studies.sweep import Limits, run_sweep
from fer.studies.sweepfile import read_sweep
from fer.studies.trials import Trial, Trials, read_trials, write_trials

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


def begin(sweep, *trials):
    """Make a sweep that has these trials."""
    open_study(Path("study"), sweep, 0)
    write_trials(Path("study"), trials, sweep.space, maximize=True)


def ends(trials):
    return [(trial.point["x"], trial.state, trial.value) for trial in trials]


@pytest.mark.slow
def test_each_point_of_a_grid_is_a_trial(sweep_of):
    trials = run(sweep_of(3, 5, 4), agents=2)
    assert ends(trials) == [(3, "finished", 0.3), (5, "finished", 0.5), (4, "finished", 0.4)]
    study = open_study(Path("study"), sweep_of(3, 5, 4), 0)
    assert study.best(trials).point == {"x": 5}
    assert run(sweep_of(3, 5, 4)) == trials  # nothing is left to do


@pytest.mark.slow
def test_there_are_as_many_points_as_are_wanted(sweep_of):
    sweep = sweep_of(1, 2, 3, 4, run_cap=3)
    assert len(run(sweep, count=1)) == 1
    assert len(run(sweep, count=2)) == 2
    assert len(run(sweep)) == 3


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_line_that_is_no_json_object_fails_its_trial_alone(sweep_of):
    trials = run(sweep_of("hello", 1))
    assert ends(trials) == [("hello", "failed", None), (1, "finished", 0.1)]
    assert trials[0].reason == "line 3 of metrics.jsonl is not a JSON object"


@pytest.mark.slow
def test_failures_in_a_row_end_it(sweep_of):
    sweep = sweep_of(1, "error", "silent", 2, 3)
    with pytest.raises(
        InputError, match=r"2 trials failed in a row, the last \(trial-0003\): it logged no m"
    ):
        run(sweep, max_failures=2)
    assert len(read_trials(Path("study"))) == 3


@pytest.mark.slow
def test_a_program_that_cannot_be_started_ends_it(sweep_of):
    sweep = sweep_of(1, 2, 3, 4, command=["./none", "${args}"])
    with pytest.raises(InputError, match=r"3 trials failed in a row.*it cannot be started: .*none"):
        run(sweep)


@pytest.mark.slow
def test_what_failed_is_run_again_if_wanted(sweep_of):
    sweep = sweep_of("error", 1)
    assert ends(run(sweep)) == ends(run(sweep)) == [("error", "failed", None), (1, "finished", 0.1)]
    again = run(sweep, retry_failed=True)
    assert ends(again)[2:] == [("error", "failed", None)]
    assert [trial.point_number for trial in again] == [1, 2, 1]


@pytest.mark.slow
def test_hyperband_ends_a_trial_well_and_keeps_its_value(sweep_of):
    sweep = sweep_of(9, "slow", early_terminate={"type": "hyperband", "min_iter": 1})
    trials = run(sweep)
    assert ends(trials) == [(9, "finished", 0.9), ("slow", "stopped", 0.2)]
    assert trials[1].reason == "hyperband"


@pytest.mark.slow
def test_the_target_ends_it(sweep_of):
    sweep = sweep_of(1, 5, 9, 2, metric={"name": "m", "goal": "maximize", "target": 0.45})
    assert [trial.point["x"] for trial in run(sweep)] == [1, 5]


@pytest.mark.slow
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


@pytest.mark.slow
def test_agents_share_the_devices_in_turn(sweep_of):
    trials = run(sweep_of(1, 2, 3, 4), agents=2, devices=["0", "1"])
    assert {trial.agent for trial in trials} == {0, 1}


@pytest.mark.slow
def test_ctrl_c_ends_trials_well_and_the_next_call_goes_on(sweep_of):
    sweep = sweep_of("slow", 2)

    def watch(trials, changed):
        if trials and trials[0].values:
            raise KeyboardInterrupt

    with pytest.raises(InputError, match=r"the same command with --run_name study to continue"):
        run(sweep, watch=watch)
    (trial,) = read_trials(Path("study"))
    assert (trial.state, list(trial.values)) == ("cut off", [0.1, 0.2])  # it had time to end


WORKER = """\
import sys
from pathlib import Path
from fer.studies.storage import take_lock
from fer.studies.study import open_study
from fer.studies.sweep import Limits, run_sweep
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


def is_free(path):
    lock = take_lock(path)
    if lock is not None:
        lock.close()
    return lock is not None


@pytest.mark.slow
def test_what_was_killed_with_its_sweep_is_run_again(sweep_of):
    sweep = sweep_of("once", 2)
    process = worker()
    wait_for(lambda: Path("began").exists())
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: Path("study/trial-0001/status.json").exists())  # its trial ends with it
    wait_for(lambda: is_free(next(Path("study/agents").iterdir())))
    trials = run(sweep)
    assert ends(trials) == [("once", "cut off", None), ("once", "finished", 0.5), (2, "finished", 0.2)]
    assert [trial.point_number for trial in trials] == [1, 1, 2]
    assert trials[0].reason == "its sweep was killed"


@pytest.mark.slow
def test_processes_share_the_points(sweep_of):
    sweep_of(*range(8))
    workers = [worker() for _ in range(2)]
    assert [process.wait(120) for process in workers] == [0, 0]
    trials = read_trials(Path("study"))
    assert [trial.point["x"] for trial in trials] == list(range(8))
    assert {trial.state for trial in trials} == {"finished"}


@pytest.mark.slow
def test_a_trial_of_another_process_is_left_alone(sweep_of):
    sweep = sweep_of(1, 2)
    other = open_study(Path("study"), sweep, 0).trials
    with other.running():
        other.claim(lambda trials, number: Trial(number, 1, {"x": 1}, []), lambda trial: {})
        assert [trial.state for trial in run(sweep)] == ["running", "finished"]
    assert [trial.state for trial in run(sweep)] == ["cut off", "finished", "finished"]


@pytest.mark.slow
def test_a_point_that_is_cut_off_again_and_again_is_given_up(sweep_of):
    sweep = sweep_of(1)
    begin(sweep, *(Trial(number, 1, {"x": 1}, [], state="cut off") for number in (1, 2, 3)))
    assert len(run(sweep)) == 3
    assert ends(run(sweep, retry_failed=True))[3:] == [(1, "finished", 0.1)]


@pytest.mark.slow
@pytest.mark.parametrize("reason", ["interrupted", "its sweep was killed"])
def test_a_point_that_is_not_to_blame_for_its_end_is_never_given_up(sweep_of, reason):
    sweep = sweep_of(1)
    begin(sweep, *(Trial(number, 1, {"x": 1}, [], state="cut off", reason=reason) for number in (1, 2, 3)))
    assert ends(run(sweep))[3:] == [(1, "finished", 0.1)]


@pytest.mark.slow
def test_a_trial_that_ended_after_its_sweep_was_killed_is_not_run_again(sweep_of):
    sweep = sweep_of(1, 2)
    trials = open_study(Path("study"), sweep, 0).trials
    with trials.running():
        trials.claim(lambda trials, number: Trial(number, 1, {"x": 1}, []), lambda trial: {})
    folder = Path("study/trial-0001")
    folder.mkdir()
    (folder / "log.txt").touch()
    (folder / "metrics.jsonl").write_text('{"m": 0.1}\n')
    (folder / "status.json").write_text('{"orphaned": false, "status": 0}')
    assert ends(run(sweep)) == [(1, "finished", 0.1), (2, "finished", 0.2)]


@pytest.mark.slow
def test_half_a_line_of_a_journal_is_passed_over_and_removed(sweep_of):
    sweep = sweep_of(1, 2)
    run(sweep, count=1)
    path = Path("study/optuna.log")
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 4, "wor')
    assert len(read_trials(Path("study"))) == 1
    assert [trial.state for trial in run(sweep)] == ["finished", "finished"]
    assert path.read_bytes().startswith(whole + b'{"op_code"')


@pytest.mark.slow
def test_a_damaged_journal_is_one_line(sweep_of):
    sweep = sweep_of(1, 2)
    run(sweep, count=1)
    path = Path("study/optuna.log")
    path.write_bytes(b"no JSON\n" + path.read_bytes())
    with pytest.raises(InputError, match=r"study/optuna.log is damaged .*: restore it, or"):
        run(sweep)
    with pytest.raises(InputError, match=r"study/optuna.log is damaged"):
        read_trials(Path("study"))


@pytest.mark.slow
def test_a_sweep_of_an_earlier_version_is_continued(sweep_of):
    sweep = sweep_of(1, 2, 3)
    Path("study").mkdir()
    settings = {"seed": 0, "method": "grid", "command": list(sweep.command)}
    settings |= {key: sweep.content[key] for key in ("metric", "parameters", "program")}
    Path("study/study.json").write_text(json.dumps({"key": "abcd", **settings}))
    write_old(Path("study"), Trial(1, 1, {"x": 1}, [], state="finished", value=0.1, values=[0.1]))
    write_old(Path("study"), Trial(2, 2, {"x": 2}, [], values=[0.1]))
    assert [trial.state for trial in read_trials(Path("study"))] == ["finished", "running"]
    with take_lock(Path("study/trial-0002/.lock")), pytest.raises(InputError, match="an earlier version"):
        run(sweep)
    trials = run(sweep)
    assert ends(trials) == [
        *((1, "finished", 0.1), (2, "cut off", None)),
        *((2, "finished", 0.2), (3, "finished", 0.3)),
    ]
    assert json.loads(Path("study/study.json").read_text())["key"] == "abcd"
    assert run(sweep) == trials


@pytest.mark.slow
def test_two_who_ask_at_once_get_two_points(sweep_of):
    sweep = sweep_of(*range(40))
    study = open_study(Path("study"), sweep, 0)

    def take(_):
        trials = Trials(None, study.folder, sweep.space, maximize=True)
        with trials.running():
            return [
                trials.claim(
                    lambda known, number: Trial(number, len(known) + 1, {"x": len(known)}, []),
                    lambda trial: {},
                ).point["x"]
                for _ in range(10)
            ]

    with ThreadPoolExecutor(4) as pool:
        points = [point for taken in pool.map(take, range(4)) for point in taken]
    assert sorted(points) == list(range(40))


@pytest.mark.slow
def test_optuna_sees_points_values_and_where_a_trial_is(sweep_of):
    trials = run(sweep_of(9, "slow", "error", early_terminate={"type": "hyperband", "min_iter": 1}))
    study = optuna.load_study(
        study_name="study", storage=JournalStorage(JournalFileBackend("study/optuna.log"))
    )
    found = study.get_trials()
    assert [trial.params["x"] for trial in found] == [9, "slow", "error"]
    assert [trial.state.name for trial in found] == ["COMPLETE", "PRUNED", "FAIL"]
    assert [trial.value for trial in found] == [0.9, 0.2, None]
    assert found[0].intermediate_values == {1: 0.9, 2: 0.9, 3: 0.9}
    key = json.loads(Path("study/study.json").read_text())["key"]
    assert found[0].user_attrs["wandb_id"] == f"{key}-1"
    assert found[0].user_attrs["run"].endswith(str(Path("study/trial-0001").resolve()))
    assert found[2].user_attrs["reason"] == trials[2].reason
    assert study.best_trial.number == 0


@pytest.mark.slow
@pytest.mark.parametrize("content", ["optuna.log", ".study.json.host-1-abcd.tmp"])
def test_a_sweep_that_is_being_made_is_joined(content, sweep_of):
    """By another process, or by one that was killed before it had written the settings."""
    Path("study").mkdir()
    Path("study", content).touch()
    assert [trial.state for trial in run(sweep_of(1, 2))] == ["finished"] * 2


def test_a_folder_holds_one_sweep(sweep_of):
    open_study(Path("study"), sweep_of(1, 2), 0)
    with pytest.raises(InputError, match=r"holds a sweep with other settings \(parameters: "):
        open_study(Path("study"), sweep_of(1, 3), 0)
    with pytest.raises(InputError, match=r"holds a sweep with other settings \(seed: 0; now 1\)"):
        open_study(Path("study"), sweep_of(1, 2), 1)
    Path("other").mkdir()
    Path("other/file").touch()
    with pytest.raises(InputError, match=r"other is not the folder of a sweep"):
        open_study(Path("other"), sweep_of(1), 0)


@pytest.mark.slow
def test_bayes_takes_the_worst_for_what_failed(sweep_of):
    sweep = sweep_of(1, 2, "error", 3, method="bayes", run_cap=4)
    trials = run(sweep)
    assert len(trials) == 4
    assert len({str(trial.point) for trial in trials}) == 4
