"""A training that was cut off anywhere goes on as if it had not been."""

import random

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from torch import nn

from fer.callbacks import DistinctivenessCallback, StageCallback
from fer.callbacks.history import measured_until
from fer.callbacks.last import LastCheckpoint, random_states, set_random_states
from fer.dashboards.metrics import MetricsLogger
from fer.tasks import ClassificationTask


class Killed(BaseException):
    """What a test kills a training with."""


class Kill(Callback):
    """Raise in a hook when it is called for the n-th time."""

    def __init__(self, hook, number):
        self.calls = 0

        def kill(*_):
            self.calls += 1
            if self.calls == number:
                raise Killed

        setattr(self, hook, kill)


def _network():
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(144, 7))


def _fit(folder, tiny_data, tiny_trainer, *more, resume=False, **settings):
    seed_everything(3, verbose=False)
    torch.manual_seed(3)
    task = ClassificationTask(_network(), lr=0.05, optimizer="adam", schedule="cosine", mixup=0.2)
    callbacks = [DistinctivenessCallback(num_samples=14, every_n_steps=2), StageCallback(), *more]
    last = LastCheckpoint(folder / "checkpoints" / "last.ckpt")
    path = next((path for path in (last.path, last.previous) if path.is_file()), None) if resume else None
    loaded = torch.load(path, weights_only=True) if path else {"epoch": 0}
    logger = MetricsLogger(folder, loaded["epoch"], measured_until(loaded))
    trainer = tiny_trainer(
        callbacks=[*callbacks, last], logger=logger, max_epochs=4, enable_checkpointing=True
    )
    data = tiny_data(augment="fer", **settings)
    trainer.fit(task, datamodule=data, ckpt_path=path, weights_only=True)
    return (
        *(task.state_dict(), (folder / "metrics.csv").read_text()),
        *(callbacks[1].losses, callbacks[1].ratios, callbacks[0].history),
        *(callbacks[0].losses, callbacks[0].collapse),
    )


def _equal(left, right):
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, str):
        return left == right
    return np.array_equal(np.asarray(left), np.asarray(right), equal_nan=True)


@pytest.fixture(scope="module")
def fitted():
    return {}


@pytest.fixture
def whole(fitted, tmp_path, tiny_data, tiny_trainer):
    """Fit without a stop, once for all tests with the same settings."""

    def fit(**settings):
        key = tuple(settings.items())
        if key not in fitted:
            fitted[key] = _fit(tmp_path / "whole", tiny_data, tiny_trainer, **settings)
        return fitted[key]

    return fit


CUTS = [
    pytest.param("on_train_batch_end", 2, id="first epoch"),
    pytest.param("on_train_batch_end", 7, id="in an epoch"),
    pytest.param("on_validation_batch_end", 5, id="in validation"),
    pytest.param("on_train_epoch_end", 3, id="at an epoch's end"),
    pytest.param("on_save_checkpoint", 2, id="while a checkpoint is made"),
    pytest.param("on_train_end", 1, id="after the last epoch"),
]


@pytest.mark.parametrize(("hook", "number"), CUTS)
@pytest.mark.slow
def test_a_training_that_was_killed_is_completed_bit_for_bit(
    hook, number, whole, tmp_path, tiny_data, tiny_trainer
):
    with pytest.raises(Killed):
        _fit(tmp_path / "cut", tiny_data, tiny_trainer, Kill(hook, number))
    resumed = _fit(tmp_path / "cut", tiny_data, tiny_trainer, resume=True)
    for index, (left, right) in enumerate(zip(whole(), resumed, strict=True)):
        assert _equal(left, right), index


class Preempt(Callback):
    """Save in the middle of an epoch, then kill."""

    def __init__(self, number):
        self.number = number

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.number:
            next(each for each in trainer.callbacks if isinstance(each, LastCheckpoint)).save(
                trainer, is_within_epoch=True
            )
            raise Killed


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="by the batch"),
        pytest.param({"pipeline": "loader"}, id="one by one"),
        pytest.param({"num_workers": 2}, id="two workers", marks=pytest.mark.slow),
        pytest.param({"num_workers": 2, "pipeline": "loader"}, id="one by one, two", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("step", [1, 6, 9])
def test_a_training_that_was_preempted_within_an_epoch_goes_on_there(
    step, settings, whole, tmp_path, tiny_data, tiny_trainer
):
    with pytest.raises(Killed):
        _fit(tmp_path / "cut", tiny_data, tiny_trainer, Preempt(step), **settings)
    resumed = _fit(tmp_path / "cut", tiny_data, tiny_trainer, resume=True, **settings)
    for index, (left, right) in enumerate(zip(whole(**settings | {"num_workers": 0}), resumed, strict=True)):
        assert _equal(left, right), index


def test_random_states_are_restored():
    states = random_states()
    first = random.random(), np.random.rand(), torch.rand(1).item()
    set_random_states(states)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == first
