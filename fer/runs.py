"""The folder of a run: the paths of its files, and a reader and a writer for each.

A reader returns an empty dict or list if its file is missing. If the file is damaged, it raises InputError,
which names the file and what to do.
"""

import csv
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer.arrays import read_arrays
from fer.errors import InputError
from fer.files import atomic_write, draft_of, find_problem, read_json, read_text, write_json
from fer.yamltext import parse_yaml

LATEST: Final = "latest"
"""Name of the link to the newest run, in the folder of runs."""

STUDY: Final = "study.json"
"""Settings of a sweep, in its folder from its start."""

SETTINGS: Final = "settings.json"
"""Settings of a cross-validation or a repeat, in its folder from its start."""

WAY_OUT: Final = "restore it, or move it away to continue without it"

Number = (int, float)
_CONFUSION: Final = [[int]]
_CONFIG: Final = {"network": str, "dataset": str}
_RESULTS: Final = {"splits?": {"*": {"confusion": _CONFUSION}}}
_INTERVALS: Final = [{"stage": str, "reason": str, "begin": Number, "end": Number, "confirmed_by?": [str]}]
_STAGES: Final = {"*": {"final": _INTERVALS, "live": _INTERVALS}}
_PRUNE: Final = {"after": {"*": object}, "layers": {"*": {"*": object}}}
_CURVE: Final = {"rules": {"*": {"*": [Number]}}}
_ARTIFACTS: Final = {"*": str}
"""Minimal content of each file, for :func:`fer.files.find_problem`."""


@dataclass(frozen=True)
class Run:
    """The folder of a run, with the files that ``fer fit``, ``test``, ``prune`` and the like write.

    Attributes:
        folder: The run's folder.
        network: In a run that trains several networks, the one whose angles and stages to read and write;
            their files end with its name, such as ``angles-generator/``. Empty: files without a name.
    """

    folder: Path
    network: str = ""

    @property
    def suffix(self) -> str:
        """Suffix of the names of files that belong to one network."""
        return f"-{self.network}" if self.network else ""

    @property
    def config_path(self) -> Path:
        """All settings of the run, as ``--config`` takes them."""
        return self.folder / "config.yaml"

    @property
    def metrics_path(self) -> Path:
        """Logged metrics: rows for each epoch, by its index, and for each measurement, by its time."""
        return self.folder / "metrics.csv"

    @property
    def results_path(self) -> Path:
        """Results of the test; written last, so that a run with this file is complete."""
        return self.folder / "results.json"

    @property
    def stages_path(self) -> Path:
        """Training stages of each layer and of the network."""
        return self.folder / f"stages{self.suffix}.json"

    @property
    def angles_dir(self) -> Path:
        """Folder of the angles between neurons, a file for each measured epoch."""
        return self.folder / f"angles{self.suffix}"

    @property
    def checkpoints_dir(self) -> Path:
        """Folder of the checkpoints: best, last, previous, pruned."""
        return self.folder / "checkpoints"

    @property
    def best_checkpoint(self) -> Path:
        """The checkpoint that was selected on the validation split."""
        return self.checkpoints_dir / "best.ckpt"

    @property
    def last_checkpoint(self) -> Path:
        """The checkpoint of the last epoch, from which training resumes."""
        return self.checkpoints_dir / "last.ckpt"

    @property
    def previous_checkpoint(self) -> Path:
        """The checkpoint before the last one, in case the last one is damaged."""
        return self.checkpoints_dir / "previous.ckpt"

    @property
    def pruned_checkpoint(self) -> Path:
        """The pruned network."""
        return self.checkpoints_dir / "pruned.ckpt"

    @property
    def figures_dir(self) -> Path:
        """Folder of the figures as PNG, those of neurons also as SVG."""
        return self.folder / "figures"

    @property
    def prune_path(self) -> Path:
        """Results of pruning: what was removed, and the effect on the network."""
        return self.folder / "prune.json"

    @property
    def curve_path(self) -> Path:
        """Accuracy at each pruning threshold."""
        return self.folder / "curve.json"

    @property
    def crops_path(self) -> Path:
        """Table of the faces that were cropped when the data was read."""
        return self.folder / "crops.csv"

    @property
    def predictions_path(self) -> Path:
        """Class probabilities of the test split."""
        return self.folder / "predictions.csv"

    @property
    def model_card_path(self) -> Path:
        """Model card: the network, its data, its accuracy, and its limits of use."""
        return self.folder / "model-card.md"

    @property
    def artifacts_path(self) -> Path:
        """Full names of the run's W&B artifacts, by alias."""
        return self.folder / "artifacts.json"

    @property
    def is_run(self) -> bool:
        """Whether the folder holds a file that only a run writes."""
        marks = (self.config_path, self.results_path, self.metrics_path, self.prune_path, self.curve_path)
        return any(path.is_file() for path in marks)

    def read_config(self) -> dict[str, Any]:
        """Return the settings, nested as in YAML; empty without a config."""
        if not self.config_path.is_file():
            return {}
        try:
            content = parse_yaml(read_text(self.config_path))
        except (OSError, ValueError) as e:
            raise _damaged(self.config_path, str(e)) from e
        _check(self.config_path, content, _CONFIG)
        settings: dict[str, Any] = content
        return settings

    def write_config(self, text: str) -> None:
        """Write the settings, given as YAML."""
        with atomic_write(self.config_path) as file:
            file.write(text.encode())

    def read_metrics(self) -> dict[str, list[float]]:
        """Return the columns of ``metrics.csv``, NaN where a row has no value; empty without the file.

        ``epoch`` is the index of an epoch in Lightning's rows, and a time in epochs trained in the rows of
        measurements of neurons; see :func:`fer.figures.curves.measured_times`.

        A last line that is still being written is left out.
        """
        if not self.metrics_path.is_file():
            return {}
        try:
            text = read_text(self.metrics_path)
            rows = list(csv.reader(text.splitlines()))
        except (OSError, ValueError, csv.Error) as e:
            raise _damaged(self.metrics_path, str(e)) from e
        if len(rows) > 1 and not text.endswith("\n") and len(rows[-1]) < len(rows[0]):
            rows.pop()
        if not rows:
            return {}
        header, *rows = rows
        for number, row in enumerate(rows, start=2):
            if len(row) != len(header):
                raise _damaged(self.metrics_path, f"line {number} has {len(row)} cells, not {len(header)}")
        try:
            return {
                key: [float(row[place]) if row[place] else float("nan") for row in rows]
                for place, key in enumerate(header)
                if rows
            }
        except ValueError as e:
            raise _damaged(self.metrics_path, str(e)) from e

    def read_results(self) -> dict[str, Any]:
        """Return the results of the test."""
        results = _read(self.results_path, _RESULTS)
        for name, split in results.get("splits", {}).items():
            if any(len(row) != len(split["confusion"]) for row in split["confusion"]):
                raise _damaged(self.results_path, f"the confusion matrix of {name} is not square")
        return results

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Write the results of the test: facts of the run, and ``splits`` with their confusion matrices."""
        write_json(self.results_path, results)

    def read_stages(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """Return the ``final`` and the ``live`` intervals of training stages, by layer.

        Each has a ``stage``, a ``reason``, ``begin`` and ``end`` in epochs trained (1.0 after the first
        epoch), and, if it was checked, ``confirmed_by``: the names of the series that confirm its begin.
        """
        found = _read(self.stages_path, {"*": {"final": [dict], "live": [dict]}})
        stages = {
            layer: {kind: [_as_times(each) for each in of_layer[kind]] for kind in ("final", "live")}
            for layer, of_layer in found.items()
        }
        _check(self.stages_path, stages, _STAGES)
        return stages

    def write_stages(self, stages: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the ``final`` and the ``live`` intervals of training stages; see :meth:`read_stages`."""
        write_json(self.stages_path, stages)

    def read_prune(self) -> dict[str, Any]:
        """Return the results of pruning; see :meth:`write_prune`."""
        return _read(self.prune_path, _PRUNE)

    def write_prune(self, results: Mapping[str, Any]) -> None:
        """Write what pruning removed (``layers``) and the networks ``before`` and ``after`` it."""
        write_json(self.prune_path, results)

    def read_curve(self) -> dict[str, Any]:
        """Return the accuracy at each pruning threshold, by rule."""
        return _read(self.curve_path, _CURVE)

    def write_curve(self, curve: Mapping[str, Any]) -> None:
        """Write the accuracy at each pruning threshold, by rule under ``rules``."""
        write_json(self.curve_path, curve)

    def read_artifacts(self) -> dict[str, str]:
        """Return the full names of the run's W&B artifacts, by alias."""
        return _read(self.artifacts_path, _ARTIFACTS)

    def write_artifacts(self, names: Mapping[str, str]) -> None:
        """Write the full names of the run's W&B artifacts, by alias."""
        write_json(self.artifacts_path, names)

    def angles_path(self, epoch: int) -> Path:
        """Return the file of an epoch's angles, ``angles/epoch-0007.npz``; epochs count from 0."""
        return self.angles_dir / f"epoch-{epoch:04d}.npz"

    def write_angles(self, epoch: int, degrees: Mapping[str, NDArray[np.floating]]) -> None:
        """Write the angles after an epoch.

        Args:
            epoch: Index of the epoch, from 0.
            degrees: Angles between the C neurons of each layer, shape ``(C, C)``; stored as float32.
        """
        arrays: dict[str, Any] = {layer: matrix.astype(np.float32) for layer, matrix in degrees.items()}
        with atomic_write(self.angles_path(epoch)) as file:
            np.savez_compressed(file, **arrays)

    def measured_epochs(self) -> list[int]:
        """Return the epochs, from 0, after which angles were measured, in order."""
        return sorted(self._angle_paths())

    def read_angles(self, epoch: int | None = None) -> dict[str, NDArray[np.float32]]:
        """Return the angles that were measured after an epoch.

        Args:
            epoch: Index of the epoch, from 0; None: the last measured one.

        Returns:
            Angles between the C neurons of each layer, degrees, ``(C, C)``; NaN: a neuron without angles.

        Raises:
            InputError: No angles were measured after this epoch, or the file is damaged.
        """
        paths = self._angle_paths()
        if not paths:
            msg = f"{self.folder} has no angles: train with --distinctiveness.every_n_epochs 1"
            raise InputError(msg)
        chosen = max(paths) if epoch is None else epoch
        if chosen not in paths:
            known = ", ".join(map(str, sorted(paths)))
            msg = f"{self.folder} has no angles of epoch {chosen}: those of epochs {known} were measured"
            raise InputError(msg)
        path = paths[chosen]
        try:
            degrees = read_arrays(path)
        except (OSError, ValueError) as e:
            raise _damaged(path, str(e)) from e
        for layer, matrix in degrees.items():
            is_square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
            if not is_square or not np.issubdtype(matrix.dtype, np.floating):
                raise _damaged(path, f"{layer} is not a square matrix of angles")
        return degrees

    def _angle_paths(self) -> dict[int, Path]:
        paths = {}
        for path in self.angles_dir.glob("epoch-*.npz"):
            match = re.fullmatch(r"epoch-(\d+)\.npz", path.name, re.ASCII)
            if match is None:
                raise _damaged(path, "its name has no epoch, as in epoch-0007.npz")
            paths[int(match[1])] = path
        return paths


def make_run(folder: Path, *, is_named: bool) -> Run:
    """Make the folder of a new run.

    Args:
        folder: The folder; missing parents are made.
        is_named: Whether the user chose the name: an existing folder must be empty. If not, a number follows.

    Raises:
        InputError: The folder is not empty, is named like the link, or cannot be made.
    """
    if folder.name == LATEST:
        msg = f"--run_name {LATEST}: this is the link to the newest run; choose another name"
        raise InputError(msg)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        run_dir, number = folder, 1
        while not is_named and not _is_made(run_dir):  # another run started in the same second
            number += 1
            run_dir = folder.with_name(f"{folder.name}-{number}")
        if is_named and not _is_made(folder) and any(folder.iterdir()):
            way_out = "choose another --run_name, or move that run away"
            msg = f"{folder} holds a run: {way_out}; an interrupted training continues by --resume {folder}"
            raise InputError(msg)
    except OSError as e:
        msg = f"{folder}: the folder cannot be made: {e}; choose another --runs_dir or --run_name"
        raise InputError(msg) from e
    return Run(run_dir)


def _is_made(folder: Path) -> bool:
    """Make a folder, and return whether it is new."""
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def run_of(checkpoint: Path) -> Run:
    """Return the run whose ``checkpoints`` folder holds a checkpoint."""
    return Run(checkpoint.resolve().parent.parent)


def mark_latest(run: Run) -> bool:
    """Link ``latest``, beside a run's folder, to the run; if several start together, the last one wins.

    Returns:
        Whether the link was made. It is not if the file system has no symbolic links, or if there is a file
        or folder of this name.
    """
    link = run.folder.with_name(LATEST)
    if link.exists() and not link.is_symlink():
        return False
    draft = draft_of(link)
    try:
        draft.symlink_to(run.folder.name, target_is_directory=True)
        draft.replace(link)
    except OSError:
        return False
    finally:
        with suppress(OSError):
            draft.unlink()
    return True


def _as_times(interval: dict[str, Any]) -> dict[str, Any]:
    """Return an interval of stages.json in the current form; older files have first and last epochs.

    >>> _as_times({"stage": "plateau", "first": 5, "last": 7})
    {'stage': 'plateau', 'begin': 5, 'end': 8}
    """
    match interval:
        case {"first": int(first), "last": int(last), **others}:
            return {**others, "begin": first, "end": last + 1}
    return interval


def _read(path: Path, shape: Any) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content = read_json(path, WAY_OUT)
    _check(path, content, shape)
    return content


def _check(path: Path, content: object, shape: Any) -> None:
    if problem := find_problem(content, shape):
        raise _damaged(path, problem)


def _damaged(path: Path, problem: str) -> InputError:
    return InputError(f"{path} is damaged: {problem}; {WAY_OUT}")
