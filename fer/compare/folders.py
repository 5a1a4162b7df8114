"""Read the runs to compare from their folders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer.compare.answers import Answers, read_answers
from fer.configs import flatten
from fer.errors import InputError
from fer.lookup import check_folder, find_checkpoint
from fer.runs import STUDY, Run
from fer.studies.members import CROSSVAL, REPEAT, find_kind, read_members, read_settings, summarise


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """Content of a run's folder.

    Attributes:
        name: Name of the folder, unique among the compared runs.
        run: The run.
        settings: Settings by dotted name; empty without a config.
        results: Content of ``results.json``; empty without the file.
        pruned: Content of ``prune.json``; empty without the file.
        history: Columns of ``metrics.csv``.
        checkpoint: Path of its checkpoint; None if there is none yet.
        answers: Predictions in ``predictions.csv``, by split; empty without the file.
        untested: Why the run has no test results; empty if it has some.
        seeds: Seeds of a repeat; empty for a single run.
        scalars: Means over the seeds of a repeat; see :meth:`fer.studies.members.Summary.scalars`.
    """

    name: str
    run: Run
    settings: dict[str, Any]
    results: dict[str, Any]
    pruned: dict[str, Any]
    history: dict[str, list[float]] = field(repr=False)
    checkpoint: Path | None
    answers: dict[str, Answers]
    untested: str
    seeds: Sequence[int] = ()
    scalars: Mapping[str, float] = field(default_factory=dict)


def read_runs(folders: Sequence[Path]) -> list[ComparedRun]:
    """Read the folders of two runs or more.

    Raises:
        InputError: A folder is missing or does not hold a run or a repeat, two are the same, or a file is
            damaged.
    """
    if len(folders) < 2:
        msg = "give two runs or more: fer compare runs/ONE runs/OTHER"
        raise InputError(msg)
    paths: dict[Path, Path] = {}
    for folder in folders:
        _check(folder)
        real = folder.resolve()
        if real in paths:
            msg = f"{paths[real]} and {folder} are the same run: give another one"
            raise InputError(msg)
        paths[real] = folder
    names = _names(list(paths))
    return [_read_any(real, name) for real, name in zip(paths, names, strict=True)]


def read_run(folder: Path) -> ComparedRun:
    """Read the folder of a run.

    Raises:
        InputError: A file is damaged.
    """
    return _read(Run(folder), folder.name)


def _check(folder: Path) -> None:
    """Refuse a folder that does not hold a single run or a repeat."""
    check_folder(folder)
    if (folder / STUDY).is_file():
        msg = f"{folder} is a sweep: give the folders of its trials, or two sweeps to fer sweep --compare"
        raise InputError(msg)
    kind = find_kind(folder)
    if kind is CROSSVAL:
        msg = f"{folder} is a cross-validation, whose test samples differ by fold: give one, {folder}/fold-0"
        raise InputError(msg)
    if kind is None and not Run(folder).is_run:
        inside = sorted(path.name for path in folder.iterdir() if Run(path).is_run)
        hint = f"; did you mean {folder / inside[0]}?" if inside else ": give the folder of a run, runs/NAME"
        msg = f"{folder} holds no run{hint}"
        raise InputError(msg)


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the shortest endings that distinguish paths.

    >>> _names([Path("/runs/a"), Path("/runs/b")]), _names([Path("/runs/a"), Path("/old/a")])
    (['a', 'b'], ['runs/a', 'old/a'])
    """
    depth = 1
    while len({path.parts[-depth:] for path in folders}) < len(folders):
        depth += 1
    return ["/".join(path.parts[-depth:]) for path in folders]


def _read_any(folder: Path, name: str) -> ComparedRun:
    """Read the folder of a run or a repeat."""
    if find_kind(folder) is not REPEAT:
        return _read(Run(folder), name)
    seeds = REPEAT.numbers(read_settings(folder))
    first = _read(REPEAT.run(folder, seeds[0]), name)
    results = read_members(folder)
    seconds = sum(each.get("fit_seconds") or 0.0 for each in results)
    return ComparedRun(
        *(name, Run(folder), first.settings),
        results={**results[0], "splits": {}, "fit_seconds": seconds},
        pruned={},
        history={},
        checkpoint=None,
        answers={},
        untested="",
        seeds=seeds,
        scalars=summarise(results, REPEAT, seeds).scalars(),
    )


def _read(run: Run, name: str) -> ComparedRun:
    settings, results, pruned = flatten(run.read_config()), run.read_results(), run.read_prune()
    answers = read_answers(run.predictions_path)
    try:
        checkpoint = find_checkpoint(run.folder)
    except InputError:  # there is none yet, or it was removed
        checkpoint = None
    untested = ""
    if not (results or pruned or answers):
        untested = "it has no results.json: it is still running, or was interrupted"
        if settings.get("test") is False:
            untested = "it was trained with --test false: run fer test on it first"
    return ComparedRun(
        *(name, run, settings, results, pruned, run.read_metrics(), checkpoint, answers, untested)
    )
