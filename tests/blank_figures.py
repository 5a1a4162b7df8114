"""Figures that are made but not drawn, for tests that do not look at them: drawing takes most of a short run.

Tests that look have the mark ``drawn``.
"""

from base64 import b64decode
from pathlib import Path
from typing import IO

import pytest
from matplotlib.figure import Figure

VARIABLE = "FER_TESTS_BLANK_FIGURES"
"""Environment variable that tells a process that a test starts to leave figures blank."""

PIXEL = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg=="
)
"""A PNG of one white pixel."""


def leave_blank(patch: pytest.MonkeyPatch) -> None:
    """Write an empty image instead of a figure, here and in processes that are forked."""
    patch.setattr(Figure, "savefig", _write_blank)
    patch.setenv(VARIABLE, "1")


def _write_blank(
    self: Figure, file: IO[bytes] | Path | str, *, format: str | None = None, **_: object
) -> None:
    name = format or Path(str(file)).suffix
    blank = b'<svg xmlns="http://www.w3.org/2000/svg"/>' if name.endswith("svg") else PIXEL
    if isinstance(file, Path | str):
        Path(file).write_bytes(blank)
    else:
        file.write(blank)
