"""Images cropped in a second, one by one, in batches and from the cache, against facenet-pytorch.

``python tests/bench/crop.py [FOLDER]``; without a folder, on a photo in several poses. The oracle is
facenet-pytorch's MTCNN, called once for each image as its documentation has it. All ways start from the
files and are timed in turn, in one process; of the repetitions the fastest counts, as whatever else the
machine does only slows it.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from facenet_pytorch import MTCNN
from PIL import Image
from skimage import data, transform

from fer.data.crops import BATCH_SIZE, crop_images
from fer.data.detectors import MTCNN_MIN_FACE
from fer.data.faces import CropSettings
from fer.data.reading import find_images

SIZE = 160
"""Side of a crop, in pixels: facenet-pytorch's own."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and write one line for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder", type=Path, nargs="?", help="images; left out, an astronaut in several poses"
    )
    parser.add_argument("--num", type=int, default=64, help="images to take, evenly from all")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        paths = find_images(given.folder) if given.folder else _poses(scratch / "poses", given.num)
        paths = [paths[index * len(paths) // given.num] for index in range(min(given.num, len(paths)))]
        _measure(paths, scratch, given.repeats)


def _measure(paths: Sequence[Path], scratch: Path, repeats: int) -> None:
    settings = CropSettings(size=SIZE, fallback="drop")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    oracle = MTCNN(image_size=SIZE, min_face_size=MTCNN_MIN_FACE, post_process=False, device=device)

    def call_oracle(cache: Path) -> int:
        del cache
        faces = []
        for path in paths:
            with Image.open(path) as image:
                faces.append(oracle(image.convert("RGB")))
        return sum(face is not None for face in faces)

    def crop(cache: Path, batch_size: int) -> int:
        return len(crop_images(paths, settings, cache=cache, batch_size=batch_size).images)

    ways: dict[str, Callable[[Path], int]] = {
        "facenet-pytorch": call_oracle,
        "one by one": lambda cache: crop(cache, 1),
        f"in batches of {BATCH_SIZE}": lambda cache: crop(cache, BATCH_SIZE),
    }
    call_oracle(scratch)  # what is slow once: libraries, files, memory
    seconds = {way: float("inf") for way in [*ways, "from the cache"]}
    found: dict[str, int] = {}
    for repeat in range(repeats):
        for way, run in ways.items():
            cache = scratch / f"{way}-{repeat}"
            start = time.perf_counter()
            found[way] = run(cache)
            seconds[way] = min(seconds[way], time.perf_counter() - start)
        start = time.perf_counter()
        found["from the cache"] = crop(cache, BATCH_SIZE)  # that of the last way
        seconds["from the cache"] = min(seconds["from the cache"], time.perf_counter() - start)
    sys.stdout.write(f"{len(paths)} images, {device}, {torch.get_num_threads()} threads\n")
    for way, spent in seconds.items():
        ratio = seconds["facenet-pytorch"] / spent
        sys.stdout.write(
            f"{way:<20} {len(paths) / spent:8.1f} a second, x {ratio:6.2f}, {found[way]} faces\n"
        )


def _poses(folder: Path, num: int) -> list[Path]:
    """Write images of 720x576 pixels: a photo turned, shifted and scaled at random, with noise."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(num):
        pose = transform.SimilarityTransform(
            scale=rng.uniform(0.7, 1.3), rotation=rng.uniform(-0.3, 0.3), translation=rng.uniform(-60, 60, 2)
        )
        image = transform.warp(data.astronaut(), pose.inverse, output_shape=(576, 720), mode="reflect")
        noisy = 255 * image + rng.normal(0, 8, image.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03}.png")
    return sorted(folder.iterdir())


if __name__ == "__main__":
    main()
