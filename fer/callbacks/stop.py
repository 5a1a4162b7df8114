"""A training that is asked to end, and does so well."""

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from lightning.pytorch import Callback, LightningModule, Trainer

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
"""What Ctrl-C sends, and what a sweep's agent, SLURM and ``kill`` send."""

log = logging.getLogger("fer.callbacks")


class StopCallback(Callback):
    """End training after the batch in which it is asked for, as if it were the last: val, checkpoint, record.

    Whoever sets :attr:`asked` asks: W&B's Stop button, hyperband's rule, or a signal. The signals are taken
    while batches are trained, and given back after. A second Ctrl-C ends at once.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals, which only a process's main thread can."""
        del trainer, pl_module
        if threading.current_thread() is threading.main_thread():
            self.handlers = {signum: signal.signal(signum, self.ask) for signum in SIGNALS}

    def ask(self, signum: int, frame: FrameType | None) -> None:
        """Note what a signal asks for.

        Raises:
            KeyboardInterrupt: It is Ctrl-C, and not the first signal.
        """
        del frame
        if signum == signal.SIGINT and self.asked.is_set():
            raise KeyboardInterrupt
        self.asked.set()
        log.info("%s: training ends after this batch; Ctrl-C ends it at once", signal.Signals(signum).name)

    def on_train_batch_end(self, trainer: Trainer, *args: object) -> None:
        """Make the batch the last of all if any process was asked."""
        del args
        # Every process must end after the same batch.
        if trainer.strategy.reduce_boolean_decision(self.asked.is_set(), all=False):
            self.asked.set()
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the signals back."""
        del trainer, pl_module
        self._give_back()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        del trainer, pl_module, exception
        self._give_back()

    def _give_back(self) -> None:
        for signum, handler in self.handlers.items():
            signal.signal(signum, handler)
        self.handlers = {}


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the program as an exit with status 0 does, through every ``finally``.

    For all that comes before and after the batches: the system's own way leaves a run without an end.
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
    """Return whether training was asked to end, so that nothing more should be made of it."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return any(isinstance(each, StopCallback) and each.asked.is_set() for each in callbacks)
