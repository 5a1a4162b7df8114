"""All that is promised of trainings that are killed, run out of disk, lose W&B or read hostile files.

``python tests/bench/reliability.py [--quick] [--only PART ...]`` runs the benches ``reliability_*.py`` beside
it, one after the other, and ends with a table of them: some hours with their usual numbers, minutes with
``--quick``. Each can be run alone, with other numbers. The exit status is the number of parts that failed.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

QUICK: Final[dict[str, tuple[str, ...]]] = {
    "crop": ("--times=1",),
    "disk": ("--sizes=3",),
    "fit": ("--kills=1", "--preemptions=1"),
    "fuzz": ("--examples=20", "--slow=2"),
    "prune": ("--times=1", "--rounds=1"),
    "soak": ("--trainings=20", "--trials=6"),
    "sweep": ("--times=1",),
    "together": ("--times=1",),
    "wandb": ("--times=1",),
}
"""By part the options of ``--quick``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts, print a table, and return how many failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest numbers: some minutes")
    parser.add_argument("--only", nargs="+", choices=[*QUICK], default=[*QUICK], metavar="PART")
    given = parser.parse_args(argv)
    rows = []
    for part in given.only:
        say(f"\n{part}")
        began = time.monotonic()
        path = Path(__file__).with_name(f"reliability_{part}.py")
        ended = subprocess.run([sys.executable, path, *(QUICK[part] if given.quick else ())], check=False)
        rows.append((part, time.monotonic() - began, ended.returncode))
    say(f"\n{'part':<10} {'seconds':>8}  result")
    for part, seconds, status in rows:
        say(f"{part:<10} {seconds:>8.0f}  {f'FAILED, exit status {status}' if status else 'as promised'}")
    return sum(status != 0 for _, _, status in rows)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
