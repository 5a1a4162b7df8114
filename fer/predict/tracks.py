"""Track the faces of a video from frame to frame by overlap, and smooth their probabilities."""

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
"""Smallest overlap (intersection over union) of a face's boxes in successive frames."""

MAX_GAP: Final = 1.0
"""Seconds for which a face may be missing and still count as the same face."""


class TrackedFace(NamedTuple):
    """A face in a frame, with the number of its track.

    Attributes:
        track: Number of the tracked face in its video, from 1.
        face: The face; its probabilities, label and entropy are smoothed if the tracker smooths.
    """

    track: int
    face: Face


class FaceTracker:
    """Numbers the faces in a video's frames, and smooths their probabilities.

    It keeps only the faces of the last :data:`MAX_GAP` seconds, so its memory is bounded.

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
        """Return the faces of the next frame with their numbers, in the given order.

        Args:
            time: Time of the frame, in seconds; not before the previous one.
            faces: All faces in the frame.
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
    """Raise ``InputError`` if a time constant is below 0, infinite or NaN."""
    if not 0 <= seconds < math.inf:
        msg = f"--smooth is {seconds:g}: it must be 0 or more, in seconds"
        raise InputError(msg)


def assign(boxes: Sequence[Box], known: Mapping[int, Box], numbers: Iterator[int]) -> list[int]:
    """Return a number for each box: that of the known box that it overlaps most, or a new one.

    Each known number is used at most once.

    Args:
        boxes: Boxes of the faces in a frame.
        known: Boxes of earlier faces, by number.
        numbers: Yields new numbers.
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
    """Smooth probabilities over time by a causal exponential moving average.

    This is a first-order low-pass filter for samples at irregular times: the previous result has the weight
    ``exp(-elapsed / seconds)``. It uses no later frames, so it works for a camera, too. After a step, the
    result covers 63 % of it within ``seconds``. Probabilities still sum to 1.

    Args:
        last: The previous result.
        values: The new sample.
        elapsed: Seconds since the previous sample.
        seconds: Time constant of the filter, above 0.
    """
    kept = math.exp(-elapsed / seconds)
    return {name: kept * last[name] + (1 - kept) * value for name, value in values.items()}


def entropy(probabilities: Mapping[str, float]) -> float:
    """Return the entropy of probabilities in nats.

    >>> entropy({"happy": 1.0, "sad": 0.0}), round(entropy({"happy": 0.5, "sad": 0.5}), 3)
    (0.0, 0.693)
    """
    return -sum(p * math.log(p) for p in probabilities.values() if p > 0) + 0.0
