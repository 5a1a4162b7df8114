"""Stop a training cleanly on request: Ctrl-C, SIGTERM, W&B's Stop button, hyperband."""

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from lightning.pytorch import Callback, LightningModule, Trainer

from fer.callbacks.last import LastCheckpoint

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
"""The signals of Ctrl-C, and of a sweep's agent, SLURM and ``kill``."""

log = logging.getLogger("fer.callbacks")


class StopCallback(Callback):
    """End training after the current batch as if it were the last: validate, save, record.

    The request is the event :attr:`asked`, set by W&B's Stop button, hyperband's rule or a signal. Signals
    are handled while batches are trained and restored afterwards. A second Ctrl-C ends at once.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the signal handlers, which only the main thread can."""
        del trainer, pl_module
        if threading.current_thread() is threading.main_thread():
            self.handlers = {signum: signal.signal(signum, self.ask) for signum in SIGNALS}

    def ask(self, signum: int, frame: FrameType | None) -> None:
        """Record a signal's request.

        Raises:
            KeyboardInterrupt: Ctrl-C after an earlier signal.
        """
        del frame
        if signum == signal.SIGINT and self.asked.is_set():
            raise KeyboardInterrupt
        self.asked.set()
        log.info("%s: stopping after this batch; press Ctrl-C to stop at once", signal.Signals(signum).name)

    def on_train_batch_end(self, trainer: Trainer, *args: object) -> None:
        """Make this batch the last one if any process received a request."""
        del args
        # Every process must end after the same batch.
        if trainer.strategy.reduce_boolean_decision(self.asked.is_set(), all=False):
            self.asked.set()
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, LastCheckpoint) and not trainer.should_stop:
                    callback.keep(trainer)  # before the epoch is cut short
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the signal handlers."""
        del trainer, pl_module
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the signal handlers."""
        del trainer, pl_module, exception
        self._restore()

    def _restore(self) -> None:
        for signum, handler in self.handlers.items():
            signal.signal(signum, handler)
        self.handlers = {}


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the program like ``sys.exit(0)``, through every ``finally``.

    Covers the time before and after the batches, where the default handler would leave a run unfinished.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def is_stopped(trainer: Trainer) -> bool:
    """Return whether training was asked to stop, so that the steps after training are skipped."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return any(isinstance(each, StopCallback) and each.asked.is_set() for each in callbacks)
