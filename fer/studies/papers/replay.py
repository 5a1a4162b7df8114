"""Result of a replay: printed, recomputed and our numbers side by side, and the curves to draw."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from fer.files import atomic_write
from fer.metrics import wilson_interval
from fer.studies.papers.facts import Item, Paper

DASH: Final = "-"
HEADER: Final = ("", "printed", "recomputed", "ours", "95 % interval", "sd of seeds", "n", "seeds")


@dataclass(frozen=True)
class Measured:
    """A number that we measured, as the mean over seeds.

    Attributes:
        value: The mean, in the unit of the printed number.
        n: Number of samples behind the value of one seed; 0: the value is not computed from samples.
        seeds: Number of seeds.
        low: Low end of Wilson's 95 % interval of the mean for n samples; NaN if it is not a proportion.
        high: High end of the interval.
        sd: Standard deviation over the seeds, n - 1; NaN for one seed.
    """

    value: float
    n: int = 0
    seeds: int = 1
    low: float = math.nan
    high: float = math.nan
    sd: float = math.nan


TableRow = tuple[str, float, float, Measured | None]
"""Label, printed number, recomputed number (NaN: none), and our number."""


@dataclass(frozen=True)
class Line:
    """A curve in a plot.

    Attributes:
        label: Name of the curve.
        x: Horizontal values.
        y: Vertical values.
        low: Low end of each point's bar or band; empty: none.
        high: High end of each point's bar or band; empty: none.
        is_points: Whether to draw points, for measured or printed values; if not, a line.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    is_points: bool = False


@dataclass(frozen=True)
class Panel:
    """One pair of axes of a plot, with its curves."""

    x: str
    y: str
    lines: Sequence[Line]


@dataclass(frozen=True)
class Replay:
    """Result of a protocol.

    Attributes:
        ours: Measured numbers by the labels of the printed ones, followed by those with other labels.
        panels: Plots to draw; empty: none.
        pictures: Figures of runs that are shown for the item.
        notes: What a reader must know, such as parts that were not run.
    """

    ours: Mapping[str, Measured] = field(default_factory=dict)
    panels: Sequence[Panel] = ()
    pictures: Sequence[Path] = ()
    notes: Sequence[str] = ()


def proportion(shares: Sequence[float], n: int) -> Measured:
    """Return a proportion in per cent, measured with several seeds on n samples each.

    >>> proportion([0.25, 0.75], 100).value
    50.0
    """
    mean = float(np.mean(shares))
    low, high = wilson_interval(round(mean * n), n)
    return Measured(100 * mean, n, len(shares), 100 * low, 100 * high, 100 * _deviation(shares))


def average(values: Sequence[float], n: int = 0) -> Measured:
    """Return the mean over the seeds where a number is defined, for one that is not a proportion."""
    defined = [value for value in values if not math.isnan(value)]
    mean = float(np.mean(defined)) if defined else math.nan
    return Measured(mean, n, len(defined), sd=_deviation(defined))


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def printed_values(paper: Paper, item: Item) -> tuple[dict[str, float], str]:
    """Return the printed numbers of an item by label, and their units.

    If several facts have the same label, labels begin with the names of the facts.
    """
    facts = [paper[name] for name in item.facts]
    labels = [label for fact in facts for label in fact.cells()]
    is_unique = len(set(labels)) == len(labels)
    values = {
        label if is_unique else f"{fact.name}: {label}": value
        for fact in facts
        for label, value in fact.cells().items()
    }
    return values, ", ".join(dict.fromkeys(fact.unit for fact in facts))


def rows_of(
    printed: Mapping[str, float], recomputed: Mapping[str, float], ours: Mapping[str, Measured]
) -> list[TableRow]:
    """Return one row per label, in order: printed labels, then recomputed ones, then ours."""
    labels = dict.fromkeys((*printed, *recomputed, *ours))
    return [
        (name, printed.get(name, math.nan), recomputed.get(name, math.nan), ours.get(name)) for name in labels
    ]


def table(rows: Sequence[TableRow]) -> str:
    """Return rows as an aligned table, with a header."""
    cells = [HEADER, *(_cells(*row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        ).rstrip()
        for row in cells
    )


def _cells(label: str, printed: float, recomputed: float, ours: Measured | None) -> tuple[str, ...]:
    if ours is None:
        return (label, _number(printed), _number(recomputed), *[DASH] * 5)
    has_interval = not math.isnan(ours.low)
    return (
        label,
        _number(printed),
        _number(recomputed),
        _number(ours.value),
        f"[{ours.low:.2f}, {ours.high:.2f}]" if has_interval else DASH,
        _number(ours.sd),
        f"{ours.n:,}" if ours.n else DASH,
        str(ours.seeds),
    )


def _number(value: float) -> str:
    """Return a number with two decimal places, or none if it is whole and large.

    >>> _number(25715719.0), _number(0.5), _number(float("nan"))
    ('25,715,719', '0.50', '-')
    """
    if math.isnan(value):
        return DASH
    return f"{value:,.0f}" if value == round(value) and abs(value) >= 1000 else f"{value:,.2f}"


def rows_as_json(rows: Sequence[TableRow]) -> list[dict[str, Any]]:
    """Return rows as JSON objects, without numbers that are not known."""
    return [
        {
            "label": label,
            **_known({"printed": printed, "recomputed": recomputed}),
            **({} if ours is None else {"ours": _known(asdict(ours))}),
        }
        for label, printed, recomputed, ours in rows
    ]


def panels_as_json(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    """Return panels as JSON objects: numbers with five significant digits, null for NaN."""

    def digits(values: Sequence[float]) -> list[float | None]:
        return [None if math.isnan(value) else float(f"{value:.5g}") for value in values]

    return [
        {
            "x": panel.x,
            "y": panel.y,
            "lines": [
                {
                    "label": line.label,
                    **{name: digits(getattr(line, name)) for name in ("x", "y", "low", "high")},
                    "is_points": line.is_points,
                }
                for line in panel.lines
            ],
        }
        for panel in panels
    ]


def write_csv(path: Path, rows: Sequence[TableRow]) -> None:
    """Write the rows as CSV, empty where a number is not known."""
    text = io.StringIO()
    writer = csv.writer(text)
    names = ("value", "low", "high", "sd", "n", "seeds")
    writer.writerow(["label", "printed", "recomputed", "ours", *names[1:]])
    for label, printed, recomputed, ours in rows:
        measured = {} if ours is None else _known(asdict(ours))
        numbers = _known({"printed": printed, "recomputed": recomputed})
        columns = [numbers.get(name, "") for name in ("printed", "recomputed")]
        writer.writerow([label, *columns, *(measured.get(name, "") for name in names)])
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def _known(values: Mapping[str, float]) -> dict[str, float]:
    """Return values without NaN, which JSON does not allow."""
    return {name: value for name, value in values.items() if not math.isnan(value)}
