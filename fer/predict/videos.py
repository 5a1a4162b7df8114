"""Read videos and cameras frame by frame, each frame with its number and time."""

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
"""Suffixes of videos, in lower case. FFmpeg reads them all, including animated GIFs."""

FFMPEG_LOGS: Final = "OPENCV_FFMPEG_LOGLEVEL"
"""Environment variable from which OpenCV takes the log level of FFmpeg."""

QUIET: Final = "-8"
"""FFmpeg's ``AV_LOG_QUIET``."""

USUAL_RATE: Final = 25.0
"""Frames per second that are assumed for a video without a frame rate."""

MISSING_SHARE: Final = 0.05
"""Share of a video's declared length that may be missing without a warning, since containers round it."""


class VideoFrame(NamedTuple):
    """One image of a video or of a camera.

    Attributes:
        number: Index of the frame, from 0.
        time: Seconds since the first frame.
        image: RGB, uint8, shape ``(H, W, 3)``, upright.
    """

    number: int
    time: float
    image: NDArray[np.uint8]


class BadVideoError(BadFileError):
    """A file that cannot be used as a video."""


class Video:
    """Context manager that reads a video file frame by frame.

    Frames are rotated as the metadata says. A frame's time is its timestamp in the file, which is right even
    if the frame rate varies.

    Args:
        path: The file.

    Raises:
        BadVideoError: It is not a file, or is empty, damaged or not a video.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._capture = _open(path)
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate = rate if 0 < rate <= 1000 else USUAL_RATE
        declared = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        # For a GIF or a stream, the number is unknown or negative.
        self.num_frames = int(declared) if 0 < declared < 2**31 else None
        self.end = 0.0

    def __enter__(self) -> Self:
        """Return the video."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._capture.release()

    def __iter__(self) -> Iterator[VideoFrame]:
        """Yield the frames in order; only one is in memory.

        Raises:
            BadVideoError: There are none.
        """
        number, start = 0, 0.0
        for image in _images(self._capture):
            stamp = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000
            # If a timestamp is missing or does not increase, assume one frame's duration after the last.
            self.end = stamp if number == 0 or stamp > self.end else self.end + 1 / self.rate
            if number == 0:
                start = self.end
            yield VideoFrame(number, self.end - start, image)
            number += 1
        if number == 0:
            raise BadVideoError(self.path, "a video without readable frames")
        self.end += 1 / self.rate - start

    @property
    def shortfall(self) -> str:
        """Message about the missing end of a video that was read; empty if it is complete."""
        if self.num_frames is None or self.path.suffix.lower() == ".gif":
            return ""
        declared = self.num_frames / self.rate
        if declared - self.end <= max(MISSING_SHARE * declared, 1.5 / self.rate):
            return ""
        return f"it ends after {self.end:.1f} s of {declared:.1f} s: the file is truncated or damaged"


class Camera:
    """Context manager that reads a camera frame by frame, and releases it on exit.

    Args:
        index: Number of the camera, from 0.

    Raises:
        InputError: There is no camera with that number, or another program uses it.
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
        """Release the camera."""
        self._capture.release()

    def __iter__(self) -> Iterator[VideoFrame]:
        """Yield the camera's images until it is unplugged.

        Raises:
            InputError: The camera gives no image.
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
    if not path.is_file():  # FFmpeg would wait for a pipe, and would open a URL such as http://…
        reason = "a folder" if path.is_dir() else "not a file" if path.exists() else "there is no such file"
        raise BadVideoError(path, reason)
    if not os.access(path, os.R_OK):
        raise BadVideoError(path, "cannot be read (Permission denied)")
    if path.stat().st_size == 0:
        raise BadVideoError(path, "an empty file")
    with quiet():
        # The path is absolute: FFmpeg would read "a:b.mp4" as a protocol, and OpenCV "%d" as a number.
        capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise BadVideoError(path, "not a complete video, or in a format that FFmpeg does not know")
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

    Problems are reported by :mod:`fer` in one line. OpenCV sets FFmpeg's log level only once, when FFmpeg is
    first used, and reports VP8 as unsupported in WebM before using it. Hence stderr is redirected, too.
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
