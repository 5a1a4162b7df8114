"""Files that are whole or not there."""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from fer.errors import InputError


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name when it is whole, or not at all.

    It is written beside its place under a name of its own and then moved, so that a reader
    never meets half of it, and of two writers the last wins. Missing folders are made.

    Args:
        path: Where the file shall stand; what stands there is replaced.

    Yields:
        The open file, in binary.

    Raises:
        OSError: The folder cannot be made or written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with draft.open("xb") as file:
            yield file
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read_json(path: Path, way_out: str) -> dict[str, Any]:
    """Return what a file says.

    Args:
        path: Of a file that is there.
        way_out: What to do if it is damaged.

    Raises:
        InputError: It is damaged.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except ValueError as e:
        msg = f"{path} is damaged: {e}; {way_out}"
        raise InputError(msg) from e
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as JSON, atomically."""
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=1).encode() + b"\n")
