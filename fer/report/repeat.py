"""How to repeat a run: the command, settings that differ from the defaults, and package versions."""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import yaml

from fer.configs import config_names, config_path

Settings = Mapping[str, Any]
"""Settings of a run by dotted name: ``{"model.lr": 0.006, …}``."""

SettingsOf = Callable[[Sequence[str], str, str], Settings]
"""Parses arguments of ``fer fit``, given the network and the data set, and returns all settings."""

PLACE: Final = ("runs_dir", "run_name", "wandb.", "trainer.enable_progress_bar")
"""Settings for where a run is stored and shown; they do not change its results."""

PACKAGES: Final = (
    *("fer-neurons", "torch", "torchvision", "lightning", "timm", "albumentations", "numpy"),
    *("opencv-python-headless", "torch-pruning"),
)
"""Packages whose version may change a result."""

STARTED: Final = re.compile(r"run-(\d{8}_\d{6})-")
"""Start of a run, in the name of its W&B folder."""


def differences(settings: Settings, others: Settings) -> list[tuple[str, Any, Any]]:
    """Return the settings that differ from others: name, value, and the other value.

    Settings in :data:`PLACE`, and settings that the others lack, are left out.

    >>> differences({"model.lr": 0.1, "data.seed": 0, "run_name": "a"}, {"model.lr": 0.2, "data.seed": 0})
    [('model.lr', 0.1, 0.2)]
    """
    return [
        (name, value, others[name])
        for name, value in settings.items()
        if not name.startswith(PLACE) and name in others and others[name] != value
    ]


def command_of(settings: Settings, settings_of: SettingsOf) -> str:
    """Return the shortest ``fer fit`` command for these settings, with or without a shipped config.

    Args:
        settings: Settings of the run.
        settings_of: See :data:`SettingsOf`.
    """
    network, dataset = settings["network"], settings["dataset"]
    starts = [["--network", network, "--dataset", dataset]]
    for name in config_names():
        content = yaml.safe_load(config_path(name).read_text())
        if (content["network"], content["dataset"]) == (network, dataset):
            starts.append(["--config", name])
    commands: list[list[str]] = []
    for start in starts:
        changed = differences(settings, settings_of(start, network, dataset))
        words = [word for name, value, _ in changed for word in (f"--{name}", as_word(value))]
        commands.append([*start, *words])
    return shlex.join(["fer", "fit", *min(commands, key=len)])


def as_word(value: Any) -> str:
    """Return a setting as an argument of the command line.

    Digits are not quoted: ``--trainer.devices 1`` is saved as text.

    >>> [as_word(value) for value in (1e-05, None, True, [1, 2], "fer", "null", "1")]
    ['1.0e-05', 'null', 'true', '[1, 2]', 'fer', "'null'", '1']
    """
    if isinstance(value, str) and value.isdecimal() and value == str(int(value)):
        return value
    text: str = yaml.safe_dump(value, default_flow_style=True, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")


def versions(run_dir: Path) -> dict[str, str]:
    """Return the package versions of a run: all from W&B's files, else Lightning's from the config."""
    found: dict[str, str] = {}
    for path in sorted(run_dir.glob("wandb/*run-*/files/requirements.txt")):
        if not path.is_file() or path.is_symlink():  # W&B writes a regular file
            continue
        lines = (
            line.strip().split("==") for line in path.read_text(errors="replace").splitlines() if "==" in line
        )
        known = dict(pair for pair in lines if len(pair) == 2)
        found |= {name: known[name] for name in PACKAGES if name in known}
    config = run_dir / "config.yaml"
    if not found and config.is_file():
        match = re.match(r"# lightning\.pytorch==(\S+)", config.read_text(errors="replace"))
        found = {"lightning": match[1]} if match else {}
    return found


def started(run_dir: Path) -> str | None:
    """Return when a run began, to the minute: from W&B's folder, or else from its config's time stamp."""
    names = sorted(match[1] for path in run_dir.glob("wandb/*run-*") if (match := STARTED.search(path.name)))
    if names:
        with suppress(ValueError):
            return f"{datetime.strptime(names[0], '%Y%m%d_%H%M%S'):%Y-%m-%d %H:%M}"
    config = run_dir / "config.yaml"
    if not config.is_file():
        return None
    return f"{datetime.fromtimestamp(config.stat().st_mtime):%Y-%m-%d %H:%M}"
