"""Run a trial's program and record how it ended, even if the sweep that started it is killed.

Usage: python child.py STATUS PARENT PATIENCE PROGRAM [ARGUMENT ...]

If the sweep is killed, the program gets SIGTERM, which makes Lightning write a checkpoint, and SIGKILL after
PATIENCE seconds. This script imports nothing from the package, so that it starts in milliseconds.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
from types import FrameType

PR_SET_PDEATHSIG = 1
"""Option of Linux's prctl for the signal that a process gets when its parent dies."""


def main(path: str, parent: str, patience: str, *command: str) -> None:
    """Run a command as the leader of a process group, and write its exit status as JSON.

    Args:
        path: The JSON file: ``status`` is the exit status, ``error`` says why the program could not be
            started, and ``orphaned`` is true if it ended because the sweep was killed.
        parent: Process id of the sweep.
        patience: Seconds from SIGTERM to SIGKILL.
        command: The program and its arguments.
    """
    end = watch(int(parent), int(patience))
    if end is None:
        return
    try:
        process = subprocess.Popen(command, preexec_fn=end_with_parent)
    except OSError as e:
        end["error"] = str(e)
    else:
        if end["orphaned"]:  # the sweep was killed while the program was being started
            process.kill()
        end["status"] = process.wait()
    write_end(path, end)


def watch(parent: int, patience: int) -> dict[str, object] | None:
    """Terminate this process's group when the parent dies.

    Args:
        parent: Process id of the parent.
        patience: Seconds from SIGTERM to SIGKILL.

    Returns:
        Content for :func:`write_end`; its ``orphaned`` becomes true when the parent dies. None if the parent
        is already dead.
    """
    end: dict[str, object] = {"orphaned": False}

    def end_orphan(number: int, frame: FrameType | None) -> None:
        if os.getppid() == parent:  # the sweep sent the signal to the whole group
            return
        end["orphaned"] = True
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
        signal.signal(signal.SIGALRM, lambda number, frame: os.killpg(0, signal.SIGKILL))
        signal.alarm(patience)

    signal.signal(signal.SIGTERM, end_orphan)
    end_with_parent()
    return None if os.getppid() != parent or end["orphaned"] else end


def write_end(path: str, end: dict[str, object]) -> None:
    """Write how a program ended; from now on, this process ignores SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(f"{path}.tmp", "w") as file:  # noqa: PTH123 (pathlib takes longer to import than the rest)
        json.dump(end, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.tmp", path)  # noqa: PTH105


def end_with_parent() -> None:
    """Let this process receive SIGTERM when its parent dies (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    main(*sys.argv[1:])
