"""A process that has imported what trials need, and starts each of them as a fork of itself.

Usage: python -m fer.studies.warm SOCKET PROGRAM MODULE …

A trial then costs no imports. It is a process of its own all the same, with its own memory, environment,
signals and end. The server imports and forks, and does nothing else: no trial can leave anything in it, and
it has no threads, which a fork would lose.
"""

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
"""Largest request: the words and the environment of a program."""

log = logging.getLogger("fer.studies")


class Forked:
    """A forked trial, with what :class:`subprocess.Popen` has for another one.

    Attributes:
        pid: Process id, and that of the process group.
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
    """Starts trials as forks of one process; a context manager, which ends that process.

    Where this cannot be done, a trial is started as a new process, and the reason is a debug message. It can
    be done on Linux, for commands that run one program by this Python.

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
            self._give_up(f"{sys.platform} cannot do otherwise")

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
        """Start a trial, and return its process; None if it must be started in another way.

        Args:
            command: The trial's command.
            files: Its output, its errors, and the lock that it holds.
            environment: All its environment variables. Those that Python and the imported modules read when
                they start are the first trial's for all.
            status: File for its end; see :mod:`fer.studies.child`.
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
    """Return the words of a command after a program that this Python runs; None for any other command.

    >>> words_of(["/usr/bin/env", sys.executable, "-m", "fer", "fit", "--test", "false"], "fer")
    ['fit', '--test', 'false']
    >>> words_of(["/usr/bin/env", "OMP_NUM_THREADS=1", sys.executable, "-m", "fer", "fit"], "fer")
    """
    words = list(command)
    if words and Path(words[0]).name == "env":
        del words[0]
    return words[3:] if words[:3] == [sys.executable, "-m", program] else None


def main(descriptor: str, program: str, *modules: str) -> None:
    """Import modules, then fork a program for each request until the sweep is gone.

    Args:
        descriptor: File descriptor of the socket from which requests come.
        program: Name of the module that is the program.
        modules: Names of the modules that are imported.
    """
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


def can_fork() -> bool:
    """Return whether a fork of this process is as good as a new process.

    It is not where a thread runs, which a fork would lose with all the locks that it holds, or where CUDA has
    been used, which does not work in a fork. The threads of OpenBLAS do not count: it ends them before any
    fork, and starts new ones.
    """
    torch: Any = sys.modules.get("torch")
    pid = os.fork()
    if pid == 0:  # only a fork knows whether it has lost CUDA, and only torch's own flag tells
        is_lost = torch is not None and getattr(torch.cuda, "_is_in_bad_fork", lambda: False)()
        os._exit(int(is_lost))
    keeps_cuda = os.waitpid(pid, 0)[1] == 0
    return keeps_cuda and len(list(Path("/proc/self/task").iterdir())) == 1


def serve(requests: socket.socket) -> list[str] | None:
    """Fork a program for each request, and tell how it ended.

    Returns:
        In the process of a program: the words with which it is called. In the process itself: None, when no
        more requests can come.
    """
    running: dict[int, tuple[int, int]] = {}  # by pidfd: the process id, and where its end is to be written
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
    """Fork a program, which alone returns, and watch it: what :func:`fer.studies.child.main` does.

    Args:
        server: Process id of the parent.
        request: What was asked for.
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
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # the program is to have no handler of ours
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
    if end["orphaned"]:  # while it was being started
        os.kill(pid, signal.SIGKILL)
    end["status"] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    child.write_end(request["status"], end)
    os._exit(0)


def _write(answers: int, number: int) -> None:
    """Write a number for the sweep, which may be gone."""
    try:
        os.write(answers, f"{number}\n".encode())
    except BrokenPipeError:
        return


if __name__ == "__main__":
    main(*sys.argv[1:])
