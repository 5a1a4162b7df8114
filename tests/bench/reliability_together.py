"""Eight trainings and the agents of a sweep at once, with one cold cache and one folder of runs.

``python tests/bench/reliability_together.py [--times 3]``. Every training must end as it does alone, every
trial of the sweep must finish once, and ``runs/latest`` must link to one of the runs.
"""

import argparse
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "WANDB_MODE": "disabled"}
sys.path.insert(0, str(Path(__file__).parents[1]))

from killed import Child, differences, report, say_where
from PIL import Image
from skimage import data

from fer.labels import EXPRESSIONS
from fer.runs import Run
from fer.studies.trials import read_trials

FIT = [
    *("fit", "--network=ann", "--dataset=folder", "--data.root=images", "--data.image_size=8"),
    *("--data.crop=viola_jones", "--trainer.max_epochs=2", "--trainer.accelerator=cpu"),
    *("--data.num_workers=0", "--data.batch_size=8", "--distinctiveness.num_samples=20"),
]
NUM = 8
"""Trainings at once."""

SWEEP = """\
command: ["${{interpreter}}", -m, fer, fit, {words}, --config, "${{args_json_file}}"]
method: grid
metric: {{name: val/acc_best, goal: maximize}}
parameters:
  seed_everything: {{values: [0, 1, 2, 3]}}
"""


def main() -> int:
    """Run all of it at once, and return how many times something differed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, default=3, help="repetitions (3)")
    problems = (repeat() for _ in range(parser.parse_args().times))
    num_failed = report(f"{NUM} trainings and a sweep of two agents at once", problems)
    say_where()
    return num_failed


def repeat() -> str:
    """Return what differs; empty: nothing."""
    with TemporaryDirectory() as name:
        os.chdir(name)
        os.environ["FER_CACHE_DIR"] = str(Path("cache").resolve())
        face = Image.fromarray(data.astronaut()[40:200, 140:310])
        for number, expression in enumerate(EXPRESSIONS * 12):
            path = Path("images") / expression / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            face.rotate(number).save(path)
        Path("sweep.yaml").write_text(SWEEP.format(words=", ".join([*FIT[1:], "--test=false"])))
        children = [Child([*FIT, f"--run_name=run-{number}"]) for number in range(NUM)]
        sweep = Child(["sweep", "sweep.yaml", "--agents", "2", "--run_name", "sweep"])
        for child in [*children, sweep]:
            if child.wait():
                return child.log.read_text()[-400:]
        states = [trial.state for trial in read_trials(Path("runs/sweep"))]
        if states != ["finished"] * 4:
            return f"the trials are {states}"
        latest = Path("runs/latest").resolve().name
        if not latest.startswith("run-"):
            return f"runs/latest is {latest}"
        os.environ["FER_CACHE_DIR"] = str(Path("cache-alone").resolve())
        alone = Child([*FIT, "--run_name=alone"])
        if alone.wait():
            return alone.log.read_text()[-400:]
        whole = Run(Path("runs/alone")).read_metrics()
        found = (differences(Run(Path(f"runs/run-{each}")).read_metrics(), whole) for each in range(NUM))
        return next(filter(None, found), "")


if __name__ == "__main__":
    sys.exit(main())
