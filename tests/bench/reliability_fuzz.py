"""Many examples of mostly valid input for all that reads files or words: only errors of ours are allowed.

``python tests/bench/reliability_fuzz.py [--examples 10000] [--slow 500] [-k NAME]``. It runs tests/fuzz with
other examples each time, and prints for each kind how many were tried and whether any failed.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRIED = re.compile(r"(\d+) passing, (\d+) failing")


class Lines:
    """Print a line when a kind of input has been tried."""

    def __init__(self) -> None:
        self.called: pytest.TestReport | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print the name, the number of examples and the seconds; the number comes last."""
        if report.when == "call":
            self.called = report
        found = TRIED.findall(getattr(report, "_hypothesis_stats", ""))
        if self.called is None or report.when != "teardown" or not found:
            return
        num = sum(int(one) for phase in found for one in phase)
        name, verdict = report.nodeid.partition("::")[2], "  FAILED" if self.called.failed else ""
        _write(f"{name:<64} n = {num:>6,}  {self.called.duration:6.0f} s{verdict}")


def main(argv: Sequence[str] | None = None) -> int:
    """Try each kind, and return 0 if none failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--examples", type=int, default=10_000, help="examples of each kind (10,000)")
    parser.add_argument("--slow", type=int, default=500, help="of the command line and checkpoints (500)")
    parser.add_argument("-k", default="", help="only kinds with this name, as pytest takes it")
    given = parser.parse_args(argv)
    os.environ |= {"FER_FUZZ_EXAMPLES": str(given.examples), "FER_FUZZ_SLOW": str(given.slow)}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    _write(f"{platform.machine()}, {os.cpu_count()} cores, commit {commit.stdout.strip()}")
    words = ["-q", "--capture=sys", "--tb=short", "--hypothesis-show-statistics", "-k", given.k]
    return int(pytest.main(["--rootdir", str(ROOT), *words, str(ROOT / "tests" / "fuzz")], plugins=[Lines()]))


def _write(line: str) -> None:
    sys.__stdout__.write(f"\n{line}")  # pytest captures the other one
    sys.__stdout__.flush()


if __name__ == "__main__":
    sys.exit(main())
