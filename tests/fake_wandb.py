"""The server of :mod:`loopback` with faults: slow, refusing, or gone, from a moment of the run on."""

import json
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal, get_args

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
