"""Training and analysis on a fake GPU: they mix no devices, and never wait for values within a step.

What cannot be run on tensors without values, and why:

- Backward and the optimizer on a GPU: autograd asks the driver for a thread of the device. They run here on
  fake tensors of the CPU, which have no values either, and whose devices cannot be mixed.
- ``model.mixup``: it draws the share of each image on the CPU, as a number. A GPU does not wait for that.
- ``eval_state``'s ``fork_rng``, which copies the random state of a real GPU once for each measurement.
- The end of an epoch (metrics, losses) and of a measurement (quantiles of angles, ranks, CKA, shares of
  neurons): they are logged as numbers, for which the process has to wait, once.
- ``FiniteCallback`` reads in each step whether the loss is finite, before the optimizer changes the weights.
  It waits for the forward pass alone: the backward pass is asked for by then, and a GPU goes on with it.
- ``GradientCallback`` waits for the norms and counts of each layer in the first step of an epoch.
- Measuring gradients and pruning: they decide by values which neurons go.
"""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from fake_cuda import CUDA, fake, move
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from fer.metrics import ClassificationMetrics
from fer.neurons import ActivationStatistics, angles, measure
from fer.neurons.angles import Origin
from fer.neurons.frozen import DeclaresFrozenPart
from fer.tasks import TASKS

SMALL = {
    "transfer": {"image_size": 32, "hidden": 9},
    "conv1": {"image_size": 48},
    "conv2": {"image_size": 48},
}
CPU = torch.device("cpu")


def task_on(name, mode, device, monkeypatch, **settings):
    """Return a task whose tensors are fake, in train mode, and a batch."""
    task = TASKS[name](**SMALL.get(name, {}), **settings)
    hparams = task.hparams
    size = hparams.get("image_size")
    shape = (hparams["in_features"],) if size is None else (hparams["channels"], size, size)
    inputs, labels = torch.zeros(8, *shape), torch.zeros(8, dtype=torch.long)
    move(task, mode, device)
    monkeypatch.setattr(task, "log", lambda *args, **kwargs: None)
    return task.train(), (fake(inputs, mode, device), fake(labels, mode, device))


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.slow
def test_a_step_mixes_no_devices_and_does_not_wait(name, monkeypatch):
    mode = FakeTensorMode()
    task, batch = task_on(name, mode, CUDA, monkeypatch)
    trainer = SimpleNamespace(world_size=1, val_dataloaders=None)
    monkeypatch.setattr(type(task), "trainer", trainer)
    with mode:
        assert task.training_step(batch, 0).device == CUDA
        assert task.eval().validation_step(batch, 0).device == CUDA
        assert task.predict_step(batch, 0).device == CUDA
    assert task.val_metrics.confusion.device == CUDA


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "mse"},
        {"label_smoothing": 0.1, "class_weights": "balanced"},
        {"channels_last": False},
    ],
    ids=str,
)
def test_neither_does_any_loss(settings, monkeypatch):
    mode = FakeTensorMode()
    task, (inputs, labels) = task_on("conv6", mode, CUDA, monkeypatch, **settings)
    soft = fake(torch.zeros(8, 7), mode)
    with mode:
        for targets in (labels, soft):
            assert task.training_step((inputs, targets), 0).device == CUDA


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.slow
def test_backward_and_the_optimizer_do_not_wait(name, monkeypatch):
    mode = FakeTensorMode()
    task, batch = task_on(name, mode, CPU, monkeypatch)
    with mode:
        optimizer = torch.optim.Adam([each for each in task.parameters() if each.requires_grad])
        for _ in range(2):
            optimizer.zero_grad()
            task.training_step(batch, 0).backward()
            optimizer.step()
    assert all(each.grad is not None for each in task.parameters() if each.requires_grad)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.slow
def test_measuring_neurons_does_not_wait_before_the_angles_are_there(name, monkeypatch):
    mode = FakeTensorMode()
    task, (inputs, _) = task_on(name, mode, CUDA, monkeypatch)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: nullcontext())
    rows = []
    with mode:
        measured = measure(
            task.network,
            [inputs, inputs],
            task.neuron_layers.values(),
            on_layer=lambda name, output: rows.append(output.flatten(1).cpu()),
        )
        for statistics in measured.values():
            assert angles(statistics).device == CUDA
            assert (statistics + statistics).mean.device == CUDA
    assert {row.device for row in rows} == {CPU}


@pytest.mark.parametrize("maps", ["positions", "mean"])
@pytest.mark.parametrize("normalise", Origin.__args__)
def test_angles_of_any_origin_do_not_wait(normalise, maps):
    with FakeTensorMode():
        activations = torch.zeros(64, 7, 5, 5, device=CUDA)
        statistics = ActivationStatistics.of(activations, maps=maps, pattern_minmax=maps == "mean")
        assert angles(statistics, normalise).device == CUDA


@pytest.mark.slow
def test_features_of_a_frozen_part_are_taken_without_waiting(monkeypatch):
    mode = FakeTensorMode()
    task, (_, labels) = task_on("transfer", mode, CUDA, monkeypatch)
    assert isinstance(task.network, DeclaresFrozenPart)
    features = fake(torch.zeros(8, task.network.head.fc1.in_features), mode)
    with mode:
        assert task.training_step((features, labels), 0).device == CUDA


def test_the_fake_tensors_tell_off_whoever_waits_or_mixes_devices():
    with FakeTensorMode():
        values = torch.zeros(3, device=CUDA)
        with pytest.raises(DataDependentOutputException):
            values.sum().item()
        with pytest.raises(DataDependentOutputException):
            bool(values.any())
        with pytest.raises(DynamicOutputShapeException):
            values[values > 0]
        with pytest.raises(RuntimeError, match="cuda"):
            values + torch.zeros(3)


def test_a_label_out_of_range_is_told_when_the_metrics_of_a_gpu_are_computed():
    """A check that waited would do so in every batch."""
    metrics = ClassificationMetrics(3)
    with FakeTensorMode() as mode:
        for name, default in metrics._defaults.items():
            setattr(metrics, name, fake(default, mode))
        metrics.update(torch.zeros(4, 3, device=CUDA), torch.zeros(4, dtype=torch.long, device=CUDA))
        with pytest.raises(DataDependentOutputException):
            metrics.compute()
    metrics = ClassificationMetrics(3)
    metrics.outside = metrics.outside + 1
    metrics.update(torch.eye(3), torch.arange(3))
    with pytest.raises(ValueError, match="a label is outside 0 to 2"):
        metrics.compute()
