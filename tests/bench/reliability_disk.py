"""Train on small disks that run full, and complete the runs with more space.

``python tests/bench/reliability_disk.py [--sizes 10]``. A training of 6 epochs writes to a file system of its
own in memory, which only root can mount. With each size it runs full somewhere else: while the run begins, in
checkpoints, angles, figures, or not at all. It must end by itself, with one line of error or none; whatever
is there must be readable; and ``fer fit --resume`` with more space must end with the weights, metrics, angles
and results of a training that was left alone.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from fer.checkpoints import read_any_checkpoint
from fer.runs import Run

FIT = [
    *(sys.executable, "-m", "fer", "fit"),
    *("--network=ann", "--dataset=synthetic", "--run_name=a", "--trainer.max_epochs=6"),
    *("--data.num_train=140", "--data.num_val=70", "--data.num_test=70", "--data.batch_size=32"),
    *("--data.image_size=16", "--model.hidden=300", "--model.optimizer=adam", "--trainer.accelerator=cpu"),
]
LARGE = 256 * 1024**2
UNEQUAL = ("fit_seconds",)
"""Results that are never equal."""


def main(words: Sequence[str] | None = None) -> int:
    """Run the training on each size, resume it, and print what differs; return 1 if anything does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, default=10, help="number of sizes (10)")
    parser.add_argument("--wandb", default="offline", help="wandb.mode of the runs (offline)")
    given = parser.parse_args(words)
    with TemporaryDirectory() as name:
        folder = Path(name)
        whole = folder / "whole"
        whole.mkdir()
        fit(whole, given.wandb, check=True)
        used = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file())
        num_equal, problems = 0, []
        for number in range(given.sizes):
            size = int(used * (0.02 + 1.05 * number / max(1, given.sizes - 1)))
            found = try_size(folder / f"disk-{number}", size, whole, given.wandb)
            sys.stdout.write(f"{size / 1e6:6.2f} MB  {found}\n")
            sys.stdout.flush()
            num_equal += "equal" in found
            problems += [found] if "PROBLEM" in found else []
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    sys.stdout.write(
        f"{num_equal} of {given.sizes} equal to a training that was left alone ({used / 1e6:.2f} MB), "
        f"{len(problems)} with problems; {platform.node()}, {os.cpu_count()} cores, torch {torch.__version__}"
        f", commit {commit.stdout.strip()}\n"
    )
    return int(bool(problems) or num_equal < given.sizes)


def fit(folder: Path, wandb: str, *more: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    """Train in a folder, with caches and W&B's files there, too."""
    own = {name: str(folder / name) for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")}
    words = [*FIT, f"--wandb.mode={wandb}"] if not more else [*FIT[:4], *more]
    return subprocess.run(
        [*words, *(() if more else ("--runs_dir=runs",))],
        cwd=folder,
        capture_output=True,
        text=True,
        check=check,
        timeout=600,
        env={**os.environ, **own, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )


def try_size(disk: Path, size: int, whole: Path, wandb: str) -> str:
    """Train on a disk of a size, resume the run on a larger one, and return what happened."""
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=True)
    try:
        first = fit(disk, wandb)
        errors = [line for line in first.stderr.splitlines() if ": error:" in line]
        story = re.sub(r"\S+/disk-\d+/", "", errors[0].partition(": error: ")[2]) if errors else "no error"
        if "Traceback" in first.stderr or len(errors) > 1 or bool(errors) != bool(first.returncode):
            return f"PROBLEM: status {first.returncode}, {first.stderr[-1500:]}"
        if torn := torn_files(disk):
            return f"PROBLEM: torn: {', '.join(torn)}; {story}"
        subprocess.run(["mount", "-o", f"remount,size={LARGE}", disk], check=True)
        run = Run(disk / "runs" / "a")
        if not run.config_path.is_file():
            second = fit(disk, wandb)
        elif not run.results_path.is_file():
            second = fit(disk, wandb, "--resume", "runs/a")
        else:
            second = first
        if second.returncode and second is not first:
            return f"PROBLEM: not resumed: {second.stderr[-1500:]}; {story}"
        differing = differences(run, Run(whole / "runs" / "a"))
        return f"PROBLEM: {', '.join(differing)} differ; {story}" if differing else f"equal; {story}"
    finally:
        subprocess.run(["umount", disk], check=True)


def torn_files(folder: Path) -> list[str]:
    """Return the files of fer's that cannot be read, and drafts that are left."""
    torn = [path.name for path in folder.rglob(".*.tmp")]
    readers = {".ckpt": read_any_checkpoint, ".npz": lambda path: dict(np.load(path)), ".json": _read_json}
    for path in (folder / "runs" / "a").rglob("*"):
        if "wandb" in path.parts or path.suffix not in readers:
            continue
        try:
            readers[path.suffix](path)
        except ValueError as error:
            torn.append(f"{path.name} ({error})")
    for run in (Run(path) for path in (folder / "runs").glob("[!l]*")):
        run.read_metrics()
        run.read_config()
    return torn


def _read_json(path: Path) -> object:
    return json.loads(path.read_text())


def differences(run: Run, whole: Run) -> list[str]:
    """Return what differs between two runs."""
    if not run.results_path.is_file():
        return ["no results"]
    differing = []
    for name in ("best_checkpoint", "last_checkpoint"):
        states = [read_any_checkpoint(getattr(each, name))["state_dict"] for each in (run, whole)]
        if any(not torch.equal(states[0][key], states[1][key]) for key in states[1]):
            differing.append(name)
    results = [
        {key: value for key, value in each.read_results().items() if key not in UNEQUAL}
        for each in (run, whole)
    ]
    differing += ["results"] if results[0] != results[1] else []
    differing += ["metrics"] if run.metrics_path.read_bytes() != whole.metrics_path.read_bytes() else []
    differing += ["stages"] if run.read_stages() != whole.read_stages() else []
    if run.measured_epochs() != whole.measured_epochs():
        return [*differing, "measured epochs"]
    for epoch in whole.measured_epochs():
        mine, theirs = run.read_angles(epoch), whole.read_angles(epoch)
        if any(not np.array_equal(mine[layer], theirs[layer], equal_nan=True) for layer in theirs):
            differing.append(f"angles of epoch {epoch}")
    return differing


if __name__ == "__main__":
    sys.exit(main())
