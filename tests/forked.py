"""Python in a process of its own, forked from one that has imported everything.

For tests of what a process does, not of how it starts: it has its own arguments, environment, folder, output
and end, and saves the seconds of the imports. One process is forked for all tests of a session.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import chdir, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from fer.commands.sweep import IMPORTED
from fer.studies.trial import STATUS
from fer.studies.warm import WarmServer

PATIENCE = 60
"""Seconds that a process has to end if the tests are killed."""


class Forked:
    """A process, with what tests use of :class:`subprocess.Popen`.

    Args:
        words: The arguments after ``python``.
        cwd: Working directory; None: this one.
        env: All environment variables; None: those of this process.
        merged: Whether errors go where the output goes.
    """

    def __init__(
        self,
        words: Sequence[object],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        merged: bool = False,
    ) -> None:
        folder = Path(mkdtemp(dir=_folder()))
        names = ("out", "out" if merged else "err", "lock")
        files = {name: (folder / name).open("wb") for name in sorted({*names})}
        self._words = [sys.executable, "-m", "as_python", *map(str, words)]
        server = _server()
        of_it = tuple(files[name] for name in names)
        with chdir(cwd or Path.cwd()):
            started = server.start(self._words, of_it, env or os.environ, folder / STATUS, PATIENCE)
        for file in files.values():
            file.close()
        assert started is not None, "it cannot be forked"
        self._process, self._path = started, folder
        self.pid = started.pid

    def poll(self) -> int | None:
        """Return the exit status; None while it runs."""
        if self._process.poll() is None:
            return None
        path = self._path / STATUS
        return json.loads(path.read_text())["status"] if path.is_file() else self._process.returncode

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def wait(self, timeout: float = 600) -> int:
        """Wait for the end, and return the exit status."""
        limit = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > limit:
                raise subprocess.TimeoutExpired(self._words, timeout)
            time.sleep(0.005)
        return status

    def communicate(self, timeout: float = 600) -> tuple[str, str]:
        """Wait for the end, and return output and errors."""
        self.wait(timeout)
        return self.written()

    def written(self) -> tuple[str, str]:
        """Return output and errors so far."""
        paths = [self._path / name for name in ("out", "err")]
        out, err = (path.read_text() if path.is_file() else "" for path in paths)
        return out, err

    def children(self) -> list[int]:
        """Return the ids of the processes that it started and that run."""
        (itself,) = _children(self.pid)  # below the process that watches it
        return _children(itself)

    def send_signal(self, number: int) -> None:
        """Send a signal to the process group, if it has not ended, as :mod:`subprocess` does."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run_python(
    *words: object, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: float = 300
) -> "subprocess.CompletedProcess[str]":
    """Run Python to the end, as :func:`subprocess.run` does with ``capture_output`` and ``text``."""
    process = Forked(words, cwd=cwd, env=env)
    try:
        out, err = process.communicate(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess([sys.executable, *map(str, words)], process.wait(), out, err)


def _children(pid: int) -> list[int]:
    return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


@cache
def _folder() -> str:
    """Return the session's folder for what processes write, which is removed with it."""
    folder = TemporaryDirectory()
    atexit.register(folder.cleanup)
    return folder.name


@cache
def _server() -> WarmServer:
    """Return the session's server, which ends with it."""
    here = Path(__file__).parent
    server = WarmServer((*IMPORTED, "pytest"), "as_python")
    atexit.register(server.__exit__, None, None, None)
    paths = {"PYTHONPATH": os.pathsep.join([str(here.parent), str(here), os.environ.get("PYTHONPATH", "")])}
    with TemporaryDirectory() as folder, Path(os.devnull).open("wb") as null:
        words = [sys.executable, "-m", "as_python", "-c", "pass"]
        first = server.start(words, (null, null, null), os.environ | paths, Path(folder) / STATUS, PATIENCE)
        assert first is not None, "nothing can be forked"
        while first.poll() is None:
            time.sleep(0.005)
    return server
