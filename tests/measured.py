"""What benches share: the machine, and figures with their aims."""

import argparse
import logging
import os
import platform
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

SIZES: Final = {"train": 28_709, "val": 3_589, "test": 3_589}
"""Images of FER2013's splits."""


@dataclass(frozen=True)
class Figure:
    """A figure of a bench.

    Attributes:
        name: What was measured.
        values: Of all repeats.
        unit: Of the values.
        most: The aim, if the median is to be at most so large.
        least: The aim, if the median is to be at least so large.
        note: What the reader must know.
    """

    name: str
    values: Sequence[float]
    unit: str = ""
    most: float | None = None
    least: float | None = None
    note: str = ""

    @property
    def aim(self) -> str:
        """The aim and whether it is met; empty without one."""
        middle = statistics.median(self.values)
        if self.most is not None:
            return f"<= {self.most:g} {'met' if middle <= self.most else 'missed'}"
        if self.least is not None:
            return f">= {self.least:g} {'met' if middle >= self.least else 'missed'}"
        return ""

    def __str__(self) -> str:
        spread = f"{shown(min(self.values))} to {shown(max(self.values))}"
        middle = f"{shown(statistics.median(self.values))} {self.unit}"
        cells = (
            f"{self.name:<46} {middle:>13}  {spread:>18} {len(self.values):>3}  {self.aim:<14} {self.note}"
        )
        return cells.rstrip()


HEAD: Final = f"{'':46} {'median':>13}  {'lowest to highest':>18} {'n':>3}  aim"


def shown(value: float) -> str:
    """Return a number with three digits.

    >>> shown(0.0123), shown(1.234), shown(12345.6)
    ('0.0123', '1.23', '12,346')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratios(ones: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return what the first are of the second, turn by turn."""
    return [one / other for one, other in zip(ones, others, strict=True)]


def machine() -> str:
    """Return the processor, the versions and the commit."""
    names = ("torch", "lightning", "torchmetrics", "albumentations")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return (
        f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}, "
        f"commit {commit.stdout.strip() or 'none'}"
    )


def processor() -> str:
    """Return the name of the processor where the system tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def print_figures(
    figures: Callable[[argparse.Namespace], Iterable[Figure]], description: str | None, *, quick: str
) -> None:
    """Print the table of a bench whose only option is ``--quick``.

    Args:
        figures: Returns them, given the options.
        description: Of the bench.
        quick: What ``--quick`` does.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=quick)
    given = parser.parse_args()
    say(machine())
    say(HEAD)
    for figure in figures(given):
        say(str(figure))


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def quieten() -> None:
    """Leave out warnings and messages of trainings."""
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric", "fer"):
        logging.getLogger(name).setLevel(logging.ERROR)
