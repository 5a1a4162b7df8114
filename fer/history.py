"""What a run measured over its epochs, as its folder keeps it."""

import csv
from pathlib import Path


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
