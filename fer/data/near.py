"""Near duplicates: pairs of images with close perceptual hashes and correlated thumbnails."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NEAR_DISTANCE: Final = 10
"""Largest Hamming distance between the 64-bit perceptual hashes of near duplicates.

On its own this is far too permissive: most pairs of FER2013 at this distance show two different people who
look alike.
"""

NEAR_CORRELATION: Final = 0.95
"""Smallest correlation between the thumbnails of near duplicates.

Pairs of FER2013 were inspected: 60 with distances up to 6 and correlations of .95 to .97, and 60 with
distances of 8 to 12 and correlations of .95 or more. Both images of every pair came from the same photo, with
another crop, another contrast or a watermark. At lower correlations there are still many such pairs, but also
pairs of different people: 4 of 60 at .90 to .93.
"""

THUMBNAIL_SIDE: Final = 16
"""Height and width of the thumbnails, in pixels."""

BLOCK: Final = 16
"""Hashes compared with all others at once: few enough for their distances to fit into the CPU's cache."""

PAIRS_AT_ONCE: Final = 1 << 16
"""Pairs correlated at once, which take 128 MB."""


def near_pairs(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.intp]:
    """Return the pairs of images that are near duplicates.

    Args:
        images: N different images of any size, uint8, shape (H, W) or (H, W, 3).

    Returns:
        Indices of the two images of each pair, the lower one first, shape (2, P).
    """
    hashes, thumbnails = _hashes_and_thumbnails(images)
    candidates = list(_close_hashes(hashes))
    firsts, seconds = np.concatenate(candidates, axis=1) if candidates else np.zeros((2, 0), np.intp)
    correlation = np.zeros(len(firsts), np.float32)
    for start in range(0, len(firsts), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        correlation[part] = np.einsum("pt,pt->p", thumbnails[firsts[part]], thumbnails[seconds[part]])
    return np.stack((firsts, seconds))[:, correlation >= NEAR_CORRELATION]


def _hashes_and_thumbnails(
    images: Sequence[NDArray[np.uint8]],
) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """Return perceptual hashes, shape (N,), and thumbnails of mean 0 and norm 1, shape (N, T)."""
    import imagehash  # not at the top: it is slow to import, and training does not need it

    hashes = np.zeros(len(images), np.uint64)
    thumbnails = np.zeros((len(images), THUMBNAIL_SIDE**2), np.float32)
    for index, image in enumerate(images):
        grey = Image.fromarray(image).convert("L")
        bits: NDArray[np.bool_] = imagehash.phash(grey).hash
        hashes[index] = np.packbits(bits).view(np.uint64)[0]
        thumbnail = grey.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
        thumbnails[index] = np.asarray(thumbnail, np.float32).ravel()
    thumbnails -= thumbnails.mean(axis=1, keepdims=True)
    thumbnails /= np.maximum(np.linalg.norm(thumbnails, axis=1, keepdims=True), 1e-6)
    return hashes, thumbnails


def _close_hashes(hashes: NDArray[np.uint64]) -> Iterator[NDArray[np.intp]]:
    """Yield pairs of hashes within :data:`NEAR_DISTANCE`, block by block, shape (2, P)."""
    for start in range(0, len(hashes), BLOCK):
        distances = np.bitwise_count(hashes[start : start + BLOCK, np.newaxis] ^ hashes[start:])
        firsts, seconds = np.divmod(np.flatnonzero(distances <= NEAR_DISTANCE), len(hashes) - start)
        is_pair = firsts < seconds
        yield start + np.stack((firsts[is_pair], seconds[is_pair]))
