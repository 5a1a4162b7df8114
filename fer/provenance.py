"""Provenance of a result: the commit of the code, the machine, and limits on the batches."""

import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

LIMITS: Final = {
    "limit_train_batches": "trained on the first {}",
    "limit_val_batches": "validated on the first {}",
    "limit_test_batches": "first {} only",
}
"""Descriptions of the trainer's limits on batches, by attribute."""


def package_commit() -> str | None:
    """Return the commit that last changed the package; None if it is installed without its history."""
    try:
        said = subprocess.run(
            ["git", "log", "-1", "--format=%H", "--", "."],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip() or None


def processor() -> str:
    """Return the name of this machine's processor and the number of cores that this process may use."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    num = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{name}, {num} core{'s' * (num != 1)}"


def describe_limits(limits: Mapping[str, Any]) -> list[str]:
    """Describe the limits on batches; empty without one.

    Args:
        limits: Number of batches, or share of them, by a name in :data:`LIMITS`; None or 1.0: all.

    >>> describe_limits({"limit_train_batches": None, "limit_val_batches": 0.1, "limit_test_batches": 1})
    ['validated on the first 10 % of the batches', 'first batch only']
    """
    parts = []
    for name, text in LIMITS.items():
        limit = limits.get(name)
        if isinstance(limit, int):
            parts.append(text.format("batch" if limit == 1 else f"{limit} batches"))
        elif limit is not None and limit < 1:
            parts.append(text.format(f"{limit:.0%} of the batches".replace("%", " %")))
    return parts
