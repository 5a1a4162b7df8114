"""Compare an epoch of fer fit with the way that students train: rows parsed or files decoded one by one.

``python tests/bench/students.py``. Theirs: a pandas table whose text of pixels is parsed for each item, or
``ImageFolder`` with a PNG file for each; torchvision's transforms for each image (mirror, rotation), the
default ``DataLoader``, float32, and a loop that asks for loss and accuracy in each step. Ours: ``fer fit``
as shipped, with angles, stages and its heavier augmentation. Both train and validate on a part of FER2013's
number of images, of noise, on one thread in turn; CPU seconds are scaled to all of them.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
import yaml
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

sys.path.insert(0, str(Path(__file__).parents[1]))

from measured import Figure, print_figures, quieten, ratios
from timed_fit import BATCH_SIZE, QUICK, Size, fit

from fer.configs import config_path
from fer.models import NETWORKS

AIMS: Final = {"conv6": 3.0, "alexnet": 2.0}
"""By network how many times as fast an epoch is to be."""


class RowsOfText(Dataset[Any]):
    """FER2013's table, each row parsed when it is asked for."""

    def __init__(self, path: Path, transform: Callable[[Image.Image], Any]) -> None:
        self.table, self.transform = pd.read_csv(path), transform

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        row = self.table.iloc[index]
        pixels = np.array(row["pixels"].split(" "), dtype="uint8").reshape(48, 48)
        return self.transform(Image.fromarray(pixels)), int(row["emotion"])


def write(folder: Path, num: int) -> None:
    """Write images of noise as a table and as files."""
    images = np.random.default_rng(0).integers(256, size=(num, 48, 48), dtype=np.uint8)
    text = [" ".join(map(str, image.ravel())) for image in images]
    pd.DataFrame({"emotion": np.arange(num) % 7, "pixels": text}).to_csv(folder / "rows.csv", index=False)
    for number, image in enumerate(images):
        path = folder / "files" / str(number % 7) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def datasets(kind: str, folder: Path, image_size: int) -> list[Dataset[Any]]:
    """Return the data to train on, and to validate on."""
    common = [transforms.Grayscale(), transforms.Resize((image_size, image_size))]
    end = [transforms.ToTensor(), transforms.Normalize([0.5], [0.5])]
    mirrored = [transforms.RandomHorizontalFlip(), transforms.RandomRotation(10)]
    both = [transforms.Compose([*common, *extra, *end]) for extra in (mirrored, [])]
    if kind == "rows of text":
        return [RowsOfText(folder / "rows.csv", each) for each in both]
    return [ImageFolder(folder / "files", each) for each in both]


def theirs(name: str, kind: str, folder: Path, size: Size) -> float:
    """Train for an epoch, and return the CPU seconds of one of FER2013."""
    config = yaml.safe_load(config_path(name).read_text())
    image_size = config["data"].get("image_size", 48)
    train, val = datasets(kind, folder, image_size)
    torch.manual_seed(0)
    network = NETWORKS[name](image_size=image_size)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    criterion = torch.nn.CrossEntropyLoss()
    running, num_right, start = 0.0, 0, time.process_time()
    for number, (inputs, labels) in enumerate(DataLoader(train, batch_size=BATCH_SIZE, shuffle=True)):
        optimizer.zero_grad()
        outputs = network(inputs)
        loss = criterion(outputs, labels)
        loss.backward()
        optimizer.step()
        running += loss.item()
        num_right += (outputs.argmax(1) == labels).sum().item()
        if number == 0:  # the first step also chooses and compiles kernels
            began = time.process_time()
        if number == size.steps:
            break
    middle = time.process_time()
    network.eval()
    with torch.no_grad():
        for number, (inputs, labels) in enumerate(DataLoader(val, batch_size=BATCH_SIZE)):
            if number == size.batches:
                break
            outputs = network(inputs)
            running += criterion(outputs, labels).item()
            num_right += (outputs.argmax(1) == labels).sum().item()
    return size.whole(began - start, middle - began, time.process_time() - middle)


def figures(given: argparse.Namespace) -> Iterator[Figure]:
    """Compare the ways in turn."""
    quieten()
    torch.set_num_threads(1)
    kinds = ("rows of text", "files")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = {network: QUICK[network] if given.quick else Size() for network in AIMS}
        write(folder, BATCH_SIZE * max(size.steps + 1 for size in sizes.values()))
        for network, size in sizes.items():
            found: dict[str, list[float]] = defaultdict(list)
            for _ in range(size.turns):
                found["ours"].append(fit(network, size, draws=False).epoch(size))
                for kind in kinds:
                    found[kind].append(theirs(network, kind, folder, size))
            seconds = f"{statistics.median(found['ours']):.0f} s ours"
            for kind in kinds:
                times = ratios(found[kind], found["ours"])
                yield Figure(
                    f"{network}: students' way / ours, {kind}", times, least=AIMS[network], note=seconds
                )


if __name__ == "__main__":
    print_figures(figures, __doc__, quick="fewer steps and turns")
