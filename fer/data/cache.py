"""Cache of parsed data: its folder, and the fingerprints that name its files."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

EDGE: Final = 64 * 1024
"""Bytes at each end of a file that its fingerprint covers."""


def cache_dir() -> Path:
    """Return the cache folder, which may not exist yet.

    It is the environment variable ``FER_CACHE_DIR``, else ``fer`` in ``XDG_CACHE_HOME``, else
    ``~/.cache/fer``. An empty variable counts as not set.
    """
    if own := os.environ.get("FER_CACHE_DIR"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "fer"
    return Path.home() / ".cache" / "fer"


def fingerprint(paths: Iterable[Path]) -> str:
    """Return a name that changes when one of the files or folders changes.

    The fingerprint of a file covers its resolved path, size, modification time and first and last
    :data:`EDGE` bytes; that of a folder covers the paths, sizes and modification times of all files below
    it, but not their contents.

    Args:
        paths: Existing files and folders; their order matters.

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
