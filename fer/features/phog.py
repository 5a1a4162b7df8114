"""Pyramid histogram of oriented gradients (PHOG): edge directions in the whole image and in its cells."""

from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from fer.errors import InputError, check_choice
from fer.features._checks import check_images

Degrees = Literal[180, 360]
"""Range of gradient directions; with 180, dark-to-light and light-to-dark edges have the same direction."""

SIGMA: Final = 2**0.5
"""Standard deviation of the blur before Canny, in pixels: the default of MATLAB, which the authors use."""

NOT_EDGES: Final = 0.7
"""Share of pixels below Canny's high threshold, MATLAB's default."""

LOW_TO_HIGH: Final = 0.4
"""Ratio of Canny's low threshold to the high one, MATLAB's default."""

FINENESS: Final = 16
"""Factor by which grey levels are multiplied before edge detection; with 16, gradients still fit 16 bits."""


def phog(
    images: NDArray[np.uint8], *, bins: int = 8, degrees: Degrees = 360, levels: int = 3
) -> NDArray[np.float32]:
    """Compute the histograms of gradient directions on edges, over a pyramid of cells.

    Args:
        images: Grey images, uint8, shape (N, H, W).
        bins: Number of directions. The first bin starts at 0 degrees, which is lighter to the right; 90
            degrees is lighter below.
        degrees: Range of the directions; see :data:`Degrees`.
        levels: Finest level L; each level l from 0 to L has ``2**l`` cells per side.

    Returns:
        Histograms, shape (N, bins * (4**(levels + 1) - 1) / 3), 680 by default: the coarsest level first, its
        cells row by row, each with its bins. Each edge pixel is weighted by its gradient magnitude. The
        histograms of an image have a sum of one, or are all zero if there are no edges.

    Raises:
        ValueError: The images are not uint8 of shape (N, H, W).
        InputError: A setting is out of its range, or the images are too small for it.

    Source: Bosch, Zisserman and Munoz, "Representing Shape with a Spatial Pyramid Kernel", CIVR 2007: edges
    by Canny, gradients by Sobel without smoothing. The defaults are those of the demo in the authors' code.
    Dhall, Goecke, Lucey and Gedeon, "Static Facial Expression Analysis in Tough Conditions", 2011, use PHOG
    and LPQ for SFEW.
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
    # A tiny negative angle is rounded to a full turn, hence the modulo.
    directions = (turns * bins).astype(np.intp) % bins
    height, width = image.shape
    cells = rows * side // height * side + columns * side // width
    sizes = np.hypot(dx, dy)
    histograms = np.bincount(cells * bins + directions, weights=sizes, minlength=side**2 * bins)
    return histograms.reshape(side, side, bins).astype(np.float64, copy=False)


def _edges(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return a mask of Canny's edges; as in MATLAB, the thresholds depend on the image's contrast."""
    blurred = cv2.GaussianBlur(image.astype(np.int16) * FINENESS, (0, 0), SIGMA)
    dx = cv2.Sobel(blurred, cv2.CV_16S, 1, 0)
    dy = cv2.Sobel(blurred, cv2.CV_16S, 0, 1)
    sizes = np.hypot(dx, dy, dtype=np.float32).ravel()
    rank = int(NOT_EDGES * (sizes.size - 1))
    # MATLAB's high threshold is one of 64 steps above 0, so noise in a mostly flat image makes no edges.
    high = max(float(np.partition(sizes, rank)[rank]), float(sizes.max()) / 64)
    return cv2.Canny(dx, dy, LOW_TO_HIGH * high, high, L2gradient=True).astype(np.bool_)
