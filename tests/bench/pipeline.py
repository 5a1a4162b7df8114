"""Images a second of the data pipeline: augmented by the batch, and one by one by albumentations.

``python tests/bench/pipeline.py``. Both load the same noise through the training loader without workers, in
turn, on one thread, and CPU seconds count. Then ``conv6`` trains some steps with either, in float32 and in
bfloat16, and the share of the time that its steps wait for data is reported. Medians, least and most.

What did not help at 48x48 on a Xeon with AMX, in microseconds an image: ``affine_grid`` and grids of pairs
(13 to 22 instead of 1.5), ``grid_sample`` in bfloat16 (48 instead of 7), ``torch.where`` and
``masked_fill_`` with a mask of bools to erase (8 instead of 2), ``clamp_`` by tensors to fold light and
normalisation into one factor (5 instead of 0.3), ``images[rows]`` instead of ``index_select`` (1.8 and
0.1), parts of a batch that fit the cache.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fer.data.base import numbered
from fer.data.images import ImageDataModule, ImageSplit
from fer.tasks import TASKS

PIPELINES: tuple[Literal["device", "loader"], ...] = ("device", "loader")


class Noise(ImageDataModule):
    """Images of noise.

    Args:
        num: Of the train split.
        size: Height and width, in pixels.
        depth: Colour channels.
        **kwargs: See :class:`fer.data.images.ImageDataModule`.
    """

    def __init__(self, num: int, size: int, depth: int, **kwargs: Any) -> None:
        super().__init__(image_size=size, channels=depth, num_workers=0, **kwargs)
        self.nums = {"train": num, "val": 7, "test": 7}
        self.shape = (size, size) if depth == 1 else (size, size, 3)

    def load_splits(self) -> dict[str, ImageSplit]:
        """Return the splits."""
        rng = np.random.default_rng(0)
        return {
            name: ImageSplit(
                images=rng.integers(256, size=(num, *self.shape), dtype=np.uint8),
                labels=np.arange(num) % 7,
                names=numbered(num),
            )
            for name, num in self.nums.items()
        }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and write one line for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--augment", default="fer")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=3072, help="of 48x48 in an epoch; a twelfth of 224x224")
    parser.add_argument("--steps", type=int, default=20, help="of conv6")
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False)
    sys.stdout.write(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, "
        f"albumentations {version('albumentations')}, commit {commit.stdout.strip() or 'none'}\n"
        f"augment {given.augment}, {given.repeats} repeats in turn, one thread\n\n"
        "images a second of a core       device                    loader                    ratio\n"
    )
    for size, depth, num in ((48, 1, given.images), (224, 3, given.images // 12)):
        for batch_size in (64, 128, 256):
            rates: dict[str, list[float]] = {name: [] for name in PIPELINES}
            loaders = {name: _loader(num, size, depth, name, batch_size, given.augment) for name in PIPELINES}
            for loader in loaders.values():
                next(iter(loader))  # imports, and first allocations
            for _ in range(given.repeats):
                for name, loader in loaders.items():
                    start = time.process_time()
                    count = sum(len(labels) for _, labels in loader)
                    rates[name].append(count / (time.process_time() - start))
            ratio = statistics.median(rates["device"]) / statistics.median(rates["loader"])
            cells = "".join(f"{_spread(rates[name], '8,.0f'):<26}" for name in PIPELINES)
            sys.stdout.write(f"{size}x{size}x{depth}, batch {batch_size:<10} {cells}{ratio:5.2f}\n")
    sys.stdout.write("\nshare of a step of conv6 that waits for data, batch 128 of 48x48\n")
    for precision in (None, torch.bfloat16):
        loaders = {name: _loader(128 * given.steps, 48, 1, name, 128, given.augment) for name in PIPELINES}
        shares: dict[str, list[float]] = {name: [] for name in PIPELINES}
        for _ in range(given.repeats):
            for name, loader in loaders.items():
                shares[name].append(_share_of_waiting(loader, given.steps, precision))
        cells = "".join(f"{_spread([100 * x for x in shares[name]], '5.1f'):<26}" for name in PIPELINES)
        sys.stdout.write(f"{'float32' if precision is None else 'bfloat16':<26} {cells}%\n")


def _loader(num: int, size: int, depth: int, pipeline: Any, batch_size: int, augment: Any) -> Any:
    data = Noise(num, size, depth, pipeline=pipeline, batch_size=batch_size, augment=augment)
    data.setup()
    return data.train_dataloader()


def _share_of_waiting(loader: Any, steps: int, precision: torch.dtype | None) -> float:
    """Train some steps, and return the share of their CPU time before each batch was there."""
    torch.manual_seed(0)
    task = TASKS["conv6"]()
    optimizer = torch.optim.AdamW(task.parameters())
    waited, start = 0.0, time.process_time()
    batches = islice(loader, steps)
    while True:
        asked = time.process_time()
        batch: tuple[Tensor, Tensor] | None = next(batches, None)
        waited += time.process_time() - asked
        if batch is None:
            return waited / (time.process_time() - start)
        inputs, labels = batch
        with torch.autocast("cpu", precision, enabled=precision is not None):
            loss = torch.nn.functional.cross_entropy(task(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _spread(values: Sequence[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}-{max(values):{form}})".replace(
        "( ", "("
    )


if __name__ == "__main__":
    main()
