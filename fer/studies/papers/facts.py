"""Read the numbers that the papers print: facts with their place, from ``fer/papers/*.yaml``."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import fer
from fer.errors import InputError, did_you_mean
from fer.files import find_problem, read_text
from fer.yamltext import parse_yaml

FOLDER: Final = Path(fer.__file__).parent / "papers"

RANGES: Final[Mapping[str, float]] = {
    "percent": 100,
    "share": 1,
    "degrees": 180,
    "images": math.inf,
    "epochs": math.inf,
    "number": math.inf,
}
"""Units of facts, with the largest value of each. The smallest is 0; only a ``number`` may be negative."""

_NUMBER: Final = (int, float, type(None))
_FACT: Final = {
    "place": str,
    "unit": str,
    "rows": {"*": object},
    "columns?": [(str, int)],
    "n?": int,
    "quote?": str,
    "misprints?": {"*": _NUMBER},
}
_ITEM: Final = {"place": str, "shows": str, "facts?": [str], "why?": str}
_PAPER: Final = {"paper": str, "authors": str, "title": str, "facts": {"*": _FACT}, "items": {"*": _ITEM}}


@dataclass(frozen=True)
class Fact:
    """Numbers as a paper prints them, a table of R rows and C columns.

    Attributes:
        name: Name of the fact within its paper.
        place: Where it is printed.
        unit: One of :data:`RANGES`.
        columns: C names; one empty name if the table is a list.
        rows: C values for each row name, NaN where nothing is printed.
        n: Number of samples behind each value, as printed; None: not printed.
        quote: The paper's words; empty if none are quoted.
        misprints: Corrected values of misprinted cells, by label (see :meth:`cells`).
    """

    name: str
    place: str
    unit: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[float, ...]]
    n: int | None = None
    quote: str = ""
    misprints: Mapping[str, float] | None = None

    @property
    def table(self) -> NDArray[np.float64]:
        """All values as printed, shape ``(R, C)``."""
        return np.array(list(self.rows.values()), np.float64)

    def row(self, name: str) -> NDArray[np.float64]:
        """Return the values of a row as printed, shape ``(C,)``."""
        return np.array(self.rows[name], np.float64)

    def value(self, row: str, column: str = "") -> float:
        """Return one value as printed; without a column, the first."""
        return self.rows[row][self.columns.index(column) if column else 0]

    def cells(self) -> dict[str, float]:
        """Return all printed values by label: ``row``, or ``row, column``."""
        return {
            label_of(row, column): value
            for row, values in self.rows.items()
            for column, value in zip(self.columns, values, strict=True)
            if not math.isnan(value)
        }

    def read(self) -> dict[str, float]:
        """Return :meth:`cells` with misprints corrected."""
        return {**self.cells(), **(self.misprints or {})}


@dataclass(frozen=True)
class Item:
    """A table or a figure of a paper.

    Attributes:
        name: Such as ``s0-table3``.
        place: Such as ``Table 3``.
        shows: What it shows, in one line.
        facts: Names of the facts that hold its printed numbers.
        why: Why it is not replayed; empty if it is.
    """

    name: str
    place: str
    shows: str
    facts: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Paper:
    """What a paper prints.

    Attributes:
        key: ``s0`` to ``s4``; ``gh`` for Gedeon and Harris, ``data`` for the data sets.
        authors: Family names of the authors.
        title: Title of the paper.
        facts: Printed numbers by name.
        items: Tables and figures by their full names.
    """

    key: str
    authors: str
    title: str
    facts: Mapping[str, Fact]
    items: Mapping[str, Item]

    def __getitem__(self, name: str) -> Fact:
        return self.facts[name]


Papers = Mapping[str, Paper]
"""All papers, by key."""


def label_of(row: str, column: str) -> str:
    """Return the label of a cell."""
    return f"{row}, {column}" if column else row


def read_papers(folder: Path = FOLDER) -> Papers:
    """Read the facts of all papers.

    Raises:
        InputError: A file is not valid YAML, is incomplete, or has a value that its unit does not allow.
    """
    papers = [read_paper(path) for path in sorted(folder.glob("*.yaml"))]
    return {paper.key: paper for paper in papers}


def read_paper(path: Path) -> Paper:
    """Read the facts of a paper.

    Raises:
        InputError: The file is not valid YAML, is incomplete, or has a value that its unit does not allow.
    """
    try:
        content = parse_yaml(read_text(path))
        if problem := find_problem(content, _PAPER):
            raise ValueError(problem)
        facts = {name: _fact(name, fact) for name, fact in content["facts"].items()}
        key = content["paper"]
        items = [_item(f"{key}-{name}", item, facts) for name, item in content["items"].items()]
    except (OSError, ValueError) as e:
        msg = f"{path}: {e}; correct the file, or install fer again"
        raise InputError(msg) from e
    return Paper(key, content["authors"], content["title"], facts, {item.name: item for item in items})


def all_items(papers: Papers) -> dict[str, Item]:
    """Return all tables and figures by name, in the order of the papers."""
    return {name: item for _, paper in sorted(papers.items()) for name, item in paper.items.items()}


def find_item(papers: Papers, name: str) -> Item:
    """Return a table or figure by its name.

    Raises:
        InputError: No item has that name.
    """
    items = all_items(papers)
    if name not in items:
        msg = f"no item {name!r}; {did_you_mean(name, items)}fer reproduce --list shows all {len(items)}"
        raise InputError(msg)
    return items[name]


def _fact(name: str, content: Mapping[str, Any]) -> Fact:
    columns = tuple(map(str, content.get("columns", [""])))
    rows = {str(row): _values(values) for row, values in content["rows"].items()}
    misprints = {str(label): float(value) for label, value in content.get("misprints", {}).items()}
    fact = Fact(
        *(name, content["place"], content["unit"], columns, rows),
        n=content.get("n"),
        quote=content.get("quote", ""),
        misprints=misprints,
    )
    if problem := "".join(list(_problems(fact))[:1]):
        msg = f"fact {name}: {problem}"
        raise ValueError(msg)
    return fact


def _values(values: object) -> tuple[float, ...]:
    """Return the values of a row: one number, or a list of them with null for what is not printed."""
    given: list[Any] = values if isinstance(values, list) else [values]
    if problem := find_problem(given, [_NUMBER]):
        msg = f"a value is not a number: {problem}"
        raise ValueError(msg)
    return tuple(math.nan if each is None else float(each) for each in given)


def _problems(fact: Fact) -> Iterator[str]:
    if fact.unit not in RANGES:
        yield f"unit {fact.unit!r} is not one of {', '.join(RANGES)}"
        return
    for row, values in fact.rows.items():
        if len(values) != len(fact.columns):
            yield f"row {row!r} has {len(values)} values for {len(fact.columns)} columns"
            return
    for label in fact.misprints or {}:
        if label not in fact.cells():
            yield f"misprint {label!r} is not a cell"
    lowest = -math.inf if fact.unit == "number" else 0
    for label, value in fact.read().items():
        if not lowest <= value <= RANGES[fact.unit]:
            yield f"{label!r} is {value:g}, which is outside the range of its unit, {fact.unit}"


def _item(name: str, content: Mapping[str, Any], facts: Mapping[str, Fact]) -> Item:
    names: Sequence[str] = content.get("facts", [])
    if unknown := [each for each in names if each not in facts]:
        msg = f"item {name}: no fact {unknown[0]!r}"
        raise ValueError(msg)
    return Item(name, content["place"], content["shows"], tuple(names), content.get("why", ""))
