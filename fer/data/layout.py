"""Where the splits and the classes of a folder of images are."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from fer.data.classes import WAY_OUT
from fer.errors import InputError

Found = TypeVar("Found")

SPLIT_FOLDERS: Final = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""Names of the folders of given splits, in any case."""


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, hidden ones left out, sorted by name.

    Raises:
        InputError: It is no folder, or cannot be read.
    """
    try:
        found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))]
    except OSError as e:
        msg = f"{folder} cannot be read as a folder ({e.strerror}); {WAY_OUT}"
        raise InputError(msg) from e
    return sorted(found, key=lambda path: path.name)


def find_splits(root: Path) -> dict[str, Path]:
    """Return the folders of given splits by the split's name: in a folder, or in one folder in it.

    Returns:
        Some of ``train``, ``val`` and ``test``; empty where the images are one pool.

    Raises:
        InputError: Several folders in it have splits.
    """
    if found := _splits_in(root):
        return found
    return next(iter(_one_deeper(root, _splits_in).values()), {})


def find_pool(root: Path, has_classes: Callable[[list[str]], bool]) -> Path:
    """Return the folder that holds the classes' folders: the given one, or the one in it that does.

    Args:
        root: Where to look.
        has_classes: Whether some names of folders are those of classes.

    Raises:
        InputError: Several folders in it hold classes.
    """

    def holds(folder: Path) -> bool:
        return has_classes([path.name for path in subfolders(folder)])

    return root if holds(root) else next(iter(_one_deeper(root, holds)), root)


def _splits_in(folder: Path) -> dict[str, Path]:
    there = {path.name.lower(): path for path in subfolders(folder)}
    found = {
        name: next((there[each] for each in names if each in there), None)
        for name, names in SPLIT_FOLDERS.items()
    }
    return {name: path for name, path in found.items() if path is not None}


def _one_deeper(root: Path, look: Callable[[Path], Found]) -> dict[Path, Found]:
    """Return the one folder in a folder where something is found, with what it is; empty if nowhere."""
    found = {folder: result for folder in subfolders(root) if (result := look(folder))}
    if len(found) > 1:
        msg = f"{root} has several data sets ({', '.join(path.name for path in found)}); {WAY_OUT}"
        raise InputError(msg)
    return found


def describe_layout(root: Path) -> str:
    """Return what a folder holds, for a message: its split folders, else its first folders.

    A CSV with FER2013's columns is named together with the data set that reads it.
    """
    for path in sorted(root.glob("*.csv")):
        if {"emotion", "pixels"} <= _columns(path):
            return f"{path.name} with the columns of FER2013, which --dataset fer2013 reads"
    names = [path.name for path in (find_splits(root).values() or subfolders(root))]
    return ", ".join(f"{name}/" for name in names[:8]) + (", …" if len(names) > 8 else "") or "no folders"


def _columns(path: Path) -> set[str]:
    """Return the names of a CSV's columns in lower case; none where it cannot be read."""
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            header = file.readline(1000)
    except OSError:
        return set()
    return {cell.strip().lower() for cell in next(csv.reader([header]), [])}
