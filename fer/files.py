"""Write files that are complete or absent, and read JSON."""

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


def read_json(path: Path, way_out: str) -> dict[str, Any]:
    """Return the object in a JSON file.

    Args:
        path: An existing file.
        way_out: What to do if the file is damaged; ends the error's message.

    Raises:
        InputError: The file cannot be read, is not JSON, or holds something else than an object.
    """
    try:
        content = json.loads(path.read_text())
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
