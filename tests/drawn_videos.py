"""Videos of drawn faces, and a recognizer that knows their faces without a network."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer.data.drawing import EXPRESSION_ACTIONS, FacialActions, draw_face
from fer.labels import EXPRESSIONS
from fer.predict import Face, Preprocessing
from fer.predict.tracks import Box, entropy


def draw_change(
    num: int, begin: str = "neutral", end: str = "happy", size: int = 64
) -> list[NDArray[np.uint8]]:
    """Draw one person whose expression changes from one to another, evenly."""
    first, last = (np.array(astuple(EXPRESSION_ACTIONS[name])) for name in (begin, end))
    shares = np.linspace(0, 1, num)
    return [
        draw_face(
            FacialActions(*(first + share * (last - first)).tolist()),
            np.random.default_rng(3),
            image_size=size,
            channels=3,
        )
        for share in shares
    ]


def write_video(path: Path, images: Sequence[NDArray[np.uint8]], rate: float = 10.0) -> Path:
    """Write RGB images as a video, by the codec that goes with the suffix."""
    if path.suffix == ".gif":
        frames = [Image.fromarray(image) for image in images]
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=1000 / rate)
        return path
    code = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, rate, images[0].shape[1::-1])
    assert writer.isOpened()
    for image in images:
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def turn_by_metadata(path: Path) -> None:
    """Let an MP4's header say that its images are turned by 90 degrees clockwise (ISO 14496-12, tkhd)."""
    content = bytearray(path.read_bytes())
    matrix = content.find(b"tkhd") + 4 + 40  # after the header, times, numbers, layer and volume
    assert struct.unpack_from(">9i", content, matrix)[0] == 1 << 16
    height = struct.unpack_from(">i", content, matrix + 40)[0]
    struct.pack_into(">9i", content, matrix, 0, 1 << 16, 0, -(1 << 16), 0, 0, height, 0, 1 << 30)
    path.write_bytes(content)


class FakeRecognizer:
    """Answers with given faces: ``faces_of`` is asked with the number of the image."""

    preprocessing = Preprocessing(
        image_size=48, channels=1, mean=(0.5,), std=(0.2,), class_names=EXPRESSIONS, network="Fake"
    )

    def __init__(self, faces_of: Callable[[int], Sequence[Face]]) -> None:
        self.faces_of, self.batches = faces_of, []

    def recognize(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Face]]:
        begin = sum(self.batches)
        self.batches.append(len(images))
        return [list(self.faces_of(begin + index)) for index in range(len(images))]


def make_face(box: Box, **shares: float) -> Face:
    """Return a face with some probabilities; the rest is evenly that of the other classes."""
    rest = (1 - sum(shares.values())) / (len(EXPRESSIONS) - len(shares))
    values = {name: shares.get(name, rest) for name in EXPRESSIONS}
    label = max(values, key=values.__getitem__)
    return Face(box, 0.99, None, label, values, entropy(values))
