"""Cost against the number of samples, neurons, layers, folds and trials, drawn, with slopes.

``python tests/bench/growth.py --plot growth.png``. A slope is that of a line through the logarithms of
number and seconds: 1 is linear, below 1 is a fixed cost beside it, and 2 is quadratic, as angles between
all pairs of neurons are. Samples, neurons and layers are measured in this process on one thread, folds and
trials as commands with the processes that they start: ``fer crossval`` and ``fer sweep`` on images of
noise, one epoch each.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from matplotlib.figure import Figure as Drawing
from PIL import Image
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from measured import HEAD, Figure, machine, say

from fer.labels import EXPRESSIONS
from fer.neurons import angles, measure
from fer.tasks import TASKS

ROOT: Final = Path(__file__).parents[2]
WIDTH: Final = 64
NUM_SAMPLES: Final = 2048
TRAINING: Final = (
    *("--network", "ann", "--dataset", "folder", "--data.root", "images", "--data.image_size", "8"),
    *("--data.batch_size", "16", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"),
    *("--wandb.mode", "disabled", "--gradients.every_n_epochs", "0"),
    *("--distinctiveness.every_n_epochs", "0", "--stages.enabled", "false"),
)
SWEEP: Final = """\
program: fer
method: grid
metric: {name: val/acc, goal: maximize}
parameters:
  seed_everything: {values: [0, 1, 2, 3, 4, 5, 6, 7]}
command: ["${env}", "${interpreter}", -m, fer, fit, WORDS, --test, "false", --config, "${args_json_file}"]
"""


def seconds_of(call: Callable[[], object]) -> float:
    """Return the CPU seconds of this process in a call."""
    began = time.process_time()
    call()
    return time.process_time() - began


def of_samples(num: int) -> float:
    """Measure the neurons of conv6."""
    task = TASKS["conv6"]()
    images = torch.randn(num, 1, 48, 48)
    layers = list(task.neuron_layers.values())

    def call() -> None:
        for each in measure(task.network, images.split(256), layers).values():
            angles(each)

    return seconds_of(call)


def of_chain(widths: Sequence[int]) -> float:
    """Measure the neurons of linear layers that follow one another."""
    parts = [
        nn.Sequential(nn.Linear(before, after), nn.ReLU())
        for before, after in zip((WIDTH, *widths), widths, strict=False)
    ]
    network, inputs = nn.Sequential(*parts), torch.randn(NUM_SAMPLES, WIDTH)
    layers = [str(number) for number in range(len(parts))]

    def call() -> None:
        for each in measure(network, inputs.split(256), layers).values():
            angles(each)

    return seconds_of(call)


def write_images(folder: Path) -> None:
    """Write images of noise, 20 of each class."""
    rng = np.random.default_rng(0)
    for expression in EXPRESSIONS:
        (folder / expression).mkdir(parents=True)
        for number in range(20):
            image = Image.fromarray(rng.integers(256, size=(8, 8), dtype=np.uint8))
            image.save(folder / expression / f"{number}.png")


def of_command(words: Sequence[str]) -> float:
    """Run a command, and return the CPU seconds of all its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "FER_CACHE_DIR": folder}
        write_images(Path(folder) / "images")
        if words[0] == "sweep":
            listed = ", ".join(f'"{word}"' for word in TRAINING)
            (Path(folder) / "sweep.yaml").write_text(SWEEP.replace("WORDS", listed))
        command = [sys.executable, "-m", "fer", *words]
        ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(ended.stdout + ended.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


KINDS: Final[Mapping[str, tuple[Callable[[int], float], tuple[int, ...]]]] = {
    "samples": (of_samples, (512, 1024, 2048, 4096)),
    "neurons": (lambda num: of_chain([num]), (256, 512, 1024, 2048)),
    "layers": (lambda num: of_chain([WIDTH] * num), (4, 8, 16, 32)),
    "folds": (lambda num: of_command(["crossval", "--folds", str(num), *TRAINING]), (2, 4, 8)),
    "trials": (lambda num: of_command(["sweep", "sweep.yaml", "--count", str(num)]), (2, 4, 8)),
}
"""By kind what measures the cost, and the numbers."""


def figures(given: argparse.Namespace) -> Iterator[Figure]:
    """Return the slopes, and draw the costs where the user says."""
    torch.set_num_threads(1)
    found = {}
    for kind, (cost, numbers) in KINDS.items():
        is_command = kind in ("folds", "trials")
        used = numbers[:2] if given.quick and is_command else numbers
        turns = 1 if is_command else 3
        if not is_command:
            cost(used[0])  # imports, and first allocations
        seconds = [[cost(num) for num in used] for _ in range(turns)]
        slopes = [float(np.polyfit(np.log(used), np.log(each), 1)[0]) for each in seconds]
        found[kind] = used, [statistics.median(each) for each in zip(*seconds, strict=True)]
        note = f"{found[kind][1][0]:.2g} s for {used[0]}, {found[kind][1][-1]:.2g} s for {used[-1]}"
        is_linear = kind != "neurons"
        yield Figure(f"slope of the cost against {kind}", slopes, most=1.1 if is_linear else 2.1, note=note)
    if given.plot is not None:
        draw(found).savefig(given.plot, dpi=120)


def draw(found: Mapping[str, tuple[Sequence[int], Sequence[float]]]) -> Drawing:
    """Draw the costs, with lines of slope 1 through the last point."""
    figure = Drawing((3 * len(found), 3), layout="constrained")
    for ax, (kind, (numbers, seconds)) in zip(figure.subplots(1, len(found)), found.items(), strict=True):
        ax.loglog(numbers, seconds, "o-", color="C0", label="measured")
        linear = [seconds[-1] * num / numbers[-1] for num in numbers]
        ax.loglog(numbers, linear, "--", color="0.6", label="linear")
        ax.set_xlabel(kind)
        ax.set_yticks(seconds, [f"{each:.2g}" for each in seconds])
        ax.set_xticks(numbers, list(map(str, numbers)), minor=False)
        ax.minorticks_off()
        ax.set_ylabel("CPU seconds")
        ax.legend(frameon=False)
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer folds and trials")
    parser.add_argument("--plot", type=Path, help="PNG that is drawn")
    given = parser.parse_args(argv)
    say(machine())
    say(HEAD)
    for figure in figures(given):
        say(str(figure))


if __name__ == "__main__":
    main()
