"""Photos recognised in a second, one by one and in batches, and what a large photo and many faces take.

``python tests/bench/predict.py [FOLDER] [--ckpt_path CHECKPOINT|RUN|MODEL.onnx]``; without a folder, on a
photo in several poses, and without a network with the one that ships. Both ways start from decoded images
and are timed in turn, in one process, by the processor's time.
"""

import argparse
import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from skimage import data

from fer import Recognizer
from fer.data.reading import find_images, read_image

CROWD = 25
"""Faces side by side in the photo of tiles, 80 pixels each: 625 faces in 4 megapixels."""

NUM_CROPS = 10_000

LARGE = (7216, 5412)
"""Width and height of the large photo: 39 megapixels."""


def main() -> None:
    """Measure, and write one line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder", type=Path, nargs="?", help="images; left out, an astronaut in several poses"
    )
    parser.add_argument("--ckpt_path", type=Path)
    parser.add_argument("--num", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "opencv-python-headless", "pillow"))
    _say(f"{platform.processor() or platform.machine()}, {versions}, commit {commit.stdout.strip()}")
    recognizer = Recognizer.load(given.ckpt_path)
    recognizer(data.astronaut())
    _measure_memory(recognizer)
    _measure_crowd(recognizer)
    images = [read_image(path) for path in find_images(given.folder)] if given.folder else _poses(given.num)
    images = [images[place % len(images)] for place in range(given.num)]
    seconds: dict[str, list[float]] = {"one by one": [], "in batches": []}
    for _ in range(given.repeats):
        start = time.process_time()
        for image in images:
            recognizer(image)
        seconds["one by one"].append(time.process_time() - start)
        start = time.process_time()
        for place in range(0, len(images), 64):
            recognizer.recognize(images[place : place + 64])
        seconds["in batches"].append(time.process_time() - start)
    for way, taken in seconds.items():
        rates = sorted(len(images) / each for each in taken)
        spread = f"({rates[0]:.1f} to {rates[-1]:.1f})"
        _say(f"{way:<12} {median(rates):.1f} images a second {spread}, n {len(images)}")
    ratios = sorted(a / b for a, b in zip(*seconds.values(), strict=True))
    _say(f"batches      {median(ratios):.2f} times as fast ({ratios[0]:.2f} to {ratios[-1]:.2f})")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _measure_memory(recognizer: Recognizer) -> None:
    """Write how much memory a large photo takes."""
    with TemporaryDirectory() as folder:
        photo = Image.new("RGB", LARGE, (90, 110, 130))
        photo.paste(Image.fromarray(data.astronaut()).resize((2048, 2048)), (700, 900))
        photo.save(Path(folder) / "large.jpg")
        del photo
        start, before = time.process_time(), _peak()
        faces = recognizer(Path(folder) / "large.jpg")
        _say(f"39 megapixels {len(faces)} faces, {_taken(start, before)}")


def _measure_crowd(recognizer: Recognizer) -> None:
    """Write how long many faces take: those of a photo of tiles, and crops without a detector."""
    face = np.asarray(Image.fromarray(data.astronaut()[40:210, 140:310]).resize((80, 80)))
    start, before = time.process_time(), _peak()
    faces = recognizer(np.tile(face, (CROWD, CROWD, 1)))
    _say(f"crowd        {len(faces)} of {CROWD**2} faces found in one photo, {_taken(start, before)}")
    whole = Recognizer(recognizer.preprocessing, recognizer.network, whole=True)
    start, before = time.process_time(), _peak()
    num = sum(len(each) for each in whole.recognize([face] * NUM_CROPS))
    _say(f"crops        {num:,} faces without a detector, {_taken(start, before)}")


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _taken(start: float, before: float) -> str:
    return f"{time.process_time() - start:.1f} CPU s, {_peak() - before:,.0f} MB more than before at the peak"


def _poses(num: int) -> list[np.ndarray]:
    """Return cuts of a photo around its face."""
    photo, rng = data.astronaut(), np.random.default_rng(0)
    corners = rng.integers(0, 60, (num, 2)).tolist()
    return [photo[y : y + 240, 100 + x : 300 + x] for y, x in corners]


if __name__ == "__main__":
    main()
