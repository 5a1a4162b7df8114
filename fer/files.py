"""Write files that are complete or absent, and read texts of a limited size."""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from fer.errors import InputError

MOST_BYTES: Final = 32_000_000
"""Largest text that is read; the metrics of thousands of epochs have some ten million bytes."""


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name when it is complete, or not at all.

    The content goes to a draft in the same folder, which then replaces the file. Readers never see half a
    file, and of two writers the last one wins. Missing folders are made.

    Args:
        path: The file; an existing one is replaced.

    Yields:
        The open file, in binary.

    Raises:
        OSError: The folder cannot be made or written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_of(path)
    try:
        with draft.open("xb") as file:
            yield file
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def draft_of(path: Path) -> Path:
    """Return an unused name in the same folder, to write to before the file is replaced."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def read_text(path: Path) -> str:
    """Return the text of a file, unless it is larger than any that a run writes.

    Raises:
        OSError: It cannot be read.
        ValueError: It is larger than :data:`MOST_BYTES`, or no text.
    """
    if path.stat().st_size > MOST_BYTES:
        msg = f"it has {path.stat().st_size:,} bytes, more than {MOST_BYTES:,}"
        raise ValueError(msg)
    return path.read_text()


def read_json(path: Path, way_out: str) -> dict[str, Any]:
    """Return the object in a JSON file.

    Args:
        path: An existing file.
        way_out: What to do if the file is damaged; ends the error's message.

    Raises:
        InputError: The file cannot be read, is not JSON, or holds something else than an object.
    """
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as e:
        msg = f"{path} is damaged: {e}; {way_out}"
        raise InputError(msg) from e
    if not isinstance(content, dict):
        msg = f"{path} is damaged: it holds no JSON object; {way_out}"
        raise InputError(msg)
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as JSON, atomically."""
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=1).encode() + b"\n")
