"""Warnings about single layers, joined into one for a network."""

import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

log = logging.getLogger("fer.neurons")

_Warnings = dict[str, list[tuple[float, tuple[object, ...]]]]
_waiting: ContextVar[_Warnings | None] = ContextVar("warnings of layers that wait to be joined", default=None)


def warn(message: str, *args: object, severity: float = 0.0) -> None:
    """Log a warning; inside :func:`joined_warnings`, the most severe of all with the same message.

    Args:
        message: The message, with placeholders.
        args: Values for the placeholders.
        severity: The larger, the worse.
    """
    waiting = _waiting.get()
    if waiting is None:
        log.warning(message, *args)
    else:
        waiting[message].append((severity, args))


@contextmanager
def joined_warnings() -> Iterator[None]:
    """Log the worst of each kind of warning at the end, and how many more there are.

    Of contexts inside each other the outermost counts.
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
            more = f" ({len(cases) - 1} similar warnings are left out)" if len(cases) > 1 else ""
            log.warning(message + more, *args)


@contextmanager
def warnings_of_trials_dropped() -> Iterator[None]:
    """Drop the warnings about a trial on part of the samples: what is done in the end warns by itself."""
    token = _waiting.set(defaultdict(list))
    try:
        yield
    finally:
        _waiting.reset(token)
