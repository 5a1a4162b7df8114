"""Kill trainings at random moments, resume them, and compare with one that was left alone.

``python tests/bench/reliability_fit.py [--kills 60] [--preemptions 10]``. A training of 6 epochs gets SIGKILL
after a random part of its time: in a step, in validation, while a checkpoint, angles or figures are written,
or in the test. ``fer fit --resume`` then completes it. Others get SIGTERM three times with ``--on_sigterm
requeue``, each within an epoch, and the same command is repeated. Weights, optimizer, metrics, results,
angles, stages and figures must equal those of the training that was left alone, bit for bit (but not times).
"""

import argparse
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "WANDB_MODE": "disabled"}

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from killed import Child, differences, report, say, say_where

from fer.callbacks.stop import TRY_AGAIN
from fer.runs import Run

FIT = [
    *("fit", "--network=conv1", "--dataset=synthetic", "--trainer.max_epochs=6", "--data.batch_size=16"),
    *("--data.num_train=210", "--data.num_val=70", "--data.num_test=70", "--trainer.accelerator=cpu"),
    *("--distinctiveness.num_samples=70", "--prune.enabled=true", "--prune.similar_below=40"),
    *("--data.num_workers=0", "--early_stopping=5", "--model.schedule=onecycle"),
]


def main() -> int:
    """Stop and resume trainings, and return how many ended otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=60, help="trainings that get SIGKILL (60)")
    parser.add_argument("--preemptions", type=int, default=10, help="trainings that get SIGTERM 3 times (10)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    given = parser.parse_args()
    draw = random.Random(given.seed)
    with TemporaryDirectory() as name:
        os.chdir(name)
        started = time.monotonic()
        Child([*FIT, "--run_name=whole"]).wait()
        seconds = time.monotonic() - started
        whole = state(Run(Path("runs/whole")))
        say(f"the training that is left alone takes {seconds:.1f} s")
        num_failed = report(
            "SIGKILL",
            (kill(number, draw.uniform(0.02, 1.0) * seconds, whole) for number in range(given.kills)),
        )
        preempted = (preempt(number, draw, whole) for number in range(given.preemptions))
        num_failed += report("SIGTERM, 3 times", preempted)
    say_where()
    return num_failed


def kill(number: int, after: float, whole: dict) -> str:
    """Return what differs; empty: nothing."""
    name = f"kill-{number}"
    child = Child([*FIT, f"--run_name={name}"])
    time.sleep(after)
    if Run(Path("runs") / name).results_path.is_file():
        child.wait()
        return differences(state(Run(Path("runs") / name)), whole)  # it was faster than the moment
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    run = Run(Path("runs") / name)
    if run.config_path.is_file():  # else it had only begun to read the data, and left nothing
        again = Child(["fit", "--resume", str(run.folder)])
    else:
        again = Child([*FIT, f"--run_name={name}-again"])
        run = Run(Path("runs") / f"{name}-again")
    if again.wait():
        return f"after {after:.2f} s: {again.log.read_text()[-400:]}"
    problem = differences(state(run), whole)
    return f"after {after:.2f} s: {problem}" if problem else ""


def preempt(number: int, draw: random.Random, whole: dict) -> str:
    """Return what differs; empty: nothing."""
    run = Run(Path("runs") / f"preempted-{number}")
    words = [*FIT, f"--run_name={run.folder.name}", "--on_sigterm=requeue"]
    asked, problems = 0, []
    while not run.results_path.is_file():
        child = Child(words)
        if asked < 3:
            wait_for(run, draw, child)
            os.kill(child.pid, signal.SIGTERM)
            asked += 1
        status = child.wait()
        if status not in (0, TRY_AGAIN):
            return f"exit status {status}: {child.log.read_text()[-400:]}"
    return "; ".join(problems) or differences(state(run), whole)


def wait_for(run: Run, draw: random.Random, child: Child) -> None:
    """Wait until a training trains, and a random while longer."""
    until = time.monotonic() + 60
    while "angles  " not in child.log.read_text() and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(draw.uniform(0.0, 1.5))


def state(run: Run) -> dict:
    """Return all that a training leaves, but the time that it took."""
    found: dict = {"metrics": run.metrics_path.read_text().split(), "stages": run.stages_path.read_bytes()}
    results = json.loads(run.results_path.read_text())
    found["results"] = {key: value for key, value in results.items() if key != "fit_seconds"}
    for path in sorted(run.angles_dir.glob("*.npz")):
        with np.load(path) as arrays:
            found[f"angles/{path.name}"] = {key: arrays[key] for key in arrays}
    for path in sorted(run.figures_dir.glob("*.png")):
        if path.name != "prune.png":  # it shows milliseconds
            found[f"figures/{path.name}"] = path.read_bytes()
    for path in (run.best_checkpoint, run.last_checkpoint, run.pruned_checkpoint):
        content = torch.load(path, weights_only=True)
        kept = ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step", "widths")
        found[path.name] = {key: content[key] for key in kept if key in content}
    return found


if __name__ == "__main__":
    sys.exit(main())
