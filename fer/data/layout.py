"""Find the split folders and class folders of a folder of images."""

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
"""Folder names of each split, case-insensitive."""


def subfolders(folder: Path) -> list[Path]:
    """Return the subfolders of a folder, without hidden ones, sorted by name.

    Raises:
        InputError: It is not a folder, or cannot be read.
    """
    try:
        found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))]
    except OSError as e:
        msg = f"{folder} cannot be read as a folder ({e.strerror}); {WAY_OUT}"
        raise InputError(msg) from e
    return sorted(found, key=lambda path: path.name)


def find_splits(root: Path) -> dict[str, Path]:
    """Return the split folders in a folder or in one of its subfolders.

    Returns:
        Folders by split, ``train``, ``val`` and ``test`` as far as they exist; empty if the images are one
        pool.

    Raises:
        InputError: Several subfolders contain splits.
    """
    if found := _splits_in(root):
        return found
    return next(iter(_one_deeper(root, _splits_in).values()), {})


def find_pool(root: Path, has_classes: Callable[[list[str]], bool]) -> Path:
    """Return the folder that contains the class folders: ``root`` or one of its subfolders.

    Args:
        root: Folder to search; returned if there are no class folders.
        has_classes: Tells whether any of the folder names given to it is a class.

    Raises:
        InputError: Several subfolders contain classes.
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
    """Return the only subfolder in which ``look`` finds something, and its result; empty if there is none."""
    found = {folder: result for folder in subfolders(root) if (result := look(folder))}
    if len(found) > 1:
        msg = f"{root} contains several data sets ({', '.join(path.name for path in found)}); {WAY_OUT}"
        raise InputError(msg)
    return found


def describe_layout(root: Path) -> str:
    """Describe a folder for an error message: its split folders, else its first subfolders.

    If there is a CSV with FER2013's columns, the description names it and the data set that reads it.
    """
    for path in sorted(root.glob("*.csv")):
        if {"emotion", "pixels"} <= _columns(path):
            return f"{path.name} with the columns of FER2013, which --dataset fer2013 reads"
    names = [path.name for path in (find_splits(root).values() or subfolders(root))]
    return ", ".join(f"{name}/" for name in names[:8]) + (", …" if len(names) > 8 else "") or "no folders"


def _columns(path: Path) -> set[str]:
    """Return the column names of a CSV in lower case; none if it cannot be read."""
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            header = file.readline(1000)
    except OSError:
        return set()
    return {cell.strip().lower() for cell in next(csv.reader([header]), [])}
