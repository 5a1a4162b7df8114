"""Shipped configs: YAML files with the settings of an experiment, one or more for each network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fer.errors import InputError, did_you_mean

_FOLDER = Path(__file__).parent


def config_names() -> list[str]:
    """Return the names of the shipped configs, in alphabetical order."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def config_path(name: str) -> Path:
    """Return the file of a config, given as a file, the folder of a run, or the name of a shipped config.

    Raises:
        InputError: There is no such config.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if (path / "config.yaml").is_file():
        return path / "config.yaml"
    if name in config_names():
        return _FOLDER / f"{name}.yaml"
    hint = did_you_mean(name, config_names())
    msg = (
        f"--config {name}: no such file, and no shipped config of this name; {hint}"
        f"shipped: {', '.join(config_names())}"
    )
    raise InputError(msg)


def config_label(path: str) -> str:
    """Return the name of a shipped config, given its path; any other path unchanged."""
    name = Path(path).stem
    return name if Path(path) == _FOLDER / f"{name}.yaml" else path


def describe_config(name: str) -> str:
    """Return what a shipped config is: the comment in its first line."""
    return (_FOLDER / f"{name}.yaml").read_text().partition("\n")[0].removeprefix("# ")


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to dotted keys, as a sweep names them.

    >>> flatten({"model": {"lr": 0.1}, "network": "ann"})
    {'model.lr': 0.1, 'network': 'ann'}
    """
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def name_configs(words: Sequence[str]) -> list[str]:
    """Return arguments with the names of shipped configs instead of their paths."""
    names = {str(config_path(name)): name for name in config_names()}
    return [names.get(word, word) for word in words]
