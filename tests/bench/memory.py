"""Peak memory of a training on FER2013: resident memory of the process and its children, added up.

``python tests/bench/memory.py``. ``fer fit`` reads the whole data set, trains some steps, validates, tests
and draws, as a training of any length does. The data is that of ``FER_DATA_DIR`` or, without one, a CSV of
noise of the same size. Memory is read from /proc every 50 ms. Pages that processes share
count once: where a process starts another, both have the same pages for a moment.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from measured import SIZES, Figure, print_figures

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
USAGES: Final = {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}


def processes(pid: int) -> list[int]:
    """Return a process and its children, which may be gone by now."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(each) for task in tasks for each in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return [pid]
    return [pid, *(each for child in children for each in processes(child))]


def resident(pid: int) -> int:
    """Return the resident bytes of a process, also those that it shares; 0 once it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0


def proportional(pid: int) -> int:
    """Return the resident bytes of a process, its share of those that it shares; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def peak(network: str, root: Path, steps: int) -> list[float]:
    """Train, and return what process and children have at the peak, in GiB."""
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log.txt").open("w+") as log:
        words = ["--config", network, "--data.root", str(root), "--trainer.max_epochs", "1"]
        words += ["--trainer.limit_train_batches", str(steps), "--trainer.accelerator", "cpu"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "fer", "fit", *words]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment)
        most = [0]
        while process.poll() is None:
            family = processes(process.pid)
            if sum(map(resident, family)) > sum(most):  # else there is no need for what takes longer to read
                most = max(most, [proportional(each) for each in family], key=sum)
            time.sleep(0.05)
        if process.returncode:
            log.seek(0)
            raise SystemExit(log.read())
    return [each / 2**30 for each in most]


def write_noise(folder: Path) -> None:
    """Write images of noise as FER2013's table."""
    rng = np.random.default_rng(0)
    words = np.arange(256).astype(str)
    with (folder / "fer2013.csv").open("w") as file:
        file.write("emotion,pixels,Usage\n")
        for split, num in SIZES.items():
            for number in range(num):
                pixels = " ".join(words[rng.integers(256, size=48 * 48)])
                file.write(f"{number % 7},{pixels},{USAGES[split]}\n")


def figures(given: argparse.Namespace) -> Iterator[Figure]:
    """Return the peaks of trainings."""
    networks = ("conv6",) if given.quick else ("conv6", "alexnet", "resnet")
    with tempfile.TemporaryDirectory() as name:
        root = Path(os.environ.get("FER_DATA_DIR", "data")).absolute()
        is_noise = not root.is_dir()
        if is_noise:
            root = Path(name)
            write_noise(root)
        for network in networks:
            peaks = [peak(network, root, 20) for _ in range(1 if given.quick else 3)]
            note = f"{peaks[0][0]:.2f} without {len(peaks[0]) - 1} children{', noise' if is_noise else ''}"
            totals = [sum(each) for each in peaks]
            yield Figure(f"{network}: peak memory of a training", totals, "GiB", most=2.0, note=note)


if __name__ == "__main__":
    print_figures(figures, __doc__, quick="one training of conv6")
