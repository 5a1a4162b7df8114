"""Notes on faces in addition to their probabilities."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fer.predict.recognizer import Face, Recognizer


def notes_on(image: NDArray[np.uint8], faces: Sequence[Face], recognizer: Recognizer) -> list[str]:
    """Return a note for each face, which is empty unless the face is small; or one note if there is no face.

    A face is small if its crop has to be enlarged by more than a factor of two.
    """
    settings = recognizer.preprocessing
    if not faces:
        least = recognizer.smallest(image.shape)
        return [f"no face ({math.ceil(least)} px or more)"]
    widened = 1 + 2 * settings.margin
    is_small = [2 * widened * face.side < settings.image_size for face in faces]
    return ["small face" if small else "" for face, small in zip(faces, is_small, strict=True)]
