"""Write a comparison as CSV, a figure of the curves, and a page."""

import csv
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from fer.compare.answers import sample_rows
from fer.compare.comparison import Comparison
from fer.compare.folders import ComparedRun
from fer.errors import InputError
from fer.figures.overlay import overlay_figure
from fer.figures.style import write_figure
from fer.files import atomic_write, find_problem
from fer.report.still import image, still_page, table


def write_comparison(out: Path, comparison: Comparison, runs: Sequence[ComparedRun]) -> list[Path]:
    """Write a comparison into a folder, and return the files.

    ``comparison.csv`` has all values, ``samples.csv`` each run's prediction for each shared test sample,
    ``curves.png`` the losses and accuracies, and ``comparison.html`` the tables and the curves. Existing
    files with these names are replaced.

    Args:
        out: The folder, created if missing.
        comparison: The comparison.
        runs: The runs, for their curves.

    Raises:
        InputError: A file cannot be written.
    """
    texts = {"comparison.csv": comparison.csv()}
    if comparison.paired:
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows(sample_rows(comparison.paired))
        texts["samples.csv"] = file.getvalue()
    histories = {run.name: run.history for run in runs}
    curves = out / "curves.png"
    try:
        try:
            title = " \N{MIDDLE DOT} ".join(histories)[:80]
            write_figure(overlay_figure(histories, title, chance=_chance(runs)), curves)
            figure = curves.read_bytes()
        except ValueError:  # runs that trained nothing have no curves
            figure = b""
        texts["comparison.html"] = _page(comparison, figure)
        for name, text in texts.items():
            with atomic_write(out / name) as target:
                target.write(text.encode())
    except OSError as e:
        msg = f"--out {out}: nothing can be written there ({e.strerror}); choose another folder"
        raise InputError(msg) from e
    return [*(out / name for name in texts), *([curves] if figure else [])]


def _chance(runs: Sequence[ComparedRun]) -> float | None:
    """Return the chance accuracy; None if no run names its classes, or their numbers differ."""
    all_names = [run.results.get("class_names") for run in runs]
    numbers = {len(names) for names in all_names if names and not find_problem(names, [str])}
    return 1 / numbers.pop() if len(numbers) == 1 else None


def _page(comparison: Comparison, figure: bytes) -> str:
    runs = list(comparison.values)
    sections = {
        title: table(["", *runs], ([row.name, *row.cells] for row in rows))
        for title, rows in comparison.tables.items()
    }
    if comparison.notes:
        notes = "".join(f'<p class="warn">{escape(note)}</p>' for note in comparison.notes)
        sections = {"notes": notes, **sections}
    if figure:
        sections["curves"] = image(figure, "Loss and accuracy of each run over the epochs")
    title = ", ".join(runs) if len(runs) < 4 else f"{runs[0]} and {len(runs) - 1} others"
    return still_page(title, "comparison of runs", sections)
