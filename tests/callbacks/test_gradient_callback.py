"""Gradients by hand, of one linear layer."""

from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from fer.callbacks import GradientCallback
from fer.errors import InputError
from fer.tasks import ClassificationTask


def _linear_task():
    """One linear layer from 2x2 pixels, all zero: each class has probability 1/7."""
    network = nn.Sequential(OrderedDict(flatten=nn.Flatten(), fc=nn.Linear(4, 7)))
    nn.init.zeros_(network.fc.weight)
    nn.init.zeros_(network.fc.bias)
    return ClassificationTask(network, optimizer="sgd", lr=0.1)


def _fit(callback, tiny_data, tiny_trainer, *, task=None, ckpt_path=None, **settings):
    data = tiny_data(size=2, normalise="half", batch_size=28)
    trainer = tiny_trainer(callbacks=[callback], **settings)
    trainer.fit(task or _linear_task(), datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return trainer, data


def test_norm_and_histogram_by_hand(tiny_data, tiny_trainer):
    callback = GradientCallback()
    trainer, data = _fit(callback, tiny_data, tiny_trainer)
    # Cross-entropy's gradient of the weights is the mean of (p - y) x'.
    split = data.splits["train"]
    inputs = split.images.reshape(28, 4) / 127.5 - 1
    gradient = (1 / 7 - np.eye(7)[split.labels]).T @ inputs / 28
    assert callback.norms == {"fc": [pytest.approx(np.linalg.norm(gradient), rel=1e-5)]}
    assert float(trainer.callback_metrics["gradients/fc"]) == pytest.approx(callback.norms["fc"][0])
    (counts,) = callback.counts["fc"]
    expected, _ = np.histogram(gradient, callback.edges.numpy())
    assert counts.tolist() == expected.tolist()
    assert counts.sum() == 28


def test_gradients_beyond_the_axis_are_counted_at_its_ends():
    edges = GradientCallback().edges
    assert (edges == -edges.flip(0)).all()
    assert (edges[0], edges[-1]) == (-10, 10)
    task = _linear_task()
    task.network.fc.weight.grad = torch.full((7, 4), 1e3)
    task.network.fc.weight.grad[0, 0] = -1e3
    callback = GradientCallback()
    task.log = lambda *args, **kwargs: None
    trainer = SimpleNamespace(
        current_epoch=0, strategy=None, num_training_batches=1, max_epochs=1, max_steps=-1
    )
    callback.on_before_optimizer_step(trainer, task, torch.optim.SGD(task.parameters(), 0.1))
    assert callback.counts["fc"][0][[0, -1]].tolist() == [1, 27]


def test_a_fit_measures_once_in_each_due_epoch_and_draws(tiny_data, tiny_trainer, tmp_path):
    callback = GradientCallback(2)
    data = tiny_data(size=2)  # four steps an epoch
    tiny_trainer(callbacks=[callback], max_epochs=4).fit(_linear_task(), datamodule=data)
    assert callback.epochs == [1, 3]  # those of the angles, with the last one
    assert len(callback.norms["fc"]) == len(callback.counts["fc"]) == 2
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"gradient-norms.png", "gradient-histograms.png"}


def test_never_measures_and_draws_nothing(tiny_data, tiny_trainer, tmp_path):
    callback = GradientCallback(0)
    trainer, _ = _fit(callback, tiny_data, tiny_trainer)
    assert (callback.epochs, callback.norms) == ([], {})
    assert "gradients/fc" not in trainer.callback_metrics
    assert not (tmp_path / "figures").exists()


def test_a_negative_number_of_epochs_is_refused():
    with pytest.raises(InputError, match=r"gradients\.every_n_epochs is -1"):
        GradientCallback(-1)


def test_a_resumed_fit_keeps_the_history(tiny_data, tiny_trainer, tmp_path):
    first = GradientCallback()
    trainer, _ = _fit(first, tiny_data, tiny_trainer, max_epochs=2)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    second = GradientCallback()
    _fit(second, tiny_data, tiny_trainer, max_epochs=3, ckpt_path=tmp_path / "last.ckpt")
    assert second.epochs == [0, 1, 2]
    assert second.norms["fc"][:2] == first.norms["fc"]
    assert len(second.counts["fc"]) == 3
