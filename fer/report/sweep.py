"""What a sweep's folder holds: its trials, which was best, and what bears on it."""

import json
import math
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from fer.studies.importance import importances
from fer.studies.journal import Trial
from fer.studies.sweep import STUDY, Study
from fer.studies.sweepfile import SweepFile, read_sweep


def is_sweep(folder: Path) -> bool:
    """Return whether a folder is that of a sweep."""
    return (folder / STUDY).is_file()


def sweep_of(folder: Path) -> dict[str, Any]:
    """Return a sweep as the page's script reads it.

    Args:
        folder: As ``fer sweep`` left it, or is filling it.

    Raises:
        InputError: Its ``sweep.yaml`` cannot be read.
    """
    settings = json.loads((folder / STUDY).read_text())
    sweep = read_sweep(folder / "sweep.yaml", method=settings["method"])
    study = Study(folder, sweep, settings["seed"], settings["key"])
    trials = study.journal.read()
    best = study.best(trials)
    names = [parameter.name for parameter in sweep.space.searched]
    points = [{name: sweep.space.flat(trial.point).get(name) for name in names} for trial in trials]
    known = [
        (point, trial.value) for point, trial in zip(points, trials, strict=True) if trial.value is not None
    ]
    found = importances([point for point, _ in known], [value for _, value in known], seed=study.seed)
    counts = Counter(trial.state for trial in trials)
    last = {trial.point_number: trial for trial in trials}  # a point that was cut off is run again
    num_open = sum(trial.state in ("running", "cut off") for trial in last.values())
    method = [] if sweep.method == sweep.content.get("method") else ["--method", sweep.method]
    words = ["fer", "sweep", str(folder / "sweep.yaml"), *method, "--seed", str(study.seed)]
    return {
        "kind": "Sweep",
        "unfinished": f"Points whose trial goes on, or was cut off: {num_open} of {len(last)}."
        if num_open
        else None,
        "facts": [
            ("Looked for", f"the {'largest' if sweep.metric.maximize else 'smallest'} {sweep.metric.name}"),
            ("Method", sweep.method + (", ended early by hyperband" if sweep.hyperband else "")),
            ("Trials", ", ".join(f"{num} {state}" for state, num in counts.items()) or "none"),
            ("Seed", str(study.seed)),
        ],
        "repeat": {
            "command": shlex.join([*words, "--count", str(max(len(last), 1))]),
            "best": None if best is None else shlex.join(_again(sweep, best, folder)),
        },
        "sweep": {
            "metric": sweep.metric.name,
            "maximize": sweep.metric.maximize,
            "best": None if best is None else {"name": best.name, "value": best.value},
            "parameters": [
                {"name": parameter.name, "log": "log" in parameter.distribution}
                for parameter in sweep.space.searched
            ],
            "rows": [
                {
                    "name": trial.name,
                    "state": trial.state,
                    "value": trial.value,
                    "values": len(trial.values),
                    "seconds": trial.seconds,
                    "reason": next(iter(trial.reason.splitlines()), ""),
                    "point": point,
                }
                for trial, point in zip(trials, points, strict=True)
            ],
            "importances": [
                {"name": name, "share": share, "correlation": None if math.isnan(order) else order}
                for name, (share, order) in found.items()
            ],
        },
    }


def _again(sweep: SweepFile, best: Trial, folder: Path) -> list[str]:
    """Return the best trial's command, for a run of its own."""
    words = sweep.words(best.point, folder / best.name / "params.json")
    words = words[1:] if words[0] == "/usr/bin/env" else words
    return ["fer", *words[3:]] if words[:3] == [sys.executable, "-m", "fer"] else words
