"""FER2013 in memory: images, labels and usages, and constants of the data set."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer.labels import EXPRESSIONS, FER2013_CSV

SIDE: Final = 48
"""Height and width of an image, in pixels."""

NUM_PIXELS: Final = SIDE * SIDE

USAGES: Final = ("Training", "PublicTest", "PrivateTest")
"""The parts of the contest: a row's usage is an index into this tuple."""

TRAINING, PUBLIC, PRIVATE = range(3)

OFFICIAL_COUNTS: Final = (28_709, 3_589, 3_589)
"""Images of each usage (Goodfellow et al., 2013)."""

MOST_ROWS: Final = 150_000
"""Largest number of images, or lines of a table, that are read: four times as many as FER2013 has, 350 MB."""

MOST_BYTES: Final = 4_000_000_000
"""Largest number of bytes that are unpacked from a tar; FER2013 has 300 MB."""

REMAP: Final = tuple(EXPRESSIONS.index(name) for name in FER2013_CSV)
"""Canonical label of each label of the CSV."""

WAY_OUT: Final = (
    "set --data.root or the environment variable FER_DATA_DIR to FER2013's file or folder, "
    "or download it with 'make data-fer2013'"
)
AGAIN: Final = "replace it with a complete copy ('make data-fer2013' downloads one)"

Tick = Callable[[], None]
"""Called once per image, to update a progress bar."""


@dataclass(frozen=True, eq=False)
class Fer2013Rows:
    """All images of FER2013, N in number, in the order of their source.

    Attributes:
        images: Grey values, uint8, shape ``(N, 48, 48)``.
        labels: Indices into :data:`fer.labels.EXPRESSIONS`, int64, shape ``(N,)``.
        usage: Indices into :data:`USAGES`, uint8, shape ``(N,)``.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    usage: NDArray[np.uint8]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Number of images in Training, PublicTest and PrivateTest."""
        training, public, private = np.bincount(self.usage, minlength=len(USAGES)).tolist()
        return training, public, private


def format_counts(counts: Iterable[int]) -> str:
    """Format the number of images of each usage.

    >>> format_counts(OFFICIAL_COUNTS)
    '28,709/3,589/3,589'
    """
    return "/".join(f"{count:,}" for count in counts)
