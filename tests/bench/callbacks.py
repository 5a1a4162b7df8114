"""What the analysis of neurons, at its defaults, adds to an epoch of conv6 and of resnet on FER2013.

``python tests/bench/callbacks.py``. Images are noise of FER2013's size and number, augmented as the configs
have it. Of an epoch some steps are timed, with the preparation of their batches, and their median is taken
for all; of the callbacks what they take at the end of an epoch is timed whole, in the same run.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from lightning.pytorch import Callback, Trainer

from fer.callbacks import DistinctivenessCallback, StageCallback
from fer.data.base import numbered
from fer.data.images import ImageDataModule, ImageSplit
from fer.tasks import TASKS

NUM_TRAIN = 28_709
BATCH_SIZE = 128


class Noise(ImageDataModule):
    """Images of FER2013's size and number."""

    def load_splits(self) -> dict[str, ImageSplit]:
        """Return as many training images as FER2013 has, and a few others."""
        rng = np.random.default_rng(0)
        return {
            name: ImageSplit(
                images=rng.integers(256, size=(num, 48, 48), dtype=np.uint8),
                labels=np.arange(num) % 7,
                names=numbered(num),
            )
            for name, num in (("train", NUM_TRAIN), ("val", 7), ("test", 7))
        }


class Steps(Callback):
    """Notes when each step of the training ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and write one line for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20, help="of each epoch")
    parser.add_argument("--epochs", type=int, default=3)
    given = parser.parse_args(argv)
    for network in ("conv6", "resnet"):
        steps, seconds = Steps(), {}
        callbacks = [DistinctivenessCallback(), StageCallback()]
        for callback in callbacks:
            for hook in ("on_before_optimizer_step", "on_train_batch_end", "on_train_epoch_end"):
                _time(callback, hook, seconds.setdefault(type(callback).__name__, []))
        folder = tempfile.TemporaryDirectory()
        trainer = Trainer(
            accelerator="cpu",
            default_root_dir=folder.name,
            callbacks=[*callbacks, steps],
            max_epochs=given.epochs,
            limit_train_batches=given.steps,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        data = Noise(image_size=48, channels=1, batch_size=BATCH_SIZE, augment="fer")
        trainer.fit(TASKS[network](), datamodule=data)
        gaps = np.diff(steps.ends)
        step = statistics.median(gaps[np.arange(1, len(steps.ends)) % given.steps != 0])
        epoch = step * (NUM_TRAIN // BATCH_SIZE)
        of_each = {name: sum(taken) / given.epochs for name, taken in seconds.items()}
        parts = ", ".join(f"{name} {taken:.2f} s" for name, taken in of_each.items())
        share = 100 * sum(of_each.values()) / epoch
        sys.stdout.write(f"{network:<8} epoch {epoch:6.1f} s   {parts}   +{share:.1f} %\n")


def _time(callback: Callback, hook: str, seconds: list[float]) -> None:
    """Let a callback's hook add to a list what it takes."""
    plain: Callable[..., None] = getattr(callback, hook)

    def timed(*args: Any, **kwargs: Any) -> None:
        started = time.perf_counter()
        plain(*args, **kwargs)
        seconds.append(time.perf_counter() - started)

    setattr(callback, hook, timed)


if __name__ == "__main__":
    main()
