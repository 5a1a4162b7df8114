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
"""Other settings that appear in a name, and what they are called there."""

SILENT: Final = {
    *("data.root", "data.num_workers", "model.compile", "model.channels_last", "model.weights"),
    *("data.pipeline", "prune.enabled", "prune.num_samples"),
}
"""Settings of those groups that do not appear: paths, and those that change no result."""

MOST: Final = 6
"""Most settings in a name, so that it stays readable."""


VARIABLES: Final = {
    "name": "WANDB_NAME",
    "group": "WANDB_RUN_GROUP",
    "job_type": "WANDB_JOB_TYPE",
    "tags": "WANDB_TAGS",
}
"""Environment variables of W&B that set the same, for example in a sweep."""


def following(settings: Mapping[str, Any], usual: Mapping[str, Any], *, command: str) -> dict[str, Any]:
    """Return name, group, job type and tags of a run in W&B, for those that the user does not set.

    Args:
        settings: Of the run, by dotted name.
        usual: Their usual values, by the same names.
        command: What the run does.
    """
    is_trial = "WANDB_SWEEP_PARAM_PATH" in os.environ  # the folders of trials are all called alike
    of_run = {
        "name": (None if is_trial else settings["run_name"]) or title(settings, usual, command=command),
        "group": f"{settings['network']}-{settings['dataset']}",
        "job_type": command,
        "tags": [settings[key] for key in ("network", "dataset", "data.protocol") if settings.get(key)],
    }
    return {key: value for key, value in of_run.items() if VARIABLES[key] not in os.environ}


def standard(settings: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a config, without those of data that the run does not use.

    Args:
        settings: Of a run, by dotted name.
        config: The first that it was given, or its network's, by dotted name.
    """
    is_same_data = settings["dataset"] == config.get("dataset")
    return {key: value for key, value in config.items() if is_same_data or not key.startswith("data.")}


def title(settings: Mapping[str, Any], usual: Mapping[str, Any], *, command: str = "fit") -> str:
    """Return a name for a run: its network, its data, and the settings that are not as usual.

    Args:
        settings: Of the run, by dotted name.
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
