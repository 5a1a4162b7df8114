"""Faces of a video over time: tracked from frame to frame by overlap, their probabilities smoothed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Final, NamedTuple

from fer.errors import InputError
from fer.predict.recognizer import Face

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""

MIN_OVERLAP: Final = 0.3
"""Least overlap (intersection over union) of one face's boxes in frames that follow each other."""

MAX_GAP: Final = 1.0
"""Seconds for which a face may not be found and is still taken for the same."""


class TrackedFace(NamedTuple):
    """A face in a frame, and whose it is.

    Attributes:
        track: Number of the tracked face in its video, from 1.
        face: The face; its probabilities, label and entropy are smoothed if that was asked for.
    """

    track: int
    face: Face


class FaceTracker:
    """Gives the faces of one video's frames their numbers, and smooths their probabilities.

    What it keeps is bounded: faces of the last :data:`MAX_GAP` seconds.

    Args:
        seconds: Time constant of :func:`smooth`; 0 does not smooth.

    Raises:
        InputError: ``seconds`` is below 0.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        check_smooth(seconds)
        self.seconds = seconds
        self._numbers = count(1)
        self._last: dict[int, tuple[float, Face]] = {}

    def follow(self, time: float, faces: Sequence[Face]) -> list[TrackedFace]:
        """Return the faces of the next frame with their numbers, in their order.

        Args:
            time: Of the frame, in seconds; not before the last.
            faces: All faces in it.
        """
        self._last = {track: each for track, each in self._last.items() if time - each[0] <= MAX_GAP}
        known = {track: face.box for track, (_, face) in self._last.items()}
        tracked = []
        for track, face in zip(
            assign([face.box for face in faces], known, self._numbers), faces, strict=True
        ):
            if self.seconds and track in self._last:
                before, last = self._last[track]
                values = smooth(last.probabilities, face.probabilities, time - before, self.seconds)
                label = max(values, key=values.__getitem__)
                face = replace(face, probabilities=values, label=label, entropy=entropy(values))
            self._last[track] = (time, face)
            tracked.append(TrackedFace(track, face))
        return tracked


def check_smooth(seconds: float) -> None:
    """Raise ``InputError`` if a time constant is below 0, or no number."""
    if not 0 <= seconds < math.inf:
        msg = f"--smooth is {seconds:g}: it must be 0 or more, in seconds"
        raise InputError(msg)


def assign(boxes: Sequence[Box], known: Mapping[int, Box], numbers: Iterator[int]) -> list[int]:
    """Return the number of each box: that of the known box it overlaps most, each used once, or a new one.

    Args:
        boxes: Faces in a frame.
        known: By number the boxes of the faces before it.
        numbers: Gives new numbers.
    """
    overlaps = ((overlap(box, old), i, track) for i, box in enumerate(boxes) for track, old in known.items())
    found: dict[int, int] = {}
    for share, i, track in sorted(overlaps, key=lambda each: -each[0]):
        if share >= MIN_OVERLAP and i not in found and track not in found.values():
            found[i] = track
    return [found[i] if i in found else next(numbers) for i in range(len(boxes))]


def overlap(first: Box, second: Box) -> float:
    """Return the intersection of two boxes over their union.

    >>> overlap((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    across = min(first[2], second[2]) - max(first[0], second[0])
    down = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(across, 0.0) * max(down, 0.0)
    both = sum((right - left) * (bottom - top) for left, top, right, bottom in (first, second)) - shared
    return shared / both if both > 0 else 0.0


def smooth(
    last: Mapping[str, float], values: Mapping[str, float], elapsed: float, seconds: float
) -> dict[str, float]:
    """Return probabilities smoothed over time: a causal, exponential moving average.

    A first-order low-pass filter for samples at any times: the last result keeps the share
    ``exp(-elapsed / seconds)``. It uses no later frame, so that a camera is smoothed as a file is; after a
    step, 63 % of it are reached within ``seconds``. Probabilities still sum to 1.

    Args:
        last: Its result at the sample before.
        values: The new sample.
        elapsed: Seconds between the two.
        seconds: The filter's time constant, above 0.
    """
    kept = math.exp(-elapsed / seconds)
    return {name: kept * last[name] + (1 - kept) * value for name, value in values.items()}


def entropy(probabilities: Mapping[str, float]) -> float:
    """Return the entropy of probabilities in nats.

    >>> entropy({"happy": 1.0, "sad": 0.0}), round(entropy({"happy": 0.5, "sad": 0.5}), 3)
    (0.0, 0.693)
    """
    return -sum(p * math.log(p) for p in probabilities.values() if p > 0) + 0.0
