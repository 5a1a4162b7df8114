"""Process a video or a camera frame by frame: recognise, track and mark the faces, and write the outputs."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple

from fer.errors import InputError
from fer.predict.drawing import mark_face
from fer.predict.marks import draw_marks
from fer.predict.recognizer import Recognizer, recognize_each
from fer.predict.timeline import Timeline
from fer.predict.timeline_page import write_timeline
from fer.predict.tracks import FaceTracker, TrackedFace
from fer.predict.videos import VideoFrame
from fer.predict.webm import WebmWriter

BATCH_FRAMES: Final = 16
"""Most frames of a video in a batch."""

BATCH_PIXELS: Final = 12_500_000
"""Most pixels in a batch: large frames are processed in smaller batches."""


class WatchedFrame(NamedTuple):
    """A processed frame.

    Attributes:
        frame: The frame.
        faces: The tracked faces in it.
        failure: Why the detector failed on it; empty if it did not.
    """

    frame: VideoFrame
    faces: Sequence[TrackedFace]
    failure: str = ""


FrameAnswer = Callable[[WatchedFrame], None]
"""Callback for each processed frame, in order."""


@dataclass(frozen=True)
class Outputs:
    """Files that are written about one video or camera.

    Attributes:
        copy: The annotated copy, WebM.
        figure: The timeline as PNG; not written if no face was found.
        page: The timeline as HTML.
    """

    copy: Path
    figure: Path
    page: Path

    @classmethod
    def named(cls, copy: Path) -> "Outputs":
        """Return the files of a video; the timeline's are next to the copy and named after it."""
        return cls(copy, *(copy.with_name(f"{copy.stem}-timeline{suffix}") for suffix in (".png", ".html")))


def watch(
    frames: Iterable[VideoFrame],
    rate: float,
    recognizer: Recognizer,
    answer: FrameAnswer,
    *,
    name: str,
    outputs: Outputs | None = None,
    smooth: float = 0.0,
    at_once: int = BATCH_FRAMES,
) -> Timeline:
    """Recognise the faces of frames as they come, and write an annotated copy and a timeline.

    Memory does not grow with the number of frames.

    Args:
        frames: Frames in the order of their times.
        rate: Frames per second.
        recognizer: Finds and recognises the faces.
        answer: Called with each processed frame; a frame on which the detector fails has no faces.
        name: Name of the video.
        outputs: Files to write; None: none.
        smooth: Time constant in seconds; see :func:`fer.predict.tracks.smooth`. 0 does not smooth.
        at_once: Most frames in a batch.

    Returns:
        The timeline.

    Raises:
        InputError: The frames cannot be read, or a file cannot be written.
    """
    timeline = Timeline(recognizer.preprocessing.class_names, rate)
    with ExitStack() as stack:
        copy = None if outputs is None else stack.enter_context(WebmWriter(outputs.copy, rate))
        for watched in recognize_frames(frames, recognizer, FaceTracker(smooth), at_once):
            frame, faces, failure = watched
            marks = [mark_face(face, number) for number, face in faces]
            if copy is not None:
                copy.write(frame.time, draw_marks(frame.image, marks))
            timeline.add(frame.time, frame.image, faces, marks, failure)
            answer(watched)
    if outputs is not None:
        notes = _notes(recognizer, smooth)
        write_timeline(timeline, outputs.figure, outputs.page, name=name, notes=notes)
    return timeline


def recognize_frames(
    frames: Iterable[VideoFrame], recognizer: Recognizer, tracker: FaceTracker, at_once: int = BATCH_FRAMES
) -> Iterator[WatchedFrame]:
    """Yield each frame with its tracked faces, in order.

    Args:
        frames: Frames in the order of their times.
        recognizer: Finds and recognises the faces, in batches.
        tracker: Numbers and smooths the faces.
        at_once: Most frames in a batch.
    """
    for batch in _batches(frames, at_once):
        found = recognize_each(recognizer, [each.image for each in batch])
        for frame, faces in zip(batch, found, strict=True):
            if isinstance(faces, InputError):
                yield WatchedFrame(frame, tracker.follow(frame.time, []), str(faces))
            else:
                yield WatchedFrame(frame, tracker.follow(frame.time, faces))


def _batches(frames: Iterable[VideoFrame], at_once: int) -> Iterator[list[VideoFrame]]:
    batch: list[VideoFrame] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == at_once or sum(each.image.size // 3 for each in batch) >= BATCH_PIXELS:
            yield batch
            batch = []
    if batch:
        yield batch


def _notes(recognizer: Recognizer, smooth: float) -> list[str]:
    """Return sentences about the network and the smoothing of a timeline."""
    settings = recognizer.preprocessing
    trained = f", trained on {settings.trained_on}" if settings.trained_on else ""
    network = [f"Network: {settings.network}{trained}."] if settings.network else []
    filtered = (
        "Probabilities are smoothed by a causal exponential moving average with a time constant of "
        f"{smooth:g} s."
        if smooth
        else "Probabilities are those of each frame, not smoothed."
    )
    return [*network, filtered]


@contextmanager
def until_interrupted(frames: Iterable[VideoFrame]) -> Iterator[Iterator[VideoFrame]]:
    """End the frames at Ctrl-C or SIGTERM instead of raising, so that all files are completed.

    A second Ctrl-C interrupts as usual. Outside the main thread, signals are not handled.
    """
    stop = threading.Event()
    before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def ask_to_stop(number: int, _: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[number])

    def until_stopped() -> Iterator[VideoFrame]:
        for frame in frames:
            yield frame
            if stop.is_set():
                return

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.getsignal(number)
            signal.signal(number, ask_to_stop)
    try:
        yield until_stopped()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
