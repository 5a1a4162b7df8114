"""The command ``crossval``: train and test every fold as a run, then report all folds together."""

import argparse
import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count, pairwise
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from fer.commands.choices import choose, find_data_module
from fer.commands.experiment import run_experiment
from fer.commands.parsing import CONSOLE, parse_config
from fer.commands.precision import PRECISION
from fer.configs import flatten
from fer.dashboards import apart_from_sweep, finish, log_config, wandb_logger
from fer.data import DATA_MODULES, PooledDataModule
from fer.errors import InputError
from fer.figures import confusion_figure, folds_figure
from fer.figures.style import describe_missing, drawing, write_figure
from fer.files import read_json, write_json
from fer.runs import WAY_OUT, Run
from fer.studies.crossval import run_folds, summarise

HELP: Final = "train and test every fold of a cross-validation, then report mean and spread"
SECTION: Final = "train"


def crossval(arguments: Sequence[str]) -> None:
    """Train and test every fold of a cross-validation, then report mean and spread."""
    parser = argparse.ArgumentParser(
        prog="fer crossval",
        allow_abbrev=False,
        description="Train once for every fold: on all other folds, of which a part is the validation split "
        "that selects the checkpoint; then test on the fold. Each fold is a run on one device; all share a "
        "folder and a W&B group. Repeat the command with the same --run_name to resume it.",
        epilog="All settings of fer fit are taken, too: fer fit --config NAME --help lists them. Weights "
        "given by --start_from must not have been trained on samples that a fold tests.",
    )
    parser.add_argument(
        "--folds", type=int, help="number of folds (default: that of the config's data.protocol, or 5)"
    )
    parser.add_argument("--runs_dir", default="runs", help="folder of all runs (default: runs)")
    parser.add_argument(
        "--run_name",
        help="name of the folder and of the W&B group (default: network, data set, number of folds and time)",
    )
    own, others = parser.parse_known_args(list(arguments))
    words, chosen = choose_for_folds(others)
    configs = [parse_config(config) for flag, config in pairwise(words) if flag == "--config"]
    short = [each.rpartition(".")[2] for each in chosen.values()]
    num_folds = own.folds or _num_folds(configs)
    name = own.run_name or unused_name(
        Path(own.runs_dir), "-".join((*short, f"{num_folds}fold", time.strftime("%Y%m%d-%H%M%S")))
    )
    project = os.environ.get("WANDB_PROJECT")  # of a sweep, where the summary will be

    def run_fold(fold: int, run_dir: Path) -> None:
        CONSOLE.print(f"\nfold {fold + 1} of {num_folds}")
        of_fold = {
            "data.protocol": f"{num_folds}-fold",
            "data.fold": fold,
            "runs_dir": run_dir.parent,
            "run_name": run_dir.name,
            "test": "true",
            "trainer.devices": 1,
            "wandb.group": name,
            "wandb.name": f"{name}-{run_dir.name}",
            "wandb.job_type": "fold",
            **({"wandb.project": project} if project else {}),
            **_precision_of_first(folder),
        }
        # Last, so that no config overrides them.
        own_words = [f"--{key}={value}" for key, value in of_fold.items()]
        begun = Run(run_dir) if run_dir.is_dir() else None
        run_experiment("fit", [*words, *own_words], chosen, resumed=begun)

    folder = Path(own.runs_dir) / name
    settings = {**chosen, "words": words, "configs": configs}
    with apart_from_sweep():
        results = run_folds(folder, num_folds, settings, run_fold)
    _conclude(folder, name, results)


def choose_for_folds(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the words and names of :func:`fer.commands.choices.choose` for the runs of the folds.

    Raises:
        InputError: A word cannot be used, sets what crossval sets itself, or names data with fixed splits.
    """
    if taken := [word for word in words if word.split("=")[0] in SET_BY_CROSSVAL]:
        msg = f"{taken[0]} cannot be given: fer crossval sets it for every fold; leave it out"
        raise InputError(msg)
    chosen_words, chosen = choose(words)
    if not issubclass(find_data_module(chosen["dataset"]), PooledDataModule):
        pools = [name for name, module in DATA_MODULES.items() if issubclass(module, PooledDataModule)]
        msg = (
            f"--dataset {chosen['dataset']} has fixed splits and cannot be cross-validated; "
            f"{', '.join(pools)} can"
        )
        raise InputError(msg)
    return chosen_words, chosen


def _precision_of_first(folder: Path) -> dict[str, Any]:
    """Return the precision of the first fold, which the others share on any machine; empty before it."""
    settings = flatten(Run(folder / "fold-0").read_config())
    return {PRECISION: settings[PRECISION] or "null"} if PRECISION in settings else {}


SET_BY_CROSSVAL: Final = (
    *("--data.protocol", "--data.fold", "--test", "--ckpt_path", "--trainer.devices"),
    *("--wandb.group", "--wandb.name", "--wandb.job_type"),
)
"""Settings of fit that differ from fold to fold, or would let a fold train on what it tests."""


def _num_folds(configs: Sequence[Mapping[str, Any]]) -> int:
    """Return the number of folds of the last config that has one, 5 without any.

    >>> _num_folds([{"data": {"protocol": "4-fold"}}, {"data": {}}])
    4
    """
    protocols = [str((config.get("data") or {}).get("protocol")) for config in configs]
    named = [int(match[1]) for protocol in protocols if (match := re.fullmatch(r"(\d+)-fold", protocol))]
    return named[-1] if named else 5


def unused_name(folder: Path, name: str) -> str:
    """Return a name that is not used in the folder: the given one, with a number if need be."""
    names = (f"{name}-{number}" if number > 1 else name for number in count(1))
    return next(each for each in names if not (folder / each).exists())


def _conclude(folder: Path, name: str, results: Sequence[Mapping[str, Any]]) -> None:
    """Write, draw, log and print the results of all folds together."""
    summary = summarise(results)
    protocol = re.sub(r", fold \d+", "", str(results[0]["protocol"]))
    title = f"{results[0]['network']}: {protocol}"
    folds = [Run(folder / f"fold-{fold}") for fold in range(len(results))]
    histories = [fold.read_metrics() for fold in folds]
    figures: dict[str, Callable[[], Figure]] = {
        "folds": lambda: folds_figure(summary.reports["test"], histories, f"Cross-validation, {title}"),
        "confusion-pooled": lambda: confusion_figure(
            summary.pooled.confusion,
            summary.pooled.class_names,
            title=f"Confusion matrix, all folds, {title}",
            non_finite=summary.pooled.non_finite,
        ),
    }
    paths: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for key, draw in figures.items():
        with drawing(key, missing):
            path = folder / "figures" / f"{key}.png"
            write_figure(draw(), path)
            paths[key] = path
    scalars = summary.scalars()
    known = {key: None if math.isnan(value) else value for key, value in scalars.items()}  # JSON has no NaN
    path = folder / "crossval.json"
    content = {"protocol": protocol, "folds": len(results), **known}
    is_logged = path.is_file() and read_json(path, WAY_OUT) == {**content, "is_logged": True}
    if not is_logged:
        write_json(path, content)
        _log(folder, name, folds[0], scalars, paths)
        write_json(path, {**content, "is_logged": True})
    CONSOLE.print(f"\n{title}\n{summary.table()}\n\nrun          {folder}\nfigures")
    CONSOLE.print("\n".join([*(f"  {path}" for path in paths.values()), *describe_missing(missing)]))


def _log(
    folder: Path, name: str, fold: Run, scalars: Mapping[str, float], figures: Mapping[str, Path]
) -> None:
    """Log the summary as a W&B run, with the settings that the folds share."""
    config = fold.read_config()
    del config["data"]["fold"], config["run_name"], config["runs_dir"]  # a fold's own
    try:
        group = os.environ.get("WANDB_RUN_GROUP", name)  # of a sweep, of which this is a trial
        of_wandb = config.pop("wandb") | {"group": group, "name": name, "job_type": "crossval"}
        del of_wandb["artifacts"]  # each fold has its own
        to_wandb = wandb_logger(folder, **of_wandb)
        if to_wandb is not None:
            log_config(to_wandb, flatten(config))
            for key, path in figures.items():
                to_wandb.log_image(key=f"figures/{key}", images=[str(path)])
            to_wandb.log_metrics(scalars)
    finally:
        finish()
