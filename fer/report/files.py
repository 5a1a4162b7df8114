"""Read a run's files for the report."""

from pathlib import Path
from typing import Any

from fer.configs import flatten
from fer.files import read_json
from fer.runs import WAY_OUT, Run


def read_metrics(folder: Path) -> dict[str, list[float]]:
    """Return the columns of a run's ``metrics.csv``; empty if there is no such file."""
    return Run(folder).read_metrics()


def read_results(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file, None if there is no such file."""
    return read_json(path, WAY_OUT) if path.is_file() else None


def read_config(path: Path) -> dict[str, Any]:
    """Return a run's settings by dotted name; empty if there is no such file."""
    return flatten(Run(path.parent).read_config())
