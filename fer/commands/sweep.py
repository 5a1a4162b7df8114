"""The command ``fer sweep``: run W&B sweeps on your own machine, without an account."""

import argparse
import json
import math
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure
from rich.live import Live
from rich.table import Table

from fer.commands.members import unused_name
from fer.commands.parsing import CONSOLE
from fer.commands.renamed import rename_words
from fer.commands.sweep_check import check_sweep
from fer.errors import InputError
from fer.figures.style import write_figure
from fer.figures.sweep import importances_figure, parallel_figure, search_figure, slices_figure
from fer.files import atomic_write, remove_drafts
from fer.runs import STUDY
from fer.studies.importance import LEAST_TRIALS, importances
from fer.studies.search import METHODS
from fer.studies.storage import without_password, writing
from fer.studies.study import Study, open_study, read_settings
from fer.studies.sweep import Limits, gpus_for, run_sweep
from fer.studies.sweepfile import args_json, read_sweep
from fer.studies.trial import write_inputs
from fer.studies.trials import JOURNAL, Trial, read_trials, write_trials

Watch = Callable[[Sequence[Trial], Sequence[Trial]], None]

HELP: Final = "run a W&B sweep file on this machine, without an account"
SECTION: Final = "train"
TAKES: Final = "sweep"

IMPORTED: Final = (
    *("wandb.sdk.launch.inputs.internal", "wandb.sdk.mailbox"),  # first: they inspect all imported modules
    *("fer.commands.fit", "fer.commands.crossval", "fer.commands.repeat", "fer.commands.prune"),
    *("torch._dynamo", "torch_pruning"),
    *("scipy.stats", "sklearn.model_selection", "albumentations", "cv2", "matplotlib.backends.backend_agg"),
    *("timm", "attrs", "requests"),
)
"""Modules that a trial needs before its first batch; they are imported once for all trials."""

ROWS: Final = 20
"""Largest number of rows of the table on a terminal."""
_LINES_AROUND: Final = 4
"""Lines of a terminal without rows: title, head, the cursor's line, and one spare line."""


def sweep(arguments: Sequence[str]) -> None:
    """Run the trials of a sweep, or compare several sweeps."""
    parser = argparse.ArgumentParser(
        prog="fer sweep",
        allow_abbrev=False,
        description="Run a W&B sweep file without an account: grid, random or bayes search, several trials "
        "in parallel, hyperband. Each trial is an offline W&B run in one group. Repeat the command with "
        "the same --run_name to resume the sweep; run it several times at once, also on machines with a "
        "shared disk, to share its trials. method: bayes is Optuna's Gaussian process (TPE with several "
        "agents), not W&B's.",
        epilog="Watch the trials live: pip install optuna-dashboard; optuna-dashboard runs/NAME/optuna.log",
    )
    parser.add_argument("file", type=Path, nargs="?", help="sweep file, such as sweeps/conv6-bayes.yaml")
    parser.add_argument(
        "--count", type=int, help="number of trials (default: the file's run_cap, or the grid)"
    )
    parser.add_argument(
        "--agents", type=int, default=1, help="trials in parallel, each on the next GPU (default: 1)"
    )
    parser.add_argument("--method", choices=METHODS, help="search method, instead of the file's")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the search, not of the trainings (default: 0)"
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="database of the trials, for machines that share a sweep under the same --run_name: URL for "
        "SQLAlchemy, such as postgresql://USER@HOST/NAME, or of Optuna's gRPC proxy, grpc://HOST:PORT "
        "(default: a file in the sweep's folder)",
    )
    parser.add_argument(
        "--runs_dir", type=Path, default=Path("runs"), help="folder of all runs (default: runs)"
    )
    parser.add_argument("--run_name", help="folder and W&B group (default: name of the file, and time)")
    parser.add_argument(
        "--max_failures", type=int, default=3, help="failures in a row that end the sweep (default: 3)"
    )
    parser.add_argument(
        "--retry_failed",
        action="store_true",
        help="run failed points again, and points that were interrupted too often",
    )
    parser.add_argument(
        "--compare",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="run no trials; draw the best value so far of finished sweeps, a line for each method with a "
        "band over seeds",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        default=Path("searches.png"),
        help="figure of --compare (default: searches.png)",
    )
    given = parser.parse_args(rename_words(arguments, ["out"]))
    if given.compare:
        compare(given.compare, given.out)
        return
    if given.file is None:
        msg = "no sweep file: give one, such as sweeps/conv6-bayes.yaml"
        raise InputError(msg)
    for option in ("count", "agents", "max_failures"):
        if (number := getattr(given, option)) is not None and number < 1:
            msg = f"--{option} {number}: give a whole number above 0"
            raise InputError(msg)
    file = read_sweep(given.file, method=given.method)
    check_sweep(file, given.count)
    name = given.run_name or unused_name(
        given.runs_dir, f"{given.file.stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    )
    remove_drafts([given.runs_dir])
    study = open_study(given.runs_dir / name, file, given.seed, given.storage)
    limits = Limits(given.count, given.agents, given.max_failures, given.retry_failed)
    num = file.num_points(given.count) or 0
    CONSOLE.print(f"sweep        {given.file}: {file.method}, {num} points, {given.agents} in parallel")
    CONSOLE.print(f"folder       {study.folder}")
    if study.storage is None or not study.storage.startswith("grpc"):  # the dashboard cannot read gRPC
        place = study.folder / JOURNAL if study.storage is None else without_password(study.storage)
        CONSOLE.print(f"live         optuna-dashboard {place}")
    try:
        with _watched(study, num) as watch:
            trials = run_sweep(study, limits, watch, devices=gpus_for(given.agents), modules=IMPORTED)
    finally:
        _conclude(study)
    _check_any_value(study, trials)


# While it runs


@contextmanager
def _watched(study: Study, num_points: int) -> Iterator[Watch]:
    """Yield a function that shows progress: a table on a terminal, else a line for each change."""
    if not CONSOLE.is_terminal:
        yield lambda trials, changed: _print_changes(study, num_points, trials, changed)
        return
    with Live(console=CONSOLE, auto_refresh=False) as live:

        def watch(trials: Sequence[Trial], changed: Sequence[Trial]) -> None:
            live.update(_table(study, num_points, trials), refresh=True)

        yield watch


def _print_changes(study: Study, num_points: int, trials: Sequence[Trial], changed: Sequence[Trial]) -> None:
    for trial in changed:
        point = f"point {trial.point_number} of {num_points}"
        if trial.state == "running":
            CONSOLE.print(f"{trial.name}  {point}  {_settings(study, trial)}")
            continue
        best = study.best(trials)
        so_far = f"  best so far {best.value:.4f} ({best.name})" if best and best.value is not None else ""
        CONSOLE.print(
            f"{trial.name}  {trial.state}  {_value(trial)}  {trial.seconds:.0f} s"
            f"{so_far if trial.state != 'failed' else ''}{_first_line(trial)}"
        )


def _table(study: Study, num_points: int, trials: Sequence[Trial]) -> Table:
    """Return a table that fits the terminal: the best trial, running trials, then the latest."""
    best = study.best(trials)
    ended = sum(trial.state not in ("running", "cut off") for trial in trials)
    title = f"{study.folder.name}: {ended} of {num_points}"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), expand=True)
    table.add_column("trial", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column(study.sweep.metric.name, no_wrap=True, max_width=14)
    table.add_column("values", no_wrap=True, justify="right")
    table.add_column("seconds", no_wrap=True, justify="right")
    table.add_column("settings", no_wrap=True, ratio=1)  # the width that is left
    num_rows = max(1, min(ROWS, CONSOLE.height - _LINES_AROUND))
    ordered = sorted(trials, key=lambda trial: (trial is not best, trial.state != "running", -trial.number))
    for trial in ordered[:num_rows]:
        table.add_row(
            trial.name,
            trial.state,
            _value(trial) + (" *" if trial is best else ""),
            str(len(trial.values)),
            f"{trial.seconds:.0f}",
            f"{_first_line(trial)}  {_settings(study, trial)}".strip(),
            style="bold" if trial is best else "dim" if trial.state in ("failed", "cut off") else None,
        )
    return table


def _settings(study: Study, trial: Trial) -> str:
    """Return the settings of a trial as text, each named by the last part of its name if that is unique."""
    flat = study.sweep.space.flat(trial.point)
    names = [parameter.name for parameter in study.sweep.space.searched]
    num_named = Counter(name.rpartition(".")[2] for name in names)
    short = {name: last if num_named[last := name.rpartition(".")[2]] == 1 else name for name in names}
    return "  ".join(f"{short[name]}={_text(flat[name])}" for name in names)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _value(trial: Trial) -> str:
    known = trial.value if trial.value is not None else trial.values[-1] if trial.values else None
    return "-" if known is None else f"{known:.4f}"


def _first_line(trial: Trial) -> str:
    return f"  ({trial.reason.splitlines()[0]})" if trial.reason else ""


# At the end


def _conclude(study: Study) -> None:
    """Print failures and the best trial, write ``best.json``, then draw the figures.

    Raises:
        InputError: A file cannot be written.
    """
    trials = study.trials.read()
    if study.storage is not None:
        write_trials(study.folder, trials, study.sweep.space, maximize=study.sweep.metric.maximize)
    for trial in trials:
        if trial.state == "failed":
            CONSOLE.print(f"\n{trial.name} failed: {trial.reason}")
    going_on = [trial.name for trial in trials if trial.state == "running"]
    if going_on:
        CONSOLE.print(
            f"\nrunning elsewhere: {', '.join(going_on)}; run this command again when they have ended"
        )
    best = study.best(trials)
    if best is None or best.value is None:
        CONSOLE.print(f"\nno trial has a value of {study.sweep.metric.name}; see {study.folder}/*/log.txt")
        return
    counts = {
        state: sum(trial.state == state for trial in trials)
        for state in ("finished", "stopped", "failed", "cut off")
    }
    CONSOLE.print(f"\ntrials       {', '.join(f'{num} {state}' for state, num in counts.items() if num)}")
    CONSOLE.print(f"best         {best.name}: {study.sweep.metric.name} {best.value:.4f}")
    for name, value in study.sweep.space.flat(best.point).items():
        CONSOLE.print(f"  {name} {_text(value)}")
    CONSOLE.print(f"again        {shlex.join(_again(study, best))}")
    path = study.folder / "best.json"
    with writing(path), atomic_write(path) as file:
        content = {"trial": best.name, study.sweep.metric.name: best.value, "parameters": best.point}
        file.write(json.dumps(content, indent=2).encode() + b"\n")
    images = []
    for name, figure in _figures(study, trials).items():
        path = study.folder / "figures" / f"{name}.png"
        with writing(path):
            write_figure(figure, path)
        images.append(path)
    CONSOLE.print("\n".join(["figures", *(f"  {path}" for path in images)]))
    runs = sorted(study.folder.glob("trial-*/**/offline-run-*"))
    if runs:
        CONSOLE.print(f"look at it\n  wandb leet {runs[-1]}\n  wandb sync {_pattern(runs[-1], study.folder)}")


def _check_any_value(study: Study, trials: Sequence[Trial]) -> None:
    """Raise an error if a finished sweep has no value.

    Raises:
        InputError: All trials failed, or were interrupted.
    """
    if not trials or study.best(trials) is not None or any(trial.state == "running" for trial in trials):
        return
    last = trials[-1]
    msg = (
        f"all {len(trials)} trials failed, the last ({last.name}): {last.reason}\n"
        "fix that; then use another --run_name to start again, or --retry_failed "
        f"--run_name {study.folder.name} to run these points again"
    )
    raise InputError(msg)


def _pattern(run: Path, folder: Path) -> str:
    """Return a shell pattern for all W&B runs of a sweep like this one."""
    inside = run.relative_to(folder).parts
    return "/".join([str(folder), "trial-*", *("*" for _ in inside[1:-2]), "wandb", "offline-run-*"])


def _again(study: Study, best: Trial) -> list[str]:
    """Return the command that repeats the best trial outside of the sweep."""
    path = study.folder_of(best) / "params.json"
    if not path.is_file():  # the trial ran on another machine
        with writing(path):
            write_inputs(path.parent, best.point, args_json(best.point))
    words = study.sweep.words(best.point, path)
    return words[1:] if words[0] == "/usr/bin/env" else words


def _figures(study: Study, trials: Sequence[Trial]) -> dict[str, Figure]:
    sweep, metric = study.sweep, study.sweep.metric
    known = [trial for trial in trials if trial.value is not None]
    best = next((place for place, trial in enumerate(known) if trial is study.best(trials)), 0)
    searched = {parameter.name for parameter in sweep.space.searched}
    points = [
        {name: value for name, value in sweep.space.flat(trial.point).items() if name in searched}
        for trial in known
    ]
    values = [trial.value for trial in known if trial.value is not None]
    title = f"{study.folder.name}: {sweep.method}, {len(known)} trials"
    figures = {
        "best-so-far": search_figure(
            {sweep.method: [_values(trials)]}, metric.name, maximize=metric.maximize, title=title
        )
    }
    if searched:
        logs = [p.name for p in sweep.space.searched if "log" in p.distribution]
        look: dict[str, Any] = {"best": best, "log_scaled": logs, "title": title}
        figures["parallel"] = parallel_figure(points, values, metric.name, maximize=metric.maximize, **look)
        figures["slices"] = slices_figure(points, values, metric.name, **look)
    if found := importances(points, values, seed=study.seed):
        figures["importances"] = importances_figure(found, len(known), title)
    elif len(known) < LEAST_TRIALS:
        CONSOLE.print(f"\nimportances need {LEAST_TRIALS} trials; there are {len(known)}")
    return figures


def _values(trials: Sequence[Trial]) -> list[float]:
    """Return a value for each point, NaN for a failed one."""
    points = {trial.point_number: trial for trial in trials if trial.state not in ("running", "cut off")}
    return [math.nan if trial.value is None else trial.value for _, trial in sorted(points.items())]


def _check_alike(folder: Path, settings: Mapping[str, Any], others: Mapping[Path, Mapping[str, Any]]) -> None:
    """Refuse a sweep that differs from others in more than its seed or its method.

    Raises:
        InputError: It differs in more than these, or in neither.
    """
    for other, of_other in others.items():
        for key in ("metric", "parameters", "program", "command"):
            if settings[key] != of_other[key]:
                msg = (
                    f"{other} and {folder} cannot be compared, they differ in {key} (see the sweep.yaml of "
                    "each): give sweeps of one file with different methods or seeds"
                )
                raise InputError(msg)
        method, seed = settings["method"], settings["seed"]
        if (method, seed) == (of_other["method"], of_other["seed"]):
            msg = f"{other} and {folder} are the same search, {method} with seed {seed}: give one of them"
            raise InputError(msg)


def compare(folders: Sequence[Path], out: Path) -> None:
    """Draw the best value so far of several sweeps, grouped by method.

    Args:
        folders: Folders of sweeps.
        out: File to write the figure to.

    Raises:
        InputError: A folder holds no sweep, or the sweeps differ in more than method and seed.
    """
    searches: dict[str, list[list[float]]] = {}
    all_settings: dict[Path, Mapping[str, Any]] = {}
    for folder in folders:
        if not (folder / STUDY).is_file():
            msg = f"{folder} holds no sweep: give folders that fer sweep wrote"
            raise InputError(msg)
        settings = read_settings(folder)
        _check_alike(folder, settings, all_settings)
        all_settings[folder] = settings
        values = _values(read_trials(folder))
        if all(math.isnan(value) for value in values):
            CONSOLE.print(f"left out     {folder}: no trial has a value")
            continue
        searches.setdefault(settings["method"], []).append(values)
    if not searches:
        msg = f"no trial of {', '.join(map(str, folders))} has a value: continue them with fer sweep"
        raise InputError(msg)
    metric = all_settings[folders[0]]["metric"]["name"]
    maximize = all_settings[folders[0]]["metric"].get("goal") == "maximize"
    ordered: dict[str, list[list[float]]] = {
        method: searches[method] for method in METHODS if method in searches
    }
    figure = search_figure(ordered, metric, maximize=maximize, title="Best value so far by search method")
    with writing(out):
        write_figure(figure, out)
    for method, runs in ordered.items():
        known = [[value for value in run if not math.isnan(value)] for run in runs]
        ends = [max(values) if maximize else min(values) for values in known]
        CONSOLE.print(
            f"{method:<8} {len(runs)} seeds, {min(map(len, runs))} trials each: best {metric} "
            f"{', '.join(f'{end:.4f}' for end in ends)}"
        )
    CONSOLE.print(f"figure       {out}")
