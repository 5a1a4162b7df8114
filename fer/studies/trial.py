"""A trial of a sweep as a process: start it, read its metrics, classify its end."""

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

from fer.files import atomic_write, read_json
from fer.studies import child
from fer.studies.members import KINDS
from fer.studies.trials import State, Trial
from fer.studies.warm import Forked, WarmServer

LOG: Final = "log.txt"
METRICS: Final = "metrics.jsonl"
METRICS_VARIABLE: Final = "FER_SWEEP_METRICS"
"""Environment variable that names a file for metrics from any program, one JSON object per line."""

PATIENCE: Final = 60.0
"""Seconds from SIGTERM to SIGKILL, as with W&B's ``--term-timeout``."""

INTERRUPTED: Final = "interrupted"
"""Reason of a trial that the user interrupted."""

ORPHANED: Final = "its sweep was killed"
"""Reason of a trial that ended because the process that watched it was killed."""

STATUS: Final = "status.json"
"""File in a trial's folder that records how its program ended, written by :mod:`fer.studies.child`."""

STOPPED_FOR: Final = "stopped.txt"
"""File in a trial's folder with the reason why it was asked to end."""

_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=")
_REASON_LINES: Final = 8
_REASON_CHARACTERS: Final = 800


def program_place(words: Sequence[str]) -> int:
    """Return the index of the program in a command line, after ``env`` and its variables.

    >>> program_place(["/usr/bin/env", "A=1", "python", "train.py"])
    2
    """
    if not words or Path(words[0]).name != "env":  # an older trial may have no command
        return 0
    places = (place for place, word in enumerate(words) if place and not _ASSIGNMENT.match(word))
    return next(places, 0)


def fer_command(words: Sequence[str]) -> tuple[str, list[str]] | None:
    """Return the ``fer`` command that a command line runs, and its arguments; None if it runs none.

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
    """Write the inputs of a trial's program, and return the path of the JSON.

    Args:
        folder: Folder of the trial.
        point: Values of the parameters.
        text: Content of ``${args_json_file}``.
    """
    with atomic_write(folder / "params.yaml") as file:
        content = {"wandb_version": 1, **{name: {"value": value} for name, value in point.items()}}
        file.write(yaml.safe_dump(content, sort_keys=False).encode())
    with atomic_write(folder / "params.json") as file:
        file.write(text.encode())
    return folder / "params.json"


@dataclass
class Process:
    """A running trial.

    Attributes:
        trial: The trial; :meth:`poll` updates its values.
        folder: Folder of the trial.
        run_dir: Folder of its run, if the program is ``fer``.
        process: Process of the operating system that runs the program.
        stopped_for: Why the trial was asked to end; empty if it was not.
        asked_at: Monotonic time at which it was asked.
        started_at: Monotonic time of its start.
    """

    trial: Trial
    folder: Path
    run_dir: Path
    process: "subprocess.Popen[bytes] | Forked"
    stopped_for: str = ""
    asked_at: float = 0.0
    started_at: float = field(default_factory=time.monotonic)

    def poll(self, metric: str) -> bool:
        """Update the trial's values, and return whether it has ended."""
        has_ended = self.process.poll() is not None
        self.trial.values = read_values(self.folder, self.run_dir, metric)
        self.trial.seconds = round(time.monotonic() - self.started_at, 1)
        if not has_ended and self.stopped_for and time.monotonic() - self.asked_at > PATIENCE:
            self._signal(signal.SIGKILL)
        return has_ended

    def stop(self, why: str) -> None:
        """Ask the trial to end with SIGTERM, which makes Lightning write a checkpoint."""
        if self.stopped_for:
            return
        self.stopped_for, self.asked_at = why, time.monotonic()
        try:
            with atomic_write(self.folder / STOPPED_FOR) as file:
                file.write(why.encode())
        finally:
            self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:  # it ended in the meantime
            return


def start(
    trial: Trial,
    folder: Path,
    run_dir: Path,
    lock: BinaryIO,
    environment: Mapping[str, str],
    server: WarmServer,
) -> Process:
    """Start a trial's command in its own session, with its output in a log file.

    On Linux the trial gets SIGTERM when this process dies, so that no trial continues unwatched.

    Args:
        trial: The trial, with its command.
        folder: Folder of the trial.
        run_dir: Folder of its run.
        lock: Lock of this process, which the trial inherits.
        environment: All environment variables of the process.
        server: Forks the process if it can.

    Raises:
        OSError: The log cannot be written.
    """
    words = (folder / STATUS, os.getpid(), int(PATIENCE), *trial.command)
    with (folder / LOG).open("wb") as log:
        forked = server.start(trial.command, (log, log, lock), environment, folder / STATUS, int(PATIENCE))
        process = forked or subprocess.Popen(
            [sys.executable, "-I", "-S", child.__file__, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
            pass_fds=(lock.fileno(),),
        )
    return Process(trial, folder, run_dir, process)


def settle(trial: Trial, folder: Path, run_dir: Path, metric: str, status: int | None = None) -> None:
    """Set the state, reason and values of a trial that has ended.

    Args:
        trial: The trial.
        folder: Folder of the trial.
        run_dir: Folder of its run.
        metric: Name of the metric.
        status: Exit status of the process that ran the program, used if :data:`STATUS` is missing; None: not
            known, and the trial keeps its state.
    """
    path, asked = folder / STATUS, folder / STOPPED_FOR
    end = read_json(path, "delete the file, and the trial is run again") if path.is_file() else {}
    stopped_for = asked.read_text() if asked.is_file() else ""
    status = end.get("status", status)
    trial.values = read_values(folder, run_dir, metric) or trial.values
    if end.get("orphaned") and not stopped_for:
        trial.state, trial.reason = "cut off", ORPHANED
    elif "error" in end:
        trial.state, trial.reason = "failed", f"it cannot be started: {end['error']}"
    elif status is not None:
        log = (folder / LOG).read_text(errors="replace")
        trial.state, trial.reason = classify_end(
            status, trial.values, metric, stopped_for, log, broken_line(folder)
        )


def read_values(folder: Path, run_dir: Path, metric: str) -> list[float]:
    """Return the values of a metric that a trial has logged, in order; NaN for a value that is not a number.

    They come from the file that :data:`METRICS_VARIABLE` names, else from the run's ``metrics.csv``, else
    from the summary of its members, such as ``crossval.json``. The first two may be incomplete while the
    trial runs: an unfinished last line is ignored. So is a line that is not a JSON object, which
    :func:`broken_line` reports.

    Args:
        folder: Folder of the trial.
        run_dir: Folder of its run.
        metric: Name of the metric.
    """
    rows = [_json_object(line) for line in _whole_lines(folder / METRICS)]
    if values := [_float(row[metric]) for row in rows if row is not None and metric in row]:
        return values
    table = csv.DictReader(StringIO("".join(_whole_lines(run_dir / "metrics.csv"))))
    if values := [_float(row[metric]) for row in table if row.get(metric)]:
        return values
    for whole in (kind.summary_path(run_dir) for kind in KINDS.values()):
        if whole.is_file():
            summary = json.loads(whole.read_text())
            return [_float(summary[metric])] if metric in summary else []
    return []


def broken_line(folder: Path) -> str:
    """Return a message about the first metrics line that is not a JSON object; empty if all are."""
    for number, line in enumerate(_whole_lines(folder / METRICS), start=1):
        if line.strip() and _json_object(line) is None:
            return f"line {number} of {METRICS} is not a JSON object"
    return ""


def classify_end(
    status: int, values: Sequence[float], metric: str, stopped_for: str, log: str, broken: str = ""
) -> tuple[State, str]:
    """Return the final state of a trial and the reason for it.

    Args:
        status: Exit status of its process, negative for a signal.
        values: Logged values of the metric.
        metric: Name of the metric.
        stopped_for: Why it was asked to end; neither ``hyperband`` nor :data:`INTERRUPTED` is a failure.
        log: Output of the process.
        broken: Message of :func:`broken_line`.
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
    """Return a message about the first value that is NaN or infinite."""
    place = next(place for place, value in enumerate(values, start=1) if not math.isfinite(value))
    return f"value {place} of {metric} is {values[place - 1]}"


def _with_log(reason: str, log: str) -> str:
    r"""Return a reason with the end of a log, up to its last error: libraries may write more when they exit.

    >>> _with_log("exit status 2", "fer fit: error: the loss is nan\nnanobind: leaked 4 instances!")
    'exit status 2\nfer fit: error: the loss is nan'
    """
    lines = [line for line in log.splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines, 1) if re.search("[Ee]rror: ", line)]
    lines = lines[: errors[-1] if errors else None][-_REASON_LINES:]
    return "\n".join([reason, "\n".join(lines)[-_REASON_CHARACTERS:]]).rstrip()


def _whole_lines(path: Path) -> list[str]:
    """Return the complete lines of a file, with their ends; none if the file does not exist."""
    if not path.is_file():
        return []
    with path.open(errors="replace") as file:  # str.splitlines would split at more than newlines
        return [line for line in file if line.endswith("\n")]


def _json_object(line: str) -> Mapping[str, Any] | None:
    """Return the JSON object of a line; None if it is not one."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _float(value: object) -> float:
    """Return a logged value as a number; anything else, such as JSON's null, is NaN."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan
