"""Commands in processes of their own, for benches that kill them, and what differs in what they leave."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from fer.__main__ import main as fer


class Child:
    """A command in a process of its own, forked so that nothing is imported again."""

    def __init__(self, words: Sequence[str]) -> None:
        sys.stdout.flush()
        self.log = Path(f"log-{time.monotonic_ns()}.txt")
        self.log.touch()
        self.pid = os.fork()
        if self.pid == 0:
            out = os.open(self.log, os.O_WRONLY)
            os.dup2(out, 1)
            os.dup2(out, 2)
            status = 1
            try:
                status = fer(list(words))
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 1
            finally:
                os._exit(status or 0)

    def wait(self) -> int:
        """Return the exit status; negative: the signal that ended it."""
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


def differences(left: object, right: object, name: str = "") -> str:
    """Return the first part that differs; empty: none does.

    >>> differences({"a": [1, 2]}, {"a": [1, 3]})
    'a.1: 2 instead of 3'
    """
    if isinstance(left, dict) and isinstance(right, dict):
        if left.keys() != right.keys():
            return f"{name}: {sorted(map(str, left.keys() ^ right.keys()))}"
        parts = [(key, left[key], right[key]) for key in left]
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple) and len(left) == len(right):
        parts = list(zip(range(len(left)), left, right, strict=True))
    else:
        is_equal = (
            np.array_equal(np.asarray(left), np.asarray(right), equal_nan=np.asarray(left).dtype.kind == "f")
            if isinstance(left, np.ndarray | torch.Tensor | float)
            else left == right
        )
        return "" if is_equal else f"{name}: {str(left)[:300]} instead of {str(right)[:300]}"
    return next(filter(None, (differences(a, b, f"{name}.{key}".strip(".")) for key, a, b in parts)), "")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def say_where() -> None:
    """Name the machine and the commit."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    say(f"torch {torch.__version__}, {os.cpu_count()} cores, commit {commit.stdout.strip()}")


def report(fault: str, problems: Iterable[str]) -> int:
    """Say as they come what differs, and every ten times how many did not; return how many differ."""
    equal = 0
    number = 0
    for number, problem in enumerate(problems, 1):
        equal += not problem
        if problem:
            say(f"  {number}: {problem}")
        if number % 10 == 0:
            say(f"{fault}: {equal} of {number} equal")
    if number % 10:
        say(f"{fault}: {equal} of {number} equal")
    return number - equal
