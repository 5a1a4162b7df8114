"""SFEW, first release of 2011: 675 stills from 58 films, and their LPQ and PHOG components.

Source: Dhall et al., "Static Facial Expression Analysis in Tough Conditions: Data, Evaluation Protocol
and Benchmark", 2011. (SFEW 2.0, of 2015, is a different set of stills with different splits.)
"""

import logging
import math
import re
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer.data.about import SFEW
from fer.data.classes import FOLDERS
from fer.data.features import FeatureDataModule, FeatureSplit, far_outliers
from fer.data.folder import FaceFolderDataModule, named_groups
from fer.data.layout import subfolders
from fer.data.pool import PooledDataModule
from fer.data.root import data_root
from fer.errors import InputError
from fer.labels import LABEL_TABLES, ordered_names

log = logging.getLogger("fer.data")

NAME: Final = r"(?P<clip>(?P<movie>.+)[_-]\d+)_+\d+"
"""Name of a still: film, time code of the clip, and frame number. Three of the 675 names have a dash or a
second underscore; in groups a dash is an underscore."""

TABLE: Final = LABEL_TABLES["sfew"]
"""Class names of the integer labels in SFEW's table."""

TABLE_NAMES: Final = ("SFEW.xlsx", "SFEW.csv")

DESCRIPTORS: Final = np.repeat(("LPQ", "PHOG"), 5)
"""Descriptor of which each of the ten features is a principal component."""

FEATURES: Final = tuple(f"{kind}{place % 5 + 1}" for place, kind in enumerate(DESCRIPTORS))

MOST_BYTES: Final = 10_000_000
"""Largest size of a table that is read, unpacked, in bytes."""

WAY_OUT: Final = (
    "ask its authors for it (Dhall et al., 2011), and set its folder with --data.root or the environment "
    "variable FER_DATA_DIR"
)


def class_names() -> tuple[str, ...]:
    """Return the names of SFEW's seven classes in canonical order."""
    return ordered_names(TABLE.values())


class SfewDataModule(FaceFolderDataModule):
    """SFEW's stills, in one folder per expression.

    Stills have two kinds of groups for ``group_by``: the ``clip`` they are a frame of, and the ``movie``.

    Args:
        root: The folder that contains the expressions' folders, or whose subfolder ``sfew``, ``Images`` or
            ``sfew/Images`` does; null: the environment variable ``FER_DATA_DIR``.
        name_pattern: Regular expression that extracts clip and movie from a file's name.
        **kwargs: See :class:`fer.data.folder.FaceFolderDataModule`.
    """

    card = SFEW

    def __init__(self, root: str | None = None, *, name_pattern: str = NAME, **kwargs: Any) -> None:
        super().__init__(root, name_pattern=name_pattern, **kwargs)

    @property
    def source(self) -> Path:
        """The folder that contains the expressions' folders."""
        root = data_root(self.root, dataset="SFEW", way_out=WAY_OUT)
        places = [root / part for part in ("", "sfew", "SFEW", "Images", "sfew/Images", "SFEW/Images")]
        for place in places:
            if place.is_dir() and any(self._is_class(path.name) for path in subfolders(place)):
                return place
        msg = (
            f"no stills of SFEW in {root}: looked there and in its subfolders "
            f"{', '.join(str(place.relative_to(root)) for place in places[1:])} for folders named after the "
            f"expressions (Angry, Disgust, …); {WAY_OUT}"
        )
        raise InputError(msg)

    def groups_in(self, names: NDArray[np.str_]) -> dict[str, NDArray[np.str_]]:
        """Return the groups that the stills' names tell, by kind."""
        return _in_one_spelling(super().groups_in(names))

    def _is_class(self, folder: str) -> bool:
        return self.classes == FOLDERS or self.scheme.label_of(folder) is not None


class SfewFeaturesDataModule(PooledDataModule, FeatureDataModule):
    """The first five principal components of LPQ and of PHOG of SFEW's stills: ten features, 675 rows.

    Rows have two kinds of groups for ``group_by``: the ``clip`` they are a frame of, and the ``movie``.
    No row is left out: missing values are replaced by the mean of the train split, outliers are clipped, and
    both are logged.

    Args:
        root: ``SFEW.xlsx`` or ``SFEW.csv``, or a folder that contains one of them, directly or in its
            subfolder ``sfew``; null: the environment variable ``FER_DATA_DIR``.
        **kwargs: See :class:`fer.data.pool.PooledDataModule` and
            :class:`fer.data.features.FeatureDataModule`.
    """

    card = SFEW

    def __init__(self, root: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = root

    @property
    def class_names(self) -> tuple[str, ...]:
        """SFEW's seven expressions in canonical order."""
        return class_names()

    @property
    def num_features(self) -> int:
        """Numbers in one network input: ten."""
        return len(FEATURES)

    @property
    def descriptors(self) -> NDArray[np.str_]:
        """Descriptor of each column, ``LPQ`` or ``PHOG``."""
        return DESCRIPTORS

    @property
    def source(self) -> Path:
        """Path of the table."""
        root = data_root(self.root, dataset="SFEW's features", way_out=WAY_OUT)
        if root.is_file():
            return root
        places = [folder / name for folder in (root, root / "sfew", root / "SFEW") for name in TABLE_NAMES]
        for place in places:
            if place.is_file():
                return place
        msg = f"no features of SFEW: looked for {', '.join(map(str, places))}; {WAY_OUT}"
        raise InputError(msg)

    def load_pool(self) -> FeatureSplit:
        """Return all rows; log missing values and outliers."""
        pool = read_features(self.source)
        for what, is_odd in (("missing", np.isnan(pool.features)), ("outliers", far_outliers(pool.features))):
            if is_odd.any():
                rows = [f"{pool.names[row]} {FEATURES[column]}" for row, column in np.argwhere(is_odd)]
                log.info("%d values are %s: %s", len(rows), what, ", ".join(rows))
        return pool


def read_features(path: Path) -> FeatureSplit:
    """Read a table of SFEW's features.

    Args:
        path: An ``.xlsx`` or ``.csv`` with the name of the still in the first column, its label 1 to 7 in the
            second, then five components of LPQ and five of PHOG. There may be header rows at the top.

    Returns:
        All rows in order, NaN for empty cells.

    Raises:
        InputError: The table cannot be read, a column is missing, a label is unknown, or a number is
            expected where there is text.
    """
    cells = _read_cells(path)
    if cells.shape[1] != 2 + len(FEATURES):
        msg = (
            f"{path} has {cells.shape[1]} columns instead of {2 + len(FEATURES)}: a name, a label 1 to 7, "
            f"{', '.join(FEATURES)}; restore the missing ones"
        )
        raise InputError(msg)
    is_name = [re.fullmatch(NAME, Path(str(name)).stem) is not None for name in cells[:, 0]]
    # There may be header rows at the top, which have text, or nothing, in the column of the labels.
    is_header = [not _is_number(cell) for cell in cells[:, 1]]
    first = next((row for row, is_one in enumerate(is_name) if is_one or not is_header[row]), len(cells))
    if first == len(cells):
        msg = f"{path}: no row begins with the name of a still (Movie_000519240_00000005); {WAY_OUT}"
        raise InputError(msg)
    if not all(is_name[first:]):
        row = first + is_name[first:].index(False)
        name = str(cells[row, 0])[:80]
        msg = f"{path}, row {row + 1}: {name!r} is not the name of a still (Movie_000519240_00000005)"
        raise InputError(msg)
    rows, lines = cells[first:], range(first + 1, len(cells) + 1)
    labels = np.array(
        [_label(cell, path, line) for cell, line in zip(rows[:, 1], lines, strict=True)], np.int64
    )
    features = np.array(
        [
            [_number(cell, name, path, line) for cell, name in zip(row[2:], FEATURES, strict=True)]
            for row, line in zip(rows, lines, strict=True)
        ]
    )
    names = np.array([Path(str(name)).stem for name in rows[:, 0]])
    return FeatureSplit(
        features=features,
        labels=labels,
        names=names,
        groups=_in_one_spelling(named_groups(names, re.compile(NAME))),
    )


def _in_one_spelling(groups: Mapping[str, NDArray[np.str_]]) -> dict[str, NDArray[np.str_]]:
    """Return groups by kind with underscores for dashes: two stills of one clip differ in them."""
    return {kind: np.char.replace(of_kind, "-", "_") for kind, of_kind in groups.items()}


def _read_cells(path: Path) -> NDArray[np.object_]:
    """Return the cells of a table, including the header."""
    import pandas as pd  # not at the top: it is slow to import, and only this data set needs it

    try:
        _check_bytes(path)
        if path.suffix.lower() == ".csv":
            table = pd.read_csv(path, header=None, dtype=object)
        else:
            with warnings.catch_warnings():
                # Excel extensions without data.
                warnings.filterwarnings("ignore", message="Unknown extension", module="openpyxl")
                table = pd.read_excel(path, header=None, dtype=object)
    # What pandas and openpyxl raise for files that are not tables.
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        SyntaxError,
        ImportError,
        NotImplementedError,
        zlib.error,
        zipfile.BadZipFile,
        AttributeError,
        AssertionError,
        OverflowError,
        RecursionError,
        TypeError,
    ) as e:
        msg = f"{path} cannot be read as a table ({e}); replace it with a whole copy of SFEW.xlsx"
        raise InputError(msg) from e
    return np.asarray(table, object)


def _check_bytes(path: Path) -> None:
    """Refuse a table that would take gigabytes; an Excel file is a zip.

    Raises:
        ValueError: It is too large.
    """
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
    if size > MOST_BYTES:
        msg = f"{size:,} bytes, while SFEW's table has 60,000"
        raise ValueError(msg)


def _label(cell: object, path: Path, line: int) -> int:
    """Return the index into :func:`class_names` of a label of SFEW's table."""
    number = _number(cell, "label", path, line)
    if number not in TABLE:
        msg = f"{path}, row {line}: label {str(cell)[:20]!r} is none of {min(TABLE)} to {max(TABLE)}"
        raise InputError(msg)
    return class_names().index(TABLE[int(number)])


def _is_number(cell: object) -> bool:
    try:
        return not math.isnan(float(str(cell)))
    except ValueError:
        return False


def _number(cell: object, name: str, path: Path, line: int) -> float:
    """Return a cell's number; NaN if it is empty."""
    if cell is None or cell != cell:  # NaN is not equal to itself
        return math.nan
    if not _is_number(cell) or math.isinf(float(str(cell))):
        short = str(cell)[:20]
        msg = f"{path}, row {line}: {name} is {short!r}, not a number; correct it, or empty the cell"
        raise InputError(msg)
    return float(str(cell))
