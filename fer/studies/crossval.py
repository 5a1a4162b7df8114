"""Cross-validation: one run for each fold, and the summary of all folds."""

import json
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
from fer.metrics import ClassificationReport, report
from fer.runs import WAY_OUT, Run

SETTINGS: Final = "settings.json"
LOCK: Final = ".lock"
SPLITS: Final = ("val", "test")


@dataclass(frozen=True)
class Summary:
    """Results of K folds.

    Attributes:
        reports: For ``val`` and ``test`` the report of each fold.
        pooled: Report of the sum of the folds' confusion matrices of ``test``. Those of ``val`` are not
            pooled: a sample may be in the validation split of several folds.
    """

    reports: Mapping[str, Sequence[ClassificationReport]]
    pooled: ClassificationReport

    def scalars(self) -> dict[str, float]:
        """Return mean and standard deviation over the folds, by the name under which each is logged.

        Returns:
            For every value of :meth:`fer.metrics.ClassificationReport.scalars` its mean over the folds
            where it is defined, ``val/acc``; its standard deviation (n - 1), ``val/acc_std``; and the
            number of folds where it is not defined, if any, ``val/precision/fear_undefined``. Also
            ``test/pooled_acc`` with ``_low`` and ``_high``, of the samples of all folds, and
            ``val/acc_best``, which is ``val/acc`` under the name that a sweep of single runs optimises.
        """
        flat: dict[str, float] = {}
        for split, reports in self.reports.items():
            folds = [fold.scalars() for fold in reports]
            for key in folds[0]:
                if key in ("acc_low", "acc_high"):  # intervals of folds have no mean
                    continue
                values = np.array([fold[key] for fold in folds])
                defined = values[~np.isnan(values)]
                flat[f"{split}/{key}"] = float(defined.mean()) if defined.size else float("nan")
                flat[f"{split}/{key}_std"] = float(defined.std(ddof=1)) if defined.size > 1 else float("nan")
                if defined.size < len(folds):
                    flat[f"{split}/{key}_undefined"] = float(len(folds) - defined.size)
        flat["test/pooled_acc"] = self.pooled.accuracy
        flat["test/pooled_acc_low"], flat["test/pooled_acc_high"] = self.pooled.interval
        flat["val/acc_best"] = flat["val/acc"]
        return flat

    def table(self) -> str:
        """Return the accuracies in per cent: a line for each fold, the mean, the deviation, all pooled."""
        flat = self.scalars()
        lines = ["fold     val acc   test acc   n test"]
        for fold, (val, test) in enumerate(zip(*(self.reports[split] for split in SPLITS), strict=True)):
            lines.append(f"{fold:<6} {100 * val.accuracy:7.2f} % {100 * test.accuracy:8.2f} % {test.n:8,}")
        for name, key in (("mean", "acc"), ("std", "acc_std")):
            lines.append(f"{name:<6} {100 * flat[f'val/{key}']:7.2f} % {100 * flat[f'test/{key}']:8.2f} %")
        low, high = (100 * bound for bound in self.pooled.interval)
        lines.append(
            f"pooled{'':10} {100 * self.pooled.accuracy:8.2f} % {self.pooled.n:8,}   [{low:.2f}, {high:.2f}]"
        )
        return "\n".join(lines)


def summarise(results: Sequence[Mapping[str, Any]]) -> Summary:
    """Return the summary of all folds.

    Args:
        results: The ``results.json`` of each fold, of any number of classes; without ``class_names`` the
            classes have their default names.

    Raises:
        InputError: The folds have different classes, or one lacks a split.
    """
    names = results[0].get("class_names")
    shape = {"splits": {split: {"confusion": [[int]]} for split in SPLITS}}
    for number, fold in enumerate(results):
        problem = find_problem(fold, shape)
        if not problem and fold.get("class_names") != names:
            problem = "its classes are not those of the first fold"
        if problem:
            msg = f"results of fold {number} of {len(results)} cannot be summarised: {problem}"
            raise InputError(msg)
    reports = {split: [_report(fold["splits"][split], names) for fold in results] for split in SPLITS}
    confusion, non_finite = (
        torch.stack([getattr(fold, name) for fold in reports["test"]]).sum(dim=0)
        for name in ("confusion", "non_finite")
    )
    return Summary(reports, pooled=report(confusion, names, non_finite))


def _report(split: Mapping[str, Any], names: Sequence[str] | None) -> ClassificationReport:
    """Return the report of a split in ``results.json``."""
    return report(torch.tensor(split["confusion"]), names, split.get("non_finite"))


def run_folds(
    folder: Path,
    num_folds: int,
    settings: Mapping[str, Any],
    run_fold: Callable[[int, Path], None],
) -> list[dict[str, Any]]:
    """Run the folds that have no results yet, each in a folder of its own.

    A fold that was interrupted goes on in its folder. Where no fold has results, the settings may change, and
    the files of interrupted folds are moved aside.

    Args:
        folder: Of the cross-validation; its folds are in ``fold-0``, ``fold-1`` and so on.
        num_folds: Number of folds.
        settings: Common to all folds; stored in the folder, so that a later call cannot change them.
        run_fold: Runs a fold, given its number and its folder, or goes on with it.

    Returns:
        The results of every fold, in order.

    Raises:
        InputError: The folder holds something else, folds of other settings, or a cross-validation that
            another process is running; or a fold ended without results.
    """
    with _alone(folder):
        _check_settings(folder, {"folds": num_folds, **settings})
        results = []
        for fold in range(num_folds):
            run_dir = folder / f"fold-{fold}"
            if not Run(run_dir).results_path.is_file():
                run_fold(fold, run_dir)
            results.append(_read_fold(folder, fold))
        return results


def read_folds(folder: Path) -> list[dict[str, Any]]:
    """Return the ``results.json`` of each fold of a cross-validation, in order.

    Args:
        folder: Of the cross-validation.

    Raises:
        InputError: The folder holds no cross-validation, or a fold has no results.
    """
    path = folder / SETTINGS
    if not path.is_file():
        msg = f"{folder} holds no cross-validation: give the folder of one, runs/NAME"
        raise InputError(msg)
    return [_read_fold(folder, fold) for fold in range(read_settings(folder)["folds"])]


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the settings that a cross-validation's folds have in common, empty if it has none yet.

    Raises:
        InputError: The file is damaged.
    """
    path = folder / SETTINGS
    if not path.is_file():
        return {}
    settings = read_json(path, WAY_OUT)
    if problem := find_problem(settings, {"folds": int}):
        msg = f"{path} is damaged: {problem}; {WAY_OUT}"
        raise InputError(msg)
    return settings


def _read_fold(folder: Path, fold: int) -> dict[str, Any]:
    run = Run(folder / f"fold-{fold}")
    if not run.results_path.is_file():
        msg = (
            f"{run.folder} has no results: run the same command with the --run_name of {folder} to continue "
            "from this fold"
        )
        raise InputError(msg)
    return run.read_results()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lock the folder against other processes; the system releases the lock with the process.

    Raises:
        InputError: Another process is running the folds, or the folder holds no cross-validation.
    """
    import fcntl  # not above: Windows has none, and the other commands can do without

    is_known = (folder / LOCK).is_file() or (folder / SETTINGS).is_file()
    if folder.is_dir() and any(folder.iterdir()) and not is_known:
        msg = f"{folder} is not the folder of a cross-validation: choose another --run_name"
        raise InputError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            msg = f"{folder}: another process is running its folds; wait, or choose another --run_name"
            raise InputError(msg) from e
        yield


def _check_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Store the settings in the folder, or compare them with those of its folds."""
    settings = json.loads(json.dumps(settings))  # as they are read back
    before, folds = read_settings(folder), sorted(folder.glob("fold-*[0-9]"))
    differing = [name for name in settings if before.get(name) != settings[name]]
    if differing and any(Run(path).results_path.is_file() for path in folds):
        name = differing[0]
        msg = (
            f"{folder} holds folds that were run with another value of {name} ({before.get(name)}; now "
            f"{settings[name]}): give the same value to continue, or choose another --run_name"
        )
        raise InputError(msg)
    for run_dir in folds if differing else ():
        _set_aside(run_dir)
    write_json(folder / SETTINGS, settings)


def _set_aside(run_dir: Path) -> None:
    """Move the files of an interrupted fold aside."""
    number = 1
    while (aside := run_dir.with_name(f"{run_dir.name}-{number}.cut-off")).exists():
        number += 1
    shutil.move(run_dir, aside)
