"""The logger of ``metrics.csv``. It rewrites the file atomically: an interrupted run leaves a valid file."""

import csv
import io
import logging
from argparse import Namespace
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from fer.files import DiskFullError, atomic_write
from fer.runs import Run

log = logging.getLogger("fer.dashboards")


class MetricsLogger(Logger):
    """Logger that writes ``metrics.csv`` in the folder of a run: a row for each call, with sorted columns.

    If ``epoch`` and ``time`` are 0, it starts with an empty file.

    Args:
        folder: Folder of the run.
        epoch: Epoch in which a training resumes; the rows of earlier epochs are kept.
        time: Time of the last measurement of neurons before the training resumes, in epochs trained. Rows of
            measurements, whose ``epoch`` is their time, are kept up to it.
    """

    def __init__(self, folder: Path, epoch: int = 0, time: float = 0.0) -> None:
        super().__init__()
        self.run = Run(folder)
        self.rows: list[dict[str, Any]] = []
        self.is_saved = True
        time = max(time, epoch)
        if time and self.run.metrics_path.is_file():
            with self.run.metrics_path.open(newline="") as file:
                self.rows = [
                    row
                    for row in csv.DictReader(file)
                    if row["epoch"]
                    and (float(row["epoch"]) <= time if "." in row["epoch"] else int(row["epoch"]) < epoch)
                ]

    @property
    def name(self) -> str:
        """Empty: the folder is the run's own."""
        return ""

    @property
    def version(self) -> str:
        """Empty: the folder is the run's own."""
        return ""

    @property
    def save_dir(self) -> str:
        """The folder of the run."""
        return str(self.run.folder)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the settings are in ``config.yaml``."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a row."""
        self.rows.append({**metrics, "step": len(self.rows) if step is None else step})
        self.is_saved = False

    @rank_zero_only
    def save(self) -> None:
        """Write the file if rows were added; if the disk is full, warn and try again the next time."""
        try:
            self._write()
        except DiskFullError as error:
            log.warning("%s; trying again later", error.problem)

    def _write(self) -> None:
        if self.is_saved:
            return
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, sorted({key for row in self.rows for key in row}))
        writer.writeheader()
        writer.writerows(self.rows)
        with atomic_write(self.run.metrics_path) as file:
            file.write(text.getvalue().encode())
        self.is_saved = True

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the remaining rows; after a failed training, ignore errors.

        Raises:
            OSError: The file cannot be written.
        """
        with suppress(OSError) if status == "failed" else nullcontext():
            self._write()
