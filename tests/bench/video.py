"""Memory of a long video, and its frames a second in batches as a ratio to one by one.

``python tests/bench/video.py [--ckpt_path RUN] [--minutes 20]``. The video is of drawn faces, 320x240 at 5
frames a second. Each frame is recognised, tracked, smoothed, written as a row, marked in the copy, and added
to the timeline. Memory is what the process holds, in MB; times are CPU seconds of the process.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from fer.data.drawing import draw_faces
from fer.predict import Recognizer
from fer.predict.recognizer import Face
from fer.predict.sources import Frame, SourceFile
from fer.predict.tracks import FaceTracker
from fer.predict.videos import Video
from fer.predict.watch import BATCH_FRAMES, Outputs, WatchedFrame, recognize_frames, watch
from fer.predict.writing import PredictionWriter

RATE = 5.0
NUM_TIMED = 64


def main(argv: Sequence[str] | None = None) -> None:
    """Write a video, recognise it, and print what that took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ckpt_path", type=Path)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--whole", action="store_true", help="without a detector: each frame is a face")
    given = parser.parse_args(argv)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout
    _say(f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {commit.strip()}")
    _say(f"torch {torch.__version__}, OpenCV {cv2.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.mp4"
        _write(path, round(60 * RATE * given.minutes))
        recognizer = Recognizer.load(given.ckpt_path, whole=given.whole)
        _time(path, recognizer, given.repeats)
        _watch(path, Path(folder) / "out", recognizer)


def _watch(path: Path, out: Path, recognizer: Recognizer) -> None:
    """Do all that the command does with a video, and print the memory after some shares of it."""
    about = {"network": recognizer.preprocessing.network}
    file = SourceFile(path, Path(path.name))
    with Video(path) as video, PredictionWriter(out, recognizer.preprocessing.class_names, about) as writer:
        total = video.num_frames or 0
        marks = {max(1, round(share * total)) for share in (0.02, 0.1, 0.25, 0.5, 0.75, 1)}

        def answer(watched: WatchedFrame) -> None:
            frame, tracked, _ = watched
            faces: list[Face] = [each.face for each in tracked]
            notes = [""] * max(1, len(faces))
            numbers = [each.track for each in tracked]
            writer.write(Frame(file, frame.image, frame.number, frame.time), faces, notes, numbers)
            if frame.number + 1 in marks:
                _say(f"frame {frame.number + 1:>6,}   {_resident():7.1f} MB")

        start = time.process_time()
        outputs = Outputs.named(out / "long.webm")
        timeline = watch(video, video.rate, recognizer, answer, name="long", outputs=outputs, smooth=0.5)
    _say(f"{timeline}: {1000 * (time.process_time() - start) / timeline.num_frames:.1f} CPU ms a frame")
    for written in sorted(out.iterdir()):
        _say(f"{written.name:<20} {written.stat().st_size / 1e6:6.2f} MB")


def _time(path: Path, recognizer: Recognizer, repeats: int) -> None:
    """Print the time of the first frames in batches and one by one, in turn."""
    with Video(path) as video:
        frames = [frame for frame, _ in zip(video, range(NUM_TIMED), strict=False)]
    seconds: dict[int, list[float]] = {1: [], BATCH_FRAMES: []}
    for _ in range(repeats + 1):  # the first is not counted
        for at_once, spent in seconds.items():
            start = time.process_time()
            list(recognize_frames(frames, recognizer, FaceTracker(), at_once))
            spent.append(time.process_time() - start)
    ratios = [one / many for one, many in zip(seconds[1][1:], seconds[BATCH_FRAMES][1:], strict=True)]
    _say(
        f"{len(frames)} frames in batches of {BATCH_FRAMES}: x {statistics.median(ratios):.2f} of one by one "
        f"({min(ratios):.2f} to {max(ratios):.2f}, n = {repeats})"
    )


def _write(path: Path, num_frames: int) -> None:
    """Write a video whose face changes every two seconds, on a grey wall."""
    faces, _ = draw_faces(64, image_size=180, channels=3)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, (320, 240))
    for number in range(num_frames):
        image = np.full((240, 320, 3), 150, np.uint8)
        left = 40 + number % 60
        image[30:210, left : left + 180] = faces[number // round(2 * RATE) % len(faces)][..., ::-1]
        writer.write(image)
    writer.release()


def _resident() -> float:
    """Return the memory that the process holds, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
