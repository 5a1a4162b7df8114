"""Find FER2013 in any of its file formats, read it, and cache the result."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.progress import Progress

from fer.arrays import read_arrays
from fer.data.cache import cache_dir, fingerprint
from fer.data.fer2013.archives import ARCHIVE_SUFFIXES, read_tar, read_zip, readable
from fer.data.fer2013.folders import PARTS, read_folder
from fer.data.fer2013.rows import OFFICIAL_COUNTS, SIDE, USAGES, WAY_OUT, Fer2013Rows, format_counts
from fer.data.fer2013.table import CSV_NAMES, TRAIN_CSV, read_csv
from fer.errors import InputError
from fer.files import atomic_write
from fer.labels import NUM_EXPRESSIONS

log = logging.getLogger("fer.data")

CACHE_FORMAT: Final = 2
"""Version in a cache file's name. Raise it when the arrays or their names change: older files are ignored."""


def read_fer2013(root: Path, *, cache: Path | None = None) -> Fer2013Rows:
    """Read FER2013 from a file, or from the first source found in a folder.

    If ``root`` is a file, it must be a CSV or an archive. If it is a folder, the folder and then its
    subfolder ``fer2013`` are searched for these sources, in this order. File names are case-insensitive.

    1. ``fer2013.csv``
    2. ``icml_face_data.csv``
    3. image folders, ``train/<class>/Training_*`` and ``test/<class>/{PublicTest,PrivateTest}_*``
    4. archives (zip; tar, plain or compressed with gzip, xz or bzip2) that contain one of the above at
       any depth: first those with "fer2013" in the name, then by name. They are read as a
       stream, without unpacking them to disk. A zip is searched in the same order, and last for a tar
       inside it; in a tar, the first CSV is read, else the images.

    A CSV may have been saved by Excel or pandas: separated by commas, semicolons or tabs, in UTF-8
    or UTF-16, with extra columns and with labels such as ``3.0``.

    Rows keep the order of the CSV; image files are sorted by usage and number. The result is cached under
    the fingerprint of its source and loaded from the cache next time. If the counts differ from the official
    ones, a warning is logged.

    Args:
        root: The file, or the folder to search.
        cache: Folder of the cache; :func:`fer.data.cache.cache_dir` by default.

    Returns:
        All rows, with labels in canonical order.

    Raises:
        InputError: Nothing was found, or what was found is damaged or incomplete.
    """
    root = Path(root).expanduser()
    with readable(root):
        sources = list(_sources(root))
    for source in sources:
        with readable(source):
            paths = [source / part for part in PARTS] if source.is_dir() else [source]
            name = f"fer2013-v{CACHE_FORMAT}-{fingerprint(paths)}.npz"
        cached = (cache or cache_dir()) / name
        rows = _load(cached)
        if rows is None:
            rows = _parse(source)
            if rows is None:
                continue
            _store(rows, cached)
        if rows.counts != OFFICIAL_COUNTS:
            log.warning(
                "%s has %s images (%s); the official FER2013 has %s",
                source,
                format_counts(rows.counts),
                ", ".join(USAGES),
                format_counts(OFFICIAL_COUNTS),
            )
        return rows
    msg = (
        f"no FER2013 in {root} (looked there and in its subfolder fer2013 for {' and '.join(CSV_NAMES)}, "
        f"the image folders train/ and test/, and archives ({', '.join(ARCHIVE_SUFFIXES)}) "
        f"that contain one of these); {WAY_OUT}"
    )
    raise InputError(msg)


def _sources(root: Path) -> Iterator[Path]:
    """Yield the files and folders that may contain FER2013, best first."""
    if root.is_file():
        if not root.name.lower().endswith((".csv", *ARCHIVE_SUFFIXES)):
            msg = f"{root} is neither a CSV nor an archive ({', '.join(ARCHIVE_SUFFIXES)}); {WAY_OUT}"
            raise InputError(msg)
        yield root
        return
    folders = [folder for folder in (root, root / "fer2013") if folder.is_dir()]
    files = {folder: sorted(path for path in folder.iterdir() if path.is_file()) for folder in folders}

    def named(name: str) -> Iterator[Path]:
        yield from (path for folder in folders for path in files[folder] if path.name.lower() == name)

    for name in CSV_NAMES:
        yield from named(name)
    yield from (folder for folder in folders if all((folder / part).is_dir() for part in PARTS))
    for folder in folders:
        archives = [
            path
            for path in files[folder]
            if path.name.lower().endswith(ARCHIVE_SUFFIXES) and not path.name.startswith(".")
        ]
        yield from sorted(archives, key=lambda path: ("fer2013" not in path.name.lower(), path.name))
    yield from named(TRAIN_CSV)  # has no test images; read last, only to raise an error that says so


def _parse(source: Path) -> Fer2013Rows | None:
    """Return a source's rows, or None if it does not contain FER2013."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("FER2013", total=sum(OFFICIAL_COUNTS))

        def tick() -> None:
            progress.advance(task)

        with readable(source):
            if source.is_dir():
                return read_folder(source, tick)
            if source.suffix.lower() == ".zip":
                return read_zip(source, tick)
            with source.open("rb") as stream:
                if source.suffix.lower() == ".csv":
                    return read_csv(stream, source, tick)
                return read_tar(stream, source, tick)


def _load(cached: Path) -> Fer2013Rows | None:
    """Return the rows of a cache file, or None if there is none or it is damaged."""
    try:
        arrays = read_arrays(cached)
        rows = Fer2013Rows(images=arrays["images"], labels=arrays["labels"], usage=arrays["usage"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (KeyError, ValueError) as e:
        log.warning("the cache file %s cannot be read and is replaced (%s)", cached, e)
        return None
    if not _is_sound(rows):
        log.warning("the cache file %s does not contain FER2013 and is replaced", cached)
        return None
    return rows


def _is_sound(rows: Fer2013Rows) -> bool:
    return (
        rows.images.dtype == np.uint8
        and rows.labels.dtype == np.int64
        and rows.usage.dtype == np.uint8
        and rows.images.ndim == 3
        and rows.images.shape[1:] == (SIDE, SIDE)
        and rows.labels.shape == rows.usage.shape == rows.images.shape[:1]
        and rows.labels.size > 0
        and rows.labels.min() >= 0
        and rows.labels.max() < NUM_EXPRESSIONS
        and rows.usage.max() < len(USAGES)
    )


def _store(rows: Fer2013Rows, cached: Path) -> None:
    try:
        with atomic_write(cached) as file:
            np.savez(file, images=rows.images, labels=rows.labels, usage=rows.usage)
    except OSError as e:
        log.warning(
            "the cache cannot be written (%s), so FER2013 is parsed again in every run; "
            "set FER_CACHE_DIR to a folder that can be written",
            e,
        )
