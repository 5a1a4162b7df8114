"""Where a result comes from: the code's commit and the machine."""

import os
import platform
import subprocess
from pathlib import Path


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
    """Return the name of this machine's processor and the number of its cores that this process may use."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    num = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{name}, {num} core{'s' * (num != 1)}"
