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
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from measured import HEAD, Figure, machine, ratios, say
from noise import Noise

from fer.tasks import TASKS

PIPELINES: Final[tuple[Literal["device", "loader"], ...]] = ("device", "loader")
PRECISIONS: Final = {"float32": None, "bfloat16": torch.bfloat16}


def compare_rates(size: int, depth: int, num: int, batch_size: int, given: Any) -> Iterator[Figure]:
    """Compare the images a second of a core."""
    title = f"{size}x{size}x{depth}, batch {batch_size}"
    loaders = {name: _loader(num, size, depth, name, batch_size, given.augment) for name in PIPELINES}
    rates: dict[str, list[float]] = defaultdict(list)
    for loader in loaders.values():
        next(iter(loader))  # imports, and first allocations
    for _ in range(given.repeats):
        for name, loader in loaders.items():
            start = time.process_time()
            count = sum(len(labels) for _, labels in loader)
            rates[name].append(count / (time.process_time() - start))
    for name in PIPELINES:
        yield Figure(f"{title}: {name}", rates[name], "/s", note="images of a core")
    yield Figure(f"{title}: device / loader", ratios(*(rates[name] for name in PIPELINES)), least=3)


def compare_waiting(given: Any) -> Iterator[Figure]:
    """Compare the shares of a step of conv6 in which it waits for data."""
    loaders = {name: _loader(128 * given.steps, 48, 1, name, 128, given.augment) for name in PIPELINES}
    for title, precision in PRECISIONS.items():
        shares: dict[str, list[float]] = defaultdict(list)
        for _ in range(given.repeats):
            for name, loader in loaders.items():
                shares[name].append(100 * _share_of_waiting(loader, given.steps, precision))
        for name in PIPELINES:
            most = 3.0 if name == "device" else None
            yield Figure(f"conv6 in {title} waits for data: {name}", shares[name], "%", most=most)


def figures(given: argparse.Namespace) -> Iterator[Figure]:
    """Return the figures of 48x48 images."""
    torch.set_num_threads(1)
    repeats, images = (3, 1024) if given.quick else (5, 3072)
    settings = argparse.Namespace(augment="fer", repeats=repeats, steps=8 if given.quick else 20)
    yield from compare_rates(48, 1, images, 128, settings)
    yield from compare_waiting(settings)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--augment", default="fer")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=3072, help="of 48x48 in an epoch; a twelfth of 224x224")
    parser.add_argument("--steps", type=int, default=20, help="of conv6")
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    say(machine())
    say(HEAD)
    for size, depth, num in ((48, 1, given.images), (224, 3, given.images // 12)):
        for batch_size in (64, 128, 256):
            for figure in compare_rates(size, depth, num, batch_size, given):
                say(str(figure))
    for figure in compare_waiting(given):
        say(str(figure))


def _loader(num: int, size: int, depth: int, pipeline: Any, batch_size: int, augment: Any) -> Any:
    settings = {"image_size": size, "channels": depth, "num_workers": 0, "batch_size": batch_size}
    data = Noise(num, 7, size, pipeline=pipeline, augment=augment, **settings)
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


if __name__ == "__main__":
    main()
