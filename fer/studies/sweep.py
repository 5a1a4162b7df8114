"""Run a sweep without W&B's server: parallel trials as processes, resumed after an interruption."""

import math
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, Final

from fer.errors import InputError
from fer.studies.members import KINDS
from fer.studies.search import Tried, suggest
from fer.studies.storage import writing
from fer.studies.study import Study
from fer.studies.sweepfile import args_json
from fer.studies.trial import (
    INTERRUPTED,
    LOG,
    METRICS,
    METRICS_VARIABLE,
    ORPHANED,
    Process,
    fer_command,
    not_finite,
    start,
    write_inputs,
)
from fer.studies.trials import Trial
from fer.studies.warm import WarmServer

POLL: Final = 0.5
"""Seconds between two polls of the running trials."""

ATTEMPTS: Final = 3
"""Attempts at a point whose trials are cut off, which the point itself may cause.

Trials that ended by Ctrl-C or with a killed sweep do not count.
"""


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


def run_sweep(
    study: Study,
    limits: Limits,
    watch: Callable[[Sequence[Trial], Sequence[Trial]], None],
    *,
    devices: Sequence[str] = (),
    modules: Sequence[str] = (),
) -> list[Trial]:
    """Run trials until none is left to start, and return all trials of the study.

    Other processes may run trials of the same study at the same time.

    Args:
        study: The sweep.
        limits: When to start no more trials.
        watch: Called at every poll with all trials and with those that have changed since the last call.
        devices: Values of ``CUDA_VISIBLE_DEVICES`` for the agents in turn; empty: it is not changed.
        modules: Names of the modules that trials running ``fer`` import. One process imports them, and these
            trials are forked from it. Empty: each trial is a new process.

    Raises:
        InputError: Too many trials failed in a row, the user ended the sweep, or the storage cannot be used.
    """
    failures: list[Trial] = []
    with study.trials.running() as lock, WarmServer(modules) as server:
        agents = _Agents(study, limits, lock, devices, server)
        try:
            with _as_interrupt(signal.SIGTERM):
                while True:
                    changed = agents.fill() + agents.collect()
                    for trial in changed:
                        failures = [*failures, trial] if trial.state == "failed" else failures
                        failures = [] if trial.state in ("finished", "stopped") else failures
                    if len(failures) >= limits.max_failures:
                        msg = (
                            f"{len(failures)} trials failed in a row, the last ({failures[-1].name}): "
                            f"{failures[-1].reason}\nits output: {study.folder_of(failures[-1]) / LOG}"
                        )
                        raise InputError(msg)
                    current = agents.current()
                    agents.stop_early(current)
                    watch(current, changed)
                    if not agents.running and not changed:
                        return current
                    time.sleep(POLL if agents.running else 0.0)
        except KeyboardInterrupt as e:
            msg = f"ended by the user; run the same command with --run_name {study.folder.name} to continue"
            raise InputError(msg) from e
        finally:
            agents.end()


def gpus_for(agents: int) -> list[str]:
    """Return the GPUs for the agents in turn; empty for one agent, or fewer than two GPUs."""
    import torch  # here, since the import takes seconds and only this function needs it

    num_gpus = torch.cuda.device_count()
    if agents == 1 or num_gpus < 2:
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(place) for place in range(num_gpus)]


@dataclass
class _Agents:
    """The agents of this process.

    Attributes:
        study: The sweep.
        limits: When to start no more trials.
        lock: Lock that shows that this process is alive; its trials inherit it.
        devices: Values of ``CUDA_VISIBLE_DEVICES`` for the agents in turn.
        server: Forks trials where it can.
        running: The running trials, by number.
        last_to_retry: Number of the last trial whose point is run again if it failed; 0: none is.
    """

    study: Study
    limits: Limits
    lock: BinaryIO
    devices: Sequence[str]
    server: WarmServer
    running: dict[int, Process] = field(default_factory=dict)
    last_to_retry: int = 0

    def __post_init__(self) -> None:
        if self.limits.retry_failed:
            self.last_to_retry = max((trial.number for trial in self.study.trials.read()), default=0)

    def fill(self) -> list[Trial]:
        """Start trials until all agents have one or none is left, and return the changed trials."""
        study, trials = self.study, self.study.trials
        changed: list[Trial] = []
        while len(self.running) < self.limits.agents:
            changed += trials.give_up_lost(study.settle)
            if not _is_any_left(study, self.limits, trials.read(), self.last_to_retry):
                break
            trial = trials.claim(self._choose, self._label)
            if trial is None:
                break
            changed.append(replace(trial))  # a copy of its current state
            folder = study.folder_of(trial)
            with writing(folder):
                write_inputs(folder, trial.point, args_json(trial.point))
                environment = _environment(study, trial, self.devices)
                self.running[trial.number] = start(
                    trial, folder, study.run_dir(trial), self.lock, environment, self.server
                )
        return changed

    def _choose(self, trials: Sequence[Trial], number: int) -> Trial | None:
        trial = _next(self.study, self.limits, trials, number, self.last_to_retry)
        if trial is not None:
            busy = {process.trial.agent for process in self.running.values()}
            trial.agent = min(set(range(self.limits.agents)) - busy)
            trial.command = command_of(self.study, trial)
        return trial

    def _label(self, trial: Trial) -> dict[str, str]:
        run = self.study.folder_of(trial).resolve()
        return {"run": f"{platform.node()}:{run}", "wandb_id": self.study.wandb_id(trial)}

    def collect(self) -> list[Trial]:
        """Poll the running trials, store their values and outcomes, and return those that have ended."""
        metric = self.study.sweep.metric.name
        ended = []
        for number, process in list(self.running.items()):
            trial = process.trial
            if process.poll(metric):
                self.study.settle(trial, process.process.returncode)
                self.study.trials.end(trial)
                del self.running[number]
                ended.append(trial)
            elif trial.values and not math.isfinite(trial.values[-1]):
                process.stop(not_finite(trial.values, metric))
            else:
                self.study.trials.report(trial)
        return ended

    def current(self) -> list[Trial]:
        """Return all trials, those of this process in their current state."""
        return [
            self.running[trial.number].trial if trial.number in self.running else trial
            for trial in self.study.trials.read()
        ]

    def stop_early(self, trials: Sequence[Trial]) -> None:
        """Ask the trials that hyperband stops to end."""
        sweep = self.study.sweep
        if sweep.hyperband is None or not self.running:
            return
        histories = {
            trial.number: trial.values
            if trial.number in self.running or not self.study.has_more_values(trial)
            else self.study.read_values(trial)
            for trial in trials
        }
        for number in sweep.hyperband.to_stop(histories, list(self.running), maximize=sweep.metric.maximize):
            self.running[number].stop("hyperband")

    def end(self) -> None:
        """Ask the running trials to end, wait for them, and store their outcomes."""
        for process in self.running.values():
            process.stop(INTERRUPTED)
        while not all([process.poll(self.study.sweep.metric.name) for process in self.running.values()]):
            time.sleep(POLL)
        self.collect()


def _points(trials: Sequence[Trial]) -> dict[int, Trial]:
    """Return the last trial of each point."""
    return {trial.point_number: trial for trial in trials}


def _to_retry(trials: Sequence[Trial], last_to_retry: int) -> Iterator[Trial]:
    """Yield the trials whose points are run again: interrupted, or failed and to be retried."""
    for trial in _points(trials).values():
        attempts = sum(
            each.point_number == trial.point_number and each.reason not in (INTERRUPTED, ORPHANED)
            for each in trials
        )
        is_retried = trial.state in ("failed", "cut off") and trial.number <= last_to_retry
        if (trial.state == "cut off" and attempts < ATTEMPTS) or is_retried:
            yield trial


def _is_any_left(study: Study, limits: Limits, trials: Sequence[Trial], last_to_retry: int) -> bool:
    """Return whether there is a trial to run; checked before a trial number is taken."""
    metric = study.sweep.metric
    if any(trial.value is not None and metric.is_reached(trial.value) for trial in trials):
        return False
    cap = study.sweep.num_points(limits.count)
    return any(_to_retry(trials, last_to_retry)) or cap is None or len(_points(trials)) < cap


def _next(
    study: Study, limits: Limits, trials: Sequence[Trial], number: int, last_to_retry: int
) -> Trial | None:
    """Return the next trial: of an interrupted point, else of a new one; None if there is none.

    Args:
        study: The sweep.
        limits: When to start no more trials.
        trials: All trials so far.
        number: Number of the next trial.
        last_to_retry: Number of the last trial whose point is run again if it failed; 0: none is.
    """
    if not _is_any_left(study, limits, trials, last_to_retry):
        return None
    for trial in _to_retry(trials, last_to_retry):
        return Trial(number, trial.point_number, trial.point, trial.cube)
    points = list(_points(trials).values())
    suggestion = suggest(
        study.sweep.space,
        study.sweep.method,
        _tried(study, points),
        seed=study.seed,
        maximize=study.sweep.metric.maximize,
        is_parallel=any(trial.state == "running" for trial in trials),
    )
    if suggestion is None:
        return None
    return Trial(number, len(points) + 1, suggestion.point, list(suggestion.cube))


def _tried(study: Study, trials: Sequence[Trial]) -> list[Tried]:
    """Return the points for the search, with missing values imputed as W&B does."""
    metric = study.sweep.metric
    known = [trial.value for trial in trials if trial.value is not None and trial.state != "running"]
    tried = []
    for trial in trials:
        value, is_running = trial.value, trial.state == "running"
        finite = [each for each in trial.values if math.isfinite(each)]
        rule = metric.impute_while_running if is_running else metric.impute
        if is_running and rule is not None:
            finite = [each for each in study.read_values(trial) if math.isfinite(each)]
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
    if study.sweep.project is not None and ours[0] not in KINDS:  # these read WANDB_PROJECT
        words += ["--wandb.project", study.sweep.project]
    return words


def _environment(study: Study, trial: Trial, devices: Sequence[str]) -> dict[str, str]:
    """Return the environment of a trial: as W&B's agent sets it, but offline and without a sweep id."""
    folder = (study.folder / trial.name).resolve()
    own = {
        "WANDB_SWEEP_PARAM_PATH": str(folder / "params.yaml"),
        "WANDB_RUN_GROUP": study.folder.name,
        "WANDB_RUN_ID": study.wandb_id(trial),
        "WANDB_DIR": str(folder),
        METRICS_VARIABLE: str(folder / METRICS),
    }
    if study.sweep.project is not None:
        own["WANDB_PROJECT"] = study.sweep.project
    if devices:
        own["CUDA_VISIBLE_DEVICES"] = devices[trial.agent % len(devices)]
    # Leave out the id of an enclosing sweep and this process's connection to W&B.
    others = ("WANDB_SWEEP_ID", "WANDB_SERVICE")
    kept = {name: value for name, value in os.environ.items() if name not in others}
    return {"WANDB_MODE": "offline", "PYTHONUNBUFFERED": "1", **kept, **own}


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
