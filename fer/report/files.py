"""A run's files: those that are not there hold nothing, and those that are damaged are named."""

from pathlib import Path
from typing import Any, Final

import yaml

from fer.configs import flatten
from fer.errors import InputError
from fer.files import read_json
from fer.history import read_history

WAY_OUT: Final = "move it away to have a report of the rest"


def read_metrics(folder: Path) -> dict[str, list[float]]:
    """Return the columns of a run's ``metrics.csv``; empty if there is no such file."""
    try:
        return read_history(folder)
    except ValueError as e:
        msg = f"{folder / 'metrics.csv'} is damaged: {e}; {WAY_OUT}"
        raise InputError(msg) from e


def read_results(path: Path) -> dict[str, Any] | None:
    """Return what a file of JSON says, None if there is no such file."""
    return read_json(path, WAY_OUT) if path.is_file() else None


def read_config(path: Path) -> dict[str, Any]:
    """Return a run's settings, flat; empty if there is no such file."""
    if not path.is_file():
        return {}
    try:
        return flatten(yaml.safe_load(path.read_text()))
    except (ValueError, AttributeError, yaml.YAMLError) as e:
        msg = f"{path} is damaged: {e}; {WAY_OUT}"
        raise InputError(msg) from e
