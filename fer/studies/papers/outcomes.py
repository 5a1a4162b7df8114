"""Read the stored outcomes of replays, as ``fer reproduce ITEM --out FOLDER`` writes them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from fer.errors import InputError
from fer.files import find_problem, read_json
from fer.studies.papers.facts import FOLDER
from fer.studies.papers.replay import Line, Measured, Panel, TableRow

OUTCOMES: Final = FOLDER / "outcomes"
WAY_OUT: Final = "remove it, and write it again with fer reproduce ITEM --out FOLDER"

_NUMBER: Final = (int, float)
_MEASURED: Final = {
    "n": int,
    "seeds": int,
    **{f"{name}?": _NUMBER for name in ("value", "low", "high", "sd")},
}
_ROW: Final = {"label": str, "printed?": _NUMBER, "recomputed?": _NUMBER, "ours?": _MEASURED}
_VALUES: Final = [(int, float, type(None))]
_LINE: Final = {
    "label": str,
    **dict.fromkeys(("x", "y", "low", "high"), _VALUES),
    "is_points": bool,
}
_OUTCOME: Final = {
    **dict.fromkeys(("item", "paper", "place", "shows", "unit"), str),
    "quick": bool,
    "notes": [str],
    "made": {"*": str},
    "rows": [_ROW],
    "panels": [{"x": str, "y": str, "lines": [_LINE]}],
}


@dataclass(frozen=True)
class Outcome:
    """Results of a replay of a table or figure.

    Attributes:
        item: Such as ``s0-table3``.
        paper: Its authors and title.
        place: Such as ``Table 3``.
        shows: What the table or figure shows.
        unit: Unit of the printed numbers.
        is_quick: Whether the protocol was shortened.
        notes: What a reader must know.
        made: Command, commit, version and machine.
        rows: Label, printed number, recomputed number and our number.
        panels: Curves to draw with :func:`fer.figures.series_figure`; empty: none.
    """

    item: str
    paper: str
    place: str
    shows: str
    unit: str
    is_quick: bool
    notes: Sequence[str]
    made: Mapping[str, str]
    rows: Sequence[TableRow]
    panels: Sequence[Panel]

    @property
    def records(self) -> list[dict[str, Any]]:
        """The rows as flat dictionaries, for a data frame; NaN where there is no number."""
        nothing = dict.fromkeys(asdict(Measured(math.nan)), math.nan)
        return [
            {
                "": label,
                "printed": printed,
                "recomputed": recomputed,
                **{
                    {"value": "ours"}.get(name, name): value
                    for name, value in (nothing if ours is None else asdict(ours)).items()
                },
            }
            for label, printed, recomputed, ours in self.rows
        ]


def read_outcomes(folder: Path = OUTCOMES) -> dict[str, Outcome]:
    """Return all outcomes in a folder by the names of their items, sorted by name.

    Raises:
        InputError: A file is damaged.
    """
    found = [read_outcome(path) for path in folder.glob("*.json")]
    return {each.item: each for each in sorted(found, key=lambda each: each.item)}


def read_outcome(path: Path) -> Outcome:
    """Return the outcome in a file.

    Raises:
        InputError: The file is damaged.
    """
    content = read_json(path, WAY_OUT)
    if problem := find_problem(content, _OUTCOME):
        msg = f"{path}: {problem}; {WAY_OUT}"
        raise InputError(msg)
    return Outcome(
        **{name: content[name] for name in ("item", "paper", "place", "shows", "unit", "notes", "made")},
        is_quick=content["quick"],
        rows=[_row(row) for row in content["rows"]],
        panels=[
            Panel(each["x"], each["y"], [_line(line) for line in each["lines"]]) for each in content["panels"]
        ],
    )


def _row(row: Mapping[str, Any]) -> TableRow:
    printed, recomputed = (row.get(name, math.nan) for name in ("printed", "recomputed"))
    ours = {
        field.name: row["ours"][field.name] for field in fields(Measured) if field.name in row.get("ours", {})
    }
    return row["label"], printed, recomputed, Measured(**{"value": math.nan, **ours}) if ours else None


def _line(line: Mapping[str, Any]) -> Line:
    values = {
        name: [math.nan if value is None else value for value in line[name]]
        for name in ("x", "y", "low", "high")
    }
    return Line(line["label"], is_points=line["is_points"], **values)
