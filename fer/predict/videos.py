"""Videos and cameras as frames: each with its number and its time, read one by one."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from fer.data.reading import BadFileError
from fer.errors import InputError

VIDEO_SUFFIXES: Final = frozenset((".avi", ".gif", ".mkv", ".mov", ".mp4", ".webm"))
"""Files that are taken for videos, in lower case. An animated GIF is one; FFmpeg reads them all."""

FFMPEG_LOGS: Final = "OPENCV_FFMPEG_LOGLEVEL"
"""Environment variable by which OpenCV sets what FFmpeg prints to the terminal."""

QUIET: Final = "-8"
"""FFmpeg's ``AV_LOG_QUIET``."""

USUAL_RATE: Final = 25.0
"""Frames a second of a video that does not tell its own."""

MISSING_SHARE: Final = 0.05
"""Part of a video's declared length that may be missing at its end without a word: containers round it."""


class VideoFrame(NamedTuple):
    """One image of a video or of a camera.

    Attributes:
        number: From 0.
        time: Seconds since the first frame.
        image: RGB, uint8, shape ``(H, W, 3)``, upright.
    """

    number: int
    time: float
    image: NDArray[np.uint8]


class BadVideoError(BadFileError):
    """A file that cannot be used as a video."""


class Video:
    """A video file, read frame by frame; a context manager that closes it.

    The rotation that its metadata asks for is done. A frame's time is its timestamp in the file, which also
    holds where the frame rate varies.

    Args:
        path: The file.

    Raises:
        BadVideoError: It is not a file, empty, damaged, or no video.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._capture = _open(path)
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate = rate if 0 < rate <= 1000 else USUAL_RATE
        declared = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        # Of a GIF or a stream the number is not known, or negative.
        self.num_frames = int(declared) if 0 < declared < 2**31 else None
        self.end = 0.0

    def __enter__(self) -> Self:
        """Return the video."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._capture.release()

    def __iter__(self) -> Iterator[VideoFrame]:
        """Yield the frames in order; only one is held.

        Raises:
            BadVideoError: There are none.
        """
        number, start = 0, 0.0
        for image in _images(self._capture):
            stamp = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000
            # A timestamp that is missing, or does not go on, is taken one frame after the last.
            self.end = stamp if number == 0 or stamp > self.end else self.end + 1 / self.rate
            if number == 0:
                start = self.end
            yield VideoFrame(number, self.end - start, image)
            number += 1
        if number == 0:
            raise BadVideoError(self.path, "a video without frames that can be read")
        self.end += 1 / self.rate - start

    @property
    def shortfall(self) -> str:
        """What is missing at the end of a video that was read, in words; empty if nothing is."""
        if self.num_frames is None or self.path.suffix.lower() == ".gif":
            return ""
        declared = self.num_frames / self.rate
        if declared - self.end <= max(MISSING_SHARE * declared, 1.5 / self.rate):
            return ""
        return f"it ends after {self.end:.1f} s of {declared:.1f} s: the file is truncated or damaged"


class Camera:
    """A camera, read frame by frame; a context manager that hands it back.

    Args:
        index: Number of the camera, from 0.

    Raises:
        InputError: There is none of that number, or it gives no image.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        with quiet():
            self._capture = cv2.VideoCapture(index)
        if not self._capture.isOpened():
            msg = f"--camera {index}: there is no such camera, or another program uses it; try another number"
            raise InputError(msg)
        self.rate = float(self._capture.get(cv2.CAP_PROP_FPS)) or USUAL_RATE

    def __enter__(self) -> Self:
        """Return the camera."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hand the camera back."""
        self._capture.release()

    def __iter__(self) -> Iterator[VideoFrame]:
        """Yield what the camera sees, until it is unplugged.

        Raises:
            InputError: It gives no image.
        """
        start, number = None, 0
        for image in _images(self._capture):
            now = time.monotonic()
            start = now if start is None else start
            yield VideoFrame(number, now - start, image)
            number += 1
        if number == 0:
            msg = f"--camera {self.index} gives no image; try another number"
            raise InputError(msg)


def _open(path: Path) -> cv2.VideoCapture:
    """Open a video file.

    Raises:
        BadVideoError: It cannot be opened.
    """
    if not path.is_file():  # a pipe would be waited for, and a name such as http://… would be asked for
        reason = "a folder" if path.is_dir() else "not a file" if path.exists() else "there is no such file"
        raise BadVideoError(path, reason)
    if not os.access(path, os.R_OK):
        raise BadVideoError(path, "cannot be read (Permission denied)")
    if path.stat().st_size == 0:
        raise BadVideoError(path, "an empty file")
    with quiet():
        # An absolute path: FFmpeg would take "a:b.mp4" for a protocol, and OpenCV "%d" for numbers.
        capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise BadVideoError(path, "not a whole video, or of a format that FFmpeg does not know")
    return capture


def _images(capture: cv2.VideoCapture) -> Iterator[NDArray[np.uint8]]:
    """Yield the images of an open video or camera as RGB."""
    while True:
        is_read, image = capture.read()
        if not is_read:
            return
        yield np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep OpenCV and FFmpeg from printing to the terminal while a file is opened, and decoded later.

    What is wrong is reported by us, in one line. OpenCV sets what FFmpeg prints once, when it is first used,
    and calls the code of VP8 unsupported in WebM before it uses it: so their stderr is put aside as well.
    """
    os.environ.setdefault(FFMPEG_LOGS, QUIET)
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
        cv2.utils.logging.setLogLevel(level)
