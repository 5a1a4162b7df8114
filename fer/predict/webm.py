"""Write videos as VP8 in WebM, which browsers and VLC play and OpenCV encodes without a licence."""

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from fer.errors import InputError
from fer.files import draft_of, sync_folder
from fer.predict.videos import quiet

MAX_RATE: Final = 30.0
"""Most frames per second that are written; a faster video loses some frames."""

MAX_SIDE: Final = 1280
"""Longest side of the written video, in pixels. VP8 takes about 30 ms for a frame of 640x480."""

MAX_HELD: Final = 10.0
"""Most seconds for which one image is repeated if a video's timestamps jump."""

log = logging.getLogger("fer.predict")


class WebmWriter:
    """Context manager that writes images with timestamps as a video with a constant frame rate.

    Images are repeated or left out as needed, so that the copy has the duration of the source. The file
    appears under its name when it is complete; if the block ends with an error, nothing is written.

    Args:
        path: The file, ``.webm``; an existing one is replaced.
        rate: Frames per second of the source.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate = path, min(rate, MAX_RATE)
        draft = draft_of(path)
        self._draft = draft.with_name(f"{draft.name}.webm")  # FFmpeg takes the format from the suffix
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._held: NDArray[np.uint8] | None = None
        self._num_written, self._late = 0, 0.0

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Complete the file, or remove it after an error."""
        try:
            if kind is None:
                self._complete()
        finally:
            if self._writer is not None:
                self._writer.release()
            with suppress(FileNotFoundError, NotADirectoryError):
                self._draft.unlink()

    def write(self, time: float, image: NDArray[np.uint8]) -> None:
        """Write an image that is shown from the given time.

        Args:
            time: Time in seconds, not before the previous one.
            image: RGB, uint8, shape ``(H, W, 3)``.
        """
        if self._held is None:
            self._open(image)
        else:
            due = num_repeats(time - self._late, self.rate, self._num_written)
            most = round(MAX_HELD * self.rate)
            self._late += max(due - most, 0) / self.rate
            self._put(min(due, most))
        self._held = np.asarray(cv2.cvtColor(self._fit(image), cv2.COLOR_RGB2BGR), np.uint8)

    def _open(self, image: NDArray[np.uint8]) -> None:
        height, width = image.shape[:2]
        scale = min(1.0, MAX_SIDE / max(height, width))
        # VP8 halves the colour resolution, so sides must be even.
        self._size = (max(2, round(scale * width / 2) * 2), max(2, round(scale * height / 2) * 2))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with quiet():
            code = cv2.VideoWriter.fourcc(*"VP80")
            self._writer = cv2.VideoWriter(str(self._draft), cv2.CAP_FFMPEG, code, self.rate, self._size)
        if not self._writer.isOpened():
            self._writer = None
            log.warning("%s is not written: this OpenCV has no VP8 encoder", self.path)

    def _fit(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if image.shape[1::-1] == self._size:
            return image
        return np.asarray(cv2.resize(image, self._size, interpolation=cv2.INTER_AREA), np.uint8)

    def _put(self, times: int) -> None:
        if self._writer is not None and self._held is not None:
            for _ in range(times):
                self._writer.write(self._held)
        self._num_written += times

    def _complete(self) -> None:
        """Write the last image, and rename the draft if it is complete.

        Raises:
            InputError: The file is not complete.
        """
        self._put(1)
        if self._writer is None:
            return
        self._writer.release()
        # OpenCV does not report a full disk, but the file's length, which is written last, is then wrong.
        with quiet():
            written = cv2.VideoCapture(str(self._draft), cv2.CAP_FFMPEG)
        num_frames = written.get(cv2.CAP_PROP_FRAME_COUNT)
        written.release()
        if abs(num_frames - self._num_written) > 2 + 0.05 * self._num_written:
            msg = f"{self.path} cannot be written; free some space, and run the same command again"
            raise InputError(msg)
        with self._draft.open("rb") as file:
            os.fsync(file.fileno())
        self._draft.replace(self.path)
        sync_folder(self.path.parent)


def num_repeats(time: float, rate: float, num_written: int) -> int:
    """Return how often to write the previous image so that the copy keeps up with the time.

    >>> [num_repeats(0.1, 10, 0), num_repeats(0.35, 10, 1), num_repeats(0.36, 10, 4)]
    [1, 3, 0]

    Args:
        time: Time of the next image, in seconds.
        rate: Frames per second of the copy.
        num_written: Number of frames written so far.
    """
    return max(int(time * rate + 0.5) - num_written, 0)
