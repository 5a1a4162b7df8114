"""A sweep in its folder: its fixed settings, and access to its trials."""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fer.errors import InputError
from fer.files import atomic_write, find_problem, read_json
from fer.runs import STUDY
from fer.studies.storage import without_password, writing
from fer.studies.sweepfile import SweepFile
from fer.studies.trial import read_values, settle
from fer.studies.trials import JOURNAL, MOST_VALUES, Trial, Trials, import_old


@dataclass(frozen=True)
class Study:
    """A sweep in its folder.

    Attributes:
        folder: Folder of the sweep; each trial has a folder in it.
        sweep: The sweep file.
        seed: Seed of the search.
        key: Prefix of the ids of its W&B runs.
        storage: URL of the database that keeps the trials; None: the journal in the folder.
    """

    folder: Path
    sweep: SweepFile
    seed: int
    key: str
    storage: str | None = None

    @cached_property
    def trials(self) -> Trials:
        """The trials in their storage."""
        return Trials(self.storage, self.folder, self.sweep.space, maximize=self.sweep.metric.maximize)

    def folder_of(self, trial: Trial) -> Path:
        """Return the folder of a trial."""
        return self.folder / trial.name

    def run_dir(self, trial: Trial) -> Path:
        """Return the folder of a trial's run, if its program is ``fer``."""
        return self.folder / trial.name / f"{self.folder.name}-{trial.name}"

    def wandb_id(self, trial: Trial) -> str:
        """Return the id of a trial's W&B run."""
        return f"{self.key}-{trial.number}"

    def has_more_values(self, trial: Trial) -> bool:
        """Return whether a trial may have more metric values than the storage knows."""
        return trial.state == "running" or len(trial.values) >= MOST_VALUES

    def read_values(self, trial: Trial) -> Sequence[float]:
        """Return the metric values of a trial so far, from its folder if that is on this machine."""
        values = read_values(self.folder_of(trial), self.run_dir(trial), self.sweep.metric.name)
        return values or trial.values

    def settle(self, trial: Trial, status: int | None = None) -> None:
        """Set the state, reason and value of a trial that has ended; see :func:`fer.studies.trial.settle`."""
        metric = self.sweep.metric
        settle(trial, self.folder_of(trial), self.run_dir(trial), metric.name, status)
        trial.value = metric.best(trial.values) if trial.state in ("finished", "stopped") else None

    def best(self, trials: Sequence[Trial]) -> Trial | None:
        """Return the trial with the best value, without failed ones; the first one if several are equal."""
        known = [trial for trial in trials if trial.value is not None and trial.state != "failed"]
        if not known:
            return None
        values = [trial.value for trial in known if trial.value is not None]
        return known[values.index(self.sweep.metric.best(values))]


def open_study(folder: Path, sweep: SweepFile, seed: int, storage: str | None = None) -> Study:
    """Create a sweep and its folder, or open the sweep in the folder.

    Args:
        folder: Folder of the sweep.
        sweep: The sweep file.
        seed: Seed of the search.
        storage: URL of the database that keeps the trials; None: a journal in the folder.

    Raises:
        InputError: The folder or the storage holds something else or a sweep with other settings, or cannot
            be used.
    """
    path = folder / STUDY
    settings = {
        "seed": seed,
        "method": sweep.method,
        **{key: sweep.content.get(key) for key in ("metric", "parameters", "program")},
        "command": list(sweep.command),
    }
    settings = json.loads(json.dumps(settings))
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    is_known = path.is_file()  # after the listing: another process may be creating the sweep
    if names and not is_known and not any(STUDY in name or JOURNAL in name for name in names):
        msg = f"{folder} is not the folder of a sweep: choose another --run_name"
        raise InputError(msg)
    local = {"storage": None if storage is None else without_password(storage)}
    key = secrets.token_hex(4)
    if is_known:
        before = read_settings(folder)
        _check_same(folder, before, settings)
        _check_same(folder, {"storage": None, **before}, local)
        key = before["key"]
    if storage is None:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        import_old(folder, sweep.space, maximize=sweep.metric.maximize)
    study = Study(folder, sweep, seed, key, storage)
    shared = study.trials.settle({"key": key, **settings})
    _check_same(local["storage"] or folder, shared, settings)
    with writing(path), atomic_write(path) as file:
        file.write(json.dumps({**shared, **local}, indent=2).encode() + b"\n")
    copy = folder / "sweep.yaml"
    with writing(copy), atomic_write(copy) as file:
        file.write(sweep.path.read_bytes())
    return replace(study, key=shared["key"])


def _check_same(place: Path | str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to continue a sweep with other settings.

    Raises:
        InputError: A setting differs.
    """
    if differing := [key for key in now if before.get(key) != now[key]]:
        key = differing[0]
        msg = (
            f"{place} holds a sweep with other settings ({key}: {before.get(key)}; now {now[key]}): "
            "give the same value to continue it, or choose another --run_name"
        )
        raise InputError(msg)


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
