"""A trial of a sweep as a process: started, watched, judged."""

import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, BinaryIO, Final

import yaml

from fer.files import atomic_write
from fer.studies.journal import LOCK, State, Trial

LOG: Final = "log.txt"
METRICS: Final = "metrics.jsonl"
METRICS_VARIABLE: Final = "FER_SWEEP_METRICS"
"""Names, for a program that is not ours, the file that it may add metrics to, a JSON object a line."""

PATIENCE: Final = 60.0
"""Seconds from asking a trial to end until it is made to; of W&B's ``--term-timeout``."""

INTERRUPTED: Final = "interrupted"
"""Why a trial was asked to end that the user, not the search, did not let go on."""

_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=")
_REASON_LINES: Final = 8
_REASON_CHARACTERS: Final = 800
_PR_SET_PDEATHSIG: Final = 1
"""Of Linux's prctl: the signal that a process gets when its parent dies."""


def program_place(words: Sequence[str]) -> int:
    """Return where a command line names its program: behind env and the variables that it sets.

    >>> program_place(["/usr/bin/env", "A=1", "python", "train.py"])
    2
    """
    if not words or Path(words[0]).name != "env":  # of an older trial nothing may be known
        return 0
    places = (place for place, word in enumerate(words) if place and not _ASSIGNMENT.match(word))
    return next(places, 0)


def fer_command(words: Sequence[str]) -> tuple[str, list[str]] | None:
    """Return which command of ours a command line runs, and the words after it; None: it is not ours.

    >>> fer_command(["/usr/bin/env", "python", "-m", "fer", "fit", "--config", "conv6"])
    ('fit', ['--config', 'conv6'])
    """
    program = program_place(words)
    for place, word in enumerate(words[:-1]):
        is_module = place > 0 and words[place - 1] == "-m" and word == "fer"
        if is_module or (place == program and Path(word).name == "fer"):
            return words[place + 1], list(words[place + 2 :])
    return None


def write_inputs(folder: Path, point: Mapping[str, Any], text: str) -> Path:
    """Write what a trial's program reads, and return the path of the JSON.

    Args:
        folder: Of the trial.
        point: The parameters' values.
        text: Of ``${args_json_file}``.
    """
    with atomic_write(folder / "params.yaml") as file:
        content = {"wandb_version": 1, **{name: {"value": value} for name, value in point.items()}}
        file.write(yaml.safe_dump(content, sort_keys=False).encode())
    with atomic_write(folder / "params.json") as file:
        file.write(text.encode())
    return folder / "params.json"


@dataclass
class Process:
    """A trial that runs.

    Attributes:
        trial: What is known of it; :meth:`poll` keeps its values.
        folder: Of the trial.
        run_dir: Of the run that the trial is, where the program is ours.
        process: Of the system.
        lock: Held while the trial runs, by it and by us.
        stopped_for: Why it was asked to end; empty: it was not.
    """

    trial: Trial
    folder: Path
    run_dir: Path
    process: "subprocess.Popen[bytes]"
    lock: BinaryIO
    stopped_for: str = ""
    asked_at: float = 0.0
    started_at: float = field(default_factory=time.monotonic)

    def poll(self, metric: str) -> bool:
        """Take the values that were logged since, and return whether the trial has ended."""
        has_ended = self.process.poll() is not None
        self.trial.values = read_values(self.folder, self.run_dir, metric)
        self.trial.seconds = round(time.monotonic() - self.started_at, 1)
        if has_ended:
            self.lock.close()
        elif self.stopped_for and time.monotonic() - self.asked_at > PATIENCE:
            self._signal(signal.SIGKILL)
        return has_ended

    def stop(self, why: str) -> None:
        """Ask the trial to end well, as Lightning does on SIGTERM."""
        if not self.stopped_for:
            self.stopped_for, self.asked_at = why, time.monotonic()
            self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:  # it ended in the meantime
            return


def start(
    trial: Trial, folder: Path, run_dir: Path, lock: BinaryIO, environment: Mapping[str, str]
) -> Process:
    """Start a trial's command in a session of its own, its output in a log.

    It gets SIGTERM when we die, so that no trial goes on that nobody watches (on Linux).

    Args:
        trial: With its command.
        folder: Of the trial.
        run_dir: Of its run.
        lock: Of the folder, which the process shares.
        environment: All of its variables.

    Raises:
        OSError: There is no such program, or it cannot be run.
    """
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            list(trial.command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
            pass_fds=(lock.fileno(),),
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
    return Process(trial, folder, run_dir, process, lock)


def _end_with_parent() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def take_lock(folder: Path) -> BinaryIO | None:
    """Return a trial folder's lock, or None where another process has it: the trial runs."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / LOCK).open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def read_values(folder: Path, run_dir: Path, metric: str) -> list[float]:
    """Return what a trial has logged of a metric, in order; NaN where it was none.

    From the file that :data:`METRICS_VARIABLE` names, else from its run's ``metrics.csv``, else from its
    ``crossval.json``. All but the last may be written at this moment: half a line is left out, and so is
    what is no JSON object, of which :func:`broken_line` tells.

    Args:
        folder: Of the trial.
        run_dir: Of its run.
        metric: Its name.
    """
    rows = [_json_object(line) for line in _whole_lines(folder / METRICS)]
    if values := [_float(row[metric]) for row in rows if row is not None and metric in row]:
        return values
    table = csv.DictReader(StringIO("".join(_whole_lines(run_dir / "metrics.csv"))))
    if values := [_float(row[metric]) for row in table if row.get(metric)]:
        return values
    whole = run_dir / "crossval.json"
    if whole.is_file():
        summary = json.loads(whole.read_text())
        return [_float(summary[metric])] if metric in summary else []
    return []


def broken_line(folder: Path) -> str:
    """Return the words for the first line of a trial's metrics that is no JSON object; empty: all are."""
    for number, line in enumerate(_whole_lines(folder / METRICS), start=1):
        if line.strip() and _json_object(line) is None:
            return f"line {number} of {METRICS} is no JSON object"
    return ""


def judge(
    status: int, values: Sequence[float], metric: str, stopped_for: str, log: str, broken: str = ""
) -> tuple[State, str]:
    """Return how a trial ended, and why where that needs saying.

    Args:
        status: The exit status of its process, below 0 for a signal.
        values: What it logged of the metric.
        metric: Its name.
        stopped_for: Why we asked it to end; ``hyperband`` is no failure, nor is :data:`INTERRUPTED`.
        log: What it wrote.
        broken: What is wrong with its metrics, as :func:`broken_line` says it.
    """
    is_known = bool(values) and all(math.isfinite(value) for value in values)
    if stopped_for == INTERRUPTED:
        return "cut off", stopped_for
    if stopped_for == "hyperband" and is_known:
        return "stopped", "hyperband" if status == 0 else f"hyperband; exit status {status}"
    if status < 0 and not stopped_for:
        name = signal.Signals(-status).name
        hint = ": perhaps memory ran out" if -status == signal.SIGKILL else ""
        return "failed", _with_log(f"killed by {name}{hint}", log)
    if stopped_for:
        return "failed", stopped_for
    if status != 0:
        return "failed", _with_log(f"exit status {status}", log)
    if broken:
        return "failed", broken
    if not values:
        return "failed", _with_log(f"it logged no {metric}", log)
    if not is_known:
        return "failed", not_finite(values, metric)
    return "finished", ""


def not_finite(values: Sequence[float], metric: str) -> str:
    """Return the words for values among which one is NaN or infinite."""
    place = next(place for place, value in enumerate(values, start=1) if not math.isfinite(value))
    return f"value {place} of {metric} is {values[place - 1]}"


def _with_log(reason: str, log: str) -> str:
    lines = [line for line in log.splitlines() if line.strip()][-_REASON_LINES:]
    return "\n".join([reason, "\n".join(lines)[-_REASON_CHARACTERS:]]).rstrip()


def _whole_lines(path: Path) -> list[str]:
    """Return the lines of a file that end, each with its end; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(errors="replace") as file:  # whose lines, unlike str.splitlines, end at line ends alone
        return [line for line in file if line.endswith("\n")]


def _json_object(line: str) -> Mapping[str, Any] | None:
    """Return a line's JSON object; None: it is none."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _float(value: object) -> float:
    """Return a logged value; what is none, such as JSON's null, is NaN."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan
