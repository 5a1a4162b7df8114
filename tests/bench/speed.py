"""One table of all speeds beside their aims: epochs, data, precision, start-up, memory, growth.

``make bench``, or ``python tests/bench/speed.py [--quick] [--only PART ...] [--plot growth.png]``. The
parts are the benches of the same names; each runs in a process of its own, one after the other. Only the
machine's noise changes between the repeats; n is their number. Nothing is asserted: a missed aim is printed
as such.
"""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from measured import HEAD, machine, say

PARTS: Final = ("epoch", "pipeline", "students", "step", "startup", "memory", "growth")


def run(part: str, given: argparse.Namespace) -> None:
    """Print the figures of a part."""
    for figure in import_module(part).figures(given):
        say(str(figure))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, and return how many parts failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats and shorter ones: some minutes")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--plot", type=Path, help="PNG of the costs by numbers of samples, folds, …")
    given = parser.parse_args(argv)
    if given.plot is not None:
        given.plot = given.plot.absolute()
    say(machine())
    say(HEAD)
    context, failed = multiprocessing.get_context("spawn"), []
    for part in given.only:
        began = time.monotonic()
        process = context.Process(target=run, args=(part, given))
        process.start()
        process.join()
        if process.exitcode:
            failed.append(part)
        say(f"  {part}: {time.monotonic() - began:.0f} s{', failed' if process.exitcode else ''}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
