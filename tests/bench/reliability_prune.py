"""Kill ``fer prune --tune_epochs`` at random moments, and compare what it ends with.

``python tests/bench/reliability_prune.py [--times 10] [--rounds 0]``. A small network is trained on synthetic
data and pruned in three rounds, or, with ``--rounds 0``, once. It gets SIGKILL at a random moment, twice, and
the same command completes it: weights, results and files must be those of the pruning that was left alone,
bit for bit, and no finished round may be done again.
"""

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from fer.pruning.kept import KeptRounds

SMALL = [
    *("--data.num_train", "140", "--data.num_val", "35", "--data.num_test", "35", "--data.batch_size", "20"),
    *("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--wandb.mode", "disabled"),
    *("--gradients.every_n_epochs", "0", "--distinctiveness.every_n_epochs", "0"),
    *("--stages.enabled", "false", "--test", "false", "--model.widths", "[4, 6, 6, 8, 8]"),
]
FER = [sys.executable, "-m", "fer"]
PRUNE = [
    *(*FER, "prune", "runs/a", "--tolerance", "1", "--tune_epochs", "3"),
    *("--prune.similar_below", "60", "--prune.complementary_above", "120", "--run_name"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, default=10, help="prunings that are killed (10)")
    parser.add_argument("--kills", type=int, default=2, help="kills of each (2)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; 0: pruned once (3)")
    given = parser.parse_args()
    PRUNE[-1:-1] = ["--rounds", str(given.rounds)]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout
    problems: list[str] = []
    moments: list[str] = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        run([*FER, "fit", "--run_name", "a", *SMALL], folder)
        began = time.monotonic()
        run([*PRUNE, "whole"], folder)
        seconds = time.monotonic() - began
        for seed in range(given.times):
            found, when = kill(folder, seed, given.kills, seconds)
            problems += [f"seed {seed}: {problem}" for problem in found[:1]]
            moments += when
    sys.stdout.write(
        f"prune --rounds {given.rounds}: {given.times - len(problems)} of {given.times} equal to the pruning "
        f"that was left alone, {given.kills} kills each\n"
        f"  finished rounds when killed: {', '.join(moments)}\n"
        f"  {platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, {commit}"
    )
    sys.stdout.writelines(f"  {problem}\n" for problem in problems)
    if problems:
        raise SystemExit(1)


def kill(folder: Path, seed: int, kills: int, seconds: float) -> tuple[list[str], list[str]]:
    """Kill a pruning several times and complete it; return what is wrong, and where it was killed."""
    chance = random.Random(seed)
    whole, cut = folder / "runs" / "whole", folder / "runs" / f"cut-{seed}"
    kept, finished, moments = KeptRounds.of(cut), {}, []
    for _ in range(kills):
        run([*PRUNE, cut.name], folder, chance.uniform(0.0, seconds))
        again = [path.name for path, at in finished.items() if path.is_file() and _changed(path) != at]
        if again:
            return [f"{', '.join(again)} was written again"], moments
        finished |= {path: _changed(path) for path in kept.folder.glob("round-*.ckpt")}
        moments.append(
            "not begun" if not cut.exists() else f"{kept.num_finished}" if kept.is_cut_off else "all"
        )
    if kept.is_cut_off or not (cut / "prune.json").is_file():
        run([*PRUNE, cut.name], folder)
    problems = []
    if _files(whole) != _files(cut):
        problems.append(f"other files: {sorted(_files(whole) ^ _files(cut))}")
    if _results(whole) != _results(cut):
        problems.append("other results")
    states = [torch.load(each / "checkpoints" / "pruned.ckpt")["state_dict"] for each in (whole, cut)]
    if states[0].keys() != states[1].keys() or any(
        not tensor.equal(states[1][name]) for name, tensor in states[0].items()
    ):
        problems.append("other weights")
    return problems, moments


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _results(folder: Path) -> dict[str, Any]:
    """Return the results without what is timed."""
    results: dict[str, Any] = json.loads((folder / "prune.json").read_text())
    for when in ("before", "after"):
        del results[when]["milliseconds"]
        results[when].pop("milliseconds_quartiles", None)
    return results


def run(command: Sequence[str], folder: Path, seconds: float | None = None) -> None:
    """Run a command to its end, or kill it after some seconds."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    output = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return
    if status and seconds is None:
        raise SystemExit(f"{' '.join(command)} ended with status {status}")


if __name__ == "__main__":
    main()
