"""Time a training step of each network: float32 and bfloat16, with and without torch.compile.

``python tests/bench/step.py [NETWORK ...] [--batch N] [--repeats N]``. The step is what ``fer fit`` does with
a batch that lies on the device: forward pass, loss, backward pass, optimizer. Networks, images and batches
are those of the shipped configs. The ways to compute a step take turns, so that whatever slows the machine
down slows all of them. Printed are the medians of the repeats with the lowest and the highest: images a
second, the ratio to float32 in the same turn, the arithmetic that the network needs (GFLOP/s, by torch's own
count), and the seconds of the first step, which compiles. Seconds are processor time with one thread on a
CPU, and wall-clock time otherwise.
"""

import argparse
import copy
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from fer.configs import config_path
from fer.models import NETWORKS
from fer.tasks import TASKS, ClassificationTask
from fer.tasks.optim import FUSED, make_optimizer

NUM_FEATURES = 10
"""Of ann's inputs."""


class Way(NamedTuple):
    """How a step is computed."""

    precision: str
    is_compiled: bool

    def __str__(self) -> str:
        return f"{self.precision}{' compiled' if self.is_compiled else ''}"


WAYS = [Way(precision, compiled) for compiled in (False, True) for precision in ("float32", "bf16")]


def build(name: str, batch: int | None, device: str) -> tuple[ClassificationTask, tuple[Tensor, Tensor]]:
    """Return the task of a shipped config and a batch of noise."""
    config = yaml.safe_load(config_path(name).read_text())
    data, settings = config["data"], config["model"]
    shape: tuple[int, ...] = (NUM_FEATURES,)
    if name == "ann":
        settings["in_features"] = NUM_FEATURES
    else:
        size = {"channels": data.get("channels", 1), "image_size": data.get("image_size", 48)}
        settings |= size
        shape = (size["channels"], size["image_size"], size["image_size"])
    if "pretrained" in settings:
        settings["pretrained"] = False  # the weights do not change the time
    torch.manual_seed(0)
    num = batch or data["batch_size"]
    task = TASKS[name](**settings).train().to(device)
    return task, (torch.randn(num, *shape, device=device), torch.arange(num, device=device) % 7)


def make_step(task: ClassificationTask, batch: tuple[Tensor, Tensor], way: Way) -> Callable[[], None]:
    """Return a function that takes one training step."""
    inputs, labels = batch
    if way.is_compiled:
        task.network.compile()
    kind = inputs.device.type
    optimizer = make_optimizer(task.network, task.optimizer_settings, fused=kind in FUSED)

    def step() -> None:
        # As Lightning does: no cache, and the gradients of the last step are given back first.
        with torch.autocast(kind, torch.bfloat16, enabled=way.precision == "bf16", cache_enabled=False):
            loss = task.loss_of(task(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def count_flops(name: str, device: str) -> float:
    """Return the floating-point operations of a step, for one image."""
    task, batch = build(name, 2, device)
    with FlopCounterMode(display=False) as counter:
        make_step(task, batch, Way("float32", is_compiled=False))()
    return counter.get_total_flops() / 2


def clock(device: str) -> float:
    """Return a time in seconds, once the device has done what it was asked for."""
    if device == "cuda":
        torch.cuda.synchronize()
    is_alone = device == "cpu" and torch.get_num_threads() == 1
    return time.process_time() if is_alone else time.perf_counter()


def timed(call: Callable[[], None], num: int, device: str) -> float:
    """Return the seconds of a call, of several."""
    began = clock(device)
    for _ in range(num):
        call()
    return (clock(device) - began) / num


def measure(name: str, given: argparse.Namespace) -> Iterator[str]:
    """Time the ways to compute a step in turn, and return a line for each."""
    task, batch = build(name, given.batch, given.device)
    num, flops = len(batch[0]), count_flops(name, given.device)
    steps, first = {}, {}
    torch.compiler.reset()
    for way in WAYS:
        if way.is_compiled and not given.compile:
            continue
        step = make_step(copy.deepcopy(task), batch, way)
        first[way] = timed(step, 1, given.device)
        steps[way] = step
    seconds: dict[Way, list[float]] = {way: [] for way in steps}
    for _ in range(given.repeats):
        for way, step in steps.items():
            seconds[way].append(timed(step, given.steps, given.device))
    plain = seconds[WAYS[0]]
    for way, found in seconds.items():
        rates = [num / each for each in found]
        ratios = [one / other for one, other in zip(plain, found, strict=True)]
        middle = statistics.median(rates)
        yield (
            f"{name:<9} {way!s:<17} {num:5}  {middle:9,.0f} [{min(rates):9,.0f}, {max(rates):9,.0f}]  "
            f"{statistics.median(ratios):5.2f} [{min(ratios):5.2f}, {max(ratios):5.2f}]  "
            f"{middle * flops / 1e9:8,.1f}  {first[way]:6.1f}\n"
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Print the machine and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS), metavar="NETWORK", help="(all)")
    parser.add_argument("--batch", type=int, help="images of a step (those of the config)")
    parser.add_argument("--repeats", type=int, default=5, help="turns (5)")
    parser.add_argument("--steps", type=int, default=3, help="steps of a turn (3)")
    parser.add_argument("--threads", type=int, default=1, help="threads on a CPU (1)")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda"
    )
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave out torch.compile")
    given: Any = parser.parse_args(argv)
    if unknown := [name for name in given.networks if name not in NETWORKS]:
        parser.error(f"{unknown[0]} is no network: there are {', '.join(NETWORKS)}")
    warnings.simplefilter("ignore")
    torch.set_num_threads(given.threads)
    name = (
        torch.cuda.get_device_name() if given.device == "cuda" else f"{processor()}, {given.threads} threads"
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    say(
        f"{platform.machine()} {name}; torch {torch.__version__}, {commit.stdout.strip()}; "
        f"{given.repeats} turns of {given.steps} steps: median [lowest, highest]\n"
    )
    say(f"{'network':<9} {'computed in':<17} {'batch':>5}  {'images/s':>32}  {'x float32':>20}  ")
    say(f"{'GFLOP/s':>8}  {'first s':>6}\n")
    for each in given.networks:
        for line in measure(each, given):
            say(line)


def processor() -> str:
    """Return the name of the processor where the system tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
