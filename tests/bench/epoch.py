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
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import torch
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from measured import HEAD, Figure, machine, quieten, ratios, say
from noise import Noise
from timed_fit import QUICK, Size, fit

from fer.commands.precision import choose_precision, find_device
from fer.configs import config_path
from fer.tasks import TASKS
from fer.tasks.optim import make_optimizer

NETWORKS: Final = ("conv6", "alexnet", "resnet")
WITHOUT_ANGLES: Final = ("--distinctiveness.every_n_epochs", "0", "--stages.enabled", "false")


def bare(name: str, size: Size) -> float:
    """Train by a bare loop, and return the CPU seconds of an epoch of FER2013."""
    config = yaml.safe_load(config_path(name).read_text())
    settings = {key: value for key, value in config["data"].items() if key != "protocol"}
    data = Noise(**size.images, num_workers=0, **settings)
    data.setup()
    task = TASKS[name](image_size=data.image_size, **config["model"])
    optimizer = make_optimizer(task.network, task.optimizer_settings, fused=True)
    is_half = choose_precision(find_device("cpu", 1)).name == "bf16-mixed"
    train, val = data.train_dataloader(), data.val_dataloader()
    seconds = []
    for _ in range(size.epochs):
        began = time.process_time()
        task.train()
        for number, (inputs, labels) in enumerate(train):
            with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
                loss = task.loss_of(task(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if number == 0:
                first = time.process_time()
        middle, num_right, total = time.process_time(), torch.tensor(0), torch.tensor(0.0)
        task.eval()
        for inputs, labels in val:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=is_half):
                logits = task(inputs)
                total += task.loss_of(logits, labels)
                num_right += (logits.argmax(1) == labels).sum()
        seconds.append(size.whole(first - began, middle - first, time.process_time() - middle))
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
