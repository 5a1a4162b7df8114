"""The guard that the descriptors share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer.errors import InputError


def check_pictures(pictures: NDArray[Any], *, smallest: int, reason: str) -> None:
    """Refuse what is no stack of grey pictures, or pictures that are too small for a setting.

    Args:
        pictures: What was given.
        smallest: Height and width in pixels that the setting needs.
        reason: The setting, for the message.

    Raises:
        ValueError: They are not uint8 of shape (N, H, W).
        InputError: They are too small.
    """
    if pictures.dtype != np.uint8 or pictures.ndim != 3:
        msg = f"expected grey uint8 pictures (N, H, W), not {pictures.dtype} of shape {pictures.shape}"
        raise ValueError(msg)
    height, width = pictures.shape[1:]
    if min(height, width) < smallest:
        msg = f"pictures of {height} x {width} are too small for {reason}: it takes {smallest} x {smallest}"
        raise InputError(msg)
