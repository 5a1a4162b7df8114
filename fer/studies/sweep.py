"""A sweep without a server: parallel trials as processes, continued after an interruption."""

import json
import math
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from fer.errors import InputError
from fer.files import atomic_write, read_json
from fer.runs import find_problem
from fer.studies.journal import Journal, Trial, writing
from fer.studies.search import Tried, suggest
from fer.studies.sweepfile import SweepFile, args_json
from fer.studies.trial import (
    INTERRUPTED,
    LOG,
    METRICS,
    METRICS_VARIABLE,
    Process,
    broken_line,
    classify_end,
    fer_command,
    not_finite,
    read_values,
    start,
    take_lock,
    write_inputs,
)

STUDY: Final = "study.json"
POLL: Final = 0.5
"""Seconds between two polls of the running trials."""

ATTEMPTS: Final = 3
"""Trials of one point that may be cut off, apart from Ctrl-C: the point itself may kill them."""


@dataclass(frozen=True)
class Limits:
    """When to start no more trials.

    Attributes:
        count: Largest number of points of the sweep; None: the file's ``run_cap``, or the end of the grid.
        agents: Number of parallel trials.
        max_failures: Consecutive failures that end the sweep.
        retry_failed: Whether points that failed, or were given up, in an earlier call are run again.
    """

    count: int | None = None
    agents: int = 1
    max_failures: int = 3
    retry_failed: bool = False


@dataclass
class Study:
    """A sweep in its folder.

    Attributes:
        folder: Folder of the journal and of the trials' folders.
        sweep: The sweep file.
        seed: Seed of the search.
        key: Prefix of the ids of its W&B runs.
    """

    folder: Path
    sweep: SweepFile
    seed: int
    key: str
    journal: Journal = field(init=False)

    def __post_init__(self) -> None:
        self.journal = Journal(self.folder)

    def run_dir(self, trial: Trial) -> Path:
        """Return the folder of a trial's run, if its program is ``fer``."""
        return self.folder / trial.name / f"{self.folder.name}-{trial.name}"

    def best(self, trials: Sequence[Trial]) -> Trial | None:
        """Return the trial with the best value of those that did not fail, the first of equal ones."""
        known = [trial for trial in trials if trial.value is not None and trial.state != "failed"]
        if not known:
            return None
        values = [trial.value for trial in known if trial.value is not None]
        return known[values.index(self.sweep.metric.best(values))]


def open_study(folder: Path, sweep: SweepFile, seed: int) -> Study:
    """Create the folder of a sweep, or open the sweep in it.

    Raises:
        InputError: The folder holds something else or a sweep with other settings, or is not writable.
    """
    path = folder / STUDY
    settings = {
        "seed": seed,
        "method": sweep.method,
        **{key: sweep.content.get(key) for key in ("metric", "parameters", "program")},
        "command": list(sweep.command),
    }
    settings = json.loads(json.dumps(settings))
    if folder.is_dir() and any(folder.iterdir()) and not path.is_file():
        msg = f"{folder} is not the folder of a sweep: choose another --run_name"
        raise InputError(msg)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with Journal(folder).locked():
        if path.is_file():
            before = read_settings(folder)
            if differing := [key for key in settings if before.get(key) != settings[key]]:
                key = differing[0]
                msg = (
                    f"{folder} holds a sweep with other {key} ({before.get(key)}; now {settings[key]}): "
                    "give the same to continue it, or choose another --run_name"
                )
                raise InputError(msg)
            return Study(folder, sweep, seed, before["key"])
        study = Study(folder, sweep, seed, secrets.token_hex(4))
        with writing(path), atomic_write(path) as file:
            file.write(json.dumps({"key": study.key, **settings}, indent=2).encode() + b"\n")
        copy = folder / "sweep.yaml"
        with writing(copy), atomic_write(copy) as file:
            file.write(sweep.path.read_bytes())
    return study


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the content of a sweep's ``study.json``: its settings, seed and key.

    Raises:
        InputError: The file is damaged.
    """
    way_out = "restore it, or start the sweep again with another --run_name"
    settings = read_json(folder / STUDY, way_out)
    if problem := find_problem(settings, {"key": str, "seed": int, "method": str}):
        msg = f"{folder / STUDY} is damaged: {problem}; {way_out}"
        raise InputError(msg)
    return settings


def run_sweep(
    study: Study,
    limits: Limits,
    watch: Callable[[Sequence[Trial], Sequence[Trial]], None],
    *,
    devices: Sequence[str] = (),
) -> list[Trial]:
    """Run trials until none is left to start, and return all trials of the study.

    Other processes may run trials of the same folder at the same time.

    Args:
        study: The sweep.
        limits: When to start no more trials.
        watch: Called at every poll with all trials and with those that have changed since the last call.
        devices: Values of ``CUDA_VISIBLE_DEVICES`` for the agents in turn; empty: it is not changed.

    Raises:
        InputError: Too many trials failed in a row, or the user ended the sweep.
    """
    running: dict[int, Process] = {}
    last_to_retry = len(study.journal.read()) if limits.retry_failed else 0
    failures: list[Trial] = []
    try:
        with _as_interrupt(signal.SIGTERM):
            while True:
                changed = _fill(study, limits, running, last_to_retry, devices)
                changed += _collect(study, running)
                for trial in changed:
                    failures = [*failures, trial] if trial.state == "failed" else failures
                    failures = [] if trial.state in ("finished", "stopped") else failures
                if len(failures) >= limits.max_failures:
                    msg = (
                        f"{len(failures)} trials failed in a row, the last ({failures[-1].name}): "
                        f"{failures[-1].reason}\nits output: {study.folder / failures[-1].name / LOG}"
                    )
                    raise InputError(msg)
                _stop_early(study, running)
                watch(_current(study, running), changed)
                if not running and not changed:
                    return study.journal.read()
                time.sleep(POLL if running else 0.0)
    except KeyboardInterrupt as e:
        msg = f"ended by the user; run the same command with --run_name {study.folder.name} to continue"
        raise InputError(msg) from e
    finally:
        _end(study, running)


def gpus_for(agents: int) -> list[str]:
    """Return the GPUs for the agents in turn; empty for one agent, or fewer than two GPUs."""
    import torch  # not above: it takes seconds, and is needed here alone

    num_gpus = torch.cuda.device_count()
    if agents == 1 or num_gpus < 2:
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(place) for place in range(num_gpus)]


def _fill(
    study: Study,
    limits: Limits,
    running: dict[int, Process],
    last_to_retry: int,
    devices: Sequence[str],
) -> list[Trial]:
    """Start trials until all agents have one or none is left, and return the changed trials."""
    changed: list[Trial] = []
    while len(running) < limits.agents:
        agent = min(set(range(limits.agents)) - {process.trial.agent for process in running.values()})
        with study.journal.locked():
            trials = study.journal.read()
            changed += _find_cut_off(study, trials, running)
            trial = _next(study, limits, trials, last_to_retry)
            if trial is None:
                return changed
            trial.agent = agent
            process = _start(study, trial, devices)
            study.journal.write(trial)
        changed.append(replace(trial))  # as it is now
        if process is not None:
            running[trial.number] = process
        elif [each.state for each in changed[-limits.max_failures :]] == ["failed"] * limits.max_failures:
            return changed
    return changed


def _find_cut_off(study: Study, trials: list[Trial], running: Mapping[int, Process]) -> list[Trial]:
    """Mark the trials, in the list too, whose process was killed together with its watcher."""
    found = []
    for trial in trials:
        if trial.state != "running" or trial.number in running:
            continue
        lock = take_lock(study.folder / trial.name)
        if lock is not None:
            lock.close()
            trial.state, trial.reason = "cut off", "the process that ran it ended"
            trial.values = read_values(
                study.folder / trial.name, study.run_dir(trial), study.sweep.metric.name
            )
            study.journal.write(trial)
            found.append(trial)
    return found


def _next(study: Study, limits: Limits, trials: Sequence[Trial], last_to_retry: int) -> Trial | None:
    """Return the next trial: of an interrupted point, else of a new one; None if there is none.

    Args:
        study: The sweep.
        limits: When to start no more trials.
        trials: All trials so far.
        last_to_retry: Number of the last trial whose point is run again if it failed; 0: none is.
    """
    metric = study.sweep.metric
    if any(trial.value is not None and metric.is_reached(trial.value) for trial in trials):
        return None
    number = len(trials) + 1
    points = {trial.point_number: trial for trial in trials}  # the last trial of each
    for trial in points.values():
        attempts = sum(
            each.point_number == trial.point_number and each.reason != INTERRUPTED for each in trials
        )
        is_retried = trial.state in ("failed", "cut off") and trial.number <= last_to_retry
        if (trial.state == "cut off" and attempts < ATTEMPTS) or is_retried:
            return Trial(number, trial.point_number, trial.point, trial.cube)
    cap = limits.count or study.sweep.run_cap
    if cap is not None and len(points) >= cap:
        return None
    suggestion = suggest(
        study.sweep.space,
        study.sweep.method,
        _tried(study, list(points.values())),
        seed=study.seed,
        maximize=metric.maximize,
        is_parallel=any(trial.state == "running" for trial in trials),
    )
    if suggestion is None:
        return None
    return Trial(number, len(points) + 1, suggestion.point, list(suggestion.cube))


def _tried(study: Study, trials: Sequence[Trial]) -> list[Tried]:
    """Return the points for the search, with missing values imputed as by W&B."""
    metric = study.sweep.metric
    known = [trial.value for trial in trials if trial.value is not None and trial.state != "running"]
    tried = []
    for trial in trials:
        value, is_running = trial.value, trial.state == "running"
        finite = [each for each in trial.values if math.isfinite(each)]
        rule = metric.impute_while_running if is_running else metric.impute
        if is_running and rule is not None:
            process_values = read_values(study.folder / trial.name, study.run_dir(trial), metric.name)
            finite = [each for each in process_values if math.isfinite(each)]
        if trial.state in ("failed", "cut off") or is_running:
            value = None
            if rule == "worst" and known:
                value = metric.worst(known)
            elif rule == "best" and finite:
                value = metric.best(finite)
            elif rule == "latest" and finite:
                value = finite[-1]
        tried.append(Tried(tuple(trial.cube), dict(trial.point), value, is_running))
    return tried


def command_of(study: Study, trial: Trial) -> list[str]:
    """Return the command of a trial; a ``fer`` command gets the folder of its run."""
    folder = study.folder / trial.name
    words = study.sweep.words(trial.point, folder / "params.json")
    ours = fer_command(words)
    if ours is None:
        return words
    run_dir = study.run_dir(trial)
    words += ["--runs_dir", str(run_dir.parent), "--run_name", run_dir.name]
    if study.sweep.project is not None and ours[0] != "crossval":  # which reads WANDB_PROJECT
        words += ["--wandb.project", study.sweep.project]
    return words


def _start(study: Study, trial: Trial, devices: Sequence[str]) -> Process | None:
    """Start a trial, or store why it cannot be started."""
    folder = study.folder / trial.name
    trial.command = command_of(study, trial)
    lock = None
    try:
        lock = take_lock(folder)
        if lock is None:
            msg = f"{folder} is used by another sweep: choose another --run_name"
            raise InputError(msg)
        write_inputs(folder, trial.point, args_json(trial.point))
        return start(trial, folder, study.run_dir(trial), lock, _environment(study, trial, devices))
    except OSError as e:
        if lock is not None:
            lock.close()
        trial.state, trial.reason = "failed", f"it cannot be started: {e}"
        return None


def _environment(study: Study, trial: Trial, devices: Sequence[str]) -> dict[str, str]:
    """Return the environment of a trial: as set by W&B's agent, but offline and without a sweep id."""
    folder = (study.folder / trial.name).resolve()
    own = {
        "WANDB_SWEEP_PARAM_PATH": str(folder / "params.yaml"),
        "WANDB_RUN_GROUP": study.folder.name,
        "WANDB_RUN_ID": f"{study.key}-{trial.number}",
        "WANDB_DIR": str(folder),
        METRICS_VARIABLE: str(folder / METRICS),
    }
    if study.sweep.project is not None:
        own["WANDB_PROJECT"] = study.sweep.project
    if devices:
        own["CUDA_VISIBLE_DEVICES"] = devices[trial.agent % len(devices)]
    # Not another sweep's, and not the connection of a run that this process has.
    others = ("WANDB_SWEEP_ID", "WANDB_SERVICE")
    kept = {name: value for name, value in os.environ.items() if name not in others}
    return {"WANDB_MODE": "offline", "PYTHONUNBUFFERED": "1", **kept, **own}


def _collect(study: Study, running: dict[int, Process]) -> list[Trial]:
    """Poll the running trials, and store those that have ended."""
    metric = study.sweep.metric
    ended = []
    for number, process in list(running.items()):
        trial = process.trial
        if not process.poll(metric.name):
            if trial.values and not math.isfinite(trial.values[-1]):
                process.stop(not_finite(trial.values, metric.name))
            continue
        log = (process.folder / LOG).read_text(errors="replace")
        trial.state, trial.reason = classify_end(
            process.process.returncode,
            trial.values,
            metric.name,
            process.stopped_for,
            log,
            broken_line(process.folder),
        )
        if trial.state in ("finished", "stopped"):
            trial.value = metric.best(trial.values)
        del running[number]
        with study.journal.locked():
            study.journal.write(trial)
        ended.append(trial)
    return ended


def _stop_early(study: Study, running: Mapping[int, Process]) -> None:
    """Ask the trials to end that hyperband stops."""
    sweep = study.sweep
    if sweep.hyperband is None or not running:
        return
    histories = {}
    for trial in _current(study, running):
        is_elsewhere = trial.state == "running" and trial.number not in running
        histories[trial.number] = (
            read_values(study.folder / trial.name, study.run_dir(trial), sweep.metric.name)
            if is_elsewhere
            else trial.values
        )
    for number in sweep.hyperband.to_stop(histories, list(running), maximize=sweep.metric.maximize):
        running[number].stop("hyperband")


def _current(study: Study, running: Mapping[int, Process]) -> list[Trial]:
    """Return all trials, those of this process in their current state."""
    return [
        running[trial.number].trial if trial.number in running else trial for trial in study.journal.read()
    ]


def _end(study: Study, running: dict[int, Process]) -> None:
    """Ask the running trials to end, wait for them, and store their end."""
    for process in running.values():
        process.stop(INTERRUPTED)
    while running:
        _collect(study, running)
        time.sleep(POLL if running else 0.0)


@contextmanager
def _as_interrupt(number: signal.Signals) -> Iterator[None]:
    """Treat a signal like Ctrl-C."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(number, interrupt)
    try:
        yield
    finally:
        signal.signal(number, before)
