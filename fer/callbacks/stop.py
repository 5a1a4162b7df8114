"""Stop a training cleanly on request: Ctrl-C, SIGTERM, W&B's Stop button, hyperband, preemption."""

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, Literal

from lightning.pytorch import Callback, LightningModule, Trainer

from fer.callbacks.last import LastCheckpoint, is_accumulating

OnSigterm = Literal["stop", "requeue"]
"""What SIGTERM means.

- ``stop``: the training is to end: the batch, the validation and the test are done as usual.
- ``requeue``: the machine is needed for something else: save at once, exit with :data:`TRY_AGAIN`, and go on
  when the same command is started again.
"""

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
"""The signals of Ctrl-C, and of a sweep's agent, SLURM and ``kill``."""

PREEMPTION: Final = (signal.SIGTERM, signal.SIGUSR1)
"""The signals of SLURM and other schedulers before they take the machine away."""

TRY_AGAIN: Final = 75
"""Exit status of a training that was preempted; ``EX_TEMPFAIL`` in ``sysexits.h``."""

log = logging.getLogger("fer.callbacks")


class StopCallback(Callback):
    """End training after the current batch as if it were the last: validate, save, record.

    The request is the event :attr:`asked`, set by W&B's Stop button, hyperband's rule or a signal. Signals
    are handled while batches are trained and restored afterwards. A second Ctrl-C ends at once.

    With ``on_sigterm="requeue"`` SIGTERM and SIGUSR1 are no such request: :class:`LastCheckpoint` saves after
    the current batch, without a validation, and the program exits; in validation, where less than one step
    is lost, it exits at once.
    """

    def __init__(self, on_sigterm: OnSigterm = "stop") -> None:
        self.asked = threading.Event()
        self.preempted = threading.Event()
        self.on_sigterm: OnSigterm = on_sigterm
        self.is_validating = False
        self.handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the signal handlers, which only the main thread can."""
        del trainer, pl_module
        if threading.current_thread() is threading.main_thread():
            signals = {*SIGNALS, *(PREEMPTION if self.on_sigterm == "requeue" else ())}
            self.handlers = {signum: signal.signal(signum, self.ask) for signum in signals}

    def ask(self, signum: int, frame: FrameType | None) -> None:
        """Record a signal's request.

        Raises:
            KeyboardInterrupt: Ctrl-C after an earlier signal.
            SystemExit: A preemption in validation.
        """
        del frame
        if self.on_sigterm == "requeue" and signum in PREEMPTION:
            self.preempted.set()
            log.info("%s: saving; the same command resumes the training", signal.Signals(signum).name)
            if self.is_validating:
                sys.exit(TRY_AGAIN)
            return
        if signum == signal.SIGINT and self.asked.is_set():
            raise KeyboardInterrupt
        self.asked.set()
        log.info("%s: stopping after this batch; press Ctrl-C to stop at once", signal.Signals(signum).name)

    def on_train_batch_end(self, trainer: Trainer, *args: object) -> None:
        """Make this batch the last one if any process received a request.

        Raises:
            SystemExit: It is a preemption.
        """
        del args
        if is_accumulating(trainer):
            return  # gradients are in no checkpoint
        # Every process must end after the same batch.
        is_preempted, is_asked = (
            trainer.strategy.reduce_boolean_decision(event.is_set(), all=False)
            for event in (self.preempted, self.asked)
        )
        if is_asked:
            self.asked.set()
        if (is_preempted or is_asked) and not trainer.should_stop:
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, LastCheckpoint):
                    callback.keep(trainer)  # before the epoch is cut short
        if is_preempted:
            sys.exit(TRY_AGAIN)
        if is_asked:
            trainer.should_stop = True

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Exit if the training was preempted; from now on a preemption exits at once.

        Raises:
            SystemExit: It was preempted.
        """
        del pl_module
        self.is_validating = trainer.state.fn == "fit"
        if self.is_validating and self.preempted.is_set():
            sys.exit(TRY_AGAIN)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let a preemption wait for a batch again."""
        del trainer, pl_module
        self.is_validating = False

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
def exit_on_sigterm(on_sigterm: OnSigterm = "stop") -> Iterator[None]:
    """Let SIGTERM end the program like ``sys.exit``, through every ``finally``.

    The exit status is 0, or :data:`TRY_AGAIN` for ``requeue``.

    Covers the time before and after the batches, where the default handler would leave a run unfinished.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TRY_AGAIN if on_sigterm == "requeue" else 0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def is_stopped(trainer: Trainer) -> bool:
    """Return whether training was asked to stop, so that the steps after training are skipped."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return any(isinstance(each, StopCallback) and each.asked.is_set() for each in callbacks)
