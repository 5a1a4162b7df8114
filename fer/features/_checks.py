"""The guard that the descriptors share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer.errors import InputError


def check_images(images: NDArray[Any], *, smallest: int, reason: str) -> None:
    """Refuse what is no stack of grey images, or images that are too small for a setting.

    Args:
        images: What was given.
        smallest: Height and width in pixels that the setting needs.
        reason: The setting, for the message.

    Raises:
        ValueError: They are not uint8 of shape (N, H, W).
        InputError: They are too small.
    """
    if images.dtype != np.uint8 or images.ndim != 3:
        msg = f"expected grey uint8 images (N, H, W), not {images.dtype} of shape {images.shape}"
        raise ValueError(msg)
    height, width = images.shape[1:]
    if min(height, width) < smallest:
        msg = f"images of {height} x {width} are too small for {reason}: it takes {smallest} x {smallest}"
        raise InputError(msg)
