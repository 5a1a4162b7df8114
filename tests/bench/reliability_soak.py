"""Many trainings in one process and many trials of a sweep: memory and open files must not grow.

``python tests/bench/reliability_soak.py [--trainings 300] [--trials 50]``. Each training is the whole command
``fer fit`` on made-up images, with figures, checkpoints and a test. The slopes are those of a line through
the second half, in which everything that is kept once has been loaded.
"""

import argparse
import gc
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import yaml

from fer.__main__ import main as fer
from fer.studies.study import open_study
from fer.studies.sweep import Limits, run_sweep
from fer.studies.sweepfile import read_sweep

FIT = [
    *("--network", "ann", "--dataset", "synthetic", "--data.image_size", "8", "--data.num_train", "70"),
    *("--data.num_val", "35", "--data.num_test", "35", "--data.batch_size", "14"),
    *("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--wandb.mode", "disabled"),
]
SWEEP = {
    "program": "trial.py",
    "method": "random",
    "metric": {"name": "m", "goal": "maximize"},
    "parameters": {"x": {"min": 0.0, "max": 1.0}},
    "command": ["${interpreter}", "-S", "-E", "${program}", "${args_json_file}"],
}
PROGRAM = """\
import json, os, sys
with open(os.environ["FER_SWEEP_METRICS"], "a") as file:
    file.write(json.dumps({"m": json.load(open(sys.argv[1]))["x"]}) + "\\n")
"""

MOST_KILOBYTES = 500
"""Growth of memory for each training or trial that counts as flat, in kB."""

MOST_FILES = 0.02
"""Growth of the number of open files for each training or trial that counts as flat."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run both, print a line for each, and return 1 if anything grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trainings", type=int, default=300, help="trainings in this process (300)")
    parser.add_argument("--trials", type=int, default=50, help="trials of the sweep (50)")
    given = parser.parse_args(argv)
    sys.stdout.write(f"{platform.machine()}, {os.cpu_count()} cores\n")
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        grew = [_soak("trainings", _train, given.trainings), _soak("trials", _run_trials, given.trials)]
    return int(any(grew))


def _soak(name: str, repeat: Callable[[int, Callable[[], None]], None], num: int) -> bool:
    """Measure after each of several repetitions, print the slopes, and return whether anything grew."""
    seen: list[tuple[float, int, int]] = []

    def measure() -> None:
        gc.collect()
        seen.append((_kilobytes(), _count("/proc/self/fd"), _count("/proc/self/task")))

    repeat(num, measure)
    numbers = np.array(seen, dtype=float)
    half = numbers[len(numbers) // 2 :]
    slopes = np.polyfit(np.arange(len(half)), half, 1)[0] * len(seen) / num
    kilobytes, files, threads = slopes
    grew = kilobytes > MOST_KILOBYTES or files > MOST_FILES or threads > MOST_FILES
    sys.stdout.write(
        f"{name:<10} n = {num:>3}  memory {half[0, 0] / 1000:.0f} to {half[-1, 0] / 1000:.0f} MB, "
        f"{kilobytes:+.0f} kB each; open files {half[-1, 1]:.0f}, {files:+.3f} each; "
        f"threads {half[-1, 2]:.0f}, {threads:+.3f} each{'  GREW' if grew else ''}\n"
    )
    sys.stdout.flush()
    return bool(grew)


def _kilobytes() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("VmRSS")))


def _count(folder: str) -> int:
    return sum(1 for _ in Path(folder).iterdir())


def _train(num: int, measure: Callable[[], None]) -> None:
    with Path("log.txt").open("w") as file:
        for number in range(num):
            with redirect_stdout(file), redirect_stderr(file):
                status = fer(["fit", *FIT, "--run_name", str(number), "--seed_everything", str(number)])
            if status:
                raise SystemExit(f"training {number} ended with status {status}")
            measure()


def _run_trials(num: int, measure: Callable[[], None]) -> None:
    Path("trial.py").write_text(PROGRAM)
    Path("sweep.yaml").write_text(yaml.safe_dump(SWEEP | {"run_cap": num}))
    study = open_study(Path("sweep"), read_sweep(Path("sweep.yaml")), 0)
    run_sweep(study, Limits(), lambda trials, changed: measure())


if __name__ == "__main__":
    sys.exit(main())
