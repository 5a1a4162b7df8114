"""Find the faces in images, and say what a trained network makes of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer.data.faces import Point
from fer.predict.preprocessing import Preprocessing

Tta = Literal["none", "flip", "ten_crop"]
"""Views of a face whose probabilities are averaged (test-time augmentation)."""


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one image.

    Attributes:
        box: Left, top, right and bottom, in pixels of the image; it may go beyond the image.
        detected: The detector's probability that it is a face, 0 to 1; NaN where it gives none.
        landmarks: Left eye, right eye, nose, left and right corner of the mouth, each ``(x, y)``, left
            as one sees it; None where the detector gives none.
        label: The class with the highest probability.
        probabilities: Calibrated probability of each class, in the order of the network's classes.
        entropy: Of the probabilities, in nats: 0 where the network is sure, the logarithm of the number of
            classes where it has no idea.
    """

    box: tuple[float, float, float, float]
    detected: float
    landmarks: tuple[Point, ...] | None
    label: str
    probabilities: Mapping[str, float]
    entropy: float


class Recognizer:
    """A trained network with its face detector: an image in, its faces with their probabilities out."""

    preprocessing: Preprocessing

    @classmethod
    def load(cls, path: Path | str | None = None, *, whole: bool = False, tta: Tta = "flip") -> Self:
        """Return the recognizer of a trained network.

        Args:
            path: A checkpoint, a run, or an ONNX file of ``fer export``; None: the package's own network.
            whole: Whether each image is the crop of one face already.
            tta: See :data:`Tta`.
        """
        raise NotImplementedError

    def __call__(self, image: NDArray[np.uint8] | Image.Image | Path | str) -> list[Face]:
        """Return the faces of one image, in the detector's order.

        Args:
            image: A file, a PIL image, or RGB, uint8, shape ``(H, W, 3)``.
        """
        raise NotImplementedError

    def recognize(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Face]]:
        """Return the faces of each image.

        Args:
            images: RGB, uint8, each of shape ``(H, W, 3)``, of any sizes.
        """
        raise NotImplementedError

    def probabilities(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the calibrated probability of each class.

        Args:
            crops: RGB, uint8, shape ``(N, S, S, 3)``, S the network's ``image_size``.

        Returns:
            Shape ``(N, K)``; each row sums to 1.
        """
        raise NotImplementedError
