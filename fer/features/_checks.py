"""Check of the images that the descriptors share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer.errors import InputError


def check_images(images: NDArray[Any], *, smallest: int, reason: str) -> None:
    """Check that an array is a stack of grey images, which are large enough for a descriptor.

    Args:
        images: The array.
        smallest: Smallest height and width in pixels.
        reason: The descriptor and its setting, for the message.

    Raises:
        ValueError: The array is not uint8 of shape (N, H, W).
        InputError: The images are too small.
    """
    if images.dtype != np.uint8 or images.ndim != 3:
        msg = f"expected grey uint8 images (N, H, W), not {images.dtype} of shape {images.shape}"
        raise ValueError(msg)
    height, width = images.shape[1:]
    if min(height, width) < smallest:
        msg = f"images of {height} x {width} are too small for {reason}: it needs {smallest} x {smallest}"
        raise InputError(msg)
