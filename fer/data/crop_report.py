"""Report of the crops of image files, as CSV and as a table."""

import csv
import io
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, get_args

from rich import box
from rich.table import Table
from rich.text import Text

from fer.cells import path_cell, text_cell
from fer.data.crops import CropRecord
from fer.data.detectors import Face
from fer.data.faces import Policy
from fer.files import atomic_write

LANDMARKS: Final = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


def write_crops_csv(
    path: Path, records: Sequence[CropRecord], *, root: Path | None = None, names: Sequence[str] = ()
) -> None:
    """Write a CSV with one row per image file: the policy applied, and the face's position in pixels.

    Args:
        path: The CSV file, written atomically. The cells of a file without a face are empty.
        records: Crop record of each file.
        root: Folder that the files' paths are written relative to; None: they are written unchanged.
        names: Name of each file's crop, for the column ``crop``; empty: there is no such column.

    Raises:
        OSError: It cannot be written.
    """
    points = [f"{name}_{axis}" for name in LANDMARKS for axis in "xy"]
    columns = ["path", "policy", "reason", "probability", "left", "top", "right", "bottom", *points]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*columns, "crop"] if names else columns)
    for index, record in enumerate(records):
        source = record.path if root is None else record.path.relative_to(root)
        named = path_cell(source.as_posix())
        row = [named, record.policy, text_cell(record.reason), *_face_cells(record.face)]
        writer.writerow([*row, path_cell(names[index]) if record.kept else ""] if names else row)
    with atomic_write(path) as file:
        # A file's name need not be UTF-8.
        file.write(text.getvalue().encode(errors="surrogateescape"))


def _face_cells(face: Face | None) -> list[str]:
    """Return probability, box and landmarks as text, empty where there is none."""
    if face is None:
        return [""] * (5 + 2 * len(LANDMARKS))
    probability = "" if math.isnan(face.probability) else f"{face.probability:.4f}"
    points = [f"{value:.2f}" for point in face.landmarks or () for value in point]
    return [
        probability,
        *(f"{value:.2f}" for value in face.box),
        *(points or [""] * 2 * len(LANDMARKS)),
    ]


def count_policies(records: Sequence[CropRecord], class_names: Sequence[str]) -> dict[str, Counter[str]]:
    """Count the policies applied in each class.

    Args:
        records: Crop records of N files.
        class_names: Class of each file, N of them.

    Returns:
        Number of files per policy for each class, sorted by class name.
    """
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for record, name in zip(records, class_names, strict=True):
        counts[name][record.policy] += 1
    return dict(sorted(counts.items()))


def policy_table(counts: Mapping[str, Mapping[str, int]]) -> Table:
    """Return the counts of :func:`count_policies` as a rich table with a row of totals.

    Args:
        counts: Number of files per policy for each class.
    """
    order = (*get_args(Policy), "bad")
    totals: Counter[str] = Counter()
    for of_class in counts.values():
        totals.update(of_class)
    policies = [policy for policy in order if totals[policy]]
    table = Table("class", box=box.SIMPLE, show_footer=len(counts) > 1)
    table.columns[0].footer = "all"
    for policy in policies:
        table.add_column(policy, footer=f"{totals[policy]:,}", justify="right")
    table.add_column("images", footer=f"{totals.total():,}", justify="right")
    for name, of_class in counts.items():
        cells = [f"{of_class.get(policy, 0):,}" for policy in policies]
        table.add_row(Text(name), *cells, f"{sum(of_class.values()):,}")
    return table
