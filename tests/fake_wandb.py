"""The server of :mod:`loopback` with faults: slow, refusing, or gone, from a moment of the run on."""

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from forked import Forked
from loopback import Loopback, _Handler

Fault = Literal["unreachable", "slow", "401", "429", "500"]
Moment = Literal["start", "middle", "end"]

FAULTS = get_args(Fault)
MOMENTS = get_args(Moment)

SLOW = 30.0
"""Seconds in which a slow server answers."""


class FaultyServer(Loopback):
    """A server that works until a moment, and then has a fault.

    Args:
        fault: ``unreachable`` refuses connections, ``slow`` answers after 30 seconds, a number is the status
            of every answer; None: it works.
        moment: ``start``: from the first request on; ``middle``: once metrics of an epoch arrived; ``end``:
            when the run reports that it has ended.
    """

    def __init__(self, fault: Fault | None = None, moment: Moment = "start") -> None:
        super().__init__()
        self.fault, self.moment = fault, moment
        self.is_broken = False
        self.closing = threading.Event()
        self.num_refused = 0

    @property
    def handler(self) -> type[BaseHTTPRequestHandler]:
        """What answers requests, or not."""
        return _FaultyHandler

    def __enter__(self) -> "FaultyServer":
        self.start()
        if self.moment == "start":
            self.break_down()
        return self

    def __exit__(self, *args: object) -> None:
        self.closing.set()
        self.end()

    def break_down(self) -> None:
        """Have the fault from now on."""
        self.is_broken = self.fault is not None
        if self.fault == "unreachable":
            # In another thread: a handler that asks for it is one of those that the server waits for.
            threading.Thread(target=self.end, daemon=True).start()

    def meet(self, body: dict[str, Any]) -> None:
        """Break down if the moment has come."""
        history = (body.get("files") or {}).get("wandb-history.jsonl")
        has_come = {"start": True, "middle": history is not None, "end": bool(body.get("complete"))}
        if not self.is_broken and has_come[self.moment]:
            self.break_down()


class _FaultyHandler(_Handler):
    loopback: FaultyServer

    def _body(self) -> bytes:
        self.body = super()._body()
        return self.body

    def _send(self, content: object, status: int = 200) -> None:
        server = self.loopback
        if self.path.endswith("/file_stream"):
            server.meet(json.loads(self.body or b"{}"))
        if not server.is_broken:
            super()._send(content, status)
            return
        server.num_refused += 1
        if server.fault == "unreachable":
            self.close_connection = True
        elif server.fault == "slow":
            if not server.closing.wait(SLOW):
                super()._send(content, status)
        elif server.fault is not None:
            super()._send({"errors": [{"message": "no"}]}, int(server.fault))


PROGRAM = """\
import logging, sys, time
from pathlib import Path

import wandb

from fer.dashboards import finish, wandb_logger

logging.basicConfig(level=logging.WARNING, format="fer: %(message)s")
wandb.setup()  # takes seconds on a busy machine, and is no server's fault
began = time.monotonic()
logger = wandb_logger(Path("runs/a"), mode=sys.argv[1])
print(f"STARTED {wandb.run.settings.mode} {time.monotonic() - began:.1f}", flush=True)
for epoch in range(8):
    logger.log_metrics({"epoch": epoch, "val/acc": epoch / 10}, step=epoch)
    time.sleep(0.5)
began = time.monotonic()
finish()
wandb.teardown()  # as W&B does when Python ends
print(f"ENDED whole {time.monotonic() - began:.1f}", flush=True)
"""
"""What a training does with W&B, and the seconds that its start and its end took."""


class Outcome(NamedTuple):
    """What became of a run whose server had a fault.

    Attributes:
        status: Exit status of the process; None: it had to be killed.
        mode: Of W&B, in which the run was recorded.
        started: Seconds that the start took.
        ended: Seconds that the end took.
        said: What the process wrote.
        synced: Rows of history that ``wandb sync`` of the folder that was named uploads to a server that
            works; those that the server had, if none was named.
    """

    status: int | None
    mode: str
    started: float
    ended: float
    said: str
    synced: int


def run_with(fault: Fault | None, moment: Moment, folder: Path, mode: str = "auto") -> Outcome:
    """Run :data:`PROGRAM` against a server with a fault, and upload afterwards what it recorded."""
    (folder / "runs" / "a").mkdir(parents=True)
    with FaultyServer(fault, moment) as server:
        environment = environment_of(server, folder)
        process = Forked(["-c", PROGRAM, mode], cwd=folder, env=environment, merged=True)
        try:
            said, status = process.communicate(timeout=120)[0], process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            said, status = process.communicate()[0], None
    times = dict(re.findall(r"^(STARTED|ENDED) \w+ ([\d.]+)$", said, flags=re.MULTILINE))
    modes = re.findall(r"^STARTED (\w+)", said, flags=re.MULTILINE)
    return Outcome(
        status,
        modes[0] if modes else "none",
        float(times.get("STARTED", "nan")),
        float(times.get("ENDED", "nan")),
        said,
        _synced(folder, server, said),
    )


def environment_of(server: Loopback, folder: Path) -> dict[str, str]:
    """Return the environment of a process that knows no other server, and follows ``--wandb.mode``."""
    environment = os.environ | server.environment(folder) | {"OMP_NUM_THREADS": "1"}
    del environment["WANDB_MODE"]
    return environment


def _synced(folder: Path, server: Loopback, said: str) -> int:
    named = re.findall(r"(?:wandb sync|recorded offline, in) ((?:--\S+ )?runs/a/wandb/\S+)", said)
    if not named:
        return max((len(run.history) for run in server.runs.values()), default=0)
    with Loopback() as later:
        environment = os.environ | later.environment(folder)
        words = [str(Path(sys.executable).with_name("wandb")), "sync", *named[-1].split()]
        subprocess.run(words, cwd=folder, env=environment, capture_output=True, timeout=120)
        return max((len(run.history) for run in later.runs.values()), default=0)
