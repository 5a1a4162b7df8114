"""Report page of a study of several runs: the folds of a cross-validation, or the seeds of a repeat."""

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fer.configs import flatten, name_configs
from fer.files import find_problem, read_json
from fer.report.images import images
from fer.report.parts import Page, curves_of, damaged, differing_settings, facts_of, split_of
from fer.report.repeat import SettingsOf, as_word, versions
from fer.runs import SETTINGS, WAY_OUT
from fer.studies.members import (
    CROSSVAL,
    NUMBER,
    Kind,
    Summary,
    read_settings,
    summarise,
    without_fold,
)

AGAINST: Final = "against.json"
"""File in a repeat's folder with the comparison with another repeat."""

_AGAINST: Final = {
    **{"name": str, "n": int, "difference": NUMBER, "of_seeds": object, "of_samples": [NUMBER]},
    "seeds": [{"seed": int, "before": NUMBER, "after": NUMBER, "difference": NUMBER, "mcnemar": dict}],
}
"""Shape of that file that the page needs, for :func:`fer.files.find_problem`."""

TITLES: Final = {"crossval": "Cross-validation", "repeat": "Repeat with several seeds"}

ORIGINS: Final = {
    "crossval": "Each image is tested once, by a network that was not trained on it.",
    "repeat": "Each image is tested once by the network of each seed, and the counts are summed; the "
    "intervals count each image once.",
}
"""Explanation of the pooled confusion matrix on the page."""

RELIABILITY: Final = {
    "reliability-pooled": (
        "Reliability on test",
        "Accuracy against the probability of the predicted class, before and after calibration.",
    )
}


def members_page(kind: Kind, folder: Path, settings_of: SettingsOf) -> Page:
    """Return the page of a study of several runs, finished or not.

    Args:
        kind: What the members are.
        folder: Folder of the study.
        settings_of: Parses the arguments of ``fer fit``.

    Raises:
        InputError: A file is damaged.
    """
    settings = read_settings(folder)
    if problem := find_problem(settings, {"words": [str], "configs": [dict]}):
        raise damaged(folder / SETTINGS, problem)
    runs = {number: kind.run(folder, number) for number in kind.numbers(settings)}
    done = {number: results for number, run in runs.items() if (results := run.read_results())}
    first = runs[min(done, default=min(runs))]
    config = flatten(first.read_config())
    found: Page = {
        "kind": TITLES[kind.name],
        "unfinished": f"{len(done)} of {len(runs)} {kind.setting} are done."
        if len(done) < len(runs)
        else None,
        "member": kind.member,
        "member_curves": {
            str(number): curves["acc"]["val"]
            for number, run in runs.items()
            if "val" in (curves := curves_of(run.read_metrics())).get("acc", {})
        },
    }
    if done:
        summary = summarise(list(done.values()), kind, list(done))
        left_out = {"Epochs", "Time", "Seed" if kind is not CROSSVAL else ""}
        found["facts"] = [
            (name, without_fold(text))
            for name, text in facts_of(first.folder, config, done[min(done)])
            if name not in left_out
        ]
        found["members"] = _table(summary, done)
        found["chance"] = 1 / len(summary.pooled.class_names)
        times = f", each image {len(done)} times" if kind.shares_samples and len(done) > 1 else ""
        found["results"] = [split_of(f"test, all {kind.setting}{times}", summary.pooled)]
        found["origin"] = ORIGINS[kind.name]
        found["images"] = images(folder, RELIABILITY)
    found["against"] = _against(folder)
    members = settings[kind.setting]
    shared = differing_settings(config, settings_of) if config else {}
    if "differs" in shared:
        shared["differs"] = [each for each in shared["differs"] if each["name"] != kind.option]
    found["repeat"] = {
        "command": shlex.join(
            ["fer", kind.name, f"--{kind.setting}", as_word(members), *_words(settings, config)]
        ),
        **shared,
        "seed": config.get("seed_everything"),
        "versions": versions(first.folder),
    }
    return {key: value for key, value in found.items() if value}


def _table(summary: Summary, done: Mapping[int, Mapping[str, Any]]) -> Page:
    """Return a row for each finished member, with the mean and standard deviation over all of them."""
    scalars = summary.scalars()
    sums = {
        name: {split: scalars[f"{split}/acc{end}"] for split in ("val", "test")}
        for name, end in (("mean", ""), ("std", "_std"))
    }
    notes = []
    if summary.kind.shares_samples:
        low, high = scalars["test/acc_mean_low"], scalars["test/acc_mean_high"]
        sums["interval"] = {"low": low, "high": high}
        if not math.isnan(low):
            notes.append(
                "The standard deviation and Student's t interval of the mean describe "
                "the variation between seeds, on these test samples."
            )
    others = {split: f"{split}/acc" for split in summary.reports if split not in ("val", "test")}
    others |= {key.replace("/acc_tta_", " with "): key for key in summary.views}
    notes += [
        f"Accuracy on {name}: {100 * mean:.2f} %, standard deviation {100 * std:.2f}."
        for name, key in others.items()
        for mean, std in [(scalars[key], scalars[f"{key}_std"])]
        if not math.isnan(std)
    ]
    return {
        "rows": [
            {
                "number": number,
                "val": split_of("val", summary.reports["val"][place]),
                "test": split_of("test", summary.reports["test"][place]),
                "epochs": results.get("epochs"),
                "seconds": results.get("fit_seconds"),
            }
            for place, (number, results) in enumerate(done.items())
        ],
        **sums,
        "notes": notes,
    }


def _against(folder: Path) -> Page:
    """Return the comparison with another repeat; empty if there is none."""
    path = folder / AGAINST
    if not path.is_file():
        return {}
    content: Page = read_json(path, WAY_OUT)
    if problem := find_problem(content, _AGAINST):
        raise damaged(path, problem)
    return content


def _words(settings: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Return the arguments of a study, including the network and data set if its configs do not name them.

    Args:
        settings: Settings of the study.
        config: Settings of a member, for studies by older versions, whose settings lack these names.
    """
    by_config = {key: value for content in settings["configs"] for key, value in content.items()}
    chosen = {key: settings.get(key, config.get(key)) for key in ("network", "dataset")}
    given = [(key, name) for key, name in chosen.items() if name and name != by_config.get(key)]
    return [*(word for key, name in given for word in (f"--{key}", name)), *name_configs(settings["words"])]
