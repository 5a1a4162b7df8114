"""What the analysis of neurons, at its defaults, adds to an epoch: our conv6 and resnet, and foreign modules.

``python tests/bench/callbacks.py``. Trainings with and without ``DistinctivenessCallback`` and
``StageCallback`` alternate in one run. Reported are the median epoch without them, and the median of the
differences in each pair with its range. Of large data only some steps of an epoch are trained, and the rest
is computed from the median step. conv6 and resnet train on noise of FER2013's size and number, augmented as
their configs have it; ``tests/foreign`` has the other two, as people write them elsewhere.
"""

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer, seed_everything

from fer.callbacks import DistinctivenessCallback, StageCallback
from fer.tasks import TASKS

sys.path.insert(0, str(Path(__file__).parents[1]))

from foreign.digits import DigitsDataModule, LitDigits
from foreign.images import CornersDataModule, LitResnet
from measured import SIZES, machine, quieten
from noise import Noise

CIFAR10_TRAIN, BATCH_SIZE = 50_000, 128


class Case(NamedTuple):
    """What is trained.

    Attributes:
        make: Makes a module and its data.
        names: Names of its training and validation loss.
        num_steps: Steps of a whole epoch; None: those that are trained.
    """

    make: Callable[[], tuple[LightningModule, LightningDataModule]]
    names: tuple[str, str] = ("train_loss", "val_loss")
    num_steps: int | None = None


def _noise() -> Noise:
    return Noise(num_val=7, batch_size=BATCH_SIZE, augment="fer")


def _corners(num_steps: int) -> CornersDataModule:
    num_train = num_steps * BATCH_SIZE
    return CornersDataModule(size=32, num_train=num_train, num_val=1024, batch_size=BATCH_SIZE)


def cases(num_steps: int) -> dict[str, Case]:
    """Return what is trained, by name."""
    ours, steps = ("train/loss", "val/loss"), SIZES["train"] // BATCH_SIZE
    return {
        "conv6": Case(lambda: (TASKS["conv6"](), _noise()), ours, steps),
        "resnet": Case(lambda: (TASKS["resnet"](), _noise()), ours, steps),
        "digits MLP": Case(lambda: (LitDigits(), DigitsDataModule(num_train=1280, num_val=512))),
        "torchvision resnet18": Case(
            lambda: (LitResnet(), _corners(num_steps)), num_steps=CIFAR10_TRAIN // BATCH_SIZE
        ),
    }


class Watch(Callback):
    """Notes when each epoch and each step of it began and ended."""

    def __init__(self) -> None:
        self.epochs: list[float] = []
        self.steps: list[float] = []
        self.last = 0.0

    def on_train_epoch_start(self, *_: Any) -> None:
        """Note when an epoch begins; the one before has ended, with its validation and its callbacks."""
        self.last = time.perf_counter()
        self.epochs.append(self.last)

    def on_train_batch_end(self, *_: Any) -> None:
        """Note what a step took, with the preparation of its batch."""
        now = time.perf_counter()
        self.steps.append(now - self.last)
        self.last = now

    def on_train_end(self, *_: Any) -> None:
        """Note when the last epoch ends."""
        self.epochs.append(time.perf_counter())

    @property
    def epoch(self) -> float:
        """The median epoch in seconds, without the first."""
        return statistics.median(np.diff(self.epochs)[1:])


def train(case: Case, callbacks: list[Callback], num_steps: int, num_epochs: int) -> Watch:
    """Train, and return the times."""
    seed_everything(0, verbose=False)
    watch = Watch()
    module, data = case.make()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        trainer = Trainer(
            accelerator="cpu",
            default_root_dir=folder,
            callbacks=[watch, *callbacks],
            max_epochs=num_epochs,
            limit_train_batches=None if case.num_steps is None else num_steps,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, datamodule=data)
    return watch


def measure(name: str, case: Case, num_steps: int, num_epochs: int, repetitions: int) -> str:
    """Train in pairs, and return the line of the report."""
    epochs, added = [], []
    for repetition in range(repetitions):
        callbacks: list[Callback] = [
            DistinctivenessCallback(),
            StageCallback(train_loss=case.names[0], val_loss=case.names[1]),
        ]
        turns = [callbacks, []] if repetition % 2 else [[], callbacks]
        watched = {bool(turn): train(case, turn, num_steps, num_epochs) for turn in turns}
        plain, with_callbacks = watched[False], watched[True]
        left_out = 0 if case.num_steps is None else case.num_steps - num_steps
        epochs.append(plain.epoch + left_out * statistics.median(plain.steps))
        added.append(with_callbacks.epoch - plain.epoch)
    epoch, middle = statistics.median(epochs), statistics.median(added)
    low, high = (100 * bound / epoch for bound in (min(added), max(added)))
    return (
        f"{name:<21} epoch {epoch:8.3f} s   +{middle:6.3f} s   "
        f"{100 * middle / epoch:+6.1f} %   [{low:+.1f}, {high:+.1f}]\n"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and write one line for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8, help="steps of an epoch of large data")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of a training; the first is not timed")
    parser.add_argument("--repetitions", type=int, default=5, help="pairs of trainings")
    parser.add_argument("--only", nargs="+", choices=list(cases(1)), default=list(cases(1)))
    given = parser.parse_args(argv)
    quieten()
    threads = f"{torch.get_num_threads()} threads"
    sys.stdout.write(f"{machine()}; {threads}; {given.repetitions} pairs: median [lowest, highest]\n")
    for name in given.only:
        line = measure(name, cases(given.steps)[name], given.steps, given.epochs, given.repetitions)
        sys.stdout.write(line)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
