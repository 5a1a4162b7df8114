"""Face crops: select a face, crop it, and handle images without one."""

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
"""Face detector.

- ``mtcnn``: a cascade of three small networks, with landmarks (Zhang et al., "Joint Face Detection and
  Alignment Using Multitask Cascaded Convolutional Networks", 2016; weights of facenet-pytorch).
- ``viola_jones``: a cascade of Haar features (Viola and Jones, "Rapid Object Detection Using a Boosted
  Cascade of Simple Features", 2001; OpenCV's ``frontalface_default``).
- ``narayan``: the two combined (Narayan and Ge, section 3). The paper does not say how; here
  Viola-Jones is used if MTCNN finds no face.
- ``none``: no detection; the crop is the whole image, squeezed into a square.
"""

Select = Literal["largest", "central"]
"""Face to crop if there are several: the one with the largest box, or the one nearest to the image centre."""

Fallback = Literal["mtcnn", "centre", "keep", "drop", "error"]
"""Action for an image in which no face is found.

- ``mtcnn``: try MTCNN as well; if it finds no face either, crop as ``centre`` does.
- ``centre``: crop the largest square in the middle of the image.
- ``keep``: squeeze the whole image into a square.
- ``drop``: leave the image out.
- ``error``: search all images, then stop with an error that names those without a face.
"""

Policy = Literal["mtcnn", "viola_jones", "none", "centre", "keep", "drop", "error"]
"""How an image was cropped: the detector whose face was cropped, or the fallback that was used."""

EYES_APART: Final = 0.30
EYES_HEIGHT: Final = 0.37
"""Position of the eyes in an aligned crop without margin, as shares of its side: the distance between them,
and their distance from the top. Both are medians over MTCNN's boxes, made square, of 643 film stills (SFEW),
so alignment rotates a face upright and keeps its size about the same."""

MIN_EYES_APART: Final = 0.2
"""Smallest distance between the eyes used for alignment, as a share of the side of the face's box. In a
profile the eyes are close together; scaling by their true distance would zoom in far too much."""

MAX_SIZE: Final = 4096
"""Longest side of a crop, in pixels."""

MAX_DRAWN: Final = 8192
"""Largest side of the square that is resampled before it is averaged to a crop, in pixels: 200 MB."""


@dataclass(frozen=True)
class CropSettings:
    """How faces are found and cropped.

    Attributes:
        detector: Face detector; see :data:`Detector`.
        size: Side of a crop, in pixels, 1 to :data:`MAX_SIZE`.
        margin: Margin added to each side of the face's box, as a share of its longer side, 0 to 1. Beyond
            the image's border, the border pixels are repeated.
        align: Whether the face is rotated and scaled by its landmarks, so that the eyes are level and at
            fixed positions.
        select: Face to crop if there are several; see :data:`Select`.
        fallback: Action for an image without a face; see :data:`Fallback`.

    Raises:
        InputError: A setting is out of its range, or two settings contradict each other.
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
                "a share of the longer side of the face's box"
            )
            raise InputError(msg)
        if self.align and self.detector in ("viola_jones", "none"):
            msg = (
                f"data.crop_align (fer crop: --align) needs landmarks, and {self.detector} gives none: "
                "choose mtcnn or narayan, or do not align"
            )
            raise InputError(msg)
        if self.fallback == "mtcnn" and self.detector != "viola_jones":
            msg = (
                "data.crop_fallback (fer crop: --fallback) is mtcnn, which is only for viola_jones; "
                f"with {self.detector} choose centre, keep, drop or error"
            )
            raise InputError(msg)

    @property
    def finders(self) -> tuple[Finder, ...]:
        """Detectors to try, in order, until one finds a face."""
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
    """Return the face to crop; on ties, the first one.

    Args:
        faces: One or more faces.
        shape: Height and width of the image; further dimensions are ignored.
        select: Which face; see :data:`Select`.
    """
    if select == "largest":
        return max(faces, key=lambda face: math.prod(face.size))
    middle = shape[1] / 2, shape[0] / 2
    return min(faces, key=lambda face: math.dist(face.centre, middle))


# Cropping


@dataclass(frozen=True, eq=False)
class Crop:
    """The crop of one image.

    Attributes:
        policy: How the image was cropped.
        image: The crop, RGB, uint8, shape ``(size, size, 3)``; None for ``drop`` and ``error``.
        face: The face that was cropped; None if there is none.
    """

    policy: Policy
    image: NDArray[np.uint8] | None
    face: Face | None = None


class FaceCropper:
    """Finds the face in each image and crops it, or applies the fallback if there is none.

    Args:
        settings: How faces are found and cropped.
        detectors: A detector for each of the settings' ``finders``; None: make new ones.
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
            The crops, in the order of the images.
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
    """Crop a face as a square with a margin, rotated so that its eyes are level if ``align`` is set.

    A face without landmarks is not rotated.

    Args:
        image: RGB, uint8, shape ``(H, W, 3)``.
        face: A face in this image.
        settings: ``size``, ``margin`` and ``align`` are used.

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
    """Apply the settings' fallback to an image without a face."""
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
    """Resample a square of an image; beyond the image, its border pixels are repeated.

    Args:
        image: RGB, uint8, shape ``(H, W, 3)``.
        centre: Centre of the square, in pixels; the first pixel's centre is at (0.5, 0.5).
        side: Side of the square, in pixels of the image.
        size: Side of the result, in pixels.
        angle: Clockwise rotation of the square, in radians.

    Returns:
        RGB, uint8, shape ``(size, size, 3)``.
    """
    import cv2

    # To shrink without aliasing, resample at a whole multiple of the size, then average.
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
