"""Faces in images: which one counts, how it is cropped, and what is done without one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fer.data.detectors import Face, FaceDetector, Finder, Point, find_faces, make_detector
from fer.data.pixels import resize
from fer.errors import InputError, check_choice

Detector = Literal["mtcnn", "viola_jones", "narayan", "none"]
"""Who finds the faces.

- ``mtcnn``: three small networks in a row, with landmarks (Zhang et al., "Joint Face Detection and
  Alignment Using Multitask Cascaded Convolutional Networks", 2016; weights of facenet-pytorch).
- ``viola_jones``: a cascade of Haar features (Viola and Jones, "Rapid Object Detection Using a Boosted
  Cascade of Simple Features", 2001; OpenCV's ``frontalface_default``).
- ``narayan``: the two combined (Narayan and Ge, section 3). The paper does not say how; here
  Viola-Jones looks where MTCNN finds none.
- ``none``: nobody: the whole image, squeezed into a square, is the crop.
"""

Select = Literal["largest", "central"]
"""Which of several faces counts: the one with the largest box, or with the box nearest to the middle."""

Fallback = Literal["mtcnn", "centre", "keep", "drop", "error"]
"""What is done with an image in which no face is found.

- ``mtcnn``: MTCNN looks, too, and where it finds none the centre is taken.
- ``centre``: the largest square in the middle of the image.
- ``keep``: the whole image, squeezed into a square.
- ``drop``: it is left out.
- ``error``: all of them are looked at, then those without a face are named and nothing goes on.
"""

Policy = Literal["mtcnn", "viola_jones", "none", "centre", "keep", "drop", "error"]
"""What was done with an image: the detector whose face was cropped, or the fallback that was taken."""

EYES_APART: Final = 0.30
EYES_HEIGHT: Final = 0.37
"""Where the eyes of an aligned crop without margin are, as shares of its side: their distance, and how far
they are from the top. Both are the medians in MTCNN's own boxes, made square, of 643 film stills (SFEW):
so aligning turns a face upright and leaves it about as large."""

MIN_EYES_APART: Final = 0.2
"""Least distance between the eyes that is believed, as a share of the face's box. A face seen from the side
has its eyes close together; taken at their word they would fill the crop with an ear."""

MAX_SIZE: Final = 4096
"""Longest side of a crop, in pixels."""

MAX_DRAWN: Final = 8192
"""Longest side to which a square is drawn before it is averaged to a crop, in pixels: 200 MB."""


@dataclass(frozen=True)
class CropSettings:
    """How faces are found and cropped.

    Attributes:
        detector: Who finds them; see :data:`Detector`.
        size: Side of a crop, in pixels, 1 to :data:`MAX_SIZE`.
        margin: Added on every side of the face, as a share of the longer side of its box, 0 to 1. Beyond
            the image its border is repeated.
        align: Whether the crop is turned and scaled by the landmarks, so that the eyes are level, always
            as far apart, and at the same place.
        select: Which of several faces; see :data:`Select`.
        fallback: What is done without a face; see :data:`Fallback`.

    Raises:
        InputError: A setting is out of its range, or two do not go together.
    """

    detector: Detector = "mtcnn"
    size: int = 224
    margin: float = 0.1
    align: bool = False
    select: Select = "largest"
    fallback: Fallback = "centre"

    def __post_init__(self) -> None:
        check_choice("data.crop (fer crop: --detector)", self.detector, Detector)
        check_choice("data.crop_select (fer crop: --select)", self.select, Select)
        check_choice("data.crop_fallback (fer crop: --fallback)", self.fallback, Fallback)
        if not 1 <= self.size <= MAX_SIZE:
            msg = f"data.image_size (fer crop: --size) is {self.size}: it must be 1 to {MAX_SIZE} pixels"
            raise InputError(msg)
        if not 0 <= self.margin <= 1:
            msg = (
                f"data.crop_margin (fer crop: --margin) is {self.margin}: it must be 0 to 1, "
                "a share of the face's side"
            )
            raise InputError(msg)
        if self.align and self.detector in ("viola_jones", "none"):
            msg = (
                f"data.crop_align (fer crop: --align) needs landmarks, and {self.detector} gives none: "
                "take mtcnn or narayan, or do not align"
            )
            raise InputError(msg)
        if self.fallback == "mtcnn" and self.detector != "viola_jones":
            msg = (
                "data.crop_fallback (fer crop: --fallback) is mtcnn, which is for viola_jones alone; "
                f"with {self.detector} take centre, keep, drop or error"
            )
            raise InputError(msg)

    @property
    def finders(self) -> tuple[Finder, ...]:
        """Who looks, in turn, until one finds a face."""
        match self.detector:
            case "mtcnn":
                return ("mtcnn",)
            case "viola_jones":
                return ("viola_jones", "mtcnn") if self.fallback == "mtcnn" else ("viola_jones",)
            case "narayan":
                return ("mtcnn", "viola_jones")
            case "none":
                return ()


def select_face(faces: Sequence[Face], shape: tuple[int, ...], select: Select) -> Face:
    """Return the face that counts; of equals the first.

    Args:
        faces: One or more.
        shape: Height and width of the image; more is ignored.
        select: Which one.
    """
    if select == "largest":
        return max(faces, key=lambda face: math.prod(face.size))
    middle = shape[1] / 2, shape[0] / 2
    return min(faces, key=lambda face: math.dist(face.centre, middle))


# Cropping


@dataclass(frozen=True, eq=False)
class Crop:
    """What became of one image.

    Attributes:
        policy: What was done.
        image: The crop, RGB, uint8, shape ``(size, size, 3)``; None by ``drop`` and ``error``.
        face: The face that was cropped; None where there is none.
    """

    policy: Policy
    image: NDArray[np.uint8] | None
    face: Face | None = None


class FaceCropper:
    """Finds the face in each image and crops it, or does what is asked without one.

    Args:
        settings: How.
        detectors: Who finds them, for each of the settings' ``finders``; None: new ones.
    """

    def __init__(
        self, settings: CropSettings, detectors: Mapping[Finder, FaceDetector] | None = None
    ) -> None:
        self.settings = settings
        self.detectors = detectors or {name: make_detector(name) for name in settings.finders}

    def crop(self, images: NDArray[np.uint8]) -> list[Crop]:
        """Crop images of one size.

        Args:
            images: RGB, uint8, shape ``(N, H, W, 3)``.

        Returns:
            What became of each, in their order.
        """
        crops: dict[int, Crop] = {}
        for name, detector in self.detectors.items():
            rest = [index for index in range(len(images)) if index not in crops]
            if not rest:
                break
            given = images if len(rest) == len(images) else images[rest]  # a large image is not copied
            for index, faces in zip(rest, find_faces(detector, given), strict=True):
                if faces:
                    face = select_face(faces, images.shape[1:], self.settings.select)
                    crops[index] = Crop(name, crop_face(images[index], face, self.settings), face)
        return [
            crops[index] if index in crops else crop_without_face(image, self.settings)
            for index, image in enumerate(images)
        ]


def crop_face(image: NDArray[np.uint8], face: Face, settings: CropSettings) -> NDArray[np.uint8]:
    """Crop a face as a square with a margin, turned upright by its eyes if that is asked.

    A face without landmarks is not turned.

    Args:
        image: RGB, uint8, shape ``(H, W, 3)``.
        face: In this image.
        settings: ``size``, ``margin`` and ``align`` count.

    Returns:
        RGB, uint8, shape ``(size, size, 3)``.
    """
    side = max(face.size)
    widened = 1 + 2 * settings.margin
    if not settings.align or face.landmarks is None:
        return _cut(image, face.centre, widened * side, settings.size)
    (left_x, left_y), (right_x, right_y), *_ = face.landmarks
    across, down = right_x - left_x, right_y - left_y
    angle = math.atan2(down, across)
    upright_side = max(math.hypot(across, down), MIN_EYES_APART * side) / EYES_APART
    below_eyes = (0.5 - EYES_HEIGHT) * upright_side
    centre = (
        (left_x + right_x) / 2 - math.sin(angle) * below_eyes,
        (left_y + right_y) / 2 + math.cos(angle) * below_eyes,
    )
    return _cut(image, centre, widened * upright_side, settings.size, angle)


def crop_without_face(image: NDArray[np.uint8], settings: CropSettings) -> Crop:
    """Do with an image without a face what the settings say."""
    if settings.detector == "none":
        return Crop("none", resize(image, settings.size))
    match settings.fallback:
        case "mtcnn" | "centre":
            height, width = image.shape[:2]
            square = _cut(image, (width / 2, height / 2), min(width, height), settings.size)
            return Crop("centre", square)
        case "keep":
            return Crop("keep", resize(image, settings.size))
        case "drop" | "error":
            return Crop(settings.fallback, None)


def _cut(
    image: NDArray[np.uint8], centre: Point, side: float, size: int, angle: float = 0.0
) -> NDArray[np.uint8]:
    """Resample a square of an image, whose border is repeated where the square goes beyond it.

    Args:
        image: RGB, uint8, shape ``(H, W, 3)``.
        centre: Of the square, in pixels; a pixel's own centre is at a half.
        side: Of the square, in pixels.
        size: Of the result, in pixels.
        angle: From the horizontal down to the square's upper edge, in radians.

    Returns:
        RGB, uint8, shape ``(size, size, 3)``.
    """
    import cv2

    # Where it shrinks, it is drawn some whole times too large and averaged: else it would flicker.
    times = max(1, min(math.ceil(side / size), MAX_DRAWN // size))
    drawn = size * times
    cos, sin = math.cos(angle) * side / drawn, math.sin(angle) * side / drawn
    half = (drawn - 1) / 2
    to_source = np.array(
        [
            [cos, -sin, centre[0] - 0.5 - (cos - sin) * half],
            [sin, cos, centre[1] - 0.5 - (sin + cos) * half],
        ]
    )
    square = cv2.warpAffine(
        image,
        to_source,
        (drawn, drawn),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if times > 1:
        square = cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(square, np.uint8)
