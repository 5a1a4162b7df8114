"""Parts of a page that runs, studies and sweeps have in common."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fer.errors import InputError
from fer.figures.curves import ACCURACY_NAME, RATE, curve_panels
from fer.metrics import ClassificationReport, wilson_interval
from fer.report.repeat import SettingsOf, as_word, differences, started
from fer.runs import WAY_OUT

Page = dict[str, Any]
"""Data that the page's scripts read: texts, numbers, lists and dicts, with None for an undefined number.
A section is drawn if its key is present."""


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
                "low": low,
                "high": high,
                "precision": precision,
                "specificity": specificity,
                "f1": f1,
            }
            for class_name, n, hits, recall, precision, specificity, f1 in classes
            for low, high in [wilson_interval(round(hits / found.repeats), round(n / found.repeats))]
        ],
    }


def plain(value: Any) -> Any:
    """Return a value that JSON can hold: None for NaN and infinity, floats with at most six digits.

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


def facts_of(folder: Path, config: Mapping[str, Any], results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the known facts about a run, as pairs of name and text."""
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


def is_own(config: Mapping[str, Any]) -> bool:
    """Return whether the network or the data set is a user's own class, which a report does not import."""
    return "." in config["network"] or "." in config["dataset"]


def differing_settings(config: Mapping[str, Any], settings_of: SettingsOf) -> Page:
    """Return the settings of a run that differ from the defaults of its network and its data set."""
    if is_own(config):
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


def curves_of(history: Mapping[str, Sequence[float]], quantities: Sequence[str] | None = None) -> Page:
    """Return the curves: by quantity (``loss``, ``acc``, ``lr`` and others) and split, values and times.

    Args:
        history: Columns of ``metrics.csv``, under the names of any project.
        quantities: Quantities besides the learning rate; None: all, at most
            :data:`fer.figures.curves.MOST_PANELS`.
    """
    names = {ACCURACY_NAME: "acc", RATE: "lr"}
    return {
        names.get(panel.name, panel.name): {
            label: {"x": curve.epochs.tolist(), "y": curve.values.tolist()}
            for label, curve in panel.curves.items()
        }
        for panel in curve_panels(history, quantities)
    }


def damaged(path: Path, problem: str) -> InputError:
    """Return the error for a damaged file."""
    return InputError(f"{path} is damaged: {problem}; {WAY_OUT}")
