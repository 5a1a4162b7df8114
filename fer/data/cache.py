"""Where parsed data is kept between runs, under what name, and how it is written."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

EDGE: Final = 64 * 1024
"""Bytes at each end of a file that its fingerprint covers."""


def cache_dir() -> Path:
    """Return the folder of the cache, which need not exist.

    It is the environment's ``FER_CACHE_DIR``, else ``fer`` in its ``XDG_CACHE_HOME``, else
    ``~/.cache/fer``. A variable that is set to nothing counts as not set.
    """
    if own := os.environ.get("FER_CACHE_DIR"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "fer"
    return Path.home() / ".cache" / "fer"


def fingerprint(paths: Iterable[Path]) -> str:
    """Return a name that changes when one of the files or folders changes.

    A file counts with its resolved path, size, time of change and the first and last
    :data:`EDGE` bytes; a folder with the paths, sizes and times of all files below it, whose
    contents are not read.

    Args:
        paths: Files and folders that exist; their order counts.

    Returns:
        32 hexadecimal digits.

    Raises:
        OSError: A path does not exist or cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        resolved = path.resolve(strict=True)
        lines = _folder_lines(resolved) if resolved.is_dir() else _file_lines(resolved)
        for line in lines:
            digest.update(line)
            digest.update(b"\0")
    return digest.hexdigest()


def _file_lines(path: Path) -> Iterator[bytes]:
    status = path.stat()
    yield f"{path} {status.st_size} {status.st_mtime_ns}".encode(errors="surrogateescape")
    with path.open("rb") as file:
        yield file.read(EDGE)
        file.seek(max(0, status.st_size - EDGE))
        yield file.read(EDGE)


def _folder_lines(folder: Path) -> Iterator[bytes]:
    yield str(folder).encode(errors="surrogateescape")
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        if entry.is_dir():
            yield from _folder_lines(Path(entry.path))
            continue
        status = entry.stat()
        yield f"{entry.path} {status.st_size} {status.st_mtime_ns}".encode(errors="surrogateescape")
