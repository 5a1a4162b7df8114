"""Several runs as one result: the folds of a cross-validation, or the seeds of a repeat."""

import json
import logging
import math
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from fer.errors import InputError
from fer.files import find_problem, read_json, write_json
from fer.metrics import ClassificationReport, mean_interval, report
from fer.metrics.calibration import Calibration, pooled_calibration
from fer.metrics.keys import acc_key
from fer.runs import SETTINGS, WAY_OUT, Run

log = logging.getLogger("fer.studies")

LOCK: Final = ".lock"
SPLITS: Final = ("val", "test")

NUMBER: Final = (int, float)
_BINS: Final = {"counts": [int], "confidence": [object], "accuracy": [object]}
_BOTH: Final = {"before": NUMBER, "after": NUMBER}
CALIBRATED: Final = {"n": int, "temperature": NUMBER, "ece": _BOTH, "nll": _BOTH}
"""Shape of a calibration in ``results.json``, for :func:`fer.files.find_problem`."""
_CALIBRATED_IN_BINS: Final = {**CALIBRATED, "bins": {"before": _BINS, "after": _BINS}}
"""Shape of a calibration with its bins, which a summary pools."""


def without_fold(text: str) -> str:
    """Return the description of a protocol without the number of the fold.

    >>> without_fold("5 folds by film, fold 2, crop mtcnn")
    '5 folds by film, crop mtcnn'
    """
    return re.sub(r", fold \d+", "", text)


@dataclass(frozen=True)
class Kind:
    """What the members of a study are.

    Attributes:
        name: Name of the command, of the summary file ``<name>.json`` and of the W&B job type.
        noun: What the study is called in a sentence.
        member: What a member is called; its folder is ``<member>-<number>``.
        option: The setting of ``fer fit`` that takes the member's number.
        shares_samples: Whether all members are tested on the same samples; if not, each sample is tested by
            one member.
    """

    name: str
    noun: str
    member: str
    option: str
    shares_samples: bool

    @property
    def setting(self) -> str:
        """Name of the setting for the members: how many there are, or a list of their numbers."""
        return f"{self.member}s"

    def numbers(self, settings: Mapping[str, Any]) -> list[int]:
        """Return the numbers of the members from a study's settings."""
        members = settings[self.setting]
        return list(range(members)) if isinstance(members, int) else list(members)

    def run(self, folder: Path, number: int) -> Run:
        """Return the run of a member."""
        return Run(folder / f"{self.member}-{number}")

    def summary_path(self, folder: Path) -> Path:
        """Return the file of the summary."""
        return folder / f"{self.name}.json"


CROSSVAL: Final = Kind("crossval", "cross-validation", "fold", "data.fold", shares_samples=False)
REPEAT: Final = Kind("repeat", "repeat", "seed", "seed_everything", shares_samples=True)

KINDS: Final = {kind.name: kind for kind in (CROSSVAL, REPEAT)}
"""The kinds of studies by the name of their command."""


@dataclass(frozen=True)
class Summary:
    """Results of the members of a study.

    Attributes:
        kind: What the members are.
        numbers: Number of each member, in order.
        reports: Reports of the members, by split: ``val``, ``test`` and any other test split.
        pooled: Report of the sum of the members' confusion matrices of ``test``. Its interval counts each
            sample once, however many members are tested on it. Matrices of ``val`` are not pooled: a sample
            may be in the validation split of several folds.
        views: Accuracies of the members with test-time augmentation, by the name under which they are logged.
        calibration: Calibration on ``test``, pooled over the members; None if a member has none.
    """

    kind: Kind
    numbers: Sequence[int]
    reports: Mapping[str, Sequence[ClassificationReport]]
    pooled: ClassificationReport
    views: Mapping[str, Sequence[float]]
    calibration: Calibration | None

    def scalars(self) -> dict[str, float]:
        """Return the summary as numbers, by the name under which each is logged.

        Returns:
            For every value of :meth:`fer.metrics.ClassificationReport.scalars`: its mean over the members
            where it is defined (``val/acc``), its standard deviation (``val/acc_std``, n - 1), and the
            number of members where it is undefined, if any (``val/precision/fear_undefined``). For the
            pooled test samples: the accuracy ``test/pooled_acc`` with ``_low`` and ``_high``, and the
            calibration error ``test/pooled_ece`` if it is known. For seeds, which are independent: Student's
            95 % interval of the mean accuracy, ``test/acc_mean_low`` and ``_high``. ``val/acc_best`` repeats
            ``val/acc`` under the name that a sweep of single runs optimises.
        """
        flat: dict[str, float] = {}
        for split, reports in self.reports.items():
            members = [member.scalars() for member in reports]
            for key in members[0]:
                if key not in ("acc_low", "acc_high"):  # intervals of members have no mean
                    flat |= _mean_and_std(f"{split}/{key}", [member[key] for member in members])
            if self.kind.shares_samples:
                low, high = mean_interval([each.accuracy for each in reports])
                # With few seeds the interval may extend beyond 0 or 1.
                flat[f"{split}/acc_mean_low"] = low if math.isnan(low) else max(low, 0.0)
                flat[f"{split}/acc_mean_high"] = high if math.isnan(high) else min(high, 1.0)
        for key, values in self.views.items():
            flat |= _mean_and_std(key, values)
        flat["test/pooled_acc"] = self.pooled.accuracy
        flat["test/pooled_acc_low"], flat["test/pooled_acc_high"] = self.pooled.interval
        if self.calibration is not None:
            flat["test/pooled_ece"] = self.calibration.after.ece
        flat["val/acc_best"] = flat["val/acc"]
        return flat

    def table(self) -> str:
        """Return a table of accuracies in per cent: one line per member, mean, deviation and intervals."""
        flat = self.scalars()
        columns = {split: [each.accuracy for each in reports] for split, reports in self.reports.items()}
        columns |= {key.replace("/acc_tta_", " "): list(values) for key, values in self.views.items()}
        keys = [*(f"{split}/acc" for split in self.reports), *self.views]
        heads = [f"{name} acc" if name in SPLITS else name for name in columns]
        rows = [
            (str(number), [values[place] for values in columns.values()], f"{test.n:8,}")
            for place, (number, test) in enumerate(zip(self.numbers, self.reports["test"], strict=True))
        ]
        rows += [
            (name, [flat[f"{key}{end}"] for key in keys], "") for name, end in (("mean", ""), ("std", "_std"))
        ]
        lines = [f"{self.kind.member:<6}{''.join(f'{head:>12}' for head in heads)}   n test"]
        lines += [
            f"{name:<6}{''.join(f'{100 * value:10.2f} %' for value in values)} {n}".rstrip()
            for name, values, n in rows
        ]
        return "\n".join([*lines, *self._notes(flat)])

    def _notes(self, flat: Mapping[str, float]) -> Iterator[str]:
        """Yield the intervals of the test accuracy and the calibration error, one line each."""
        intervals = {"pooled": self.pooled.interval}
        if self.kind.shares_samples:
            intervals = {
                "95 % interval of the mean over seeds": (
                    flat["test/acc_mean_low"],
                    flat["test/acc_mean_high"],
                ),
                "95 % interval of the mean over samples": self.pooled.interval,
            }
        for name, (low, high) in intervals.items():
            if not math.isnan(low):
                n = f"{100 * self.pooled.accuracy:.2f} % of {self.pooled.n:,} " if name == "pooled" else ""
                yield f"{name}: test accuracy {n}[{100 * low:.2f}, {100 * high:.2f}]"
        if self.calibration is not None:
            before, after = self.calibration.before.ece, self.calibration.after.ece
            yield f"calibration error on test: {100 * before:.2f} %, with temperature {100 * after:.2f} %"


def summarise(
    results: Sequence[Mapping[str, Any]], kind: Kind = CROSSVAL, numbers: Sequence[int] | None = None
) -> Summary:
    """Return the summary of all members of a study.

    Args:
        results: The ``results.json`` of each member, of any number of classes; without ``class_names`` the
            classes have their default names.
        kind: What the members are.
        numbers: Number of each member; None: 0, 1, 2, and so on.

    Raises:
        InputError: The members have different classes, or one lacks a split.
    """
    numbers = list(range(len(results)) if numbers is None else numbers)
    names = results[0].get("class_names")
    shape = {"splits": {split: {"confusion": [[int]]} for split in SPLITS}}
    for number, member in zip(numbers, results, strict=True):
        problem = find_problem(member, shape)
        if not problem and member.get("class_names") != names:
            problem = f"its classes are not those of the first {kind.member}"
        if problem:
            msg = f"results of {kind.member} {number} of {len(results)} cannot be summarised: {problem}"
            raise InputError(msg)
    all_splits = [member["splits"] for member in results]
    more = [name for name in all_splits[0] if name != "train" and all(name in each for each in all_splits)]
    splits = dict.fromkeys([*SPLITS, *more])
    reports = {split: [_report(each[split], names) for each in all_splits] for split in splits}
    confusion, non_finite = (
        torch.stack([getattr(member, name) for member in reports["test"]]).sum(dim=0)
        for name in ("confusion", "non_finite")
    )
    pooled = report(confusion, names, non_finite, repeats=len(results) if kind.shares_samples else 1)
    calibrations = [each["test"].get("calibration") for each in all_splits]
    is_calibrated = not any(find_problem(each, _CALIBRATED_IN_BINS) for each in calibrations)
    return Summary(
        *(kind, numbers, reports, pooled),
        views={
            f"{split}/{acc_key(tta)}": [each[split]["tta"][tta]["acc"] for each in all_splits]
            for split in splits
            for tta in all_splits[0][split].get("tta", {})
            if split != "val"
            if not any(find_problem(each[split], {"tta": {tta: {"acc": NUMBER}}}) for each in all_splits)
        },
        calibration=pooled_calibration(calibrations) if is_calibrated else None,
    )


def _mean_and_std(key: str, values: Sequence[float]) -> dict[str, float]:
    """Return the mean and standard deviation of the defined values, and how many are undefined."""
    numbers = np.array(values, dtype=float)
    defined = numbers[~np.isnan(numbers)]
    found = {
        key: float(defined.mean()) if defined.size else math.nan,
        f"{key}_std": float(defined.std(ddof=1)) if defined.size > 1 else math.nan,
    }
    return found | (
        {f"{key}_undefined": float(len(values) - defined.size)} if defined.size < len(values) else {}
    )


def _report(split: Mapping[str, Any], names: Sequence[str] | None) -> ClassificationReport:
    """Return the report of a split in ``results.json``."""
    return report(torch.tensor(split["confusion"]), names, split.get("non_finite"))


def run_members(
    kind: Kind,
    folder: Path,
    members: int | Sequence[int],
    settings: Mapping[str, Any],
    run_member: Callable[[int, Path], None],
) -> list[dict[str, Any]]:
    """Run the members that have no results yet, each in a folder of its own.

    An interrupted member is resumed in its folder. As long as no member has results, the settings may change;
    the files of interrupted members are then moved aside. Seeds may be added at any time.

    Args:
        kind: What the members are.
        folder: Folder of the study; its members are in ``fold-0``, ``fold-1`` and so on.
        members: Number of members, or a list of their numbers.
        settings: Settings of all members; stored in the folder, so that a later call cannot change them.
        run_member: Runs or resumes a member, given its number and its folder.

    Returns:
        The results of every member, in order.

    Raises:
        InputError: The folder holds something else, or members with other settings; another process is
            running the study; or a member ended without results.
    """
    settings = {kind.setting: members, **settings}
    with _alone(kind, folder):
        _check_settings(kind, folder, settings)
        results = []
        for number in kind.numbers(settings):
            run = kind.run(folder, number)
            if not run.results_path.is_file():
                run_member(number, run.folder)
            results.append(_read_member(kind, folder, number))
        return results


def read_members(folder: Path) -> list[dict[str, Any]]:
    """Return the ``results.json`` of each member of a study, in order.

    Args:
        folder: Folder of the study.

    Raises:
        InputError: The folder holds no study, or a member has no results.
    """
    kind = find_kind(folder)
    if kind is None:
        msg = f"{folder} is not the folder of a cross-validation or a repeat: give one, such as runs/NAME"
        raise InputError(msg)
    return [_read_member(kind, folder, number) for number in kind.numbers(read_settings(folder))]


def find_kind(folder: Path) -> Kind | None:
    """Return the kind of study that a folder holds; None if it holds none.

    Raises:
        InputError: The file of its settings is damaged.
    """
    settings = read_settings(folder)
    return next((kind for kind in KINDS.values() if kind.setting in settings), None)


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the settings that a study's members have in common, empty if it has none yet.

    Raises:
        InputError: The file is damaged.
    """
    path = folder / SETTINGS
    if not path.is_file():
        return {}
    settings = read_json(path, WAY_OUT)
    shape = {REPEAT.setting: [int]} if REPEAT.setting in settings else {CROSSVAL.setting: int}
    if problem := find_problem(settings, shape):
        msg = f"{path} is damaged: {problem}; {WAY_OUT}"
        raise InputError(msg)
    return settings


def _read_member(kind: Kind, folder: Path, number: int) -> dict[str, Any]:
    run = kind.run(folder, number)
    if not run.results_path.is_file():
        msg = (
            f"{run.folder} has no results: run the same command with the --run_name of {folder} to continue "
            f"from this {kind.member}"
        )
        raise InputError(msg)
    return run.read_results()


@contextmanager
def _alone(kind: Kind, folder: Path) -> Iterator[None]:
    """Lock the folder against other processes; the system releases the lock with the process.

    Raises:
        InputError: Another process is running the members, or the folder holds something else.
    """
    import fcntl  # here, since Windows lacks it and other commands do not need it

    found = find_kind(folder)
    is_known = (folder / LOCK).is_file() if found is None else found is kind
    if folder.is_dir() and any(folder.iterdir()) and not is_known:
        msg = f"{folder} is not the folder of a {kind.noun}: choose another --run_name"
        raise InputError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            msg = (
                f"{folder}: another process is running its {kind.setting}; wait, or choose another --run_name"
            )
            raise InputError(msg) from e
        yield


def _check_settings(kind: Kind, folder: Path, settings: dict[str, Any]) -> None:
    """Store the settings in the folder, or compare them with those of its members."""
    settings = json.loads(json.dumps(settings))  # as they are read back
    before, runs = read_settings(folder), sorted(folder.glob(f"{kind.member}-*[0-9]"))
    differing = [name for name in settings if before.get(name) != settings[name]]
    if kind.shares_samples and before and {*kind.numbers(before)} <= {*kind.numbers(settings)}:
        differing = [name for name in differing if name != kind.setting]  # seeds were added
    if differing and any(Run(path).results_path.is_file() for path in runs):
        name = differing[0]
        msg = (
            f"{folder} holds {kind.setting} that were run with another value of {name} ({before.get(name)}; "
            f"now {settings[name]}): give the same value to continue, or choose another --run_name"
        )
        raise InputError(msg)
    for run_dir in runs if differing else ():
        aside = _set_aside(run_dir)
        log.warning(
            "%s was interrupted with another value of %s: its files are now in %s, and the %s begins anew",
            *(run_dir, differing[0], aside, kind.member),
        )
    write_json(folder / SETTINGS, settings)


def _set_aside(run_dir: Path) -> Path:
    """Move the files of an interrupted member aside, and return where."""
    number = 1
    while (aside := run_dir.with_name(f"{run_dir.name}-{number}.cut-off")).exists():
        number += 1
    shutil.move(run_dir, aside)
    return aside
