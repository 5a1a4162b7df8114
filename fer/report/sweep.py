"""Gather the data of a sweep: its trials, the best one, and the importance of the settings."""

import math
import re
import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from fer.runs import STUDY
from fer.studies.importance import importances
from fer.studies.study import Study, read_settings
from fer.studies.sweepfile import SweepFile, envvars, read_sweep
from fer.studies.trial import fer_command
from fer.studies.trials import Trial, read_trials


def is_sweep(folder: Path) -> bool:
    """Return whether a folder is that of a sweep."""
    return (folder / STUDY).is_file()


def sweep_of(folder: Path) -> dict[str, Any]:
    """Return the data of a sweep for the page.

    Args:
        folder: Folder of ``fer sweep``, finished or not.

    Raises:
        InputError: ``sweep.yaml``, ``study.json`` or the journal is damaged.
    """
    settings = read_settings(folder)
    sweep = read_sweep(folder / "sweep.yaml", method=settings["method"], to_run=False)
    study = Study(folder, sweep, settings["seed"], settings["key"])
    trials = read_trials(folder)
    best = study.best(trials)
    names = [parameter.name for parameter in sweep.space.searched]
    points = [{name: sweep.space.flat(trial.point).get(name) for name in names} for trial in trials]
    known = [
        (point, trial.value) for point, trial in zip(points, trials, strict=True) if trial.value is not None
    ]
    found = importances([point for point, _ in known], [value for _, value in known], seed=study.seed)
    counts = Counter(trial.state for trial in trials)
    last = {trial.point_number: trial for trial in trials}  # an interrupted point is run again
    num_open = sum(trial.state in ("running", "cut off") for trial in last.values())
    method = [] if sweep.method == sweep.content.get("method") else ["--method", sweep.method]
    variables = _variables(sweep, trials[0]) if trials else {}
    words = ["fer", "sweep", str(folder / "sweep.yaml"), *method, "--seed", str(study.seed)]
    return {
        "kind": "Sweep",
        "unfinished": f"Points whose trial is running or was interrupted: {num_open} of {len(last)}."
        if num_open
        else None,
        "facts": [
            ("Goal", f"the {'largest' if sweep.metric.maximize else 'smallest'} {sweep.metric.name}"),
            ("Method", sweep.method + (", with early stopping by hyperband" if sweep.hyperband else "")),
            ("Trials", ", ".join(f"{num} {state}" for state, num in counts.items()) or "none"),
            ("Seed", str(study.seed)),
        ],
        "repeat": {
            "command": " ".join(
                [
                    *(f"{name}={shlex.quote(value)}" for name, value in variables.items()),
                    shlex.join([*words, "--count", str(max(len(last), 1))]),
                ]
            ),
            "best": None if best is None else shlex.join(_again(best, folder)),
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


def _again(best: Trial, folder: Path) -> list[str]:
    """Return the command that repeats the best trial as a run of its own."""
    values = Path(best.name, "params.json")
    words = [str(folder / values) if Path(word).match(str(values)) else word for word in best.command]
    ours = fer_command(words)
    if ours is None:
        return words[1:] if words[:1] == ["/usr/bin/env"] else words
    command, given = ours
    place = len(given) - 1 - given[::-1].index("--runs_dir")  # the sweep added this and what follows
    return ["fer", command, *given[:place]]


def _variables(sweep: SweepFile, trial: Trial) -> dict[str, str]:
    """Return the environment variables in a sweep's command, with their values when the trial started."""
    found: dict[str, str] = {}
    place = 0
    for word in sweep.command:
        names = dict.fromkeys(envvars([word]))
        pattern = re.escape(word)
        for name in names:
            macro = re.escape(f"${{envvar:{name}}}")
            pattern = pattern.replace(macro, f"(?P<{name}>.*)", 1).replace(macro, f"(?P={name})")
        if names and (match := re.fullmatch(pattern, trial.command[place])):
            found |= match.groupdict()
        place += len(replace(sweep, command=(word,)).words(trial.point, Path()))
    return found
