"""Compare an epoch of fer fit with a bare loop: same network, augmentation, precision and validation.

``python tests/bench/epoch.py [NETWORK ...]``. Both run in one process on one thread, in turn, and CPU
seconds of this process count. A part of FER2013's number of images is trained on, images of noise; training
and validation are scaled to all of them, and what an epoch needs once is added. ``fer fit`` runs as
shipped, with and without the angles and the stages of neurons: they are measured at the end of each epoch
here, and in between within ``distinctiveness.budget``, 5 % of the time. The share outside training,
validation and analysis is that of a whole ``fer fit`` of the config's number of epochs, without W&B and
without the test: imports, start, and end with its figures count once.
"""

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
import yaml
from lightning.pytorch import Callback
from lightning.pytorch.profilers import Profiler

sys.path.insert(0, str(Path(__file__).parents[1]))

from measured import HEAD, SIZES, Figure, machine, quieten, ratios, say
from noise import Noise

from fer.callbacks.media import draw_later
from fer.commands.choices import choose
from fer.commands.experiment import ExperimentCLI, run_experiment
from fer.commands.precision import choose_precision, find_device
from fer.configs import config_path
from fer.tasks import TASKS
from fer.tasks.optim import make_optimizer

NETWORKS: Final = ("conv6", "alexnet", "resnet")
BATCH_SIZE: Final = 128
WITHOUT_ANGLES: Final = ("--distinctiveness.every_n_epochs", "0", "--stages.enabled", "false")
ANALYSIS: Final = ("DistinctivenessCallback", "StageCallback")


@dataclass(frozen=True)
class Size:
    """How much of an epoch is run.

    Attributes:
        steps: Training batches.
        batches: Validation batches.
        epochs: The first is not timed.
        turns: Of all ways.
    """

    steps: int = 32
    batches: int = 8
    epochs: int = 3
    turns: int = 3

    def whole(self, training: float, validation: float, once: float = 0.0) -> float:
        """Return the seconds of an epoch of FER2013."""
        of_train, of_val = (SIZES[name] / BATCH_SIZE for name in ("train", "val"))
        return training * of_train / self.steps + validation * of_val / self.batches + once


QUICK: Final = {
    "conv6": Size(steps=16, batches=4, epochs=2, turns=2),
    "alexnet": Size(steps=8, batches=2, epochs=2, turns=2),
    "resnet": Size(steps=4, batches=1, epochs=2, turns=2),
}


@dataclass
class Fit:
    """CPU seconds of a training.

    Attributes:
        training: Of each epoch but the first, from its start to its validation.
        validation: Of each epoch but the first.
        once: Of each epoch but the first, from the end of its validation to the next epoch.
        analysis: The part of these that callbacks spend on neurons.
        outside: Before the first epoch, and after the last one.
    """

    training: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    once: list[float] = field(default_factory=list)
    analysis: list[float] = field(default_factory=list)
    outside: float = 0.0

    def epoch(self, size: Size) -> float:
        """Return the seconds of an epoch of FER2013."""
        middle = [statistics.median(each) for each in (self.training, self.validation, self.once)]
        return size.whole(*middle)

    def share_outside(self, size: Size, num_epochs: int) -> float:
        """Return the share of a whole fit outside training, validation and analysis, in percent."""
        once = statistics.median(self.once) - statistics.median(self.analysis)
        return 100 * (self.outside + num_epochs * once) / (self.outside + num_epochs * self.epoch(size))


class Watch(Callback):
    """Notes the CPU seconds at which parts of an epoch begin; it comes before all other callbacks."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.marks: list[tuple[str, float]] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        """Note the start of an epoch."""
        self.marks.append(("epoch", time.process_time()))

    def on_validation_start(self, trainer: Any, *_: Any) -> None:
        """Note the end of the training in an epoch."""
        if not trainer.sanity_checking:
            self.marks.append(("validation", time.process_time()))

    def on_validation_end(self, trainer: Any, *_: Any) -> None:
        """Note the end of the validation."""
        if not trainer.sanity_checking:
            self.marks.append(("once", time.process_time()))

    def on_train_end(self, *_: Any) -> None:
        """Note the end of the last epoch."""
        self.marks.append(("end", time.process_time()))


class Clock(Profiler):
    """Adds up the CPU seconds of the analysis after each validation."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: dict[str, float] = {}
        self.analysis: dict[int, float] = defaultdict(float)
        self.epoch = 0

    def start(self, action_name: str) -> None:
        """Note the time."""
        self.begun[action_name] = time.process_time()

    def stop(self, action_name: str) -> None:
        """Add the time since."""
        spent = time.process_time() - self.begun.pop(action_name, time.process_time())
        if action_name.startswith("[Callback]") and action_name.endswith(".on_train_epoch_end"):
            if any(name in action_name for name in ANALYSIS):
                self.analysis[self.epoch] += spent
        elif action_name == "run_training_epoch":
            self.epoch += 1


class _EndedError(Exception):
    """The training has ended."""


def fit(name: str, size: Size, *extra: str, draws: bool = True) -> Fit:
    """Train by ``fer fit``, and return its times.

    Args:
        name: Of the network.
        size: How much is run.
        *extra: Words of the command line.
        draws: Whether figures are drawn at the end.
    """
    began = time.process_time()
    watch, clock = Watch(began), Clock()

    class Timed(ExperimentCLI):
        def instantiate_trainer(self, **kwargs: Any) -> Any:
            trainer = super().instantiate_trainer(profiler=clock, **kwargs)
            trainer.callbacks.insert(0, watch)
            return trainer

        def _fit(self) -> None:
            if draws:
                super()._fit()
                return
            with suppress(_EndedError), draw_later(self.trainer):  # which after an error draws nothing
                self.trainer.fit(self.model, datamodule=self.datamodule)
                raise _EndedError

    with tempfile.TemporaryDirectory() as folder:
        config = yaml.safe_load(config_path(name).read_text())
        config["dataset"] = f"{Noise.__module__}.{Noise.__qualname__}"
        config["data"].pop("protocol")
        config["data"] |= {"num_train": size.steps * BATCH_SIZE, "num_val": size.batches * BATCH_SIZE}
        config["data"]["num_workers"] = 0
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        words = ["--config", str(path), "--trainer.max_epochs", str(size.epochs)]
        words += ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
        words += ["--runs_dir", folder, "--wandb.mode", "disabled", "--test", "false", *extra]
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            run_experiment("fit", *choose(words), cli=Timed)
    times = Fit(outside=IMPORTS + watch.marks[0][1] - began + time.process_time() - watch.marks[-1][1])
    for (kind, start), (_, end) in list(zip(watch.marks, watch.marks[1:], strict=False))[3:]:
        {"epoch": times.training, "validation": times.validation, "once": times.once}[kind].append(
            end - start
        )
    times.analysis = [clock.analysis[epoch + 1] for epoch in range(1, size.epochs)]
    return times


def bare(name: str, size: Size) -> float:
    """Train by a bare loop, and return the CPU seconds of an epoch of FER2013."""
    config = yaml.safe_load(config_path(name).read_text())
    settings = {key: value for key, value in config["data"].items() if key != "protocol"}
    data = Noise(size.steps * BATCH_SIZE, size.batches * BATCH_SIZE, num_workers=0, **settings)
    data.setup()
    task = TASKS[name](image_size=data.image_size, **config["model"])
    optimizer = make_optimizer(task.network, task.optimizer_settings, fused=True)
    is_half = choose_precision(find_device("cpu", 1)).name == "bf16-mixed"
    train, val = data.train_dataloader(), data.val_dataloader()
    seconds = []
    for _ in range(size.epochs):
        began = time.process_time()
        task.train()
        for inputs, labels in train:
            with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
                loss = task.loss_of(task(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        middle, num_right, total = time.process_time(), torch.tensor(0), torch.tensor(0.0)
        task.eval()
        for inputs, labels in val:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=is_half):
                logits = task(inputs)
                total += task.loss_of(logits, labels)
                num_right += (logits.argmax(1) == labels).sum()
        seconds.append(size.whole(middle - began, time.process_time() - middle))
    return statistics.median(seconds[1:])


def compare(name: str, size: Size) -> Iterator[Figure]:
    """Compare the ways in turn."""
    quieten()
    torch.set_num_threads(1)
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(size.turns):
        loop = bare(name, size)
        plain, whole = fit(name, size, *WITHOUT_ANGLES, draws=False), fit(name, size)
        found["loop"].append(loop)
        found["plain"].append(plain.epoch(size))
        found["whole"].append(whole.epoch(size))
        num_epochs = yaml.safe_load(config_path(name).read_text())["trainer"]["max_epochs"]
        found["outside"].append(whole.share_outside(size, num_epochs))
    yield Figure(f"{name}: epoch of a bare loop", found["loop"], "s")
    yield Figure(f"{name}: fer fit / bare loop", ratios(found["plain"], found["loop"]), most=1.05)
    of_whole = ratios(found["whole"], found["loop"])
    yield Figure(f"{name}: fer fit with angles / bare loop", of_whole, most=1.10)
    note = f"of {num_epochs} epochs"
    yield Figure(f"{name}: outside training, val, analysis", found["outside"], "%", most=3, note=note)


def figures(given: argparse.Namespace) -> Iterator[Figure]:
    """Return the figures of all networks."""
    for name in NETWORKS:
        yield from compare(name, QUICK[name] if given.quick else Size())


IMPORTS: Final = time.process_time()
"""CPU seconds of a process before it does anything."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS), metavar="NETWORK")
    parser.add_argument("--quick", action="store_true", help="fewer steps and turns")
    given = parser.parse_args(argv)
    say(machine())
    say(HEAD)
    for name in given.networks:
        for figure in compare(name, QUICK[name] if given.quick else Size()):
            say(str(figure))


if __name__ == "__main__":
    main()
