"""Pyramid histogram of oriented gradients: which way edges run, in the whole image and in its parts."""

from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from fer.errors import InputError, check_choice
from fer.features._checks import check_images

Degrees = Literal[180, 360]
"""The range of directions: 180 takes an edge from dark to light and one from light to dark as the same."""

SIGMA: Final = 2**0.5
"""Deviation in pixels of the blur before edges are sought: MATLAB's, in which the authors' program is."""

NOT_EDGES: Final = 0.7
"""Share of the pixels whose gradient is too flat to begin an edge, as MATLAB chooses Canny's threshold."""

LOW_TO_HIGH: Final = 0.4
"""Canny's lower threshold, to which an edge goes on, as a share of the higher, where one begins; MATLAB's."""

FINENESS: Final = 16
"""Steps a grey level has while edges are sought; with 16 the gradient still fits 16 bits."""


def phog(
    images: NDArray[np.uint8], *, bins: int = 8, degrees: Degrees = 360, levels: int = 3
) -> NDArray[np.float32]:
    """Return the histograms of gradient directions along the edges, over cells that get finer.

    Args:
        images: Grey, shape (N, H, W).
        bins: Directions told apart. The first begins at 0 degrees, lighter to the right; 90 is lighter
            below.
        degrees: Range of the directions; see :data:`Degrees`.
        levels: The finest level L; each level l of 0 to L has ``2**l`` cells a side.

    Returns:
        Shape (N, bins * (4**(levels + 1) - 1) / 3), 680 by default: coarsest level first, its cells row by
        row, each with its bins. A pixel on an edge counts with the size of its gradient. An image sums to
        one; one without an edge is all zero.

    Raises:
        ValueError: The images are not uint8 of shape (N, H, W).
        InputError: A setting is out of its range, or the images are too small for it.

    Source: Bosch, Zisserman and Munoz, "Representing Shape with a Spatial Pyramid Kernel", CIVR 2007: edges
    by Canny, gradients by Sobel without smoothing. The defaults are those of the demo of the authors'
    program. Dhall, Goecke, Lucey and Gedeon, "Static Facial Expression Analysis in Tough Conditions", 2011,
    describe SFEW by it and by LPQ.
    """
    if bins < 1:
        msg = f"bins is {bins}: it must be at least 1"
        raise InputError(msg)
    check_choice("degrees", degrees, Degrees)
    if levels < 0:
        msg = f"levels is {levels}: it must be at least 0"
        raise InputError(msg)
    side = 2**levels
    check_images(images, smallest=side, reason=f"PHOG with {levels} levels")

    cells = np.empty((len(images), side, side, bins))
    for index, image in enumerate(images):
        cells[index] = _cell_histograms(image, bins=bins, degrees=degrees, side=side)
    pyramid = [cells.reshape(len(images), side**2 * bins)]
    while side > 1:
        side //= 2
        cells = cells.reshape(-1, side, 2, side, 2, bins).sum(axis=(2, 4))
        pyramid.insert(0, cells.reshape(len(images), side**2 * bins))
    descriptors = np.concatenate(pyramid, axis=1)
    sums = descriptors.sum(axis=1, keepdims=True)
    shares: NDArray[np.float32] = (descriptors / np.where(sums > 0, sums, 1)).astype(np.float32)
    return shares


def _cell_histograms(
    image: NDArray[np.uint8], *, bins: int, degrees: Degrees, side: int
) -> NDArray[np.float64]:
    """Return the histograms of the finest cells, shape (side, side, bins)."""
    rows, columns = np.nonzero(_edges(image))
    dx = cv2.Sobel(image, cv2.CV_32F, 1, 0)[rows, columns]
    dy = cv2.Sobel(image, cv2.CV_32F, 0, 1)[rows, columns]
    turns = np.degrees(np.arctan2(dy, dx, dtype=np.float64)) % degrees / degrees
    # The smallest of negative angles is rounded to a full turn.
    directions = (turns * bins).astype(np.intp) % bins
    height, width = image.shape
    cells = rows * side // height * side + columns * side // width
    sizes = np.hypot(dx, dy)
    histograms = np.bincount(cells * bins + directions, weights=sizes, minlength=side**2 * bins)
    return histograms.reshape(side, side, bins).astype(np.float64, copy=False)


def _edges(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where Canny finds an edge; as in MATLAB, its thresholds follow the image's own contrast."""
    blurred = cv2.GaussianBlur(image.astype(np.int16) * FINENESS, (0, 0), SIGMA)
    dx = cv2.Sobel(blurred, cv2.CV_16S, 1, 0)
    dy = cv2.Sobel(blurred, cv2.CV_16S, 0, 1)
    sizes = np.hypot(dx, dy, dtype=np.float32).ravel()
    rank = int(NOT_EDGES * (sizes.size - 1))
    # MATLAB's thresholds come in 64 steps, none of them 0: where most is flat, noise begins no edge.
    high = max(float(np.partition(sizes, rank)[rank]), float(sizes.max()) / 64)
    return cv2.Canny(dx, dy, LOW_TO_HIGH * high, high, L2gradient=True).astype(np.bool_)
