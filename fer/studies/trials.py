"""Trials of a sweep in an Optuna study, which several processes and machines can share."""

import json
import os
import platform
import secrets
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from fer.errors import InputError
from fer.files import draft_of
from fer.studies.space import Parameter, Space
from fer.studies.storage import guarded, open_storage, take_lock

State = Literal["running", "finished", "stopped", "failed", "cut off"]

JOURNAL: Final = "optuna.log"
"""Optuna's journal in the sweep's folder; for a sweep in a database, a copy of its trials."""

OLD_JOURNAL: Final = "journal.jsonl"
"""The journal of earlier versions, one JSON object per line; the last line of a trial counts."""

MOST_VALUES: Final = 250
"""Most metric values of a trial that the study stores, 140 bytes each, so that a trial takes at most 40 kB of
the journal; the trial's folder has all of them."""

BEAT: Final = 30.0
"""Seconds between two heartbeats of a trial in a database."""

LOST: Final = 300.0
"""Seconds without a heartbeat after which a trial on another machine is given up."""

CHOOSING: Final = 0.02
"""Seconds between two polls of the trials whose point another process is choosing."""

_STATES: Final[Mapping[State, TrialState]] = {
    "running": TrialState.RUNNING,
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "cut off": TrialState.FAIL,
}
_AT_START: Final = ("point_number", "cube", "command", "agent")
_AT_END: Final = ("reason", "seconds")

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass
class Trial:
    """One run of a sweep.

    Attributes:
        number: Number of the trial, from 1.
        point_number: Number of the point, from 1; trials that repeat an interrupted one share it.
        point: Values of the parameters.
        cube: Position of the point in the unit cube; empty for a grid.
        command: The command that was run.
        state: ``stopped`` by hyperband; ``cut off`` by the end of the process that ran it.
        value: Best value of the metric.
        values: All values of the metric, in order.
        reason: Why it ended, if that is not clear from the state.
        seconds: Duration.
        agent: Index of the agent, within its process, that runs it.
    """

    number: int
    point_number: int
    point: Mapping[str, Any]
    cube: Sequence[float]
    command: Sequence[str] = ()
    state: State = "running"
    value: float | None = None
    values: Sequence[float] = ()
    reason: str = ""
    seconds: float = 0.0
    agent: int = 0

    @property
    def name(self) -> str:
        """The name of the trial's folder."""
        return f"trial-{self.number:04d}"


class Trials:
    """The trials of a sweep.

    Several processes and machines can share them. Optuna numbers the trials; a process that wants one takes
    the next number, waits until every smaller number has its point, and then chooses its own point from all
    trials so far. No point is assigned twice, and there is no lock that a killed process could leave behind.

    Args:
        url: Storage of the study; None: a journal in the folder.
        folder: Folder of the sweep; its name is the study's.
        space: The parameters.
        maximize: Whether a larger metric is better.
    """

    def __init__(self, url: str | None, folder: Path, space: Space, *, maximize: bool) -> None:
        self._folder, self._space, self._is_local = folder, space, url is None
        self._where = str(folder / JOURNAL) if url is None else url
        with guarded(self._where):
            self._storage = open_storage(url or folder / JOURNAL)
            self.study = optuna.create_study(
                study_name=folder.name,
                storage=self._storage,
                direction=_direction(maximize=maximize),
                load_if_exists=True,
            )
            self._study_id = self._storage.get_study_id_from_name(folder.name)
        self._process = f"{platform.node()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._reported: dict[int, int] = {}
        self._beaten: dict[int, float] = {}
        self._seen: dict[int, tuple[Any, float]] = {}

    @contextmanager
    def running(self) -> Iterator[BinaryIO]:
        """Yield a lock that shows that this process, or a trial that inherits the lock, is alive."""
        path = self._lock_path(self._process)
        lock = take_lock(path)
        if lock is None:
            msg = f"{path} is locked by another process: run the command again"
            raise InputError(msg)
        try:
            yield lock
        finally:
            lock.close()
            path.unlink(missing_ok=True)

    def settle(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the settings that the study was created with; a new study stores the given ones."""
        with guarded(self._where):
            if "settings" not in self.study.user_attrs:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ExperimentalWarning)  # about metric names
                    self.study.set_metric_names([settings["metric"]["name"]])
                self.study.set_user_attr("settings", dict(settings))
            found: Mapping[str, Any] = self.study.user_attrs["settings"]
        return found

    def read(self) -> list[Trial]:
        """Return all trials by number.

        Raises:
            InputError: The storage cannot be read.
        """
        return [trial for frozen in self._frozen() if (trial := _trial_of(frozen)) is not None]

    def claim(
        self, choose: Callable[[list[Trial], int], Trial | None], label: Callable[[Trial], dict[str, Any]]
    ) -> Trial | None:
        """Return a trial that no other process runs, or None if there is none to run.

        Args:
            choose: Chooses the trial, given all trials so far and the number of the new one.
            label: Returns more user attributes for the trial in the study.

        Raises:
            InputError: The storage cannot be used.
        """
        template = create_trial(state=TrialState.RUNNING, user_attrs={"process": self._process})
        with guarded(self._where):
            key = self._storage.create_new_trial(self._study_id, template)
            number = self._storage.get_trial(key).number
        while any(_is_choosing(frozen) and frozen.number < number for frozen in self._frozen()):
            for lost in filter(_is_choosing, self._lost()):
                self._drop(lost)
            time.sleep(CHOOSING)
        trial = choose(self.read(), number + 1)
        with guarded(self._where):
            try:
                if trial is None:
                    self._storage.set_trial_user_attr(key, "reason", "not needed: no point was left")
                    self._storage.set_trial_state_values(key, TrialState.FAIL)
                    return None
                for name, (value, distribution) in _params(self._space, trial.point).items():
                    internal = distribution.to_internal_repr(value)
                    self._storage.set_trial_param(key, name, internal, distribution)
                content = {each: getattr(trial, each) for each in _AT_START} | label(trial)
                for name, value in content.items():
                    self._storage.set_trial_user_attr(key, name, value)
                self._storage.set_trial_user_attr(key, "point", dict(trial.point))  # last: now it has a point
            except UpdateFinishedTrialError:  # this process slept for so long that it was given up
                return self.claim(choose, label)
        return trial

    def report(self, trial: Trial) -> None:
        """Store the values that a running trial of this process has logged so far, and a heartbeat."""
        known = self._reported.setdefault(trial.number, 0)
        is_due = not self._is_local and time.monotonic() - self._beaten.get(trial.number, 0.0) > BEAT
        if not is_due and known >= min(len(trial.values), MOST_VALUES):
            return
        with guarded(self._where):
            key = self._key(trial)
            try:
                for step, value in enumerate(trial.values[known:MOST_VALUES], start=known + 1):
                    self._storage.set_trial_intermediate_value(key, step, value)
                    self._reported[trial.number] = step
                if is_due:
                    self._beaten[trial.number] = time.monotonic()
                    self._storage.set_trial_user_attr(key, "alive", time.time())
            except UpdateFinishedTrialError:  # given up by another machine
                self._reported[trial.number] = MOST_VALUES

    def end(self, trial: Trial) -> None:
        """Store how a trial ended; if several processes store it, the first one counts."""
        self.report(trial)
        with guarded(self._where):
            key = self._key(trial)
            try:
                for name in ("state", *_AT_END):
                    self._storage.set_trial_user_attr(key, name, getattr(trial, name))
                values = None if trial.value is None else [trial.value]
                self._storage.set_trial_state_values(key, _STATES[trial.state], values)
            except UpdateFinishedTrialError:
                return

    def give_up_lost(self, settle: Callable[[Trial], None]) -> list[Trial]:
        """End the trials whose process was killed, and return those that had a point.

        Args:
            settle: Sets the state, reason and values of such a trial, which is ``cut off`` before the call.
        """
        lost = []
        for frozen in self._lost():
            trial = _trial_of(frozen)
            if trial is None:
                self._drop(frozen)
                continue
            trial.state, trial.reason = "cut off", "the process that ran it ended"
            self._reported[trial.number] = len(trial.values)
            settle(trial)
            self.end(trial)
            lost.append(trial)
        return lost

    def _drop(self, frozen: FrozenTrial) -> None:
        """End a trial whose process was killed before it had a point."""
        with guarded(self._where), suppress(UpdateFinishedTrialError):  # by another process
            key = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, frozen.number)
            self._storage.set_trial_state_values(key, TrialState.FAIL)

    def _lost(self) -> list[FrozenTrial]:
        return [each for each in self._frozen() if each.state == TrialState.RUNNING and self._is_lost(each)]

    def _frozen(self) -> list[FrozenTrial]:
        with guarded(self._where):
            return self.study.get_trials(deepcopy=False)

    def _key(self, trial: Trial) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, trial.number - 1)

    def _lock_path(self, process: str) -> Path:
        return self._folder / "agents" / f"{process}.lock"

    def _is_lost(self, frozen: FrozenTrial) -> bool:
        """Return whether the process of a running trial has ended, as far as this machine can tell."""
        process = frozen.user_attrs.get("process", "")
        path = self._lock_path(process)
        if process == self._process:
            return False
        if path.is_file():
            lock = take_lock(path)
            if lock is not None:
                lock.close()
            return lock is not None
        if self._is_local:
            return True
        sign, now = frozen.user_attrs.get("alive"), time.monotonic()
        if frozen.number not in self._seen or self._seen[frozen.number][0] != sign:
            self._seen[frozen.number] = (sign, now)
        return now - self._seen[frozen.number][1] > LOST


def read_trials(folder: Path) -> list[Trial]:
    """Return the trials in a sweep's folder by number, without the storage of a sweep in a database.

    Raises:
        InputError: The journal is damaged.
    """
    path = folder / JOURNAL
    if not path.is_file():
        return _read_old(folder / OLD_JOURNAL)
    with guarded(str(path)):
        study = optuna.load_study(study_name=None, storage=open_storage(path))
        return [trial for each in study.get_trials(deepcopy=False) if (trial := _trial_of(each)) is not None]


def write_trials(
    folder: Path, trials: Sequence[Trial], space: Space, *, maximize: bool, only_new: bool = False
) -> None:
    """Write trials as an Optuna journal in a sweep's folder.

    Args:
        folder: Folder of the sweep.
        trials: The trials.
        space: Their parameters.
        maximize: Whether a larger metric is better.
        only_new: Whether to keep an existing journal.
    """
    path = folder / JOURNAL
    draft = draft_of(path)
    try:
        with guarded(str(path)):
            study = optuna.create_study(
                study_name=folder.name,
                storage=open_storage(draft),
                direction=_direction(maximize=maximize),
            )
            numbered = {trial.number: trial for trial in trials}
            for number in range(1, max(numbered, default=0) + 1):
                trial = numbered.get(number)
                study.add_trial(
                    create_trial(state=TrialState.FAIL) if trial is None else _frozen_of(trial, space)
                )
            if not only_new:
                draft.replace(path)
            elif not path.exists():
                with suppress(FileExistsError):  # another process was faster
                    os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def import_old(folder: Path, space: Space, *, maximize: bool) -> None:
    """Import the trials from an earlier version's journal, if there is one, into Optuna's.

    Raises:
        InputError: An earlier version is still running a trial in the folder.
    """
    if (folder / JOURNAL).exists() or not (folder / OLD_JOURNAL).is_file():
        return
    trials = _read_old(folder / OLD_JOURNAL)
    for trial in trials:
        if trial.state != "running":
            continue
        lock = take_lock(folder / trial.name / ".lock")
        if lock is None:
            msg = f"{folder / trial.name} is being run by an earlier version of fer: wait until it has ended"
            raise InputError(msg)
        lock.close()
        trial.state, trial.reason = "cut off", "the process that ran it ended"
    write_trials(folder, trials, space, maximize=maximize, only_new=True)


def _read_old(path: Path) -> list[Trial]:
    """Return the trials from an earlier version's journal, without unfinished lines."""
    trials: dict[int, Trial] = {}
    lines = path.read_bytes().splitlines() if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        try:
            trials[fields["number"]] = Trial(**fields)
        except (TypeError, KeyError) as e:
            msg = f"{path} is damaged: line {number} is not a trial; delete the line to continue"
            raise InputError(msg) from e
    return [trials[number] for number in sorted(trials)]


def _direction(*, maximize: bool) -> StudyDirection:
    return StudyDirection.MAXIMIZE if maximize else StudyDirection.MINIMIZE


def _is_choosing(frozen: FrozenTrial) -> bool:
    return frozen.state == TrialState.RUNNING and "point" not in frozen.user_attrs


def _trial_of(frozen: FrozenTrial) -> Trial | None:
    """Convert an Optuna trial; None if it has no point."""
    known = frozen.user_attrs
    if "point" not in known:
        return None
    names = {state: name for name, state in _STATES.items()}  # two names share FAIL, which is handled below
    return Trial(
        number=frozen.number + 1,
        point=known["point"],
        state=known.get("state", "cut off") if frozen.state == TrialState.FAIL else names[frozen.state],
        value=frozen.value if frozen.state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
        values=[value for _, value in sorted(frozen.intermediate_values.items())],
        **{name: known[name] for name in (*_AT_START, *_AT_END) if name in known},
    )


def _frozen_of(trial: Trial, space: Space) -> FrozenTrial:
    params = _params(space, trial.point)
    return create_trial(
        state=_STATES[trial.state],
        value=trial.value if trial.state in ("finished", "stopped") else None,
        params={name: value for name, (value, _) in params.items()},
        distributions={name: distribution for name, (_, distribution) in params.items()},
        user_attrs={name: getattr(trial, name) for name in ("point", "state", *_AT_START, *_AT_END)},
        intermediate_values=dict(enumerate(trial.values[:MOST_VALUES], start=1)),
    )


def _params(space: Space, point: Mapping[str, Any]) -> dict[str, tuple[Any, BaseDistribution]]:
    """Return the searched parameters of a point, by name, as a value and an Optuna distribution.

    Only Optuna's plots use them. The search itself runs in the unit cube, since Optuna has no normal, beta
    or rounded distributions.
    """
    flat = space.flat(point)
    return {parameter.name: _param(parameter, flat[parameter.name]) for parameter in space.searched}


def _param(parameter: Parameter, value: Any) -> tuple[Any, BaseDistribution]:
    if parameter.values:
        choices = tuple(dict.fromkeys(map(_choice, parameter.values)))
        return _choice(value), CategoricalDistribution(choices)
    low, high = (each(parameter.value(0.0), parameter.value(1.0), value) for each in (min, max))
    if isinstance(low, int) and isinstance(high, int):
        return value, IntDistribution(low, high, log="log" in parameter.distribution and low > 0)
    return value, FloatDistribution(low, high, log="log" in parameter.distribution and low > 0)


def _choice(value: Any) -> Any:
    """Return a value in a form that Optuna can store: lists and mappings as JSON."""
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value)
