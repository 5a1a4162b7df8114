"""The command ``fer predict`` on videos and cameras: print and write the results of each."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from fer.errors import InputError
from fer.predict.notes import notes_on
from fer.predict.recognizer import Recognizer
from fer.predict.sources import Frame, SourceFile, printable
from fer.predict.timeline import Timeline
from fer.predict.timeline_page import MOST_FACES
from fer.predict.tracks import TrackedFace
from fer.predict.videos import Camera, Video
from fer.predict.watch import Outputs, WatchedFrame, until_interrupted, watch
from fer.predict.writing import PredictionWriter

EVERY: Final = 1.0
"""Seconds between two lines about a camera."""


def predict_video(
    recognizer: Recognizer,
    file: SourceFile,
    writer: PredictionWriter | None,
    copy: Path | None,
    console: Console,
    *,
    smooth: float,
    advance: Callable[[int | None], None],
) -> Timeline:
    """Recognise the faces of a video, print a summary, and write its rows, annotated copy and timeline.

    Args:
        recognizer: Finds and recognises the faces.
        file: The video.
        writer: Writes the rows; None: none are written.
        copy: Path of the annotated copy; the timeline goes into the same folder. None: neither is written.
        console: Console to print on.
        smooth: Time constant in seconds; see :func:`fer.predict.tracks.smooth`.
        advance: Called after each frame with the total number of frames, or None if it is not known.

    Returns:
        The timeline, which also counts the frames on which the detector failed.

    Raises:
        InputError: The file is not a video, or has no frames.
    """
    outputs = None if copy is None else Outputs.named(copy)

    def answer(watched: WatchedFrame) -> None:
        if writer is not None:
            _write(writer, file, watched, recognizer)
        advance(video.num_frames)

    with Video(file.path) as video:
        name = printable(file.name)
        timeline = watch(video, video.rate, recognizer, answer, name=name, outputs=outputs, smooth=smooth)
        print_film(console, name, timeline, outputs)
        if video.shortfall:
            console.print(f"truncated    {name}: {video.shortfall}", markup=False)
    return timeline


def predict_camera(
    recognizer: Recognizer,
    index: int,
    out: Path | None,
    console: Console,
    about: dict[str, Any],
    *,
    smooth: float = 0.0,
) -> None:
    """Recognise the faces that a camera sees, and print one line per second, until Ctrl-C.

    Args:
        recognizer: Finds and recognises the faces.
        index: Number of the camera.
        out: Folder for the files; None: nothing is written.
        console: Console to print on.
        about: Description of the network for the JSON.
        smooth: Time constant in seconds; see :func:`fer.predict.tracks.smooth`.

    Raises:
        InputError: There is no such camera, or it gives no image. Also raised at the end if the detector
            failed on some images.
    """
    file = SourceFile(Path(f"camera-{index}"), Path(f"camera-{index}"))
    outputs = None if out is None else Outputs.named(out / "videos" / f"{file.name}.webm")
    due = 0.0

    def answer(watched: WatchedFrame) -> None:
        nonlocal due
        if writer is not None:
            _write(writer, file, watched, recognizer)
        if (time := watched.frame.time) >= due:
            due = (time // EVERY + 1) * EVERY
            console.print(describe_frame(time, watched.faces, watched.failure), markup=False)

    with ExitStack() as stack:
        camera = stack.enter_context(Camera(index))
        frames = stack.enter_context(until_interrupted(camera))
        writer = None
        if out is not None:
            writer = stack.enter_context(PredictionWriter(out, recognizer.preprocessing.class_names, about))
        console.print("press Ctrl-C to stop and complete the files", markup=False)
        timeline = watch(
            frames,
            camera.rate,
            recognizer,
            answer,
            name=f"camera {index}",
            outputs=outputs,
            smooth=smooth,
            at_once=1,
        )
    print_film(console, f"camera {index}", timeline, outputs)
    if out is not None:
        console.print(f"table        {printable(out / 'predictions.csv')}", markup=False)
    if timeline.num_failed:
        msg = f"camera {index}: {timeline.failed}"
        raise InputError(msg)


def describe_frame(time: float, faces: Sequence[TrackedFace], failure: str = "") -> str:
    """Return a line about the faces in a frame.

    >>> describe_frame(12.04, [])
    '12.0 s       no face'
    """
    labels = [f"{number} {face.label} {100 * face.probabilities[face.label]:.0f} %" for number, face in faces]
    return f"{f'{time:.1f} s':<12} {', '.join(labels) or failure or 'no face'}"


def print_film(console: Console, name: str, timeline: Timeline, outputs: Outputs | None) -> None:
    """Print a summary: a line for the video, one for each tracked face, and the files."""
    lines = [f"video        {name}: {timeline}"]
    shown = timeline.longest(MOST_FACES)
    lines += [f"  {f'face {track.number}':<10} {track}" for track in shown]
    if len(shown) < timeline.num_tracks:
        lines.append(f"             and {timeline.num_tracks - len(shown):,} faces seen in fewer frames")
    if outputs is not None:
        lines += [
            f"annotated    {printable(outputs.copy)} (VP8: plays in browsers and VLC)",
            f"look at it   {printable(outputs.page)}",
        ]
    console.print("\n".join(lines), markup=False)


def _write(writer: PredictionWriter, file: SourceFile, watched: WatchedFrame, recognizer: Recognizer) -> None:
    frame, tracked, failure = watched
    faces = [each.face for each in tracked]
    written = Frame(file, frame.image, frame.number, frame.time)
    numbers = [each.track for each in tracked]
    notes = [failure] if failure else notes_on(frame.image, faces, recognizer)
    writer.write(written, faces, notes, numbers)
