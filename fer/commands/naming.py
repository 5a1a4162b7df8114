"""What a run is called on the dashboard: network, data, and the settings that are not its config's."""

import os
from collections.abc import Mapping
from typing import Any, Final

GROUPS: Final = ("model.", "data.", "prune.")
"""Groups of settings that a name tells of."""

OTHERS: Final = {
    "seed_everything": "seed",
    "trainer.max_epochs": "epochs",
    "trainer.precision": "precision",
    "early_stopping": "early_stopping",
    "ema": "ema",
}
"""Other settings, with what they are called there."""

SILENT: Final = {
    *("data.root", "data.num_workers", "model.compile", "model.channels_last", "model.weights"),
    *("prune.enabled", "prune.num_samples"),
}
"""Settings of those groups that change no result, or are paths."""

MOST: Final = 6
"""Settings in a name, so that it can be read."""


VARIABLES: Final = {
    "name": "WANDB_NAME",
    "group": "WANDB_RUN_GROUP",
    "job_type": "WANDB_JOB_TYPE",
    "tags": "WANDB_TAGS",
}
"""W&B's own variables of the environment, by which a sweep, say, names its trials."""


def following(settings: Mapping[str, Any], usual: Mapping[str, Any], *, command: str) -> dict[str, Any]:
    """Return name, group, job type and tags of a run on W&B, where nobody gives them.

    Args:
        settings: Of the run, by dotted name.
        usual: What they are if nobody says otherwise, by the same names.
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
    """Return what a config says, without what it says of other data.

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
        usual: What they are if nobody says otherwise, by the same names.
        command: What the run does; said where it is not fit.

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
    """Return a setting in few letters.

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
