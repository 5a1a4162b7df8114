"""What takes most of a short run, and no test looks at: figures, timing networks, waiting for the disk.

Tests that look at figures have the mark ``drawn``.
"""

from base64 import b64decode
from pathlib import Path
from typing import IO

import pytest
from matplotlib.figure import Figure

from fer.figures.style import ShownFigure

VARIABLE = "FER_TESTS_SHORTENED"
"""Environment variable that tells a process of :mod:`as_python` to leave out the same."""

PIXEL = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg=="
)
"""A PNG of one white pixel."""


def shorten(patch: pytest.MonkeyPatch, *, drawn: bool = False) -> None:
    """Time networks as briefly as can be, and write blank images instead of figures.

    Args:
        patch: Undoes it.
        drawn: Whether figures are drawn all the same.
    """
    patch.setattr("os.fsync", lambda _: None)  # no test cuts the power
    patch.setattr("fer.pruning.size.LATENCY_SECONDS", 0)
    patch.setattr("fer.pruning.size.BATCH_SIZES", (1, 2))
    if not drawn:
        patch.setattr("fer.figures.style.built", lambda _: ShownFigure(figsize=(1, 1)))  # of a run
        patch.setattr(Figure, "savefig", _write_blank)
        patch.setattr(ShownFigure, "draw", lambda *_: None)  # by TensorBoard
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
