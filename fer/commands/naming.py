"""Name a run in W&B after its network, its data and the settings that differ from its config."""

import os
from collections.abc import Mapping
from typing import Any, Final

GROUPS: Final = ("model.", "data.", "prune.")
"""Groups of settings that appear in a name."""

OTHERS: Final = {
    "seed_everything": "seed",
    "trainer.max_epochs": "epochs",
    "trainer.precision": "precision",
    "early_stopping": "early_stopping",
    "ema": "ema",
}
"""Other settings that appear in a name, and their short names."""

SILENT: Final = {
    *("data.root", "data.num_workers", "model.compile", "model.channels_last", "model.weights"),
    *("data.pipeline", "prune.enabled", "prune.num_samples"),
}
"""Settings of :data:`GROUPS` that are left out: paths, and those that do not affect results."""

MOST: Final = 6
"""Largest number of settings in a name, so that it stays readable."""


VARIABLES: Final = {
    "name": "WANDB_NAME",
    "group": "WANDB_RUN_GROUP",
    "job_type": "WANDB_JOB_TYPE",
    "tags": "WANDB_TAGS",
}
"""W&B's environment variables for the same properties, which a sweep may set."""


def following(settings: Mapping[str, Any], usual: Mapping[str, Any], *, command: str) -> dict[str, Any]:
    """Return the W&B name, group, job type and tags of a run, without those that the environment sets.

    Args:
        settings: Settings of the run, by dotted name.
        usual: Their usual values, by the same names.
        command: The command that the run executes.
    """
    is_trial = "WANDB_SWEEP_PARAM_PATH" in os.environ  # the folders of all trials have the same name
    of_run = {
        "name": (None if is_trial else settings["run_name"]) or title(settings, usual, command=command),
        "group": f"{settings['network']}-{settings['dataset']}",
        "job_type": command,
        "tags": [settings[key] for key in ("network", "dataset", "data.protocol") if settings.get(key)],
    }
    return {key: value for key, value in of_run.items() if VARIABLES[key] not in os.environ}


def standard(settings: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a config, without those of a data set that the run does not use.

    Args:
        settings: Settings of a run, by dotted name.
        config: The run's first config, or the shipped one of its network, by dotted name.
    """
    is_same_data = settings["dataset"] == config.get("dataset")
    return {key: value for key, value in config.items() if is_same_data or not key.startswith("data.")}


def title(settings: Mapping[str, Any], usual: Mapping[str, Any], *, command: str = "fit") -> str:
    """Return a name for a run: its network, its data, and the settings that differ from the usual ones.

    Args:
        settings: Settings of the run, by dotted name.
        usual: Their usual values, by the same names.
        command: The command; part of the name unless it is fit.

    >>> usual = {"model.lr": 0.1, "model.depth": 34, "seed_everything": 0, "data.root": None}
    >>> run = {"network": "resnet", "dataset": "fer2013", "data.root": "/data"}
    >>> title({**usual, **run, "model.lr": 0.003, "seed_everything": 1}, usual)
    'resnet fer2013 lr=0.003 seed=1'
    """
    words = [str(settings["network"]), str(settings["dataset"])]
    if command != "fit":
        words.append(command)
    changed = [
        f"{OTHERS.get(key, key.split('.')[-1])}={_short(value)}"
        for key, value in settings.items()
        if (key.startswith(GROUPS) or key in OTHERS) and key not in SILENT
        if key in usual and value != usual[key]
    ]
    words += changed[:MOST]
    if len(changed) > MOST:
        words.append("…")
    return " ".join(words)


def _short(value: Any) -> str:
    """Return a setting as a short text.

    >>> [_short(each) for each in (0.00030000001, True, None, [16, 32], "(?P<subject>S[0-9]+)_.*_.*")]
    ['0.0003', 'true', 'null', '16-32', '(?P<subject>S[0-9]+…']
    """
    match value:
        case None | True | False:
            return {None: "null", True: "true", False: "false"}[value]
        case float():
            return f"{value:.4g}"
        case list() | tuple():
            text = "-".join(map(_short, value))
        case _:
            text = str(value)
    return text if len(text) <= 20 else f"{text[:19]}…"
