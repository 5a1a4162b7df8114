"""Faults of W&B's server, at the start, in the middle and at the end of a run: seconds, and what is lost.

``python tests/bench/reliability_wandb.py``. The server is on this machine (see tests/fake_wandb.py). A run
must start within 10 s, end within 30 s of its own end, and be whole on a server that works, at once or after
the ``wandb sync`` that it names.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fake_wandb import FAULTS, MOMENTS, Outcome, run_with

ROWS = 8
"""Epochs that the run logs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Try each fault at each moment, print a line for each, and return 1 if a run broke a limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=1, help="runs of each kind")
    given = parser.parse_args(argv)
    _write(f"{'fault':<12} {'moment':<7} {'mode':<8} {'start':>6} {'end':>6} {'rows':>5}")
    cases = [(None, "start"), *((fault, moment) for fault in FAULTS for moment in MOMENTS)]
    failed = 0
    for fault, moment in cases * given.times:
        with tempfile.TemporaryDirectory() as folder:
            outcome = run_with(fault, moment, Path(folder))
        is_right = _is_right(outcome)
        failed += not is_right
        verdict = "" if is_right else f"  FAILED, exit status {outcome.status}"
        numbers = f"{outcome.started:5.1f}s {outcome.ended:5.1f}s {outcome.synced:>5}"
        _write(f"{fault or 'none':<12} {moment:<7} {outcome.mode:<8} {numbers}{verdict}")
    _write(f"{failed} of {len(cases) * given.times} failed")
    return int(failed > 0)


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _is_right(outcome: Outcome) -> bool:
    return outcome.status == 0 and outcome.started <= 10 and outcome.ended <= 30 and outcome.synced == ROWS


if __name__ == "__main__":
    sys.exit(main())
