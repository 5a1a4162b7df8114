"""Gather the data of a run, a study of several runs or a sweep for the report page."""

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
from fer.figures.curves import measured_times, num_labelled
from fer.files import find_problem
from fer.lookup import check_folder
from fer.metrics import ClassificationReport, report
from fer.metrics.keys import parse_key
from fer.metrics.latency import latency_changes
from fer.neurons import Stage
from fer.neurons.stages import LEAST_VALUES
from fer.provenance import LIMITS, describe_limits
from fer.report.heat import heat_maps
from fer.report.images import FEATURE_MAPS, PREDICTIONS, PRUNING, RELIABILITY, images
from fer.report.members import members_page
from fer.report.parts import Page, curves_of, damaged, differing_settings, facts_of, is_own, plain, split_of
from fer.report.repeat import SettingsOf, command_of, versions
from fer.report.statistics import statistics_of
from fer.report.sweep import is_sweep, sweep_of
from fer.runs import WAY_OUT, Run
from fer.studies.members import CALIBRATED, find_kind

QUANTILES: Final = ("min", "q05", "q25", "median", "q75", "q95", "max")

STAGE_NOTES: Final[Mapping[Stage, str]] = {
    Stage.INITIAL: "Initial: the loss has not fallen yet, or the angles still change about as fast as ever. ",
    Stage.INTERMEDIATE: "Intermediate: angles or losses still change. ",
    Stage.PLATEAU: "Plateau: nothing changes any more, and the validation loss is not at its best. ",
    Stage.SOLUTION: "Solution: nothing changes any more, and the validation loss is as good as it ever was. ",
}
"""Explanation of each training stage on the page."""

CLEAN: Final = "clean: the test images that do not occur, pixel by pixel, in train or val."
"""Explanation of the results on ``clean``."""

NO_HISTORY: Final = (
    "There is no metrics.csv: the curves, and the angles and stages during training, are missing. "
    "Train with Lightning's CSVLogger, alone or beside another logger."
)
"""Note on a page about a training with the callbacks whose loggers wrote no table of its metrics."""

_SIDE: Final = {
    **{"acc?": object, "interval?": list, "loss?": object},
    **{"parameters": int, "macs": int, "milliseconds?": dict, "milliseconds_quartiles?": dict},
}
_QUALITY: Final = {"acc?": object, "interval?": list}
_PRUNE: Final = {
    **{"n?": int, "protocol": str, "mcnemar?": dict, "before": _SIDE, "after": _SIDE},
    "recalibration?": {"before": _QUALITY, "after?": _QUALITY, "mcnemar?": dict},
    "tuning?": {"before": _QUALITY, "mcnemar": dict, "epochs": list},
    "rounds?": [dict],
    "size_request?": {"size": str, "thresholds?": str, "removed?": int, "neurons?": int},
}
"""Shape of ``prune.json`` that the page needs, for :func:`fer.files.find_problem`."""


def gather(folder: Path, settings_of: SettingsOf) -> Page:
    """Return the data of a run, a cross-validation, a repeat or a sweep.

    Args:
        folder: Folder of ``fer fit``, ``test``, ``prune``, ``crossval``, ``repeat`` or ``sweep``, finished or
            not.
        settings_of: Parses the arguments of ``fer fit``, to find what differs from the defaults.

    Raises:
        InputError: The folder does not exist or holds nothing to report, or a file in it is damaged.
    """
    check_folder(folder)
    about: Page = {
        "name": folder.resolve().name,
        "made": f"{datetime.now():%Y-%m-%d %H:%M}",
        "version": __version__,
    }
    try:
        if is_sweep(folder):
            found = sweep_of(folder)
        elif (kind := find_kind(folder)) is not None:
            found = members_page(kind, folder, settings_of)
        elif Run(folder).is_run:
            found = _run(folder, settings_of)
        else:
            raise _nothing_in(folder)
        return {key: plain(value) for key, value in (about | found).items()}
    except RecursionError as e:
        msg = f"{folder}: a file in it is nested too deeply; {WAY_OUT}"
        raise InputError(msg) from e


def _nothing_in(folder: Path) -> InputError:
    """Return the error for a folder without a run; it names a run inside it, if there is one."""
    inside = sorted(path.name for path in folder.iterdir() if Run(path).is_run)
    hint = f"; did you mean {folder / inside[0]}?" if inside else ": give the folder of a run, runs/NAME"
    return InputError(f"{folder} holds no run, no cross-validation, no repeat and no sweep{hint}")


def _run(folder: Path, settings_of: SettingsOf) -> Page:
    run = Run(folder)
    history, results, stages = run.read_metrics(), run.read_results(), run.read_stages()
    pruned, curve, config = run.read_prune(), run.read_curve(), flatten(run.read_config())
    if pruned and (problem := find_problem(pruned, _PRUNE)):
        raise damaged(run.prune_path, problem)
    if pruned:
        changes = latency_changes(pruned["before"], pruned["after"])
        pruned = {**pruned, "latencies": [each._asdict() for each in changes]}
    is_pruned = bool(pruned or curve)
    command = _command(config, history, has_stages=bool(stages), is_pruned=is_pruned)
    # The curves are drawn at the end of every training.
    is_untested = config.get("test") is False and (run.figures_dir / "curves.png").is_file()
    kinds = {"fit": "Training run", "test": "Test of a checkpoint", "prune": "Pruned network"}
    found: Page = {
        "kind": kinds[command] if command != "prune" or pruned else "Pruning by threshold",
        "facts": [
            *facts_of(folder, config, results),
            *([("Results", "Not tested (--test false)")] if is_untested and not results else []),
        ],
        "unfinished": NO_HISTORY
        if stages and not (history or config)
        else "No results.json yet: the run is still going on, or was interrupted."
        if config and command != "prune" and not results and not is_untested
        else None,
        "limits": _limited(describe_limits({name: config.get(f"trainer.{name}") for name in LIMITS})),
        # Our own trainings log recall of each class and more; of another one all that it logs is shown.
        "curves": curves_of(history, ("loss", "acc") if config else None),
        "stages": {
            name: [_interval(each) for each in intervals["final"]]
            for name, intervals in stages.items()
            if intervals["final"]
        },
        "stage_notes": _stage_notes(stages, history),
        "fan": _fan(history),
        **statistics_of(history),
        "heat": heat_maps(folder),
        "images": images(folder, PREDICTIONS),
        "feature_maps": images(folder, FEATURE_MAPS),
        "prune_images": images(folder, PRUNING),
        "prune": pruned,
        "prune_curve": curve,
    }
    _order_layers(found)
    if results:
        reports = read_reports(run, results)
        found["results"] = [split_of(name, each) for name, each in reports.items()]
        found["clean"] = CLEAN if "clean" in reports else None
        found["chance"] = next((1 / len(each.class_names) for each in reports.values()), None)
        found["calibration"] = _calibration(folder, results)
        found["card"] = run.model_card_path.name if run.model_card_path.is_file() else None
    if config:
        # The saved config has all settings; only the run's folder must change.
        again = ["fer", command, "--config", str(folder / "config.yaml"), "--run_name", "null"]
        if command == "prune":
            again += options_of(pruned)
        found["repeat"] = {"folder": shlex.join(again), **differing_settings(config, settings_of)}
        if command == "prune" and pruned and not _is_of_command(pruned, config):
            found["repeat"]["note"] = (
                "It was pruned with --target_macs, --target_params, --target_latency, --rounds or "
                "--tune_epochs, which are not part of the saved settings: add them to the command."
            )
        if command == "fit" and not config.get("ckpt_path") and not is_own(config):
            found["repeat"]["command"] = command_of(config, settings_of)
        found["repeat"] |= {"seed": config.get("seed_everything"), "versions": versions(folder)}
    return {key: value for key, value in found.items() if value}


def _limited(limits: Sequence[str]) -> str:
    """Return a warning about the limits that ``--trainer.limit_…_batches`` sets; empty without any."""
    return f"Not comparable with runs of the whole protocol: {', '.join(limits)}." if limits else ""


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
            if not find_problem(each, CALIBRATED)
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
        InputError: A confusion matrix is invalid, or the number of class names is not that of classes.
    """
    names = results.get("class_names")
    reports = {}
    for split, content in results.get("splits", {}).items():
        num = len(content["confusion"])
        if names is not None and (find_problem(names, [str]) or len(names) != num):
            raise damaged(run.results_path, f"class_names are not {num} names")
        try:
            reports[split] = report(torch.tensor(content["confusion"]), names, content.get("non_finite"))
        except (ValueError, TypeError, RuntimeError, OverflowError) as e:
            raise damaged(run.results_path, f"splits.{split}: {e}") from e
    return reports


def _is_of_command(pruned: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Return whether the config and :func:`options_of` hold all settings of a pruning."""
    settings = {} if pruned.get("target") else pruned.get("settings") or {}
    return not {"rounds", "tuning"} & pruned.keys() and all(
        config.get(f"prune.{name}") == value
        for name, value in settings.items()
        if name != "idle_below"  # 0 with a rule or layers, whatever the config says
    )


def options_of(pruned: Mapping[str, Any]) -> list[str]:
    """Return the options that made a curve, or a network of a given size: no config holds them."""
    if not pruned:
        return ["--curve", "true"]
    target = pruned.get("target")
    if not target:
        return []
    return [f"--target_{target['kind']}", f"{target['most'] / target['before']['value']:g}"]


def _command(
    config: Mapping[str, Any], history: Mapping[str, Sequence[float]], *, has_stages: bool, is_pruned: bool
) -> str:
    """Return the command that filled a folder.

    Only ``fit`` logs a train loss, or may lack a checkpoint. Without a config, a training of another project
    has filled it if there are stages.
    """
    keys = [key for key in map(parse_key, history) if key is not None]
    is_training = any(key.split == "train" and key.is_loss for key in keys) or (has_stages and not config)
    if is_training or not (is_pruned or config.get("ckpt_path")):
        return "fit"
    return "prune" if is_pruned else "test"


def _interval(interval: Mapping[str, Any]) -> dict[str, Any]:
    """Return an interval of one stage with its ``text``: the stage, and for a plateau the reason.

    >>> _interval({"stage": "plateau", "reason": "lr_frozen"})["text"]
    'plateau: lr frozen'
    """
    stage, reason = interval["stage"], interval["reason"].replace("_", " ")
    return {**interval, "text": f"{stage}: {reason}" if stage == Stage.PLATEAU else stage}


def _stage_notes(
    stages: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]], history: Mapping[str, Sequence[float]]
) -> list[str]:
    """Return a sentence for each stage that the network was in, or one that it was measured too rarely."""
    num = num_labelled(history)
    if stages and history and num < LEAST_VALUES:
        measurements = "measurement" if num == 1 else "measurements"
        return [f"Only {num} {measurements}: too few to find a stage, which needs {LEAST_VALUES}. "]
    found = {interval["stage"] for interval in stages.get("network", {}).get("final", [])}
    return [note for stage, note in STAGE_NOTES.items() if stage in found]


def _order_layers(found: Page) -> None:
    """Order all layers as the files of angles have them: Lightning's CSVLogger sorts its columns by name."""
    layers = [layer["name"] for layer in (found["heat"] or {}).get("layers", ())]
    place = {name: number for number, name in enumerate(layers)}
    for key in ("fan", "ranks"):
        names = sorted(found.get(key, ()), key=lambda name: place.get(name, len(place)))
        found[key] = {name: found[key][name] for name in names}
    rows = found.get("layers", ())
    found["layers"] = sorted(rows, key=lambda row: place.get(row["name"], len(place)))


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
