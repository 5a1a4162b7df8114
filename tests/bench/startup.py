"""Measure start-up: help, imports, and the first batch of a training, cold and forked from a warm process.

``python tests/bench/startup.py [--repeats 5]``. Each figure is the median of repeats that are run in turn,
with the lowest and the highest. The first batch is when the network is first called in training mode; the
processor's seconds are those of the training's own process.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

from fer.commands.sweep import IMPORTED
from fer.studies.trial import STATUS
from fer.studies.warm import WarmServer

NETWORK = """\
import os, time
from pathlib import Path
import torch
from torch import nn

class First(nn.Module):
    def __init__(self, image_size: int = 48, num_classes: int = 7):
        super().__init__()
        self.hidden, self.fc = nn.Linear(image_size**2, 8), nn.Linear(8, num_classes)

    def forward(self, inputs):
        if self.training and torch.is_grad_enabled():
            Path("first").write_text(f"{time.monotonic()} {time.process_time()}")
            os._exit(0)
        return self.fc(self.hidden(inputs.flatten(1)).relu())
"""
FIT = [
    *(sys.executable, "-m", "fer", "fit", "--network", "first_batch.First", "--data.num_train", "70"),
    *(
        "--data.num_val",
        "35",
        "--data.num_test",
        "35",
        "--data.batch_size",
        "35",
        "--trainer.max_epochs",
        "1",
    ),
    *("--trainer.accelerator", "cpu"),
]


class Seconds(NamedTuple):
    """What a start took: seconds of the clock, and of the processor."""

    wall: float
    cpu: float


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="repeats of each start (5)")
    repeats = parser.parse_args().repeats
    root = Path(__file__).parents[2]
    words = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(words, capture_output=True, text=True, cwd=root).stdout.strip()
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "lightning", "torchmetrics"))
    say(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    say(f"{versions}, commit {commit}")
    os.environ["PYTHONPATH"] = str(root)
    python = [sys.executable, "-c"]
    with TemporaryDirectory() as folder, WarmServer(IMPORTED) as server:
        os.chdir(folder)
        Path("first_batch.py").write_text(NETWORK)
        starts: dict[str, Callable[[], Seconds]] = {
            "python -c pass": lambda: to_the_end([*python, "pass"]),
            "import fer": lambda: to_the_end([*python, "import fer"]),
            "fer --help": lambda: to_the_end([sys.executable, "-m", "fer", "--help"]),
            "import torch": lambda: to_the_end([*python, "import torch"]),
            "import lightning.pytorch": lambda: to_the_end([*python, "import lightning.pytorch"]),
            "import fer.commands.fit": lambda: to_the_end([*python, "import fer.commands.fit"]),
            "fer fit --help": lambda: to_the_end([*FIT, "--help"]),
            "first batch, cold": lambda: to_the_first_batch(WarmServer([])),
            "first batch, warm": lambda: to_the_first_batch(server),
        }
        to_the_first_batch(server)  # which starts it
        found: dict[str, list[Seconds]] = {name: [] for name in starts}
        for _ in range(repeats):
            for name, start in starts.items():
                found[name].append(start())
    say(f"{'':26} {'cpu seconds':>22} {'wall seconds':>22} {'n':>3}")
    for name, all_seconds in found.items():
        columns = [spread([getattr(each, kind) for each in all_seconds]) for kind in ("cpu", "wall")]
        say(f"{name:26} {columns[0]:>22} {columns[1]:>22} {repeats:3}")


def spread(values: list[float]) -> str:
    """Return the median with the lowest and the highest value."""
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def to_the_end(command: list[str]) -> Seconds:
    """Run a command."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Seconds(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def to_the_first_batch(server: WarmServer) -> Seconds:
    """Start a training, and end it when its network is called in training mode."""
    Path("first").unlink(missing_ok=True)
    started = time.monotonic()
    with Path("log").open("wb") as log, Path("lock").open("wb") as lock:
        forked = server.start(FIT, (log, log, lock), os.environ, Path(STATUS), patience=2)
        process = forked or subprocess.Popen(FIT, stdout=log, stderr=log)
    while process.poll() is None:
        time.sleep(0.01)
    if not Path("first").exists():
        raise SystemExit(Path("log").read_text())
    reached, cpu = map(float, Path("first").read_text().split())
    return Seconds(reached - started, cpu)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
