"""A server process that imports what trials need once, and forks each trial from itself.

Usage: python -m fer.studies.warm SOCKET PROGRAM MODULE …

A trial then starts without importing anything. It is still a separate process, with its own memory,
environment, signals and exit status. The server only imports and forks: trials cannot change its state, and
it has no threads, which a fork would lose.
"""

import atexit
import gc
import json
import logging
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from fer.studies import child

MOST_BYTES: Final = 1 << 20
"""Largest request in bytes: the arguments and the environment of a program."""

log = logging.getLogger("fer.studies")


class Forked:
    """A forked trial, with those members of :class:`subprocess.Popen` that sweeps use.

    Attributes:
        pid: Id of the process and of its process group.
        returncode: Exit status, negative for a signal; None while it runs.
    """

    def __init__(self, pid: int, answers: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._answers = answers
        self._text = b""
        os.set_blocking(answers, False)

    def poll(self) -> int | None:
        """Return the exit status; None while it runs."""
        if self.returncode is None:
            try:
                answer = os.read(self._answers, 16)
            except BlockingIOError:
                return None
            self._text += answer
            if not answer or self._text.endswith(b"\n"):
                # Without an answer, both the trial and the server that would know how it ended were killed.
                self.returncode = int(self._text) if self._text.endswith(b"\n") else -signal.SIGKILL
                os.close(self._answers)
        return self.returncode


class WarmServer:
    """Context manager that forks trials from one process, and ends that process on exit.

    Forking works on Linux, for commands that run ``program`` with this Python. Otherwise :meth:`start`
    returns None, and the trial must be started as a new process. If the server gives up for all trials, it
    logs the reason at debug level.

    Args:
        modules: Names of the modules that the process imports; empty: no trial is forked.
        program: Name of the module that is the program.
    """

    def __init__(self, modules: Sequence[str], program: str = "fer") -> None:
        self._modules, self._program = modules, program
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        self._is_given_up = not modules
        if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
            self._give_up(f"forking them needs Linux, not {sys.platform}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._requests is not None:
            self._requests.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def start(
        self,
        command: Sequence[str],
        files: tuple[BinaryIO, BinaryIO, BinaryIO],
        environment: Mapping[str, str],
        status: Path,
        patience: int,
    ) -> Forked | None:
        """Start a trial and return its process; None if it must be started as a new process.

        Args:
            command: The trial's command.
            files: Its output, its errors, and the lock that it holds.
            environment: All its environment variables. Variables that Python and the modules read only when
                they are loaded have the first trial's values in all trials.
            status: File that records how it ended; see :mod:`fer.studies.child`.
            patience: Seconds from SIGTERM to SIGKILL, if the sweep is killed.
        """
        words = words_of(command, self._program)
        if self._is_given_up or words is None:
            return None
        requests = self._requests or self._launch(environment)
        reader, writer = os.pipe()
        request = {
            "words": words,
            "environment": dict(environment),
            "folder": str(Path.cwd()),
            "status": str(status.absolute()),
            "patience": patience,
        }
        try:
            descriptors = [*(file.fileno() for file in files), writer]
            socket.send_fds(requests, [json.dumps(request).encode()], descriptors)
        except OSError as e:  # it was killed, or the environment is too large
            os.close(reader)
            self._give_up(f"no request can be sent: {e.strerror}")
            return None
        finally:
            os.close(writer)
        with open(reader, "rb", buffering=0, closefd=False) as answers:
            pid = answers.readline()
        if not pid:
            os.close(reader)
            self._give_up("the process that forks them has ended")
            return None
        return Forked(int(pid), reader)

    def _launch(self, environment: Mapping[str, str]) -> socket.socket:
        """Start the process that forks trials, and return the socket for requests."""
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno()), self._program, *self._modules],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=dict(environment),
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
            )
        return self._requests

    def _give_up(self, reason: str) -> None:
        self._is_given_up = True
        log.debug("trials are started as new processes: %s", reason)


def words_of(command: Sequence[str], program: str) -> list[str] | None:
    """Return the arguments of a command that runs a program with this Python; None for any other command.

    >>> words_of(["/usr/bin/env", sys.executable, "-m", "fer", "fit", "--test", "false"], "fer")
    ['fit', '--test', 'false']
    >>> words_of(["/usr/bin/env", "OMP_NUM_THREADS=1", sys.executable, "-m", "fer", "fit"], "fer")
    """
    words = list(command)
    if words and Path(words[0]).name == "env":
        del words[0]
    return words[3:] if words[:3] == [sys.executable, "-m", program] else None


def main(descriptor: str, program: str, *modules: str) -> None:
    """Import modules, then fork a program for each request until the sweep ends.

    Args:
        descriptor: File descriptor of the socket from which requests come.
        program: Name of the module that is the program.
        modules: Names of the modules that are imported.
    """
    atexit.register(close_errors)  # before all imports, so that it comes last
    child.end_with_parent()
    requests = socket.socket(fileno=int(descriptor))
    for module in modules:
        import_module(module)
    if not can_fork():
        return
    gc.collect()
    gc.freeze()  # what was imported stays in memory that all trials share
    if (words := serve(requests)) is not None:
        sys.argv[1:] = words
        runpy.run_module(program, run_name="__main__", alter_sys=True)


def close_errors() -> None:
    """Let nothing be written on stderr after all that a program does at its exit.

    What is frozen is not collected at exit, and extension modules write what they miss: triton 3.9, which
    torch 2.15 needs, does so in 25 lines. Without the freeze, each program takes 1.8 s longer to end.
    """
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def can_fork() -> bool:
    """Return whether a fork of this process works as well as a new process.

    It does not if other threads are running, since a fork loses them while their locks stay locked, or if
    CUDA has been initialised, since CUDA does not work in a fork. OpenBLAS's threads do not count: it ends
    them before a fork and starts new ones.
    """
    torch: Any = sys.modules.get("torch")
    pid = os.fork()
    if pid == 0:  # torch sets its flag for lost CUDA in the fork only
        is_lost = torch is not None and getattr(torch.cuda, "_is_in_bad_fork", lambda: False)()
        os._exit(int(is_lost))
    keeps_cuda = os.waitpid(pid, 0)[1] == 0
    return keeps_cuda and len(list(Path("/proc/self/task").iterdir())) == 1


def serve(requests: socket.socket) -> list[str] | None:
    """Fork a program for each request, and send back its exit status.

    Returns:
        In the process of a program: its arguments. In the server: None, when no more requests can come.
    """
    running: dict[int, tuple[int, int]] = {}  # by pidfd: process id, and descriptor for the exit status
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    server = os.getpid()
    while True:
        for ready, _ in poll.poll():
            if ready != requests.fileno():
                poll.unregister(ready)
                pid, answers = running.pop(ready)
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                os.close(ready)
                _write(answers, status)
                os.close(answers)
                continue
            content, descriptors, _, _ = socket.recv_fds(requests, MOST_BYTES, 4)
            if not content:
                return None
            pid = os.fork()
            if pid == 0:
                requests.close()
                for descriptor, (_, answers) in running.items():
                    os.close(descriptor)
                    os.close(answers)
                return _become(server, json.loads(content), *descriptors)
            watched = os.pidfd_open(pid)
            running[watched] = (pid, descriptors.pop())
            poll.register(watched, select.POLLIN)
            for descriptor in descriptors:
                os.close(descriptor)


def _become(
    server: int, request: Mapping[str, Any], output: int, errors: int, lock: int, answers: int
) -> list[str]:
    """Fork a program and watch it as :func:`fer.studies.child.main` does; only the program's process returns.

    Args:
        server: Process id of the parent.
        request: The request that :meth:`WarmServer.start` sent.
        output: Descriptor of the file for output.
        errors: Descriptor of the file for errors.
        lock: Descriptor of the lock, which is held by this process and not by the program.
        answers: Descriptor to which the process id is written.
    """
    os.setsid()
    for descriptor, standard in ((output, 1), (errors, 2)):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    end = child.watch(server, request["patience"])
    if end is None:
        os._exit(0)
    _write(answers, os.getpid())
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # the program must not inherit our handler
    pid = os.fork()
    if pid == 0:
        os.close(lock)
        os.close(answers)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        child.end_with_parent()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        numpy: Any = sys.modules.get("numpy")
        if numpy is not None:
            numpy.random.seed()  # as in a new process; Python's own generator is seeded by every fork
        words: list[str] = request["words"]
        return words
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    if end["orphaned"]:  # the sweep was killed while the program was being started
        os.kill(pid, signal.SIGKILL)
    end["status"] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    child.write_end(request["status"], end)
    os._exit(0)


def _write(answers: int, number: int) -> None:
    """Send a number to the sweep, which may have ended."""
    try:
        os.write(answers, f"{number}\n".encode())
    except BrokenPipeError:
        return


if __name__ == "__main__":
    main(*sys.argv[1:])
