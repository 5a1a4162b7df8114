"""A video or a camera from the first frame to the last: faces recognised, tracked, marked and written."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from fer.predict.annotate import Mark, annotate
from fer.predict.recognizer import Recognizer
from fer.predict.timeline import Timeline
from fer.predict.timeline_page import write_timeline
from fer.predict.tracks import FaceTracker, TrackedFace
from fer.predict.videos import Camera, Frame, Video
from fer.predict.webm import WebmWriter

BATCH_FRAMES: Final = 16
"""Frames of a video that are recognised at once."""

BATCH_PIXELS: Final = 12_500_000
"""Pixels of the frames that are recognised at once: large frames go in smaller batches."""

FrameAnswer = Callable[[Frame, Sequence[TrackedFace]], None]
"""What is told of a frame when its faces are known: called once for each frame, in order."""


@dataclass(frozen=True)
class Outputs:
    """Files that are written about one video or camera.

    Attributes:
        copy: The annotated copy, WebM.
        figure: The timeline as PNG; there is none where no face was found.
        page: The timeline as HTML.
    """

    copy: Path
    figure: Path
    page: Path

    @classmethod
    def beside(cls, base: Path) -> "Outputs":
        """Return the files of a video.

        Args:
            base: Folder and name of the video in the output folder, with no suffix.
        """
        return cls(*(base.with_name(base.name + end) for end in (".webm", "-timeline.png", "-timeline.html")))


@dataclass(frozen=True)
class Watched:
    """What was seen in a video or by a camera.

    Attributes:
        num_frames: That were read.
        num_without: Of them those without a face.
        num_tracks: Tracked faces.
        seconds: From the first frame to the end of the last.
        shortfall: What is missing at the end of a file, in words; empty if nothing is.
    """

    num_frames: int
    num_without: int
    num_tracks: int
    seconds: float
    shortfall: str = ""


def watch_video(
    path: Path, outputs: Outputs, recognizer: Recognizer, answer: FrameAnswer, *, smooth: float = 0.0
) -> Watched:
    """Recognise the faces of a video file, and write its annotated copy and its timeline.

    Memory does not grow with the video's length.

    Args:
        path: The video.
        outputs: Files to write.
        recognizer: Finds the faces and their probabilities.
        answer: Is given each frame with its faces.
        smooth: Time constant in seconds; see :func:`fer.predict.tracks.smooth`.

    Raises:
        BadVideoError: The file is no video, or has no frames.
        InputError: A file cannot be written.
    """
    with Video(path) as video:
        seen = _watch(video, video.rate, path.name, outputs, recognizer, answer, smooth, BATCH_FRAMES)
        return Watched(*seen, shortfall=video.shortfall)


def watch_camera(
    index: int, outputs: Outputs, recognizer: Recognizer, answer: FrameAnswer, *, smooth: float = 0.0
) -> Watched:
    """Recognise the faces that a camera sees, until Ctrl-C, and write what :func:`watch_video` writes.

    Raises:
        InputError: There is no such camera, or it gives no image.
    """
    with Camera(index) as camera, until_interrupted(camera) as frames:
        return Watched(
            *_watch(frames, camera.rate, f"camera {index}", outputs, recognizer, answer, smooth, 1)
        )


def _watch(
    frames: Iterable[Frame],
    rate: float,
    name: str,
    outputs: Outputs,
    recognizer: Recognizer,
    answer: FrameAnswer,
    smooth: float,
    at_once: int,
) -> tuple[int, int, int, float]:
    """Do with frames what the two above say; return the first four fields of :class:`Watched`."""
    from fer.figures.style import class_colours

    class_names = recognizer.preprocessing.class_names
    colours = dict(zip(class_names, class_colours(len(class_names)), strict=True))
    timeline, num_without = Timeline(class_names), 0
    with WebmWriter(outputs.copy, rate) as copy:
        for frame, faces in recognize_frames(frames, recognizer, FaceTracker(smooth), at_once):
            marks = [_mark(each, colours) for each in faces]
            copy.write(frame.time, annotate(frame.image, marks))
            timeline.add(frame.time, frame.image, faces, marks)
            num_without += not faces
            answer(frame, faces)
    write_timeline(
        timeline, outputs.figure, outputs.page, name=name, rate=rate, notes=_notes(recognizer, smooth)
    )
    num_tracks = len(timeline.tracks) + timeline.num_dropped
    return timeline.num_frames, num_without, num_tracks, timeline.end + 1 / rate


def recognize_frames(
    frames: Iterable[Frame], recognizer: Recognizer, tracker: FaceTracker, at_once: int = BATCH_FRAMES
) -> Iterator[tuple[Frame, list[TrackedFace]]]:
    """Yield each frame with its tracked faces, in order.

    Args:
        frames: In the order of their times.
        recognizer: Is given some frames at a time.
        tracker: Numbers and smooths the faces.
        at_once: Frames in a batch at most.
    """
    for batch in _batches(frames, at_once):
        for frame, faces in zip(batch, recognizer.recognize([each.image for each in batch]), strict=True):
            yield frame, tracker.follow(frame.time, faces)


def _batches(frames: Iterable[Frame], at_once: int) -> Iterator[list[Frame]]:
    batch: list[Frame] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == at_once or sum(each.image.size // 3 for each in batch) >= BATCH_PIXELS:
            yield batch
            batch = []
    if batch:
        yield batch


def _mark(tracked: TrackedFace, colours: dict[str, str]) -> Mark:
    face = tracked.face
    share = 100 * face.probabilities[face.label]
    return Mark(face.box, f"{tracked.track} {face.label} {share:.0f} %", colours[face.label])


def _notes(recognizer: Recognizer, smooth: float) -> list[str]:
    """Return sentences about how a timeline was made."""
    preprocessing = recognizer.preprocessing
    trained = f", trained on {preprocessing.trained_on}" if preprocessing.trained_on else ""
    network = [f"Network: {preprocessing.network}{trained}."] if preprocessing.network else []
    filtered = (
        "Probabilities are smoothed by a causal exponential moving average with a time constant of "
        f"{smooth:g} s."
        if smooth
        else "Probabilities are those of each frame, not smoothed."
    )
    return [*network, filtered]


@contextmanager
def until_interrupted(frames: Iterable[Frame]) -> Iterator[Iterator[Frame]]:
    """Let frames end at Ctrl-C or SIGTERM instead of raising, so that all files are completed.

    A second Ctrl-C interrupts as usual. Outside of the main thread, signals are left alone.
    """
    stop = threading.Event()
    before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def ask_to_stop(number: int, _: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[number])

    def until_stopped() -> Iterator[Frame]:
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
