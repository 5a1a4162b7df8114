"""Cross-validation: every fold a run of its own, then what they say together."""

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
from fer.files import read_json, write_json
from fer.metrics import ClassificationReport, report
from fer.runs import WAY_OUT, Run, find_problem

SETTINGS: Final = "settings.json"
LOCK: Final = ".lock"
SPLITS: Final = ("val", "test")


@dataclass(frozen=True)
class Summary:
    """What K folds say together.

    Attributes:
        reports: For ``val`` and ``test`` the report of each fold.
        pooled: Report of the sum of the folds' confusion matrices of ``test``. (A sample is tested once,
            but may be in the val of several folds, so that these are not pooled.)
    """

    reports: Mapping[str, Sequence[ClassificationReport]]
    pooled: ClassificationReport

    def scalars(self) -> dict[str, float]:
        """Return mean and spread over the folds as flat numbers to be logged.

        Returns:
            For every figure of :meth:`fer.metrics.ClassificationReport.scalars` its mean over the folds
            where it is defined, ``val/acc``; its standard deviation (n - 1), ``val/acc_std``; and, where
            there are any, the number of folds where it is not defined, ``val/precision/fear_undefined``.
            Besides ``test/pooled_acc`` with ``_low`` and ``_high``, of all folds' samples together, and
            ``val/acc_best``, which is ``val/acc`` under the name that a sweep of single runs optimises.
        """
        flat: dict[str, float] = {}
        for split, reports in self.reports.items():
            folds = [fold.scalars() for fold in reports]
            for key in folds[0]:
                if key in ("acc_low", "acc_high"):  # an interval of one fold has no mean
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
        """Return a line for each fold, accuracies in per cent; then mean, spread, and all pooled."""
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
    """Return what folds say together.

    Args:
        results: What each fold's run wrote to ``results.json``.
    """
    matrices = {
        split: [torch.tensor(fold["splits"][split]["confusion"]) for fold in results] for split in SPLITS
    }
    names = results[0].get("class_names")  # which older results do not have
    return Summary(
        reports={
            split: [report(matrix, names) for matrix in of_folds] for split, of_folds in matrices.items()
        },
        pooled=report(torch.stack(matrices["test"]).sum(dim=0), names),
    )


def run_folds(
    folder: Path, num_folds: int, settings: Mapping[str, Any], run_fold: Callable[[int, Path], None]
) -> list[dict[str, Any]]:
    """Run the folds that have no results yet, each in a folder of its own.

    A fold that was cut off is run again; what it left is kept beside it.

    Args:
        folder: Of the cross-validation; the folds' are ``fold-0`` and so on in it.
        num_folds: How many there are.
        settings: What the folds have in common, kept in the folder so that a later call goes on with
            the same.
        run_fold: Runs a fold, given its number and its folder.

    Returns:
        The results of every fold, in order.

    Raises:
        InputError: The folder holds something else, other folds, or a cross-validation that another process
            runs at this moment; or a fold ended without results.
    """
    with _alone(folder):
        _check_settings(folder, {"folds": num_folds, **settings})
        results = []
        for fold in range(num_folds):
            run_dir = folder / f"fold-{fold}"
            if not Run(run_dir).results_path.is_file():
                _set_aside(run_dir)
                run_fold(fold, run_dir)
            results.append(_read_fold(folder, fold))
        return results


def read_folds(folder: Path) -> list[dict[str, Any]]:
    """Return what each fold of a cross-validation wrote to ``results.json``, in order.

    Args:
        folder: Of the cross-validation, as ``fer crossval`` left it.

    Raises:
        InputError: It holds none, or one whose folds are not all done.
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
    results = run.read_results()
    if not results:
        msg = (
            f"{run.folder} ended without results: the same command, with --run_name for {folder}, "
            "goes on from this fold"
        )
        raise InputError(msg)
    return results


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from running the folder's folds; the system ends that with the process, too.

    Raises:
        InputError: Another one runs them, or the folder holds something else than a cross-validation.
    """
    import fcntl  # not above: Windows has none, and the other commands can do without

    is_known = (folder / LOCK).is_file() or (folder / SETTINGS).is_file()
    if folder.is_dir() and any(folder.iterdir()) and not is_known:
        msg = f"{folder} holds something else than a cross-validation: choose another --run_name"
        raise InputError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            msg = f"{folder}: another process runs its folds; wait for it, or choose another --run_name"
            raise InputError(msg) from e
        yield


def _check_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Keep the settings in the folder, or compare them with those that folds in it were run with."""
    settings = json.loads(json.dumps(settings))  # as they are read back
    if any(Run(path).results_path.is_file() for path in folder.glob("fold-*")):
        before = read_settings(folder)
        if differing := [name for name in settings if before.get(name) != settings[name]]:
            name = differing[0]
            msg = (
                f"{folder} holds folds that were run with other {name} ({before.get(name)}; now "
                f"{settings[name]}): give the same to go on with it, or choose another --run_name"
            )
            raise InputError(msg)
    write_json(folder / SETTINGS, settings)


def _set_aside(run_dir: Path) -> None:
    """Move what a fold that was cut off left."""
    if run_dir.exists():
        number = 1
        while (aside := run_dir.with_name(f"{run_dir.name}-cut-off-{number}")).exists():
            number += 1
        shutil.move(run_dir, aside)
