"""Face detectors: MTCNN, which needs torch, and Viola-Jones, which does not."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Finder = Literal["mtcnn", "viola_jones"]
"""A single face detector; ``narayan`` combines the two."""

MTCNN_MIN_FACE: Final = 20
"""Side of the smallest face that MTCNN looks for, in pixels: facenet-pytorch's default. With 40 it takes half
the time and finds as many faces in SFEW (643 of 675), but none in images smaller than 40 pixels."""

MTCNN_STEP: Final = 0.709
"""Scale factor between the levels of MTCNN's image pyramid: facenet-pytorch's default. A copy that is smaller
by a power of this factor is searched at the same levels."""

MTCNN_GRID: Final = 8
"""MTCNN's boxes and landmarks are rounded to 1/8 pixel. They vary by some 1e-5 pixels with the batch and the
number of threads, which would otherwise change the resampled crops."""

MTCNN_ROUND: Final = 64
"""Batches of MTCNN's second and third stage are padded with zeros to a multiple of this number. oneDNN keeps
0.8 MB of compiled code for each batch size, so without padding the memory grows with the number of images."""

VIOLA_JONES_MIN_FACE: Final = 40
"""Side of the smallest face that Viola-Jones looks for, in pixels."""

VIOLA_JONES_SCALE: Final = 1.1
"""Scale factor between the levels of Viola-Jones's image pyramid."""

VIOLA_JONES_NEIGHBOURS: Final = 5
"""Detections that must overlap to count as a face. With 3, fewer faces are missed, but there are more false
positives."""

DETECTOR_PIXELS: Final = 12_500_000
"""Pixels passed to a detector at once: one phone photo, for which MTCNN takes some 600 MB."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Face:
    """A face in an image, in pixels from the top left.

    Attributes:
        box: Left, top, right and bottom; it may extend beyond the image.
        probability: Probability that this is a face, 0 to 1; NaN if the detector gives none.
        landmarks: Left eye, right eye, nose, left and right corner of the mouth, each ``(x, y)``; left is
            the viewer's left. None if the detector gives none.
    """

    box: tuple[float, float, float, float]
    probability: float = math.nan
    landmarks: tuple[Point, ...] | None = None

    @property
    def centre(self) -> Point:
        """Middle of the box."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the box."""
        left, top, right, bottom = self.box
        return right - left, bottom - top

    def scaled(self, across: float, down: float) -> "Face":
        """Return the face in an image that is ``across`` times as wide and ``down`` times as high."""
        left, top, right, bottom = self.box
        points = None if self.landmarks is None else tuple((across * x, down * y) for x, y in self.landmarks)
        box = (across * left, down * top, across * right, down * bottom)
        return Face(box, self.probability, points)


class FaceDetector(Protocol):
    """Finds faces in images of one size."""

    def find(self, images: NDArray[np.uint8]) -> list[list[Face]]:
        """Return the faces of each image, in a reproducible order.

        Args:
            images: RGB, uint8, shape ``(N, H, W, 3)``; any size from 1x1.
        """
        ...


class Mtcnn:
    """facenet-pytorch's MTCNN, on the GPU if there is one.

    Source: Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
    Networks", 2016.
    """

    def __init__(self) -> None:
        import torch  # not at the top: Viola-Jones does not need it
        from facenet_pytorch import MTCNN

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # Always in single precision, whatever torch's default: MTCNN fails in half precision.
        self.network = MTCNN(
            min_face_size=MTCNN_MIN_FACE, factor=MTCNN_STEP, keep_all=True, device=device
        ).float()
        for stage in (self.network.rnet, self.network.onet):
            stage.forward = _in_round_batches(stage.forward)

    def find(self, images: NDArray[np.uint8]) -> list[list[Face]]:
        """Return the faces of each image, the largest first; see :class:`FaceDetector`."""
        if min(images.shape[1:3]) < MTCNN_MIN_FACE:
            return [[] for _ in images]  # no face fits in, and facenet-pytorch raises
        boxes, probabilities, landmarks = self.network.detect(images, landmarks=True)
        return [
            [] if found[0] is None else [_face(*one) for one in zip(*found, strict=True)]
            for found in zip(boxes, probabilities, landmarks, strict=True)
        ]


def _in_round_batches(forward: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], tuple[Any, ...]]:
    """Wrap ``forward`` so that its batches are padded to few different sizes; see :data:`MTCNN_ROUND`."""

    def call(batch: Any) -> tuple[Any, ...]:
        padded = batch.new_zeros(math.ceil(len(batch) / MTCNN_ROUND) * MTCNN_ROUND, *batch.shape[1:])
        padded[: len(batch)] = batch
        return tuple(outputs[: len(batch)] for outputs in forward(padded))

    return call


def _face(box: NDArray[Any], probability: float, landmarks: NDArray[Any]) -> Face:
    left, top, right, bottom = map(_on_grid, box)
    points = tuple((_on_grid(x), _on_grid(y)) for x, y in landmarks)
    return Face((left, top, right, bottom), float(probability), points)


def _on_grid(pixels: float) -> float:
    return round(float(pixels) * MTCNN_GRID) / MTCNN_GRID


class ViolaJones:
    """OpenCV's Haar cascade for faces seen from the front.

    Source: Viola and Jones, "Rapid Object Detection Using a Boosted Cascade of Simple Features", 2001.
    """

    def __init__(self) -> None:
        import cv2
        import cv2.data

        self.cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")

    def find(self, images: NDArray[np.uint8]) -> list[list[Face]]:
        """Return the faces of each image, sorted by box, without probabilities or landmarks."""
        return [self._find(image) for image in images]

    def _find(self, image: NDArray[np.uint8]) -> list[Face]:
        import cv2

        boxes = self.cascade.detectMultiScale(
            cv2.cvtColor(image, cv2.COLOR_RGB2GRAY),
            scaleFactor=VIOLA_JONES_SCALE,
            minNeighbors=VIOLA_JONES_NEIGHBOURS,
            minSize=(VIOLA_JONES_MIN_FACE, VIOLA_JONES_MIN_FACE),
        )
        # OpenCV is multi-threaded and returns the boxes in an arbitrary order.
        ordered = sorted(tuple(map(int, box)) for box in boxes)
        return [Face((x, y, x + width, y + height)) for x, y, width, height in ordered]


def make_detector(name: Finder) -> FaceDetector:
    """Make the detector of that name."""
    return Mtcnn() if name == "mtcnn" else ViolaJones()


def search_scale(shape: tuple[int, ...], max_pixels: int = DETECTOR_PIXELS) -> float:
    """Return the scale at which an image is searched for faces: 1, or less for a large image.

    Args:
        shape: Height and width of the image; further dimensions are ignored.
        max_pixels: Largest number of pixels that are searched.

    >>> [round(search_scale((6000, 6500), most), 3) for most in (40_000_000, 12_500_000, 4_000_000)]
    [1.0, 0.503, 0.253]
    """
    steps = math.ceil(math.log(shape[0] * shape[1] / max_pixels) / (-2 * math.log(MTCNN_STEP)))
    return float(MTCNN_STEP ** max(steps, 0))


def find_faces(
    detector: FaceDetector, images: NDArray[np.uint8], max_pixels: int = DETECTOR_PIXELS
) -> list[list[Face]]:
    """Return the faces of images of one size; see :class:`FaceDetector`.

    Images of more than ``max_pixels`` are searched in smaller copies. The smaller the copy, the larger the
    smallest face that is found.
    """
    height, width = images.shape[1:3]
    scale = search_scale((height, width), max_pixels)
    if scale == 1:
        return detector.find(images)
    import cv2

    small = [max(1, round(side * scale)) for side in (width, height)]
    copies = [cv2.resize(image, small, interpolation=cv2.INTER_AREA) for image in images]
    found = detector.find(np.stack(copies).astype(np.uint8, copy=False))
    return [[face.scaled(width / small[0], height / small[1]) for face in faces] for faces in found]
