"""Studies of several runs (crossval, repeat): each member is a run, and all are reported together."""

import argparse
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count, pairwise
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from fer.commands.choices import choose
from fer.commands.experiment import run_experiment
from fer.commands.parsing import CONSOLE, parse_config
from fer.commands.precision import PRECISION
from fer.configs import flatten, name_configs
from fer.dashboards import apart_from_sweep, finish, log_config, wandb_logger
from fer.errors import InputError
from fer.figures import confusion_figure, members_figure, reliability_figure
from fer.figures.style import describe_missing, drawing, write_figure
from fer.files import read_json, write_json
from fer.runs import WAY_OUT, Run
from fer.studies.members import Kind, Summary, run_members, summarise, without_fold

SET_BY_STUDY: Final = (
    *("--test", "--ckpt_path", "--resume", "--trainer.devices"),
    *("--wandb.group", "--wandb.name", "--wandb.job_type"),
)
"""Options of fit that the study sets for its members."""


def make_study_parser(kind: Kind, description: str, epilog: str) -> argparse.ArgumentParser:
    """Return a parser of the options that all studies have; the settings of fit are parsed elsewhere."""
    parser = argparse.ArgumentParser(
        prog=f"fer {kind.name}",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=description,
        epilog=epilog,
    )
    parser.add_argument("--runs_dir", default="runs", help="folder of all runs (default: runs)")
    parser.add_argument(
        "--run_name",
        help=f"name of the folder and of the W&B group (default: network, data set, {kind.setting} and time)",
    )
    return parser


def choose_for_members(
    kind: Kind, words: Sequence[str], set_by_kind: Sequence[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """Return the arguments and names of :func:`fer.commands.choices.choose` for the runs of the members.

    Args:
        kind: Kind of the study.
        words: Arguments of fit.
        set_by_kind: Options of fit that cannot be given, in addition to :data:`SET_BY_STUDY`.

    Raises:
        InputError: An argument is invalid, or sets what differs from member to member.
    """
    taken = {*SET_BY_STUDY, *set_by_kind, f"--{kind.option}"}
    if found := [word for word in words if word.split("=")[0] in taken]:
        msg = f"{found[0]} cannot be given: fer {kind.name} sets it for every {kind.member}; leave it out"
        raise InputError(msg)
    return choose(words)


def configs_in(words: Sequence[str]) -> list[dict[str, Any]]:
    """Return the content of each config among the arguments of :func:`choose_for_members`."""
    return [parse_config(config) for flag, config in pairwise(words) if flag == "--config"]


def run_study(
    kind: Kind,
    given: argparse.Namespace,
    words: Sequence[str],
    chosen: Mapping[str, str],
    members: int | Sequence[int],
    common: Mapping[str, Any] | None = None,
) -> Path:
    """Run the members that have no results, then write, draw, log and print the results of all.

    Args:
        kind: Kind of the study.
        given: Options of the study.
        words: Arguments of fit for every member.
        chosen: Names of the network and the data set.
        members: Number of members, or the number of each.
        common: Further settings of fit that all members have; None: no others.

    Returns:
        The folder of the study.
    """
    numbers = kind.numbers({kind.setting: members})
    short = [each.rpartition(".")[2] for each in chosen.values()]
    usual = "-".join((*short, f"{len(numbers)}{kind.member}", time.strftime("%Y%m%d-%H%M%S")))
    name = given.run_name or unused_name(Path(given.runs_dir), usual)
    folder = Path(given.runs_dir) / name
    project = os.environ.get("WANDB_PROJECT")  # set by a sweep; the summary goes to the same project

    def run_member(number: int, run_dir: Path) -> None:
        CONSOLE.print(f"\n{kind.member} {number} ({numbers.index(number) + 1} of {len(numbers)})")
        of_member = {
            **(common or {}),
            kind.option: number,
            "runs_dir": run_dir.parent,
            "run_name": run_dir.name,
            "test": "true",
            "trainer.devices": 1,
            "wandb.group": name,
            "wandb.name": f"{name}-{run_dir.name}",
            "wandb.job_type": kind.member,
            **({"wandb.project": project} if project else {}),
            **_precision_of_first(kind.run(folder, numbers[0])),
        }
        # Last, so that no config overrides them.
        own_words = [f"--{key}={value}" for key, value in of_member.items()]
        begun = Run(run_dir) if run_dir.is_dir() else None
        run_experiment("fit", [*words, *own_words], chosen, resumed=begun)

    settings = {**chosen, "words": name_configs(words), "configs": configs_in(words)}
    with apart_from_sweep():
        results = run_members(kind, folder, members, settings, run_member)
    _conclude(kind, folder, numbers, results)
    return folder


def _precision_of_first(run: Run) -> dict[str, Any]:
    """Return the first member's precision, which the others use on any machine; empty before it has run."""
    settings = flatten(run.read_config())
    return {PRECISION: settings[PRECISION] or "null"} if PRECISION in settings else {}


def unused_name(folder: Path, name: str) -> str:
    """Return a name that is not used in the folder: the given one, with a number appended if it is taken."""
    names = (f"{name}-{number}" if number > 1 else name for number in count(1))
    return next(each for each in names if not (folder / each).exists())


def _conclude(kind: Kind, folder: Path, numbers: Sequence[int], results: Sequence[Mapping[str, Any]]) -> None:
    """Write, draw, log and print the results of all members together."""
    summary = summarise(results, kind, numbers)
    protocol = without_fold(str(results[0]["protocol"]))
    title = f"{results[0]['network']}: {protocol}"
    runs = [kind.run(folder, number) for number in numbers]
    missing: dict[str, str] = {}
    paths: dict[str, Path] = {}
    for key, draw in _figures(summary, runs, title).items():
        with drawing(key, missing):
            path = folder / "figures" / f"{key}.png"
            write_figure(draw(), path)
            paths[key] = path
    scalars = summary.scalars()
    known = {key: None if math.isnan(value) else value for key, value in scalars.items()}  # JSON has no NaN
    path = kind.summary_path(folder)
    content = {
        "protocol": protocol,
        kind.setting: list(numbers) if kind.shares_samples else len(numbers),
        "class_names": list(summary.pooled.class_names),
        "confusion": summary.pooled.confusion.tolist(),
        **known,
    }
    is_logged = path.is_file() and read_json(path, WAY_OUT) == {**content, "is_logged": True}
    if not is_logged:
        write_json(path, content)
        _log(kind, folder, runs[0], scalars, paths)
        write_json(path, {**content, "is_logged": True})
    CONSOLE.print(f"\n{title}\n{summary.table()}\n\nrun          {folder}\nfigures")
    CONSOLE.print("\n".join([*(f"  {path}" for path in paths.values()), *describe_missing(missing)]))


def _figures(summary: Summary, runs: Sequence[Run], title: str) -> dict[str, Callable[[], Figure]]:
    """Return the functions that draw the figures of a study, by the figure's name."""
    kind, pooled, calibration = summary.kind, summary.pooled, summary.calibration
    of_all = f"{title}, all {kind.setting}"
    figures: dict[str, Callable[[], Figure]] = {
        kind.setting: lambda: members_figure(
            dict(zip(summary.numbers, summary.reports["test"], strict=True)),
            [run.read_metrics() for run in runs],
            f"{kind.noun.capitalize()}, {title}",
            kind.member,
        ),
        "confusion-pooled": lambda: confusion_figure(
            pooled.confusion,
            pooled.class_names,
            title=f"Confusion matrix, {of_all}",
            non_finite=pooled.non_finite,
            repeats=pooled.repeats,
        ),
    }
    if calibration is not None and calibration.n:
        figures["reliability-pooled"] = lambda: reliability_figure(
            calibration, f"Calibration, {of_all}", repeats=pooled.repeats
        )
    return figures


def _log(
    kind: Kind, folder: Path, first: Run, scalars: Mapping[str, float], figures: Mapping[str, Path]
) -> None:
    """Log the summary as a W&B run, with the settings that the members share."""
    config = flatten(first.read_config())
    of_wandb = {
        key.removeprefix("wandb."): value for key, value in config.items() if key.startswith("wandb.")
    }
    del of_wandb["artifacts"]  # each member has its own
    group = os.environ.get("WANDB_RUN_GROUP", folder.name)  # set by a sweep if this is one of its trials
    of_wandb |= {"group": group, "name": folder.name, "job_type": kind.name}
    shared = {
        key: value
        for key, value in config.items()
        if key not in ("run_name", "runs_dir", kind.option) and not key.startswith("wandb.")
    }
    try:
        to_wandb = wandb_logger(folder, **of_wandb)
        if to_wandb is not None:
            log_config(to_wandb, shared)
            for key, path in figures.items():
                to_wandb.log_image(key=f"figures/{key}", images=[str(path)])
            to_wandb.log_metrics(scalars)
    finally:
        finish()
