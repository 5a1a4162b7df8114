"""Gather the data of a run, a cross-validation or a sweep for the report page."""

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import torch

from fer import __version__
from fer.configs import flatten
from fer.errors import InputError
from fer.figures.curves import measured_times, read_curves
from fer.files import find_problem
from fer.metrics import ClassificationReport, report, wilson_interval
from fer.neurons import Stage
from fer.neurons.stages import LEAST_VALUES
from fer.provenance import LIMITS, describe_limits
from fer.report.heat import heat_maps
from fer.report.images import RELIABILITY, images
from fer.report.repeat import SettingsOf, as_word, command_of, differences, name_configs, started, versions
from fer.report.statistics import statistics_of
from fer.report.sweep import is_sweep, sweep_of
from fer.runs import WAY_OUT, Run
from fer.studies.crossval import SETTINGS, read_settings, summarise

Page = dict[str, Any]
"""What the page's scripts read: texts, numbers, lists and dicts, None for a number that is not defined.
A section is drawn if its key is there."""

QUANTILES: Final = ("min", "q05", "q25", "median", "q75", "q95", "max")

STAGE_NOTES: Final[Mapping[Stage, str]] = {
    Stage.INITIAL: "Initial: the loss has not fallen yet, or the angles still change about as fast as ever. ",
    Stage.INTERMEDIATE: "Intermediate: angles or losses still change. ",
    Stage.PLATEAU: "Plateau: nothing changes any more, and the validation loss is not at its best. ",
    Stage.SOLUTION: "Solution: nothing changes any more, and the validation loss is as good as it ever was. ",
}
"""What the page says of each stage of training."""

_SIDE: Final = {"acc?": object, "interval?": list, "loss?": object, "parameters": int, "macs": int}
_QUALITY: Final = {"acc?": object, "interval?": list}
_PRUNE: Final = {
    **{"n?": int, "protocol": str, "mcnemar?": dict, "before": _SIDE, "after": _SIDE},
    "recalibration?": {"before": _QUALITY, "after?": _QUALITY, "mcnemar?": dict},
    "tuning?": {"before": _QUALITY, "mcnemar": dict, "epochs": list},
    "rounds?": [dict],
}
"""What the page needs of ``prune.json``, for :func:`fer.files.find_problem`."""

_ERRORS: Final = {"before": (int, float), "after": (int, float)}
_CALIBRATED: Final = {"n": int, "temperature": (int, float), "ece": _ERRORS, "nll": _ERRORS}
"""What the page needs of a calibration in ``results.json``."""


def gather(folder: Path, settings_of: SettingsOf) -> Page:
    """Return the data of a run, a cross-validation or a sweep.

    Args:
        folder: Of ``fer fit``, ``test``, ``prune``, ``crossval`` or ``sweep``, finished or not.
        settings_of: Parses the arguments of ``fer fit``, to find what differs from the defaults.

    Raises:
        InputError: The folder does not exist or holds nothing to report, or a file in it is damaged.
    """
    if not folder.is_dir():
        msg = f"{folder}: no such folder; give that of a run, a cross-validation or a sweep, runs/NAME"
        raise InputError(msg)
    about: Page = {
        "name": folder.resolve().name,
        "made": f"{datetime.now():%Y-%m-%d %H:%M}",
        "version": __version__,
    }
    try:
        if is_sweep(folder):
            found = sweep_of(folder)
        elif (folder / SETTINGS).is_file():
            found = _crossval(folder, settings_of)
        elif Run(folder).is_run:
            found = _run(folder, settings_of)
        else:
            raise _nothing_in(folder)
        return {key: plain(value) for key, value in (about | found).items()}
    except RecursionError as e:
        msg = f"{folder}: a file in it is nested too deeply to be of a run; {WAY_OUT}"
        raise InputError(msg) from e


def _nothing_in(folder: Path) -> InputError:
    """Return the error for a folder without a run; it names a run inside it, if there is one."""
    inside = sorted(path.name for path in folder.iterdir() if Run(path).is_run)
    hint = f"; did you mean {folder / inside[0]}?" if inside else ": give the folder of a run, runs/NAME"
    return InputError(f"{folder} holds no run, no cross-validation and no sweep{hint}")


def _run(folder: Path, settings_of: SettingsOf) -> Page:
    run = Run(folder)
    history, results, stages = run.read_metrics(), run.read_results(), run.read_stages()
    pruned, curve, config = run.read_prune(), run.read_curve(), flatten(run.read_config())
    if pruned and (problem := find_problem(pruned, _PRUNE)):
        raise _damaged(run.prune_path, problem)
    command = _command(config, history, is_pruned=bool(pruned or curve))
    # The curves are drawn at the end of every training.
    is_untested = config.get("test") is False and (run.figures_dir / "curves.png").is_file()
    kinds = {"fit": "Training run", "test": "Test of a checkpoint", "prune": "Pruned network"}
    found: Page = {
        "kind": kinds[command] if command != "prune" or pruned else "Pruning by threshold",
        "facts": [
            *_facts(folder, config, results),
            *([("Results", "Not tested (--test false)")] if is_untested and not results else []),
        ],
        "unfinished": "No results.json yet: the run is still going on, or was interrupted."
        if command != "prune" and not results and not is_untested
        else None,
        "limits": describe_limits({name: config.get(f"trainer.{name}") for name in LIMITS}),
        "curves": _curves(history),
        "stages": {
            name: [_interval(each) for each in intervals["final"]] for name, intervals in stages.items()
        },
        "stage_notes": _stage_notes(stages, history),
        "fan": _fan(history),
        **statistics_of(history),
        "heat": heat_maps(folder),
        "images": images(folder),
        "prune": pruned,
        "prune_curve": curve,
    }
    if results:
        reports = read_reports(run, results)
        found["results"] = [split_of(name, each) for name, each in reports.items()]
        found["chance"] = next((1 / len(each.class_names) for each in reports.values()), None)
        found["calibration"] = _calibration(folder, results)
        found["card"] = run.model_card_path.name if run.model_card_path.is_file() else None
    if config:
        # The saved config has all settings; only the folder must be another one.
        again = ["fer", command, "--config", str(folder / "config.yaml"), "--run_name", "null"]
        if command == "prune" and not pruned:
            again += ["--curve", "true"]
        found["repeat"] = {"folder": shlex.join(again), **_settings(config, settings_of)}
        if command == "prune" and pruned and not _is_of_config(pruned, config):
            found["repeat"]["note"] = (
                "It was pruned with --target_macs, --target_params, --target_latency, --rounds or "
                "--tune_epochs, which the saved settings do not hold: give them again."
            )
        if command == "fit" and not config.get("ckpt_path") and not _is_own(config):
            found["repeat"]["command"] = command_of(config, settings_of)
        found["repeat"] |= {"seed": config.get("seed_everything"), "versions": versions(folder)}
    return {key: value for key, value in found.items() if value}


def _calibration(folder: Path, results: Mapping[str, Any]) -> Page:
    """Return the calibration of each split and of its views; empty where the results have none."""
    rows = []
    for split, content in results.get("splits", {}).items():
        views = {"": content.get("calibration"), **content.get("tta", {})}
        rows += [
            {
                "name": f"{split} {tta}".strip(),
                **{key: each.get(key) for key in ("n", "temperature", "acc")},
                **{
                    f"{key}_{when}": each[key][when] for key in ("ece", "nll") for when in ("before", "after")
                },
            }
            for tta, each in views.items()
            if not find_problem(each, _CALIBRATED)
        ]
    if not rows:
        return {}
    return {
        "rows": rows,
        "is_calibrated": bool(results.get("calibration")),
        "images": images(folder, RELIABILITY),
    }


def read_reports(run: Run, results: Mapping[str, Any]) -> dict[str, ClassificationReport]:
    """Return the report of each split in the results of a run.

    Raises:
        InputError: A matrix holds no counts, or the class names are not as many as the classes.
    """
    names = results.get("class_names")
    reports = {}
    for split, content in results.get("splits", {}).items():
        num = len(content["confusion"])
        if names is not None and (find_problem(names, [str]) or len(names) != num):
            raise _damaged(run.results_path, f"class_names are not {num} names")
        try:
            reports[split] = report(torch.tensor(content["confusion"]), names, content.get("non_finite"))
        except (ValueError, TypeError, RuntimeError, OverflowError) as e:
            raise _damaged(run.results_path, f"splits.{split}: {e}") from e
    return reports


def _damaged(path: Path, problem: str) -> InputError:
    return InputError(f"{path} is damaged: {problem}; {WAY_OUT}")


def _crossval(folder: Path, settings_of: SettingsOf) -> Page:
    settings = read_settings(folder)
    if problem := find_problem(settings, {"words": [str], "configs": [dict]}):
        raise _damaged(folder / SETTINGS, problem)
    num_folds = settings["folds"]
    runs = {fold: Run(folder / f"fold-{fold}") for fold in range(num_folds)}
    done = {fold: results for fold, run in runs.items() if (results := run.read_results())}
    first = folder / f"fold-{min(done, default=0)}"
    config = flatten(Run(first).read_config())
    found: Page = {
        "kind": "Cross-validation",
        "unfinished": f"{len(done)} of {num_folds} folds are done." if len(done) < num_folds else None,
        "fold_curves": {
            str(fold): curves["acc"]["val"]
            for fold, run in runs.items()
            if "val" in (curves := _curves(run.read_metrics())).get("acc", {})
        },
    }
    if done:
        summary = summarise(list(done.values()))
        scalars = summary.scalars()
        found["facts"] = [
            (name, re.sub(r", fold \d+", "", text))
            for name, text in _facts(first, config, done[min(done)])
            if name not in ("Epochs", "Time")
        ]
        found["folds"] = {
            "rows": [
                {
                    "fold": fold,
                    "val": split_of("val", summary.reports["val"][place]),
                    "test": split_of("test", summary.reports["test"][place]),
                    "epochs": results.get("epochs"),
                    "seconds": results.get("fit_seconds"),
                }
                for place, (fold, results) in enumerate(done.items())
            ],
            "mean": {split: scalars[f"{split}/acc"] for split in ("val", "test")},
            "std": {split: scalars[f"{split}/acc_std"] for split in ("val", "test")},
        }
        found["results"] = [split_of("test, all folds", summary.pooled)]
        found["chance"] = 1 / len(summary.pooled.class_names)
    found["repeat"] = {
        "command": shlex.join(["fer", "crossval", "--folds", str(num_folds), *_words(settings, config)]),
        **(_settings(config, settings_of) if config else {}),
        "seed": config.get("seed_everything"),
        "versions": versions(first),
    }
    return {key: value for key, value in found.items() if value}


def _words(settings: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Return the arguments of a cross-validation, with the network and data set that no config names.

    Args:
        settings: Of the cross-validation.
        config: Of a fold; it names both where the settings, of an older version, do not.
    """
    by_config = {key: value for content in settings["configs"] for key, value in content.items()}
    chosen = {key: settings.get(key, config.get(key)) for key in ("network", "dataset")}
    given = [(key, name) for key, name in chosen.items() if name and name != by_config.get(key)]
    return [*(word for key, name in given for word in (f"--{key}", name)), *name_configs(settings["words"])]


def split_of(name: str, found: ClassificationReport) -> Page:
    """Return a report for the page, with an interval for each class's recall."""
    right = found.confusion.diagonal().tolist()
    support = found.support.tolist()
    classes = zip(
        found.class_names,
        support,
        right,
        *(tensor.tolist() for tensor in (found.recall, found.precision, found.specificity, found.f1)),
        strict=True,
    )
    return {
        "name": name,
        "n": found.n,
        "acc": found.accuracy,
        "low": found.interval[0],
        "high": found.interval[1],
        "balanced": found.balanced_accuracy,
        "f1": found.macro_f1,
        "largest": max(support) / found.n if found.n else math.nan,
        "confusion": found.confusion.tolist(),
        "classes": [
            {
                "name": class_name,
                "n": n,
                "recall": recall,
                "low": wilson_interval(hits, n)[0],
                "high": wilson_interval(hits, n)[1],
                "precision": precision,
                "specificity": specificity,
                "f1": f1,
            }
            for class_name, n, hits, recall, precision, specificity, f1 in classes
        ],
    }


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: None for NaN and infinity, other numbers with six digits at most.

    >>> plain({"a": [1, float("nan"), 0.123456789]})
    {'a': [1, None, 0.123457]}
    """
    match value:
        case float():
            return float(f"{value:.6g}") if math.isfinite(value) else None
        case Mapping():
            return {str(key): plain(each) for key, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
        case None | bool() | int() | str():
            return value
    return str(value)


def _is_of_config(pruned: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Return whether the config holds all settings of a pruning."""
    settings = pruned.get("settings") or {}
    return not {"rounds", "tuning"} & pruned.keys() and all(
        config.get(f"prune.{name}") == value
        for name, value in settings.items()
        if name != "idle_below"  # 0 with a rule or layers, whatever the config says
    )


def _command(config: Mapping[str, Any], history: Mapping[str, Sequence[float]], *, is_pruned: bool) -> str:
    """Return which command filled a folder: only ``fit`` has a train loss, or may lack a checkpoint."""
    if "train/loss" in history or not (is_pruned or config.get("ckpt_path")):
        return "fit"
    return "prune" if is_pruned else "test"


def _facts(folder: Path, config: Mapping[str, Any], results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the facts that are known of a run, each with its name."""
    parameters, trained = results.get("parameters"), results.get("trainable_parameters")
    size = f"{parameters:,} parameters" if isinstance(parameters, int) else None
    if size and trained != parameters:
        size += f", {trained:,} of them trained"
    seconds = results.get("fit_seconds")
    facts = {
        "Network": " \N{MIDDLE DOT} ".join(
            filter(None, [str(results.get("network", config.get("network", ""))), size])
        ),
        "Data": config.get("dataset", results.get("data")),
        "Protocol": results.get("protocol"),
        "Trained on": results.get("trained_on"),
        "Epochs": results.get("epochs"),
        "Time": _duration(seconds) if isinstance(seconds, int | float) else None,
        "Seed": config.get("seed_everything", results.get("seed")),
        "Checkpoint": config.get("ckpt_path"),
        "Begun": started(folder),
        "Machine": results.get("machine"),
        "Commit": results.get("commit"),
    }
    return [(name, str(value)) for name, value in facts.items() if value not in (None, "")]


def _duration(seconds: float) -> str:
    """Return a time as text.

    >>> [_duration(seconds) for seconds in (4.24, 1308, 9000)]
    ['4.2 s', '21 min 48 s', '2 h 30 min']
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _is_own(config: Mapping[str, Any]) -> bool:
    """Return whether the network or the data set is a class of the user's, which a report does not import."""
    return "." in config["network"] or "." in config["dataset"]


def _settings(config: Mapping[str, Any], settings_of: SettingsOf) -> Page:
    """Return the settings of a run that differ from the defaults of its network and its data set."""
    if _is_own(config):
        return {}
    network, dataset = config["network"], config["dataset"]
    defaults = settings_of(["--network", network, "--dataset", dataset], network, dataset)
    return {
        "differs": [
            {"name": name, "value": as_word(plain(value)), "default": as_word(plain(default))}
            for name, value, default in differences(config, defaults)
            if name not in ("network", "dataset")
        ]
    }


def _interval(interval: Mapping[str, Any]) -> dict[str, Any]:
    """Return an interval of one stage with its ``text``: the stage, and of a plateau the reason.

    >>> _interval({"stage": "plateau", "reason": "lr_frozen"})["text"]
    'plateau: lr frozen'
    """
    stage, reason = interval["stage"], interval["reason"].replace("_", " ")
    return {**interval, "text": f"{stage}: {reason}" if stage == Stage.PLATEAU else stage}


def _stage_notes(
    stages: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]], history: Mapping[str, Sequence[float]]
) -> list[str]:
    """Return a sentence for each stage that the network was in."""
    found = {interval["stage"] for interval in stages.get("network", {}).get("final", [])}
    num = sum(map(math.isfinite, history.get("stage/network", [])))
    notes = STAGE_NOTES
    if num < LEAST_VALUES:
        measurements = "measurement" if num == 1 else "measurements"
        few = f"Only {num} {measurements}: too few to find a stage, which takes {LEAST_VALUES}. "
        notes = {**STAGE_NOTES, Stage.INITIAL: few}
    return [note for stage, note in notes.items() if stage in found]


def _curves(history: Mapping[str, Sequence[float]]) -> Page:
    """Return the curves of loss, accuracy and learning rate: for each split its values and their times."""
    found: Page = {}
    for key, curve in read_curves(history).items():
        split, _, quantity = key.rpartition("/")
        panel = quantity if split else "lr"
        name = split or key
        found.setdefault(panel, {})[name] = {"x": (curve.epochs + 1).tolist(), "y": curve.values.tolist()}
    return found


def _fan(history: Mapping[str, Sequence[float]]) -> Page:
    """Return the quantiles of each layer's angles at each measurement, with its time."""
    if "epoch" not in history:
        return {}
    times = measured_times(history).tolist()
    layers = [match[1] for key in history if (match := re.fullmatch(r"angles/(.+)/median", key))]
    found = {}
    for layer in layers:
        names = [f"angles/{layer}/{name}" for name in QUANTILES]
        columns = [history[name] for name in names if name in history]
        if len(columns) < len(names):
            continue
        rows = [row for row in zip(times, *columns, strict=True) if all(map(math.isfinite, row))]
        found[layer] = {
            name: list(values)
            for name, values in zip(("x", *QUANTILES), zip(*rows, strict=True), strict=False)
        }
    return {layer: columns for layer, columns in found.items() if columns}
