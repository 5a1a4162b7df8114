"""Read delimited text files as the contest, Excel and pandas write them, and FER2013 from such a file."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, cast

import numpy as np

from fer.data.fer2013.rows import (
    AGAIN,
    MOST_ROWS,
    NUM_PIXELS,
    REMAP,
    SIDE,
    USAGES,
    WAY_OUT,
    Fer2013Rows,
    Tick,
)
from fer.errors import InputError
from fer.labels import FER2013_CSV

CSV_NAMES: Final = ("fer2013.csv", "icml_face_data.csv")
"""The contest's two files with all rows, case-insensitive; their columns differ only in order."""

TRAIN_CSV: Final = "train.csv"
"""The contest's file of the Training rows, without a Usage column."""

MAX_LINE: Final = 1 << 16
"""Longest line that is read, in characters. A row of FER2013 has about 9,000."""

DELIMITERS: Final = ",;\t"
LABEL: Final = re.compile(r"([0-6])([.,]0*)?")
"""A label, written as a whole number or as pandas and Excel write it in a column of floats."""


class Table:
    """The lines of a delimited text file whose first line names the columns.

    The delimiter is a comma, semicolon or tab, whichever is most frequent in the first line. Quotes and
    blanks around a cell are removed. Lines are read one at a time; each may have at most :data:`MAX_LINE`
    characters.

    Args:
        text: The file; see :func:`open_table`.
        where: Its path, for error messages.

    Attributes:
        names: Column names in lower case; empty if the file is empty.

    Raises:
        InputError: The first line is too long.
    """

    def __init__(self, text: IO[str], where: Path) -> None:
        self.where = where
        self.number = 0
        self.line = ""
        self._text = text
        header = self._read_line()
        if header.lower().startswith("sep="):  # Excel's line that declares the delimiter
            header = self._read_line()
        self.delimiter = max(DELIMITERS, key=header.count)
        self.names = [name.lower() for name in self._cells(header)] if header.strip() else []

    def rows(self, columns: Sequence[str]) -> Iterator[list[str]]:
        """Yield the cells of each line that is not blank, in the order of ``columns``.

        Raises:
            InputError: A line has too few cells or is too long.
        """
        positions = [self.names.index(name) for name in columns]
        while self._read_line():
            if self.line.isspace():
                continue
            cells = self._cells(self.line)
            if len(cells) < len(self.names):
                raise self.error(f"{len(cells)} cells instead of {len(self.names)}")
            yield [cells[position] for position in positions]

    def error(self, reason: str, column: str | None = None) -> InputError:
        """Make an error about the current line."""
        place = "" if column is None else f", column {column}"
        way_out = f"correct this line, or {AGAIN.replace('it', 'the file', 1)}"
        if not self.line.endswith("\n"):
            way_out = f"the file ends here, so it may be truncated; {AGAIN}"
        return InputError(f"{self.where}, line {self.number}{place}: {reason}; {way_out}")

    def missing(self, wanted: Sequence[str], *, hint: str = "") -> InputError:
        """Make an error about columns that the first line does not name."""
        if not self.names:
            return InputError(f"{self.where} is empty; {AGAIN}")
        absent = [name for name in wanted if name.lower() not in self.names]
        found = ", ".join(repr(name[:20]) for name in self.names[:6]) + (", …" if len(self.names) > 6 else "")
        return InputError(
            f"{self.where}, line 1: no column {' and no column '.join(absent)} in {found}; the first line "
            f"must name the columns {', '.join(wanted)}, separated by commas, semicolons or tabs{hint}"
        )

    def _read_line(self) -> str:
        """Return the next line; empty at the end of the file."""
        self.line = self._text.readline(MAX_LINE + 1)
        self.number += 1
        if self.line and self.number > MOST_ROWS + 1:
            msg = f"{self.where} has more than {MOST_ROWS:,} lines, while FER2013 has 35,888; {WAY_OUT}"
            raise InputError(msg)
        if len(self.line) > MAX_LINE:
            msg = (
                f"{self.where}, line {self.number}: longer than {MAX_LINE:,} characters, while a row of "
                f"FER2013 has about 9,000; this is another file, or a damaged one; {WAY_OUT}"
            )
            raise InputError(msg)
        return self.line

    def _cells(self, line: str) -> list[str]:
        return [cell.strip(' "\r\n\t') for cell in line.split(self.delimiter)]


@contextmanager
def open_table(stream: IO[bytes], where: Path) -> Iterator[Table]:
    """Open a table in UTF-8 or UTF-16, detected from the first bytes, and close its stream at the end.

    Args:
        stream: The file, in binary.
        where: Its path, for error messages.

    Raises:
        InputError: The first line is too long.
    """
    buffered = io.BufferedReader(cast("io.RawIOBase", stream), 1 << 20)
    with io.TextIOWrapper(buffered, encoding=_encoding(buffered.peek(4)), errors="replace") as text:
        yield Table(text, where)


def _encoding(start: bytes) -> str:
    """Detect the encoding of a text from its first bytes."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\0" in start[:2]:  # half of an ASCII character in UTF-16, without a byte order mark
        return "utf-16-be" if start.startswith(b"\0") else "utf-16-le"
    return "utf-8-sig"


def read_csv(stream: IO[bytes], where: Path, tick: Tick) -> Fer2013Rows | None:
    """Read FER2013 from a table with the columns emotion, pixels and Usage, in any order.

    Args:
        stream: The file, in binary.
        where: Its path, for error messages.
        tick: Called for each row.

    Returns:
        All rows; None for a ``train.csv`` that is not FER2013's.

    Raises:
        InputError: A column is missing, or a row is invalid.
    """
    with open_table(stream, where) as table:
        return _read_rows(table, tick)


def _read_rows(table: Table, tick: Tick) -> Fer2013Rows | None:
    where = table.where
    wanted = ("emotion", "pixels", "Usage")
    absent = {name.lower() for name in wanted} - set(table.names)
    if where.name.lower() == TRAIN_CSV and absent & {"emotion", "pixels"}:
        return None
    if absent == {"usage"}:
        msg = (
            f"{where} has no column Usage: it is the contest's file of the Training images, but every "
            f"protocol also needs PublicTest and PrivateTest; use {' or '.join(CSV_NAMES)} from the same "
            "download, which contain all three"
        )
        raise InputError(msg)
    if absent:
        raise table.missing(wanted)
    grey = bytearray()
    labels: list[int] = []
    usages: list[int] = []
    for emotion, pixels, usage in table.rows(("emotion", "pixels", "usage")):
        column = "pixels"
        try:
            grey += _pixels(pixels)
            column = "emotion"
            labels.append(_label(emotion))
            column = "Usage"
            usages.append(usage_index(usage))
        except ValueError as e:
            raise table.error(str(e), column) from e
        tick()
    if not labels:
        msg = f"{where} has a header but no rows; {AGAIN}"
        raise InputError(msg)
    return Fer2013Rows(
        images=np.frombuffer(grey, dtype=np.uint8).reshape(-1, SIDE, SIDE),
        labels=np.array(labels, dtype=np.int64),
        usage=np.array(usages, dtype=np.uint8),
    )


def _pixels(cell: str) -> bytes:
    """Return the grey values in a cell, one byte each."""
    # NumPy's fast parser is safe if there are only digits and blanks.
    if cell.isascii() and cell.replace(" ", "").isdigit():
        values = np.fromstring(cell, dtype=np.int64, sep=" ")
        if values.size == NUM_PIXELS and values.max() <= 255:
            return values.astype(np.uint8).tobytes()
    words = cell.split()
    for word in words:
        if not re.fullmatch(r"[+-]?\d+", word):
            msg = f"pixel {word[:20]!r} is not a whole number"
            raise ValueError(msg)
        if len(word) > 9 or not 0 <= int(word) <= 255:
            msg = f"pixel {word[:20]} is outside 0 to 255"
            raise ValueError(msg)
    if len(words) != NUM_PIXELS:
        msg = f"{len(words)} pixels instead of {NUM_PIXELS}"
        raise ValueError(msg)
    return bytes(map(int, words))


def _label(cell: str) -> int:
    """Convert a label of the CSV to the canonical label."""
    match = LABEL.fullmatch(cell)
    if match is None:
        numbered = ", ".join(f"{number} {name}" for number, name in enumerate(FER2013_CSV))
        msg = f"emotion {cell[:20]!r} is none of 0 to {len(REMAP) - 1} ({numbered})"
        raise ValueError(msg)
    return REMAP[int(match[1])]


def usage_index(cell: str) -> int:
    """Return the index of a usage in :data:`USAGES`, case-insensitive.

    Raises:
        ValueError: It is not one of them.
    """
    lowered = [usage.lower() for usage in USAGES]
    if cell.lower() not in lowered:
        msg = f"Usage {cell[:20]!r} is none of {', '.join(USAGES)}"
        raise ValueError(msg)
    return lowered.index(cell.lower())
