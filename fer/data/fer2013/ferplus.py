"""FER+: new labels for FER2013's images, from ten annotators per image.

Source: Barsoum, Zhang, Canton Ferrer and Zhang, "Training Deep Networks for Facial Expression Recognition
with Crowd-Sourced Label Distribution", ICMI 2016. The votes are in ``fer2013new.csv`` of
https://github.com/microsoft/FERPlus, with one row for each row of FER2013's CSV.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer.data.fer2013.archives import readable
from fer.data.fer2013.rows import USAGES, Fer2013Rows
from fer.data.fer2013.table import open_table, usage_index
from fer.errors import InputError
from fer.labels import KNOWN_NAMES, NUM_EXPRESSIONS

FERPLUS_NAME: Final = "fer2013new.csv"
FERPLUS_CLASSES: Final = KNOWN_NAMES
"""The seven expressions and contempt."""

COLUMNS: Final = (
    *("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise", "contempt"),
    *("unknown", "NF"),
)
"""Columns of the votes: :data:`FERPLUS_CLASSES`, then "unknown" and "not a face"."""

UNKNOWN, NO_FACE = len(FERPLUS_CLASSES), len(FERPLUS_CLASSES) + 1

MIN_AGREEMENT: Final = 0.4
"""Smallest share of the majority labels that must equal FER2013's own labels. It is about two thirds if the
rows of the two files match, and below a quarter if they do not."""


@dataclass(frozen=True, eq=False)
class Votes:
    """The votes for N images, in the order of FER2013's CSV.

    Attributes:
        counts: Votes for each of :data:`COLUMNS`, int64, shape ``(N, 10)``.
        usage: Indices into :data:`fer.data.fer2013.USAGES`, uint8, shape ``(N,)``.
    """

    counts: NDArray[np.int64]
    usage: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class FerPlusLabels:
    """FER+'s labels of N images, for K classes.

    Attributes:
        labels: Majority labels, int64, shape ``(N,)``; -1 if there is none.
        targets: Class probabilities, float32, shape ``(N, K)``; all 0 if there are none.
        dropped: Number of images without a majority label for each reason, in words.
    """

    labels: NDArray[np.int64]
    targets: NDArray[np.float32]
    dropped: str


def read_votes(root: Path) -> Votes:
    """Read FER+'s votes, which are stored next to FER2013.

    Args:
        root: FER2013's file or folder, as for :func:`fer.data.fer2013.read_fer2013`. The votes,
            ``fer2013new.csv`` (case-insensitive), are searched for in that folder and in its subfolder
            ``fer2013``.

    Raises:
        InputError: The votes are not found, or a row is invalid.
    """
    folder = root if root.is_dir() else root.parent
    folders = [each for each in (folder, folder / "fer2013") if each.is_dir()]
    with readable(folder):
        found = [path for each in folders for path in each.iterdir() if path.name.lower() == FERPLUS_NAME]
    if not found:
        msg = (
            f"no {FERPLUS_NAME} in {folder} or its subfolder fer2013; download FER+'s votes from "
            "https://github.com/microsoft/FERPlus and put them next to FER2013, or set data.labels=fer2013"
        )
        raise InputError(msg)
    path = found[0]
    with readable(path), path.open("rb") as stream, open_table(stream, path) as table:
        wanted = ("Usage", *COLUMNS)
        if {name.lower() for name in wanted} - set(table.names):
            raise table.missing(wanted)
        counts, usage = [], []
        for cells in table.rows([name.lower() for name in wanted]):
            try:
                usage.append(usage_index(cells[0]))
                counts.append([_vote(name, cell) for name, cell in zip(COLUMNS, cells[1:], strict=True)])
            except ValueError as e:
                raise table.error(str(e)) from e
    return Votes(np.array(counts, np.int64).reshape(-1, len(COLUMNS)), np.array(usage, np.uint8))


def _vote(name: str, cell: str) -> int:
    plain = cell.removesuffix(".0")
    if not (plain.isascii() and plain.isdigit() and len(plain) <= 2):
        msg = f"column {name}: {cell[:20]!r} is not a number of votes"
        raise ValueError(msg)
    return int(plain)


def check_match(votes: Votes, rows: Fer2013Rows) -> None:
    """Check that votes and images have the same rows in the same order.

    Raises:
        InputError: Their numbers or usages differ, or too few labels agree.
    """
    if len(votes.usage) != len(rows.usage):
        msg = (
            f"{FERPLUS_NAME} has {len(votes.usage):,} rows and this FER2013 {len(rows.usage):,}, but both "
            "must have one row for each image; use FER2013's original CSV, which has 35,887"
        )
        raise InputError(msg)
    differ = np.flatnonzero(votes.usage != rows.usage)
    if differ.size:
        row = int(differ[0])
        msg = (
            f"{FERPLUS_NAME}, line {row + 2}: Usage is {USAGES[votes.usage[row]]}, but the same line of "
            f"FER2013 has {USAGES[rows.usage[row]]}; use both files in their original order"
        )
        raise InputError(msg)
    majority = majority_columns(votes.counts)
    comparable = (majority >= 0) & (majority < NUM_EXPRESSIONS)
    agreement = (majority == rows.labels)[comparable].mean() if comparable.any() else 1.0
    if agreement < MIN_AGREEMENT:
        msg = (
            f"only {agreement:.0%} of the majority labels in {FERPLUS_NAME} equal FER2013's own labels, so "
            "the rows are not in the same order; use FER2013's original CSV (image folders do not keep its "
            "order)"
        )
        raise InputError(msg)


def majority_columns(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the column with the majority of each row's votes, by the rule of Barsoum et al. (2016).

    Single votes are ignored; a majority is more than half of the remaining votes.

    Args:
        counts: Votes, shape ``(N, 10)``.

    Returns:
        Indices into :data:`COLUMNS`, shape ``(N,)``; -1 if no column has a majority.

    >>> majority_columns(np.array([[0, 0, 0, 6, 4, 0, 0, 0, 0, 0], [5, 0, 0, 0, 5, 0, 0, 0, 0, 0]]))
    array([ 3, -1])
    """
    counted = np.where(counts > 1, counts, 0)
    wins = 2 * counted.max(axis=1) > counted.sum(axis=1)
    return np.where(wins, counted.argmax(axis=1), -1)


def label_rows(votes: Votes, class_names: Sequence[str]) -> FerPlusLabels:
    """Label images by their votes.

    Images whose majority is "unknown", "not a face" or a class outside ``class_names`` get neither a label
    nor targets. All other images get the shares of the votes for ``class_names`` as targets, and a label if
    they have a majority.

    Args:
        votes: The votes for N images.
        class_names: The K classes, a subset of :data:`FERPLUS_CLASSES` in the same order.
    """
    chosen = [FERPLUS_CLASSES.index(name) for name in class_names]
    label_of = np.full(len(COLUMNS), -1)
    label_of[chosen] = np.arange(len(chosen))
    majority = majority_columns(votes.counts)
    labels = np.where(majority >= 0, label_of[majority], -1)
    counts = votes.counts[:, chosen] * ((majority < 0) | (labels >= 0))[:, None]
    targets = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    skipped = [name for name in FERPLUS_CLASSES if name not in class_names]
    reasons = {
        "without a majority": majority < 0,
        "unknown": majority == UNKNOWN,
        "not a face": majority == NO_FACE,
        **{name: majority == FERPLUS_CLASSES.index(name) for name in skipped},
    }
    dropped = ", ".join(f"{of.sum():,} {reason}" for reason, of in reasons.items() if of.any())
    return FerPlusLabels(labels.astype(np.int64), targets.astype(np.float32), dropped)
