"""Collect tracked faces' probabilities over time, and some frames, in memory bounded for any video."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer.predict.drawing import shrink
from fer.predict.marks import Mark, draw_marks
from fer.predict.tracks import MAX_GAP, Box, TrackedFace

FIRST_STEP: Final = 0.02
"""Seconds that are averaged to one point of the timeline, in a short video."""

MAX_POINTS: Final = 600
"""Most points of a timeline; when a video needs more, the step is doubled."""

MAX_TRACKS: Final = 64
"""Most tracked faces that are kept; beyond that, the one seen in the fewest frames is dropped."""

MAX_FRAMES: Final = 48
"""Most frames on a page; when there are more, every other one is dropped."""

FRAME_SIDE: Final = 360
"""Longest side of a frame on a page, in pixels."""

PORTRAIT_SIDE: Final = 72
"""Side of a tracked face's portrait, in pixels."""

GROWN: Final = 2.0
"""Growth of a face, as a ratio of areas, at which its portrait is replaced."""

QUALITY: Final = 72
"""JPEG quality of frames and portraits."""


class Point(NamedTuple):
    """Sums over the frames in one step of time."""

    num: int
    times: float
    probabilities: NDArray[np.float64]


@dataclass(eq=False)
class Track:
    """One tracked face.

    Attributes:
        number: Number of the face, from 1, in the order in which faces appear.
        num_frames: Number of frames in which it was found.
        first: Time of the first of these frames, in seconds.
        last: Time of the last of these frames, in seconds.
        labels: Number of frames in which each class has the highest probability.
        portrait: The face as JPEG.
        area: Area of the portrait's box, in square pixels.
        points: Sums by step of time.
    """

    number: int
    first: float
    last: float = 0.0
    num_frames: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    portrait: bytes = b""
    area: float = 0.0
    points: dict[int, Point] = field(default_factory=dict)

    def curve(self, gap: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the probabilities over time.

        Args:
            gap: Seconds between two points beyond which the face was away; a point of NaN is inserted there.

        Returns:
            Times in seconds, shape ``(T,)``, and probabilities, shape ``(T, K)``.
        """
        times: list[float] = []
        rows: list[NDArray[np.float64]] = []
        for step in sorted(self.points):
            num, sum_of_times, sums = self.points[step]
            if times and sum_of_times / num - times[-1] > gap:
                times.append((times[-1] + sum_of_times / num) / 2)
                rows.append(np.full(len(sums), np.nan))
            times.append(sum_of_times / num)
            rows.append(sums / num)
        return np.array(times), np.array(rows)

    def __str__(self) -> str:
        """Return when the face was seen, and its most frequent labels."""
        often = sorted(self.labels.items(), key=lambda each: -each[1])[:2]
        labels = ", ".join(f"{name} in {100 * num / self.num_frames:.0f} %" for name, num in often)
        frames = f"{self.num_frames:,} frame{'' if self.num_frames == 1 else 's'}"
        return f"{self.first:.1f} to {self.last:.1f} s, {labels} of {frames}"


class KeptFrame(NamedTuple):
    """A frame that a page shows.

    Attributes:
        time: Time in seconds.
        image: JPEG whose longest side is :data:`FRAME_SIDE` or less.
        size: Width and height in pixels.
        faces: The tracked faces in it.
    """

    time: float
    image: bytes
    size: tuple[int, int]
    faces: Sequence[TrackedFace]


class Timeline:
    """The content of a video's timeline, added frame by frame.

    Attributes:
        class_names: K names, in the order of the probabilities.
        rate: Frames per second.
        step: Seconds that are averaged to one point.
        num_frames: Number of frames that were added.
        num_faceless: Number of frames without a face.
        num_failed: Number of frames on which the detector failed.
        failure: Why it failed on the first of these.
        end: Time of the last frame, in seconds.
        num_dropped: Number of tracked faces that were dropped; see :data:`MAX_TRACKS`.
        frames: Some frames, evenly spaced in time.
    """

    def __init__(self, class_names: Sequence[str], rate: float) -> None:
        self.class_names, self.rate = tuple(class_names), rate
        self.num_frames, self.num_faceless, self.num_failed, self.num_dropped = 0, 0, 0, 0
        self.failure = ""
        self.step, self.end = FIRST_STEP, 0.0
        self.frames: list[KeptFrame] = []
        self._between, self._next = FIRST_STEP, 0.0
        self._tracks: dict[int, Track] = {}

    def __str__(self) -> str:
        """Return how long the video is, and how many faces were found."""
        faces = f"{self.num_tracks:,} tracked face{'' if self.num_tracks == 1 else 's'}"
        frames = f"{self.num_frames:,} frame{'' if self.num_frames == 1 else 's'}"
        failed = f", {self.num_failed:,} failed" if self.num_failed else ""
        return f"{frames} ({self.num_faceless:,} without a face{failed}) in {self.seconds:.1f} s, {faces}"

    @property
    def failed(self) -> str:
        """How many frames failed, and why the first of them did; empty if none did."""
        count = f"{self.num_failed:,} of {self.num_frames:,} frames failed"
        return f"{count}: {self.failure}" if self.num_failed else ""

    def longest(self, most: int) -> list[Track]:
        """Return the tracked faces that were seen in the most frames, in the order in which they appear."""
        longest = sorted(self._tracks.values(), key=lambda each: -each.num_frames)[:most]
        return sorted(longest, key=lambda each: each.number)

    @property
    def num_tracks(self) -> int:
        """Number of tracked faces, including those that were dropped."""
        return len(self._tracks) + self.num_dropped

    @property
    def seconds(self) -> float:
        """Duration from the first frame to the end of the last, in seconds."""
        return self.end + 1 / self.rate

    @property
    def gap(self) -> float:
        """Seconds between two points of a face beyond which the face was away."""
        return max(MAX_GAP, 2 * self.step)

    def add(
        self,
        time: float,
        image: NDArray[np.uint8],
        faces: Sequence[TrackedFace],
        marks: Sequence[Mark],
        failure: str = "",
    ) -> None:
        """Add the next frame.

        Args:
            time: Time in seconds, not before the previous frame's.
            image: RGB, uint8, shape ``(H, W, 3)``.
            faces: The tracked faces in it.
            marks: The mark of each face.
            failure: Why the detector failed; empty if it did not.
        """
        self.num_frames += 1
        self.num_faceless += not faces and not failure
        self.num_failed += bool(failure)
        self.failure = self.failure or failure
        self.end = time
        while time >= MAX_POINTS * self.step:
            self._double()
        for number, face in faces:
            track = self._tracks.setdefault(number, Track(number, time))
            track.last = time
            track.num_frames += 1
            track.labels[face.label] = track.labels.get(face.label, 0) + 1
            values = np.array([face.probabilities[name] for name in self.class_names])
            _put(track.points, int(time / self.step), Point(1, time, values))
            left, top, right, bottom = face.box
            if (area := (right - left) * (bottom - top)) > GROWN * track.area:
                track.area, track.portrait = area, _portrait(image, face.box)
        while len(self._tracks) > MAX_TRACKS:
            here = {number for number, _ in faces}
            away = [each for each in self._tracks.values() if each.number not in here]
            shortest = min(away or self._tracks.values(), key=lambda each: each.num_frames)
            del self._tracks[shortest.number]
            self.num_dropped += 1
        self._keep(time, image, faces, marks)

    def _double(self) -> None:
        """Double the step: every two points become one."""
        self.step *= 2
        for track in self._tracks.values():
            points: dict[int, Point] = {}
            for step, point in track.points.items():
                _put(points, step // 2, point)
            track.points = points

    def _keep(
        self, time: float, image: NDArray[np.uint8], faces: Sequence[TrackedFace], marks: Sequence[Mark]
    ) -> None:
        """Keep the frame for the page if it is due."""
        if time < self._next:
            return
        small, scale = shrink(image, FRAME_SIDE)
        marked = draw_marks(small, [mark.scaled(scale) for mark in marks])
        height, width = small.shape[:2]
        self.frames.append(KeptFrame(time, _jpeg(marked), (width, height), list(faces)))
        if len(self.frames) > MAX_FRAMES:
            self.frames = self.frames[::2]
            self._between = max(2 * self._between, (time - self.frames[0].time) / (MAX_FRAMES / 2))
        self._next = self.frames[-1].time + self._between - 1e-9


def _put(points: dict[int, Point], step: int, point: Point) -> None:
    """Add a point to the sums of a step."""
    if step in points:
        old = points[step]
        point = Point(old.num + point.num, old.times + point.times, old.probabilities + point.probabilities)
    points[step] = point


def _portrait(image: NDArray[np.uint8], box: Box) -> bytes:
    """Return a face with some of its surroundings, as JPEG."""
    left, top, right, bottom = box
    side = 1.2 * max(right - left, bottom - top, 1.0)
    corner = ((left + right - side) / 2, (top + bottom - side) / 2)
    scale = PORTRAIT_SIDE / side
    to_portrait = np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]]])
    # Shrink larger faces first: a warp alone would sample single pixels.
    shrunk, by = shrink(image, max(1, math.ceil(2 * scale * max(image.shape[:2]))))
    to_portrait[:, :2] /= by
    square = cv2.warpAffine(
        shrunk, to_portrait, (PORTRAIT_SIDE, PORTRAIT_SIDE), borderMode=cv2.BORDER_REPLICATE
    )
    return _jpeg(np.asarray(square, np.uint8))


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=QUALITY)
    return content.getvalue()


def bands(
    class_names: Sequence[str], curves: Sequence[NDArray[Any]], most: int
) -> list[tuple[str, list[int]]]:
    """Group classes into bands: one per class, or one for each of the most probable and one for all others.

    Args:
        class_names: K names.
        curves: Probabilities of each face over time, shape ``(T, K)``; NaN where it was away.
        most: Largest number of bands.

    Returns:
        Name and class indices of each band, in the order of the classes.

    >>> bands(["a", "b", "c"], [np.array([[0.7, 0.1, 0.2]])], 2)
    [('a', [0]), ('2 others', [1, 2])]
    """
    indices = list(range(len(class_names)))
    if len(class_names) > most:
        peaks = np.nanmean(np.concatenate([*curves, np.zeros((1, len(class_names)))]), axis=0)
        indices = sorted(np.argsort(-peaks, kind="stable")[: most - 1].tolist())
    found = [(class_names[index], [index]) for index in indices]
    rest = [index for index in range(len(class_names)) if index not in indices]
    return [*found, (f"{len(rest)} others", rest)] if rest else found
