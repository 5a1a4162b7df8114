"""What a folder holds, as plain data for the page: nothing is drawn here, and nothing is made up."""

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import torch

from fer import __version__
from fer.errors import InputError
from fer.figures.curves import read_curves
from fer.metrics import ClassificationReport, report, wilson_interval
from fer.report.files import read_config, read_metrics, read_results
from fer.report.heat import heat_maps
from fer.report.images import images
from fer.report.repeat import SettingsOf, as_word, command_of, differences, name_configs, started, versions
from fer.report.sweep import is_sweep, sweep_of
from fer.studies.crossval import SETTINGS, summarise

Page = dict[str, Any]
"""What the page's script reads: texts, numbers, lists and dicts, None where a number is not defined.
A section is drawn if its key is there."""

QUANTILES: Final = ("min", "q05", "q25", "median", "q75", "q95", "max")

RESULTS: Final = "results.json"

MARKS: Final = ("config.yaml", RESULTS, "metrics.csv", "prune.json", "curve.json")
"""A folder with one of them is a run's."""


def gather(folder: Path, settings_of: SettingsOf) -> Page:
    """Return what there is to say of a run, a cross-validation or a sweep.

    Args:
        folder: As ``fer fit``, ``test``, ``prune``, ``crossval`` or ``sweep`` left it, or is filling it.
        settings_of: What words of ``fer fit`` lead to, to say what differs from the defaults.

    Raises:
        InputError: There is no such folder, it holds nothing of the kind, or a file in it is damaged.
    """
    if not folder.is_dir():
        msg = (
            f"{folder}: there is no such folder; give that of a run, a cross-validation or a sweep, runs/NAME"
        )
        raise InputError(msg)
    about: Page = {
        "name": folder.resolve().name,
        "made": f"{datetime.now():%Y-%m-%d %H:%M}",
        "version": __version__,
    }
    if is_sweep(folder):
        found = sweep_of(folder)
    elif (folder / SETTINGS).is_file():
        found = _crossval(folder, settings_of)
    elif any((folder / mark).is_file() for mark in MARKS):
        found = _run(folder, settings_of)
    else:
        raise _nothing_in(folder)
    return {key: plain(value) for key, value in (about | found).items()}


def _nothing_in(folder: Path) -> InputError:
    """Return what to say of a folder that is none of a run."""
    inside = sorted(path.parent.name for mark in MARKS[:2] for path in folder.glob(f"*/{mark}"))
    hint = f"; did you mean {folder / inside[0]}?" if inside else ": give that of one, runs/NAME"
    return InputError(f"{folder} holds no run, no cross-validation and no sweep{hint}")


def _run(folder: Path, settings_of: SettingsOf) -> Page:
    history, results = read_metrics(folder), read_results(folder / RESULTS)
    pruned, curve = read_results(folder / "prune.json"), read_results(folder / "curve.json")
    config = read_config(folder / "config.yaml")
    command = _command(config, history, is_pruned=bool(pruned or curve))
    # The curves are drawn when a training is over, whatever else is turned off.
    is_untested = config.get("test") is False and (folder / "figures" / "curves.png").is_file()
    kinds = {"fit": "Training run", "test": "Test of a checkpoint", "prune": "Pruned network"}
    found: Page = {
        "kind": kinds[command] if command != "prune" or pruned else "Pruning by threshold",
        "facts": [
            *_facts(folder, config, results or {}),
            *([("Results", "Not tested (--test false)")] if is_untested and results is None else []),
        ],
        "unfinished": "No results.json yet: the run goes on, or was cut off."
        if command != "prune" and results is None and not is_untested
        else None,
        "curves": _curves(history),
        "stages": {
            name: spans["final"] for name, spans in (read_results(folder / "stages.json") or {}).items()
        },
        "fan": _fan(history),
        "heat": heat_maps(folder),
        "images": images(folder),
        "prune": pruned,
        "prune_curve": curve,
    }
    if results is not None:
        found["results"] = [
            split_of(name, report(torch.tensor(split["confusion"])))
            for name, split in results["splits"].items()
        ]
    if config:
        # From the folder everything is as it was; it only must not be written into again.
        again = ["fer", command, "--config", str(folder / "config.yaml"), "--run_name", "null"]
        if command == "prune" and not pruned:
            again += ["--curve", "true"]
        found["repeat"] = {"folder": shlex.join(again), **_settings(config, settings_of)}
        if command == "prune" and pruned and not _is_of_config(pruned, config):
            found["repeat"]["note"] = (
                "It was pruned with --target_macs or in --rounds, which are not among the settings that it "
                "has left: give them again."
            )
        if command == "fit" and not config.get("ckpt_path"):
            found["repeat"]["command"] = command_of(config, settings_of)
        found["repeat"] |= {"seed": config.get("seed_everything"), "versions": versions(folder)}
    return {key: value for key, value in found.items() if value}


def _crossval(folder: Path, settings_of: SettingsOf) -> Page:
    settings = read_results(folder / SETTINGS) or {}
    num_folds = int(settings["folds"])
    folds = {fold: read_results(folder / f"fold-{fold}" / RESULTS) for fold in range(num_folds)}
    done = {fold: results for fold, results in folds.items() if results is not None}
    first = folder / f"fold-{min(done, default=0)}"
    config = read_config(first / "config.yaml")
    found: Page = {
        "kind": "Cross-validation",
        "unfinished": f"{len(done)} of {num_folds} folds are done." if len(done) < num_folds else None,
        "fold_curves": {
            str(fold): curves["acc"]["val"]
            for fold in range(num_folds)
            if "val" in (curves := _curves(read_metrics(folder / f"fold-{fold}"))).get("acc", {})
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
    found["repeat"] = {
        "command": shlex.join(["fer", "crossval", "--folds", str(num_folds), *_words(settings, config)]),
        **(_settings(config, settings_of) if config else {}),
        "seed": config.get("seed_everything"),
        "versions": versions(first),
    }
    return {key: value for key, value in found.items() if value}


def _words(settings: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Return the words that a cross-validation was given, and the network and data that no config names.

    Args:
        settings: Of the cross-validation.
        config: Of a fold, which names both where the settings, of an older version, do not.
    """
    by_config = {key: value for content in settings["configs"] for key, value in content.items()}
    chosen = {key: settings.get(key, config.get(key)) for key in ("network", "dataset")}
    given = [(key, name) for key, name in chosen.items() if name and name != by_config.get(key)]
    return [*(word for key, name in given for word in (f"--{key}", name)), *name_configs(settings["words"])]


def split_of(name: str, found: ClassificationReport) -> Page:
    """Return a report as the page's script reads it, with an interval for each class's recall."""
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
    """Return a value with None for every number that JSON has not, and others with six digits at most.

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
    """Return whether pruning was by the settings of the config alone."""
    settings = pruned.get("settings") or {}
    return "rounds" not in pruned and all(
        config.get(f"prune.{name}") == value
        for name, value in settings.items()
        if name != "idle_below"  # 0 where a rule or layers are given, whatever the config says
    )


def _command(config: Mapping[str, Any], history: Mapping[str, Sequence[float]], *, is_pruned: bool) -> str:
    """Return which command filled a folder.

    Only a training has a train loss, and only a training may have been given no checkpoint.
    """
    if "train/loss" in history or not (is_pruned or config.get("ckpt_path")):
        return "fit"
    return "prune" if is_pruned else "test"


def _facts(folder: Path, config: Mapping[str, Any], results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what was run, each with its name, without those that are not known."""
    parameters, trained = results.get("parameters"), results.get("trainable_parameters")
    size = f"{parameters:,} parameters" if parameters else None
    if size and trained != parameters:
        size += f", {trained:,} of them trained"
    seconds = results.get("fit_seconds")
    facts = {
        "Network": " \N{MIDDLE DOT} ".join(
            filter(None, [results.get("network", config.get("network")), size])
        ),
        "Data": config.get("dataset", results.get("data")),
        "Protocol": results.get("protocol"),
        "Epochs": results.get("epochs"),
        "Time": None if seconds is None else _duration(seconds),
        "Seed": config.get("seed_everything", results.get("seed")),
        "Checkpoint": config.get("ckpt_path"),
        "Begun": started(folder),
    }
    return [(name, str(value)) for name, value in facts.items() if value not in (None, "")]


def _duration(seconds: float) -> str:
    """Return a time in words.

    >>> [_duration(seconds) for seconds in (4.24, 1308, 9000)]
    ['4.2 s', '21 min 48 s', '2 h 30 min']
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _settings(config: Mapping[str, Any], settings_of: SettingsOf) -> Page:
    """Return the settings of a run that are not the defaults of its network and its data."""
    network, dataset = str(config["network"]), str(config["dataset"])
    defaults = settings_of(["--network", network, "--dataset", dataset], network, dataset)
    return {
        "differs": [
            {"name": name, "value": as_word(plain(value)), "default": as_word(plain(default))}
            for name, value, default in differences(config, defaults)
            if name not in ("network", "dataset")
        ]
    }


def _curves(history: Mapping[str, Sequence[float]]) -> Page:
    """Return loss, accuracy and learning rate, each by its name with the epochs where it is known."""
    found: Page = {}
    for key, curve in read_curves(history).items():
        split, _, quantity = key.rpartition("/")
        panel = quantity if split else "lr"
        name = split or key
        found.setdefault(panel, {})[name] = {"x": curve.epochs.tolist(), "y": curve.values.tolist()}
    return found


def _fan(history: Mapping[str, Sequence[float]]) -> Page:
    """Return the quantiles of each layer's angles over the epochs where they were measured."""
    layers = [match[1] for key in history if (match := re.fullmatch(r"angles/(.+)/median", key))]
    found = {}
    for layer in layers:
        columns = [history["epoch"], *(history[f"angles/{layer}/{name}"] for name in QUANTILES)]
        rows = [row for row in zip(*columns, strict=True) if all(map(math.isfinite, row))]
        found[layer] = {
            name: list(values)
            for name, values in zip(("x", *QUANTILES), zip(*rows, strict=True), strict=False)
        }
    return {layer: columns for layer, columns in found.items() if columns}
