"""Warnings about single layers, joined into one per network."""

import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

log = logging.getLogger("fer.neurons")

_Warnings = dict[str, list[tuple[float, tuple[object, ...]]]]
_waiting: ContextVar[_Warnings | None] = ContextVar("warnings of layers that wait to be joined", default=None)


def warn(message: str, *args: object, severity: float = 0.0) -> None:
    """Log a warning; inside :func:`joined_warnings`, only the most severe one for each message is logged.

    Args:
        message: Message with placeholders.
        args: Values for the placeholders.
        severity: Severity; the warning with the largest one is logged.
    """
    waiting = _waiting.get()
    if waiting is None:
        log.warning(message, *args)
    else:
        waiting[message].append((severity, args))


@contextmanager
def joined_warnings() -> Iterator[None]:
    """Log the most severe warning of each kind at the end, and how many more there are.

    If contexts are nested, the outermost one logs.
    """
    if _waiting.get() is not None:
        yield
        return
    waiting: _Warnings = defaultdict(list)
    token = _waiting.set(waiting)
    try:
        yield
    finally:
        _waiting.reset(token)
        for message, cases in waiting.items():
            _, args = max(cases, key=lambda case: case[0])
            more = f" (and {len(cases) - 1} more of this kind)" if len(cases) > 1 else ""
            log.warning(message + more, *args)


@contextmanager
def warnings_of_trials_dropped() -> Iterator[None]:
    """Drop the warnings about a trial on some of the samples; the final fit logs its own."""
    token = _waiting.set(defaultdict(list))
    try:
        yield
    finally:
        _waiting.reset(token)
