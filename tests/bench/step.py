"""Time a training step of each network: float32 and bfloat16, with and without torch.compile.

``python tests/bench/step.py [NETWORK ...] [--batch N] [--repeats N]``. The step is what ``fer fit`` does with
a batch that lies on the device: forward pass, loss, backward pass, optimizer. Networks, images and batches
are those of the shipped configs. The ways to compute a step take turns, so that whatever slows the machine
down slows all of them. Printed are the medians of the repeats with the lowest and the highest: images a
second, the ratio to float32 in the same turn, the arithmetic that the network needs (GFLOP/s, by torch's own
count), and the seconds of the first step, which compiles. Seconds are processor time with one thread on a
CPU, and wall-clock time otherwise.

``by kernels`` leaves out the matrix products that take the place of convolutions to small maps on a CPU
(``fer.tasks.small_maps``): of resnet, the ratio between these lines is what the products bring.
"""

import argparse
import copy
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest.mock import patch

import torch
import yaml
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))

from measured import Figure, machine, processor, ratios, say

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
    has_products: bool = True

    def __str__(self) -> str:
        kernels = "" if self.has_products else " by kernels"
        return f"{self.precision}{' compiled' if self.is_compiled else ''}{kernels}"


BY_KERNELS: Final = Way("bf16", is_compiled=False, has_products=False)
"""Without the products of :mod:`fer.tasks.small_maps`; of resnet on a CPU."""

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
        # A module's global is replaced, as no option leaves the products out.
        products = nullcontext() if way.has_products else patch("fer.tasks.base.SmallMaps", nullcontext)
        is_half = way.precision == "bf16"
        with products, torch.autocast(kind, torch.bfloat16, enabled=is_half, cache_enabled=False):
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


def ways_of(name: str, given: argparse.Namespace) -> list[Way]:
    """Return how the steps of a network are computed."""
    ways = [way for way in WAYS if given.compile or not way.is_compiled]
    return [*ways, BY_KERNELS] if name == "resnet" and given.device == "cpu" else ways


def time_steps(
    name: str, given: argparse.Namespace, ways: Sequence[Way]
) -> tuple[int, dict[Way, list[float]], dict[Way, float]]:
    """Time the ways to compute a step in turn.

    Returns:
        Images of a step; by way the seconds of a step in each turn, and those of the first step.
    """
    task, batch = build(name, given.batch, given.device)
    steps, first = {}, {}
    torch.compiler.reset()
    for way in ways:
        step = make_step(copy.deepcopy(task), batch, way)
        first[way] = timed(step, 1, given.device)
        steps[way] = step
    seconds: dict[Way, list[float]] = {way: [] for way in steps}
    for _ in range(given.repeats):
        for way, step in steps.items():
            seconds[way].append(timed(step, given.steps, given.device))
    return len(batch[0]), seconds, first


def measure(name: str, given: argparse.Namespace) -> Iterator[str]:
    """Time the ways to compute a step in turn, and return a line for each."""
    flops = count_flops(name, given.device)
    num, seconds, first = time_steps(name, given, ways_of(name, given))
    plain = seconds[WAYS[0]]
    for way, found in seconds.items():
        rates = [num / each for each in found]
        to_float32 = ratios(plain, found)
        middle = statistics.median(rates)
        yield (
            f"{name:<9} {way!s:<17} {num:5}  {middle:9,.0f} [{min(rates):9,.0f}, {max(rates):9,.0f}]  "
            f"{statistics.median(to_float32):5.2f} [{min(to_float32):5.2f}, {max(to_float32):5.2f}]  "
            f"{middle * flops / 1e9:8,.1f}  {first[way]:6.1f}"
        )


def figures(given: argparse.Namespace) -> Iterator[Figure]:
    """Return what bfloat16 brings each network, and what products of matrices bring resnet."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    turns, steps = (3, 1) if given.quick else (5, 3)
    settings = argparse.Namespace(batch=None, device=device, repeats=turns, steps=steps, compile=False)
    compiled = Way("bf16", is_compiled=True)
    for name in NETWORKS:
        ways = ways_of(name, settings) + ([] if given.quick else [compiled])
        num, seconds, first = time_steps(name, settings, ways)
        of_float32, of_bf16 = (seconds[way] for way in WAYS[:2])
        note = f"{num / statistics.median(of_bf16):,.0f} images/s in bf16, batch {num}"
        yield Figure(f"{name}: bf16 / float32", ratios(of_float32, of_bf16), "x", note=note)
        if compiled in seconds:
            gained = ratios(of_bf16, seconds[compiled])
            note = f"{first[compiled]:.0f} s to compile"
            yield Figure(f"{name}: torch.compile, bf16", gained, "x", note=note)
        if BY_KERNELS in seconds:
            gained = ratios(seconds[BY_KERNELS], of_bf16)
            yield Figure(f"{name}: products of small maps / kernels", gained, "x", least=2)


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
    name = torch.cuda.get_device_name() if given.device == "cuda" else processor()
    say(machine())
    say(
        f"{name}, {given.threads} threads; {given.repeats} turns of {given.steps} steps: "
        "median [lowest, highest]"
    )
    say(
        f"{'network':<9} {'computed in':<17} {'batch':>5}  {'images/s':>32}  {'x float32':>20}  "
        f"{'GFLOP/s':>8}  {'first s':>6}"
    )
    for each in given.networks:
        for line in measure(each, given):
            say(line)


if __name__ == "__main__":
    main()
