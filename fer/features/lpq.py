"""Local phase quantisation (LPQ): a texture descriptor from the signs of local phase, robust to blur."""

from functools import cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from fer.errors import InputError
from fer.features._checks import check_images

NUM_CODES: Final = 256
"""Number of 8-bit codes: the signs of the real and imaginary parts at four frequencies."""

RHO: Final = 0.9
"""Correlation of neighbouring pixels assumed by the decorrelation (Ojansivu and Heikkilä, 2008)."""

TOLERANCE: Final = 2e-7
"""Largest absolute value that counts as zero, divided by ``window**3``, for grey values of 0 to 1: a bound on
the rounding error in single precision."""

CHUNK: Final = 2**18
"""Pixels that are filtered at once, so that memory does not grow with the data set."""


def lpq(
    images: NDArray[np.uint8], *, window: int = 7, decorrelate: bool = True, grid: int = 1
) -> NDArray[np.float32]:
    """Compute the histograms of local phase codes.

    Args:
        images: Grey images, uint8, shape (N, H, W).
        window: Side of the neighbourhood in pixels, odd, 3 or more; the frequencies are 1 / window.
        decorrelate: Whether to rotate the eight parts so that they are uncorrelated before taking signs.
        grid: Number of blocks per side; each block has its own histogram.

    Returns:
        Histograms, shape (N, grid * grid * 256): the blocks row by row, each with a sum of one.

    Raises:
        ValueError: The images are not uint8 of shape (N, H, W).
        InputError: A setting is out of its range, or the images are too small for it.

    Source: Ojansivu and Heikkilä, "Blur Insensitive Texture Classification Using Local Phase
    Quantization", ICISP 2008: window 7 and RHO 0.9 are theirs.
    """
    if grid < 1:
        msg = f"grid is {grid}: it must be at least 1"
        raise InputError(msg)
    _check_window(window)
    check_images(images, smallest=window + grid - 1, reason=f"LPQ with window {window} and grid {grid}")

    num_images, height, width = images.shape
    rows = np.arange(height - window + 1) * grid // (height - window + 1)
    columns = np.arange(width - window + 1) * grid // (width - window + 1)
    blocks = rows[:, None] * grid + columns
    histograms = np.empty((num_images, grid**2, NUM_CODES), np.float32)
    step = max(1, CHUNK // (height * width))
    for start in range(0, num_images, step):
        codes = lpq_codes(images[start : start + step], window=window, decorrelate=decorrelate)
        first_blocks = np.arange(len(codes))[:, None, None] * grid**2
        bins = (first_blocks + blocks) * NUM_CODES + codes
        counts = np.bincount(bins.ravel(), minlength=len(codes) * grid**2 * NUM_CODES)
        histograms[start : start + step] = counts.reshape(-1, grid**2, NUM_CODES)
    histograms /= np.bincount(blocks.ravel())[:, None]
    return histograms.reshape(num_images, grid**2 * NUM_CODES)


def lpq_codes(images: NDArray[np.uint8], *, window: int, decorrelate: bool) -> NDArray[np.uint8]:
    """Compute the local phase code of each pixel whose whole neighbourhood is in the image.

    Args:
        images: Grey images, uint8, shape (N, H, W). The filter responses need memory for eight copies in
            single precision.
        window: Side of the neighbourhood in pixels, odd, 3 or more.
        decorrelate: See :func:`lpq`.

    Returns:
        Codes 0 to 255, shape (N, H - window + 1, W - window + 1). Bit 2 k is set if the real part at the
        k-th frequency is not negative, bit 2 k + 1 if the imaginary part is not. The frequencies (x, y)
        are (a, 0), (0, a), (a, a) and (-a, a), with a = 1 / window. With ``decorrelate``, the bits are the
        signs along the principal axes of these parts, in order of decreasing variance. In a constant
        neighbourhood, all bits are set.

    Raises:
        ValueError: The images are not uint8 of shape (N, H, W).
        InputError: The window is even or too small, or larger than the images.

    Source: Ojansivu and Heikkilä, as in :func:`lpq`; the order of the bits is that of the authors' code.
    """
    _check_window(window)
    check_images(images, smallest=window, reason=f"LPQ with window {window}")
    grey = torch.from_numpy(images[:, None] / np.float32(255))
    filters = torch.from_numpy(_filters(window, decorrelate)).unsqueeze(1).float()
    bits = 2 ** torch.arange(8, dtype=torch.uint8).view(8, 1, 1)
    with torch.inference_mode():
        is_set = torch.nn.functional.conv2d(grey, filters) >= -TOLERANCE * window**3
        codes: NDArray[np.uint8] = (is_set * bits).sum(dim=1, dtype=torch.uint8).numpy()
    return codes


def _check_window(window: int) -> None:
    if window < 3 or window % 2 == 0:
        msg = f"window is {window}: it must be odd and at least 3"
        raise InputError(msg)


@cache
def _filters(window: int, decorrelate: bool) -> NDArray[np.float64]:
    """Return the eight correlation filters, shape (8, window, window).

    Decorrelation only needs a rotation instead of a full whitening, since scaling does not change signs. And
    rotating the filters rotates their responses.
    """
    offsets = np.arange(window) - window // 2
    # The transform is a convolution with exp(-2 pi i u y); for correlation, the sign of y is flipped.
    wave = np.exp(2j * np.pi * offsets / window)
    flat = np.ones(window)
    # Rows are y, columns are x.
    waves = [np.outer(flat, wave), np.outer(wave, flat), np.outer(wave, wave), np.outer(wave, wave.conj())]
    filters = np.stack([part for complex_wave in waves for part in (complex_wave.real, complex_wave.imag)])
    if not decorrelate:
        return filters
    flattened = filters.reshape(8, -1)
    y, x = (axis.ravel() for axis in np.meshgrid(offsets, offsets, indexing="ij"))
    covariance = RHO ** np.hypot(x[:, None] - x, y[:, None] - y)
    spread = flattened @ covariance @ flattened.T
    # By symmetry, some axes have the same variance. As in the authors' code, a slight stretch makes the
    # variances differ, so that the axes are unique. Their signs, which eigh does not define, are fixed, too.
    stretch = np.linspace(1.000007, 1, 8)
    _, axes = np.linalg.eigh(spread * np.outer(stretch, stretch))
    axes = axes[:, ::-1]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(8)])
    rotated: NDArray[np.float64] = (axes.T @ flattened).reshape(filters.shape)
    return rotated
