"""Measure how right stages are on synthetic histories, by length of the run and by schedule.

``python tests/bench/stages.py [--seeds 40]``. Aims: boundaries within 3 % of the run, live ones within 10 %,
and the right final stage in 95 % of the runs. No rule was tuned on these seeds, which begin at 5000.
"""

import argparse
import platform
import subprocess
import sys
from pathlib import Path
from statistics import mean
from time import process_time

sys.path.insert(0, str(Path(__file__).parents[1]))

from stage_histories import LENGTHS, SHAPES, Outcome, known, outcomes

from fer.neurons.stages import live_stages

FIRST = 5000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--seeds", type=int, default=40, help="histories of each kind, with two noises each (40)"
    )
    given = parser.parse_args()
    seeds = range(FIRST, FIRST + given.seeds)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    say(
        f"seeds {seeds[0]} to {seeds[-1]}; {platform.machine()}, Python {platform.python_version()}, {commit}"
    )
    say(
        f"{'shape':10} {'epochs':>6} {'error':>8} {'delay':>8} {'final':>7} {'live':>7} {'false':>7} {'n':>5}"
    )
    everything: list[Outcome] = []
    for shape in SHAPES:
        for num_epochs in LENGTHS:
            found = list(outcomes(seeds, shape=shape, num_epochs=num_epochs))
            say(row(shape, num_epochs, found))
            everything += found
    for num_epochs in LENGTHS:
        say(row("all", num_epochs, [each for each in everything if each.num_epochs == num_epochs]))
    say(row("all", "all", everything))
    say("error: of boundaries, % of the run; delay: of live ones; final, live: right last stage, % of runs;")
    say("false: runs with a live plateau before the end of the fall, %")
    history = known(0, noise=0.02, num_epochs=8, per_epoch=25).history
    speeds = [[speed * (1 + layer) for speed in history.speed] for layer in range(10)]
    began = process_time()
    for num in range(1, 201):
        past = [None if values is None else values[:num] for values in history[1:]]
        for speed in speeds:
            live_stages(speed[:num], *past)
    say(f"live stages of 10 layers at each of 200 measurements: {process_time() - began:.2f} s in total")


def row(shape: str, num_epochs: object, found: list[Outcome]) -> str:
    shares = zip(
        *((e.error, e.delay, e.is_right, e.is_live_right, e.has_false_plateau) for e in found), strict=True
    )
    error, delay, right, live, false = (100 * mean(values) for values in shares)
    return (
        f"{shape:10} {num_epochs!s:>6} {error:8.1f} {delay:8.1f} {right:7.0f} {live:7.0f} {false:7.1f} "
        f"{len(found):5}"
    )


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
