"""Find the faces in images, and predict each one's class probabilities with a trained network."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer.data.detectors import (
    MTCNN_MIN_FACE,
    VIOLA_JONES_MIN_FACE,
    FaceDetector,
    Finder,
    Point,
    find_faces,
    make_detector,
    search_scale,
)
from fer.data.detectors import Face as FoundFace
from fer.data.faces import crop_face
from fer.data.pixels import resize, to_channels
from fer.data.reading import read_image, to_rgb
from fer.errors import InputError
from fer.predict.preprocessing import Preprocessing
from fer.views import Tta, views

Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""A trained network: from crops, RGB, uint8, shape ``(N, S, S, 3)``, to logits, shape ``(N, K)``."""

SEARCH_PIXELS: Final = 4_000_000
"""Most pixels in which faces are searched. A larger photo is searched in a smaller copy: at 12 megapixels,
MTCNN then finds faces of 40 pixels and more, which is smaller than most networks' inputs."""

BATCH_SIZE: Final = 16
"""Batch size of the detector, in images."""

CROPS: Final = 64
"""Batch size of the network, in faces; it bounds the memory for an image with thousands of faces."""

MIN_DETECTED: Final = 0.9
"""Smallest probability of the detector at which a face counts."""


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one image.

    Attributes:
        box: Left, top, right and bottom, in pixels of the image; it may go beyond the image.
        detected: The detector's probability that it is a face, 0 to 1; NaN if it gives none.
        landmarks: Left eye, right eye, nose, left and right corner of the mouth, each ``(x, y)``, left
            as the viewer sees it; None if the detector gives none.
        label: The class with the highest probability.
        probabilities: Calibrated probability of each class, in the order of the network's classes.
        entropy: Entropy of the probabilities in nats, from 0 (certain) to the logarithm of the number of
            classes (all equally likely).
    """

    box: tuple[float, float, float, float]
    detected: float
    landmarks: tuple[Point, ...] | None
    label: str
    probabilities: Mapping[str, float]
    entropy: float

    @property
    def side(self) -> float:
        """Longer side of the box, in pixels."""
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)


class Recognizer:
    """A trained network with its face detector: maps an image to its faces with their probabilities.

    Args:
        preprocessing: How faces are found, cropped and normalised, and what the outputs mean.
        network: The network; see :data:`Network`.
        whole: Whether each image is already the crop of one face.
        tta: Views of a face whose probabilities are averaged; see :data:`fer.views.Tta`.
    """

    def __init__(
        self, preprocessing: Preprocessing, network: Network, *, whole: bool = False, tta: Tta = "flip"
    ) -> None:
        self.preprocessing = replace(preprocessing, detector="none", align=False) if whole else preprocessing
        self.network = network
        self.tta = tta

    @classmethod
    def load(
        cls,
        path: Path | str | None = None,
        *,
        whole: bool = False,
        tta: Tta = "flip",
        network: type[Any] | None = None,
    ) -> Self:
        """Return the recognizer of a trained network.

        Args:
            path: A checkpoint, a run, or an ONNX file of ``fer export``; None: the package's own network.
            whole: Whether each image is already the crop of one face.
            tta: Views of a face whose probabilities are averaged; see :data:`fer.views.Tta`.
            network: Class of the checkpoint's network, if it is not one of the package's.

        Raises:
            InputError: There is no such file, or it does not hold a network for images.
        """
        if path is None:
            from fer.predict.default import load_default

            return cls(*load_default(), whole=whole, tta=tta)
        if Path(path).suffix.lower() == ".onnx":
            from fer.predict.onnx_network import load_onnx

            return cls(*load_onnx(Path(path).expanduser()), whole=whole, tta=tta)
        from fer.predict.torch_network import load_checkpoint

        return cls(*load_checkpoint(Path(path), network), whole=whole, tta=tta)

    def __call__(self, image: NDArray[np.uint8] | Image.Image | Path | str) -> list[Face]:
        """Return the faces of one image, in the detector's order: MTCNN's largest first.

        Args:
            image: A file, a PIL image, or RGB, uint8, shape ``(H, W, 3)``.

        Raises:
            InputError: It is not an image.
        """
        return self.recognize([as_rgb(image)])[0]

    def recognize(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Face]]:
        """Return the faces of each image; images of the same size are searched in batches.

        Args:
            images: RGB, uint8, each of shape ``(H, W, 3)``; the sizes may differ.

        Raises:
            InputError: The detector fails on an image.
        """
        found: list[list[Face]] = [[] for _ in images]
        places = [(row, face) for row, faces in enumerate(self.find(images)) for face in faces]
        for start in range(0, len(places), CROPS):
            part = places[start : start + CROPS]
            crops = np.stack([self._crop(images[row], face) for row, face in part])
            for (row, face), values in zip(part, self.probabilities(crops), strict=True):
                found[row].append(self._answer(face, values))
        return found

    def probabilities(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the calibrated probability of each class, averaged over the views of :attr:`tta`.

        Args:
            crops: RGB, uint8, shape ``(N, S, S, 3)``, S the network's ``image_size``.

        Returns:
            Shape ``(N, K)``; each row sums to 1, or is NaN if a logit is not finite.
        """
        several = views(crops.transpose(0, 3, 1, 2), self.tta)
        logits = np.stack(
            [self.network(np.ascontiguousarray(view.transpose(0, 2, 3, 1))) for view in several]
        )
        scaled = logits.astype(np.float64) / self.preprocessing.temperature_for(self.tta)
        with np.errstate(invalid="ignore"):  # infinity minus infinity
            powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
            shares = powers / powers.sum(axis=-1, keepdims=True)
        return np.asarray(shares.mean(axis=0), np.float32)

    @cached_property
    def detectors(self) -> dict[Finder, FaceDetector]:
        """Detectors that are tried in turn until one finds a face; created when first needed."""
        return {name: make_detector(name) for name in self.preprocessing.crop.finders}

    def find(self, images: Sequence[NDArray[np.uint8]]) -> list[list[FoundFace]]:
        """Return the faces that the detector finds in each image; without a detector, the whole image.

        Raises:
            InputError: The detector fails on an image.
        """
        if self.preprocessing.detector == "none":
            return [[FoundFace((0, 0, image.shape[1], image.shape[0]))] for image in images]
        found: dict[int, list[FoundFace]] = {}
        for detector in self.detectors.values():
            rest = [row for row in range(len(images)) if not found.get(row)]
            for rows in _batches(rest, images):
                found |= zip(rows, self._search(detector, [images[row] for row in rows]), strict=True)
        return [found[row] for row in range(len(images))]

    def smallest(self, shape: tuple[int, ...]) -> float:
        """Return the side of the smallest face that can be found in an image of this shape, in pixels."""
        least = {"mtcnn": MTCNN_MIN_FACE, "viola_jones": VIOLA_JONES_MIN_FACE}
        sides = [least[name] for name in self.preprocessing.crop.finders]
        return min(sides, default=0) / search_scale(shape, SEARCH_PIXELS)

    def _search(self, detector: FaceDetector, images: list[NDArray[np.uint8]]) -> list[list[FoundFace]]:
        """Return the faces in images of one size."""
        import cv2

        try:
            # A single image, which may be large, is not copied.
            batch = np.stack(images) if len(images) > 1 else images[0][np.newaxis]
            found = find_faces(detector, batch, max_pixels=SEARCH_PIXELS)
        # Raised if memory runs out, and by facenet-pytorch if MTCNN's first stage places a face completely
        # outside the image.
        except (RuntimeError, IndexError, MemoryError, cv2.error) as e:
            if len(images) == 1:
                msg = f"the face detector fails on it ({e}); add --whole if it is the crop of a face"
                raise InputError(msg) from e
            half = len(images) // 2
            return self._search(detector, images[:half]) + self._search(detector, images[half:])
        # A probability may be NaN, if the detector gives none: such faces are kept.
        return [[face for face in faces if not face.probability < MIN_DETECTED] for faces in found]

    def _crop(self, image: NDArray[np.uint8], face: FoundFace) -> NDArray[np.uint8]:
        if self.preprocessing.detector == "none":
            return resize(image, self.preprocessing.image_size)
        return crop_face(image, face, self.preprocessing.crop)

    def _answer(self, face: FoundFace, values: NDArray[np.float32]) -> Face:
        names = self.preprocessing.class_names
        if not np.isfinite(values).all():
            msg = "the network's outputs are not finite: its training failed; use another checkpoint"
            raise InputError(msg)
        entropy = -sum(float(value) * math.log(value) for value in values if value > 0)
        return Face(
            box=face.box,
            detected=face.probability,
            landmarks=face.landmarks,
            label=names[int(values.argmax())],
            probabilities=dict(zip(names, map(float, values), strict=True)),
            entropy=max(0.0, entropy),
        )


def recognize_each(
    recognizer: Recognizer, images: Sequence[NDArray[np.uint8]]
) -> list[list[Face] | InputError]:
    """Return the faces of each image, or the error for an image that fails, without stopping the others.

    Args:
        recognizer: Finds and recognises the faces.
        images: RGB, uint8, each of shape ``(H, W, 3)``.
    """
    try:
        return list(recognizer.recognize(images))
    except InputError as e:
        if len(images) == 1:
            return [e]
        return [faces for image in images for faces in recognize_each(recognizer, [image])]


def as_rgb(image: NDArray[np.uint8] | Image.Image | Path | str) -> NDArray[np.uint8]:
    """Return a file, a PIL image or an array as RGB, uint8, shape ``(H, W, 3)``.

    Raises:
        InputError: The image is of another type or shape.
    """
    if isinstance(image, Path | str):
        return read_image(Path(image).expanduser())
    if isinstance(image, Image.Image):
        return to_rgb(image)
    is_image = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size > 0
    if not is_image or image.ndim not in (2, 3) or image.shape[2:] not in ((), (1,), (3,)):
        kind = (
            f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        )
        msg = f"the image is {kind}: give a path, a PIL image, or RGB as uint8 of shape (H, W, 3)"
        raise InputError(msg)
    return to_channels(image, 3)


def _batches(rows: Sequence[int], images: Sequence[NDArray[np.uint8]]) -> Iterator[list[int]]:
    """Yield batches of indices of images of one size."""
    by_shape: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for row in rows:
        by_shape[images[row].shape].append(row)
    for shape, of_shape in by_shape.items():
        size = max(1, min(BATCH_SIZE, SEARCH_PIXELS // (shape[0] * shape[1])))
        for start in range(0, len(of_shape), size):
            yield of_shape[start : start + size]
