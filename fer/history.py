"""What a run measured over its epochs, as its folder keeps it."""

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer.errors import InputError
from fer.files import atomic_write


def read_history(run_dir: Path) -> dict[str, list[float]]:
    """Return the columns of a run's ``metrics.csv``, NaN where a row has no value; empty without one."""
    path = run_dir / "metrics.csv"
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        key: [float(row[key]) if row[key] else float("nan") for row in rows]
        for key in (rows[0] if rows else {})
    }


def write_angles(run_dir: Path, epoch: int, degrees: Mapping[str, NDArray[np.floating]]) -> Path:
    """Write the angles of an epoch as ``angles/epoch-0007.npz`` in a run's folder, and return the path.

    Args:
        run_dir: The run's folder.
        epoch: From 0.
        degrees: By layer the angles of its C neurons, shape ``(C, C)``; kept as float32.
    """
    path = run_dir / "angles" / f"epoch-{epoch:04d}.npz"
    arrays: dict[str, Any] = {layer: matrix.astype(np.float32) for layer, matrix in degrees.items()}
    with atomic_write(path) as file:
        np.savez_compressed(file, **arrays)
    return path


def read_angles(run_dir: Path, epoch: int | None = None) -> dict[str, NDArray[np.float32]]:
    """Return the angles that a run measured after an epoch.

    Args:
        run_dir: The run's folder.
        epoch: From 0; null: the last that was measured.

    Returns:
        By layer the angles of its C neurons in degrees, shape ``(C, C)``, NaN where a neuron has none.

    Raises:
        InputError: None were measured, or not after this epoch.
    """
    paths = _angle_paths(run_dir)
    if not paths:
        msg = f"{run_dir} has no angles: train with --distinctiveness.every_n_epochs 1"
        raise InputError(msg)
    chosen = max(paths) if epoch is None else epoch
    if chosen not in paths:
        known = ", ".join(map(str, sorted(paths)))
        msg = f"{run_dir} has no angles of epoch {chosen}: it has those of {known}"
        raise InputError(msg)
    with np.load(paths[chosen]) as file:
        return dict(file)


def measured_epochs(run_dir: Path) -> list[int]:
    """Return the epochs, from 0, after which a run measured angles, in order."""
    return sorted(_angle_paths(run_dir))


def _angle_paths(run_dir: Path) -> dict[int, Path]:
    return {int(re.sub(r"\D", "", path.stem)): path for path in (run_dir / "angles").glob("epoch-*.npz")}
