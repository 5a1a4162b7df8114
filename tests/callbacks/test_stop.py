"""A training that is asked to end ends after the batch, with everything that belongs to an end."""

import os
import signal

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from fer.callbacks.stop import StopCallback, exit_on_sigterm, is_stopped
from fer.tasks import Conv2Task


class Asks(Callback):
    """Ask in the second batch; keep what happened."""

    def __init__(self, ask):
        self.ask, self.num_batches, self.ended = ask, 0, False

    def on_train_batch_end(self, *args):
        self.num_batches += 1
        if self.num_batches == 2:
            self.ask()

    def on_fit_end(self, *args):
        self.ended = True


def by(*signums):
    def ask():
        for signum in signums:
            os.kill(os.getpid(), signum)

    return ask


@pytest.fixture
def fit(tiny_trainer, tiny_data, tmp_path):
    def run(ask):
        stop = StopCallback()
        asks = Asks(ask or stop.asked.set)
        callbacks = [asks, stop, ModelCheckpoint(dirpath=tmp_path, filename="last")]
        trainer = tiny_trainer(max_epochs=3, callbacks=callbacks, enable_checkpointing=True)
        trainer.fit(Conv2Task(widths=(2, 2), hidden=(4, 4), image_size=8, channels=1), datamodule=tiny_data())
        return trainer, asks

    return run


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(None, id="W&B"),
        pytest.param(by(signal.SIGTERM), id="an agent or SLURM"),
        pytest.param(by(signal.SIGINT), id="Ctrl-C"),
        pytest.param(by(signal.SIGTERM, signal.SIGTERM), id="an agent, twice"),
    ],
)
def test_training_ends_after_the_batch_with_val_and_a_checkpoint(ask, fit, tmp_path):
    before = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    trainer, asks = fit(ask)
    assert asks.num_batches == 2
    assert asks.ended
    assert is_stopped(trainer)
    assert not trainer.interrupted
    assert "val/acc_best" in trainer.callback_metrics
    assert (tmp_path / "last.ckpt").is_file()
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == before


def test_nothing_ends_where_nobody_asks(fit):
    trainer, asks = fit(lambda: None)
    assert asks.num_batches == 3 * 4
    assert not is_stopped(trainer)


def test_a_second_ctrl_c_ends_at_once(fit):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        fit(by(signal.SIGINT, signal.SIGINT))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which Lightning leaves ignored
    assert ended.value.code == 1
    assert signal.getsignal(signal.SIGTERM) == before


def test_sigterm_is_an_exit_where_no_batch_is_trained():
    before = signal.getsignal(signal.SIGTERM)
    closed = []

    def work():
        with exit_on_sigterm():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                closed.append("the run")

    with pytest.raises(SystemExit) as ended:
        work()
    assert (ended.value.code, closed) == (0, ["the run"])
    assert signal.getsignal(signal.SIGTERM) == before
