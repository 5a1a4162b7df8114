"""``fer fit`` in this process, with the CPU seconds of its parts, scaled to an epoch of FER2013."""

import io
import statistics
import tempfile
import time
from collections import defaultdict
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from lightning.pytorch import Callback
from lightning.pytorch.profilers import Profiler
from measured import SIZES
from noise import Noise

from fer.callbacks.media import draw_later
from fer.commands.choices import choose
from fer.commands.experiment import ExperimentCLI, run_experiment
from fer.configs import config_path

BATCH_SIZE: Final = 128
ANALYSIS: Final = ("DistinctivenessCallback", "StageCallback")

IMPORTS: Final = time.process_time()
"""CPU seconds of a process before it does anything."""


@dataclass(frozen=True)
class Size:
    """How much of an epoch is run.

    Attributes:
        steps: Training batches beside the first, which may wait for what an epoch needs once.
        batches: Validation batches.
        epochs: The first is not timed.
        turns: Of all ways.
    """

    steps: int = 32
    batches: int = 8
    epochs: int = 3
    turns: int = 3

    @property
    def images(self) -> dict[str, int]:
        """Number of training and of validation images, as settings of :class:`noise.Noise`."""
        return {"num_train": (self.steps + 1) * BATCH_SIZE, "num_val": self.batches * BATCH_SIZE}

    def whole(self, first: float, training: float, validation: float, once: float = 0.0) -> float:
        """Return the seconds of an epoch of FER2013.

        Args:
            first: From the start to the end of the first step.
            training: From there to the validation.
            validation: Of the validation.
            once: From there to the next epoch.
        """
        of_train, of_val = (SIZES[name] / BATCH_SIZE for name in ("train", "val"))
        scaled = training * (of_train - 1) / self.steps + validation * of_val / self.batches
        return first + scaled + once


QUICK: Final = {
    "conv6": Size(steps=16, batches=8, epochs=2, turns=2),
    "alexnet": Size(steps=8, batches=2, epochs=2, turns=2),
    "resnet": Size(steps=4, batches=2, epochs=2, turns=2),
}


@dataclass
class Fit:
    """CPU seconds of a training.

    Attributes:
        first: Of each epoch but the first, from its start to the end of its first step.
        training: Of each epoch but the first, from there to its validation.
        validation: Of each epoch but the first.
        once: Of each epoch but the first, from the end of its validation to the next epoch.
        analysis: The part of these that callbacks spend on neurons.
        outside: Before the first epoch, and after the last one.
    """

    first: list[float] = field(default_factory=list)
    training: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    once: list[float] = field(default_factory=list)
    analysis: list[float] = field(default_factory=list)
    outside: float = 0.0

    def epoch(self, size: Size) -> float:
        """Return the seconds of an epoch of FER2013."""
        parts = (self.first, self.training, self.validation, self.once)
        return size.whole(*(statistics.median(each) for each in parts))

    def share_outside(self, size: Size, num_epochs: int) -> float:
        """Return the share of a whole fit outside training, validation and analysis, in percent."""
        once = statistics.median(self.once) - statistics.median(self.analysis)
        return 100 * (self.outside + num_epochs * once) / (self.outside + num_epochs * self.epoch(size))


class Watch(Callback):
    """Notes the CPU seconds at which parts of an epoch begin; it comes before all other callbacks."""

    def __init__(self) -> None:
        self.marks: list[tuple[str, float]] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        """Note the start of an epoch."""
        self.marks.append(("first", time.process_time()))

    def on_train_batch_end(self, *_: Any) -> None:
        """Note the end of the first step."""
        if self.marks[-1][0] == "first":
            self.marks.append(("training", time.process_time()))

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
    watch, clock = Watch(), Clock()

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
        config["data"] |= {**size.images, "num_workers": 0}
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        words = ["--config", str(path), "--trainer.max_epochs", str(size.epochs)]
        words += ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
        words += ["--runs_dir", folder, "--wandb.mode", "disabled", "--test", "false", *extra]
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            run_experiment("fit", *choose(words), cli=Timed)
    times = Fit(outside=IMPORTS + watch.marks[0][1] - began + time.process_time() - watch.marks[-1][1])
    for (kind, start), (_, end) in list(zip(watch.marks, watch.marks[1:], strict=False))[4:]:
        getattr(times, kind).append(end - start)
    times.analysis = [clock.analysis[epoch + 1] for epoch in range(1, size.epochs)]
    return times
