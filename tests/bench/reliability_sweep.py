"""Kill sweeps and cross-validations at random moments, and compare what they end with.

``python tests/bench/reliability_sweep.py [--times 10]``. A sweep, or its trials with it, gets SIGKILL several
times; the same command then completes it. The trials must be those of a sweep that was left alone: each point
finished once, with the same value. A cross-validation of a small network is killed and completed in the same
way; every fold must have the same results, and no finished fold may be run again.
"""

import argparse
import csv
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import yaml
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from forked import Forked

from fer.labels import EXPRESSIONS
from fer.studies.trials import read_trials

PROGRAM = """\
import json, os, sys, time
x = json.load(open(sys.argv[1]))["x"]
for epoch in range(3):
    time.sleep(0.1)
    with open(os.environ["FER_SWEEP_METRICS"], "a") as file:
        file.write(json.dumps({"m": x / (4 - epoch)}) + "\\n")
"""
SWEEP = {
    "program": "trial.py",
    "method": "random",
    "run_cap": 12,
    "metric": {"name": "m", "goal": "maximize"},
    "parameters": {"x": {"min": 0.0, "max": 1.0}},
    "command": ["${interpreter}", "-S", "-E", "${program}", "${args_json_file}"],
}
WORKER = """\
import sys
from pathlib import Path
from fer.studies.study import open_study
from fer.studies.sweep import Limits, run_sweep
from fer.studies.sweepfile import read_sweep
from fer.studies.trials import write_trials
study = open_study(Path(sys.argv[1]), read_sweep(Path("sweep.yaml")), 0, *sys.argv[2:])
trials = run_sweep(study, Limits(agents=2), lambda trials, changed: None)
if study.storage is not None:
    write_trials(study.folder, trials, study.sweep.space, maximize=True)
"""
CROSSVAL = [
    *("-m", "fer", "crossval", "--network=ann", "--dataset=folder", "--folds=3"),
    *("--data.root=images", "--data.image_size=4", "--data.batch_size=8", "--data.val_share=0.3"),
    *("--trainer.max_epochs=4", "--trainer.accelerator=cpu", "--wandb.mode=disabled"),
    *("--distinctiveness.every_n_epochs=0", "--stages.enabled=false", "--gradients.every_n_epochs=0"),
]


CHANGING = {"fit_seconds"}


def main() -> int:
    """Kill and complete all kinds, and return how many ended otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, default=10, help="sweeps of each kind, cross-validations (10)")
    times, num_failed = parser.parse_args().times, 0
    for name, kill in (
        ("sweep", kill_sweep),
        ("sweep in SQLite", lambda folder, seed: kill_sweep(folder, seed, f"sqlite:///{folder}/trials.db")),
        ("crossval", kill_crossval),
    ):
        problems = []
        for seed in range(times):
            with TemporaryDirectory() as folder:
                problems += [f"seed {seed}: {problem}" for problem in kill(Path(folder), seed)]
        sys.stdout.write(f"{name}: {times - len(problems)} of {times} as if they had not been killed\n")
        sys.stdout.writelines(f"  {problem}\n" for problem in problems)
        num_failed += len(problems)
    return num_failed


def kill_sweep(folder: Path, seed: int, *storage: str, kills: int = 4) -> list[str]:
    """Kill a sweep of short trials several times, complete it, and return what is wrong; empty if nothing is.

    Every second time its trials are killed, too, as by a power failure.
    """
    (folder / "trial.py").write_text(PROGRAM)
    (folder / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    command = ["-c", WORKER]
    chance = random.Random(seed)
    run([*command, "whole"], folder)
    for number in range(kills):
        begins = (folder / "cut" / "study.json").exists
        run(
            [*command, "cut", *storage], folder, begins, chance.uniform(0.0, 2.0), with_trials=number % 2 == 1
        )
    run([*command, "cut", *storage], folder)
    whole, cut = (
        {trial.point["x"]: trial.value for trial in read_trials(folder / name) if trial.state == "finished"}
        for name in ("whole", "cut")
    )
    done = Counter(
        json.loads((path.parent / "params.json").read_text())["x"]
        for path in folder.glob("cut/trial-*/status.json")
        if json.loads(path.read_text()) == {"orphaned": False, "status": 0}
    )
    problems = [] if cut == whole else [f"{len(cut)} points finished, of {len(whole)}: {cut} != {whole}"]
    return problems + [f"x={x} was run {num} times" for x, num in done.items() if num > 1]


def kill_crossval(folder: Path, seed: int, kills: int = 3) -> list[str]:
    """Kill a cross-validation several times, complete it, and return what is wrong; empty if nothing is."""
    chance = random.Random(seed)
    pixels = np.random.default_rng(seed)
    for name in EXPRESSIONS:
        (folder / "images" / name).mkdir(parents=True)
        for number in range(6):
            image = Image.fromarray(pixels.integers(256, size=(8, 8, 3), dtype=np.uint8))
            image.save(folder / "images" / name / f"{number}.png")
    run([*CROSSVAL, "--run_name=whole"], folder)
    whole, cut = folder / "runs" / "whole", folder / "runs" / "cut"
    finished: dict[Path, int] = {}
    for _ in range(kills):
        run([*CROSSVAL, "--run_name=cut"], folder, (cut / "settings.json").exists, chance.uniform(0.0, 4.0))
        finished |= {path: path.stat().st_mtime_ns for path in cut.glob("fold-?/results.json")}
    run([*CROSSVAL, "--run_name=cut"], folder)
    names = [
        "crossval.json",
        *(f"fold-{fold}/{name}" for fold in range(3) for name in ("results.json", "metrics.csv")),
    ]
    return [
        *(f"{name} differs" for name in names if _content(whole / name) != _content(cut / name)),
        *(f"{path} was written again" for path, at in finished.items() if path.stat().st_mtime_ns != at),
    ]


def _content(path: Path) -> str:
    """Return the content of a file without durations and the names of folders."""
    if path.suffix == ".csv":
        with path.open() as file:
            rows = list(csv.DictReader(file))
        return repr([{key: value for key, value in row.items() if "time" not in key} for row in rows])
    content = json.loads(path.read_text())
    return repr({key: value for key, value in content.items() if key not in CHANGING})


def run(
    command: Sequence[str],
    folder: Path,
    begins: Callable[[], bool] | None = None,
    seconds: float = 0.0,
    *,
    with_trials: bool = False,
) -> None:
    """Run a command, and kill it some time after it has begun to work."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = Forked(command, cwd=folder, env=environment)
    if begins is None:
        if process.wait():
            raise SystemExit(f"{command} ended with status {process.returncode}")
        return
    while process.poll() is None and not begins():
        time.sleep(0.01)
    time.sleep(seconds)
    trials = process.children() if with_trials and process.poll() is None else []
    process.kill()
    for trial in trials:
        with suppress(ProcessLookupError):
            os.killpg(trial, signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    sys.exit(main())
