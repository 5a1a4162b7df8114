"""Convert the size and channels of images, with NumPy and OpenCV only."""

import numpy as np
from numpy.typing import NDArray


def resize(image: NDArray[np.uint8], image_size: int) -> NDArray[np.uint8]:
    """Resize an image (H, W) or (H, W, C) to a square with a side of ``image_size`` pixels."""
    if image.shape[:2] == (image_size, image_size):
        return image
    import cv2

    shrinks = image.shape[0] > image_size
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (image_size, image_size), interpolation=interpolation), np.uint8)


def to_channels(image: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Convert an image (H, W) or (H, W, C) to (H, W, channels): grey by luminance, RGB by repetition."""
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
    if image.shape[2] == channels:
        return image
    if channels == 3:
        return image.repeat(3, axis=2)
    import cv2

    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)[:, :, np.newaxis]


def to_grey(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert images (N, H, W) or (N, H, W, 3) to grey, by luminance, shape (N, H, W)."""
    if images.ndim == 3:
        return images
    return np.stack([to_channels(image, 1)[:, :, 0] for image in images])
