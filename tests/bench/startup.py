"""Measure start-up: help, imports, and the first batch of a training, cold and forked from a warm process.

``python tests/bench/startup.py [--repeats 5]``. Each figure is the median of repeats that are run in turn,
with the lowest and the highest. The first batch is when the network is first called in training mode; the
processor's seconds are those of the training's own process. What a training costs that takes none of this
package is beside it: torch with an optimizer, which imports ``torch._dynamo``, and a bare LightningModule.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from measured import HEAD, Figure, machine, say

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


OPTIMIZER: Final = "import torch; torch.optim.AdamW(torch.nn.Linear(4, 4).parameters())"
LIGHTNING: Final = """\
import sys, torch, lightning.pytorch as L
class Bare(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)
    def training_step(self, batch, number):
        sys.exit()
    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters())
quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
trainer = L.Trainer(accelerator="cpu", **dict.fromkeys(quiet, False))
trainer.fit(Bare(), torch.utils.data.DataLoader(torch.zeros(8, 4)))
"""
COLD, WARM = "first batch, cold", "first batch, warm"


class Seconds(NamedTuple):
    """What a start took: seconds of the clock, and of the processor."""

    wall: float
    cpu: float


def measure(repeats: int, only: Sequence[str] = ()) -> Mapping[str, list[Seconds]]:
    """Time the starts in turn.

    Args:
        repeats: Of each start.
        only: Names of starts; empty: all.
    """
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    python = [sys.executable, "-c"]
    with TemporaryDirectory() as folder, WarmServer(IMPORTED) as server:
        os.chdir(folder)
        Path("first_batch.py").write_text(NETWORK)
        starts: dict[str, Callable[[], Seconds]] = {
            "python -c pass": lambda: to_the_end([*python, "pass"]),
            "import fer": lambda: to_the_end([*python, "import fer"]),
            "fer --help": lambda: to_the_end([sys.executable, "-m", "fer", "--help"]),
            "import torch": lambda: to_the_end([*python, "import torch"]),
            "torch and an optimizer": lambda: to_the_end([*python, OPTIMIZER]),
            "bare Lightning, first batch": lambda: to_the_end([*python, LIGHTNING]),
            "import fer.commands.fit": lambda: to_the_end([*python, "import fer.commands.fit"]),
            "fer fit --help": lambda: to_the_end([*FIT, "--help"]),
            COLD: lambda: to_the_first_batch(WarmServer([])),
            WARM: lambda: to_the_first_batch(server),
        }
        to_the_first_batch(server)  # which starts it
        found: dict[str, list[Seconds]] = {name: [] for name in only or starts}
        for _ in range(repeats):
            for name, of_start in found.items():
                of_start.append(starts[name]())
    return found


def figures(given: argparse.Namespace) -> Iterator[Figure]:
    """Return the starts of a training, cold and warm, and of a bare one."""
    names = ("fer --help", "torch and an optimizer", "bare Lightning, first batch", COLD, WARM)
    aims = {"fer --help": 0.3, COLD: 5.0, WARM: 1.0}
    for name, found in measure(2 if given.quick else 5, names).items():
        yield Figure(name, [each.cpu for each in found], "CPU s", most=aims.get(name))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="repeats of each start (5)")
    given = parser.parse_args()
    say(machine())
    say(HEAD)
    for name, found in measure(given.repeats).items():
        for kind in ("cpu", "wall"):
            say(str(Figure(name, [getattr(each, kind) for each in found], f"{kind} s")))


def to_the_end(command: list[str]) -> Seconds:
    """Run a command."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, capture_output=True, check=True)
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


if __name__ == "__main__":
    main()
