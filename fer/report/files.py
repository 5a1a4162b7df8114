"""A run's files: those that are not there hold nothing, and those that are damaged are named."""

import json
from pathlib import Path
from typing import Any

import yaml

from fer.configs import flatten
from fer.errors import InputError
from fer.history import read_history


def read_metrics(folder: Path) -> dict[str, list[float]]:
    """Return the columns of a run's ``metrics.csv``; empty if there is no such file."""
    try:
        return read_history(folder)
    except ValueError as e:
        msg = f"{folder / 'metrics.csv'} is damaged: {e}; move it away to have a report of the rest"
        raise InputError(msg) from e


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what a file says, None if there is no such file."""
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except ValueError as e:
        msg = f"{path} is damaged: {e}; move it away to have a report of the rest"
        raise InputError(msg) from e
    return content


def read_config(path: Path) -> dict[str, Any]:
    """Return a run's settings, flat; empty if there is no such file."""
    if not path.is_file():
        return {}
    try:
        return flatten(yaml.safe_load(path.read_text()))
    except (ValueError, AttributeError, yaml.YAMLError) as e:
        msg = f"{path} is damaged: {e}; move it away to have a report of the rest"
        raise InputError(msg) from e
