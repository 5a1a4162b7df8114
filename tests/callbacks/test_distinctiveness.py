"""Angles of every epoch: what is logged and kept, that training does not notice, and what is refused."""

import logging
import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.loggers import CSVLogger
from torch import nn

from fer.callbacks import DistinctivenessCallback, StageCallback
from fer.errors import InputError
from fer.neurons import angles, measure
from fer.neurons.angles import summarise
from fer.runs import Run
from fer.tasks import ClassificationTask, Conv6Task


def _conv_task(**settings):
    layers = OrderedDict(
        conv=nn.Conv2d(1, 3, 3, padding=1),
        bn=nn.BatchNorm2d(3),
        relu=nn.ReLU(),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        dropout=nn.Dropout(0.5),
        fc=nn.Linear(3, 7),
    )
    network = nn.Sequential(layers)
    network.neuron_layers = {"conv": "pool"}
    return ClassificationTask(network, **{"optimizer": "sgd", "lr": 0.1} | settings)


def _fit(callbacks, tiny_data, tiny_trainer, *, task=None, ckpt_path=None, **settings):
    seed_everything(3, verbose=False)
    task, data = task or _conv_task(), tiny_data()
    trainer = tiny_trainer(callbacks=callbacks, **settings)
    trainer.fit(task, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return trainer, task, data


def test_what_is_logged_and_kept_is_what_the_network_does(tiny_data, tiny_trainer, tmp_path):
    callback = DistinctivenessCallback(num_samples=14)
    trainer, task, data = _fit([callback], tiny_data, tiny_trainer, max_epochs=2)
    rows = data.sample("train", 14)
    inputs = torch.stack([data.dataset("train")[int(row)][0] for row in rows])
    expected = angles(measure(task.network, [inputs], ["pool"])["pool"])
    torch.testing.assert_close(callback.degrees["conv"], expected)
    torch.testing.assert_close(torch.from_numpy(Run(tmp_path).read_angles()["conv"]), expected.float())
    for name, value in summarise(expected).items():
        assert float(trainer.callback_metrics[f"angles/conv/{name}"]) == pytest.approx(value, rel=1e-5)
    first = torch.from_numpy(Run(tmp_path).read_angles(0)["conv"])
    speed = (expected - first)[[0, 0, 1], [1, 2, 2]].abs().mean()
    assert callback.history["conv"]["speed"] == [pytest.approx(math.nan, nan_ok=True), pytest.approx(speed)]


def test_an_augmented_split_is_measured_as_it_is(tiny_data, tiny_trainer):
    degrees = []
    for augment in ("none", "fer"):
        callback = DistinctivenessCallback()
        seed_everything(0, verbose=False)
        task = _conv_task(lr=0.0)
        task.network.bn = nn.Identity()  # whose statistics follow the augmented images
        tiny_trainer(callbacks=[callback]).fit(task, datamodule=tiny_data(augment=augment))
        degrees.append(callback.degrees["conv"])
    torch.testing.assert_close(*degrees)


@pytest.mark.slow
def test_training_does_not_notice(tiny_data, tiny_trainer):
    weights = []
    for callbacks in ([], [DistinctivenessCallback()]):
        _, task, _ = _fit(callbacks, tiny_data, tiny_trainer, max_epochs=3)
        weights.append(torch.cat([value.flatten().float() for value in task.state_dict().values()]))
        assert task.network.training
        assert not any(module._forward_hooks for module in task.modules())
    assert torch.equal(*weights)


@pytest.mark.slow
@pytest.mark.parametrize(("every", "expected"), [(0, []), (1, [0, 1, 2, 3]), (2, [1, 3]), (9, [3])])
def test_only_every_nth_epoch_is_measured_and_the_last(every, expected, tiny_data, tiny_trainer, tmp_path):
    callback = DistinctivenessCallback(every_n_epochs=every)
    _fit([callback], tiny_data, tiny_trainer, max_epochs=4)
    assert [int(path.stem[-4:]) for path in sorted(tmp_path.glob("angles/*.npz"))] == expected
    assert callback.history.get("conv", {}).get("epoch", []) == [epoch + 1 for epoch in expected]


class StopAfter(Callback):
    """Ask for the end after some epochs, when Lightning's EarlyStopping does: after all other callbacks."""

    def __init__(self, num_epochs):
        self.num_epochs, self.monitor = num_epochs, "val/loss"

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = trainer.current_epoch + 1 == self.num_epochs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_epochs", "expected"), [pytest.param(3, [2, 3], id="not due"), pytest.param(4, [2, 4], id="due")]
)
def test_a_training_that_stops_early_is_measured_at_its_end(
    num_epochs, expected, tiny_data, tiny_trainer, tmp_path
):
    callback, stages = DistinctivenessCallback(every_n_epochs=2), StageCallback()
    logger = CSVLogger(tmp_path, name="", version="")
    _fit([callback, stages, StopAfter(num_epochs)], tiny_data, tiny_trainer, max_epochs=6, logger=logger)
    assert callback.history["conv"]["epoch"] == stages.times == callback.collapse["epoch"] == expected
    assert (callback.epoch, Run(tmp_path).measured_epochs()) == (
        num_epochs - 1,
        [epoch - 1 for epoch in expected],
    )
    metrics = Run(tmp_path).read_metrics()
    for key in ("angles/conv/mean", "stage/network"):
        assert [
            t for t, value in zip(metrics["epoch"], metrics[key], strict=True) if value == value
        ] == expected


@pytest.mark.slow
def test_a_training_that_stopped_early_goes_on_after_its_last_measurement(tiny_data, tiny_trainer, tmp_path):
    first, second = (DistinctivenessCallback(every_n_epochs=2) for _ in range(2))
    trainer, _, _ = _fit([first, StopAfter(3)], tiny_data, tiny_trainer, max_epochs=6)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    stop = StopAfter(0)
    stop.on_fit_start = lambda trainer, pl_module: setattr(trainer, "should_stop", True)
    _fit([second, stop], tiny_data, tiny_trainer, max_epochs=6, ckpt_path=tmp_path / "last.ckpt")
    assert second.history["conv"]["epoch"] == [2, 3]
    _fit([second], tiny_data, tiny_trainer, max_epochs=6, ckpt_path=tmp_path / "last.ckpt")
    assert second.history["conv"]["epoch"] == [2, 3, 4, 6]


@pytest.mark.parametrize(
    "settings", [{"every_n_epochs": 0}, {"every_n_epochs": 4, "first_step": 999}], ids=["never", "too early"]
)
def test_what_is_not_to_be_measured_is_not_measured_at_the_end(settings, tiny_data, tiny_trainer):
    callback = DistinctivenessCallback(**settings)
    _fit([callback, StopAfter(1)], tiny_data, tiny_trainer, max_epochs=6)
    assert callback.history == {}


@pytest.mark.slow
def test_speed_is_per_epoch(tiny_data, tiny_trainer, tmp_path):
    callback = DistinctivenessCallback(every_n_epochs=2)
    _fit([callback], tiny_data, tiny_trainer, max_epochs=3)
    pairs = [Run(tmp_path).read_angles(epoch)["conv"][[0, 0, 1], [1, 2, 2]] for epoch in (0, 2)]
    assert callback.history["conv"]["speed"][1] == pytest.approx(
        np.abs(pairs[1] - pairs[0]).mean() / 2, rel=1e-4
    )


@pytest.mark.slow
def test_a_resumed_run_goes_on(tiny_data, tiny_trainer, tmp_path):
    whole, first, second = (DistinctivenessCallback() for _ in range(3))
    _fit([whole], tiny_data, tiny_trainer, max_epochs=4)
    trainer, _, _ = _fit([first], tiny_data, tiny_trainer, max_epochs=2)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    _fit([second], tiny_data, tiny_trainer, max_epochs=4, ckpt_path=tmp_path / "last.ckpt")
    assert second.history["conv"]["epoch"] == whole.history["conv"]["epoch"] == [1, 2, 3, 4]
    assert second.history["conv"]["speed"][1:2] == first.history["conv"]["speed"][1:]
    assert second.history["conv"]["speed"][2] > 0


@pytest.mark.slow
def test_the_state_of_a_version_that_measured_epochs_is_taken_over(tiny_data, tiny_trainer, tmp_path):
    first, second = DistinctivenessCallback(), DistinctivenessCallback()
    trainer, _, _ = _fit([first], tiny_data, tiny_trainer, max_epochs=2)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    (key,) = (name for name in checkpoint["callbacks"] if name.startswith("DistinctivenessCallback"))
    state = checkpoint["callbacks"][key]
    history = {
        layer: {"epoch": [0, 1], "mean": columns["mean"], "speed": columns["speed"]}
        for layer, columns in state["history"].items()
    }
    checkpoint["callbacks"][key] = {"epoch": 1, "degrees": state["degrees"], "history": history}
    torch.save(checkpoint, tmp_path / "old.ckpt")
    _fit([second], tiny_data, tiny_trainer, max_epochs=3, ckpt_path=tmp_path / "old.ckpt")
    columns = second.history["conv"]
    assert columns["epoch"] == second.losses["epoch"] == [1, 2, 3]
    assert {len(values) for values in columns.values()} == {3}
    assert columns["speed"][2] > 0


def test_figures_of_the_last_epoch_are_drawn(tiny_data, tiny_trainer, tmp_path):
    _fit([DistinctivenessCallback()], tiny_data, tiny_trainer)
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    names = {"angle-matrix", "angle-histogram", "angle-pairs", "collapse", "feature-maps"}
    # pool gives one number a map, but four dimensions.
    assert drawn == {f"{name}.{ending}" for name in names for ending in ("png", "svg")}


def test_layers_can_be_named(tiny_data, tiny_trainer, tmp_path):
    _fit([DistinctivenessCallback(layers=["relu", "fc"])], tiny_data, tiny_trainer)
    assert {name: len(matrix) for name, matrix in Run(tmp_path).read_angles().items()} == {"relu": 3, "fc": 7}


def test_half_precision_is_measured(tiny_data, tiny_trainer):
    callback = DistinctivenessCallback()
    _fit([callback], tiny_data, tiny_trainer, precision="bf16-true")
    assert callback.degrees["conv"].isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"every_n_epochs": -1}, "every_n_epochs is -1", id="negative"),
        pytest.param({"num_samples": 1}, "angles need 2 samples", id="one sample"),
        pytest.param({"num_samples": 0}, "num_samples is 0", id="empty"),
        pytest.param({"similar_below": 170}, "in this order", id="thresholds crossed"),
        pytest.param({"layers": ["convv"]}, "did you mean 'conv'", id="unknown layer"),
        pytest.param({"layers": ["tuple"]}, "returns a tuple, not a tensor", id="no tensor"),
        pytest.param({"layers": ["wide"]}, "20,000 neurons are more than", id="too wide"),
        pytest.param({"normalise": "sideways"}, "normalise is 'sideways'", id="unknown normalisation"),
    ],
)
def test_what_is_refused_before_training(settings, message, tiny_data, tiny_trainer):
    class Odd(nn.Module):
        def forward(self, inputs):
            return inputs, inputs

    class First(nn.Module):
        def forward(self, inputs):
            return inputs[0]

    task = _conv_task()
    task.network.add_module("tuple", Odd())
    task.network.add_module("first", First())
    task.network.add_module("wide", nn.Linear(7, 20_000))
    task.network.add_module("narrow", nn.Linear(20_000, 7))
    with pytest.raises(InputError, match=message):
        _fit([DistinctivenessCallback(**settings)], tiny_data, tiny_trainer, task=task)
    assert task.global_step == 0


def test_a_declared_layer_that_is_too_wide_is_left_out(tiny_data, tiny_trainer, caplog):
    task = _conv_task()
    task.network.add_module("wide", nn.Linear(7, 20_000))
    task.network.add_module("narrow", nn.Linear(20_000, 7))
    task.network.neuron_layers = {"conv": "pool", "wide": "wide"}
    callback = DistinctivenessCallback()
    with caplog.at_level(logging.WARNING, "fer.callbacks"):
        _fit([callback], tiny_data, tiny_trainer, task=task)
    (message,) = caplog.messages
    assert message.startswith("layers without angles: wide (layer 'wide': 20,000 neurons are more than")
    assert list(callback.degrees) == ["conv"]


def test_values_that_are_not_finite_are_said_and_training_goes_on(tiny_data, tiny_trainer, caplog):
    task = _conv_task()
    task.network.bn = nn.Identity()
    with torch.no_grad():
        task.network.conv.bias[1] = math.inf
    callback = DistinctivenessCallback()
    with caplog.at_level(logging.INFO, "fer.callbacks"):
        trainer, _, _ = _fit([callback], tiny_data, tiny_trainer, task=task, max_epochs=3)
    said = [(record.levelname, record.getMessage()) for record in caplog.records if "NaN" in record.msg]
    assert said[0] == (
        "WARNING",
        "epoch 1: NaN or infinite, thus without angles: 3 of 3 neurons of conv",
    )
    assert [level for level, _ in said] == ["WARNING", "INFO", "INFO"]
    assert trainer.current_epoch == 3


def test_the_layers_of_a_network_that_declares_none_are_found(tiny_data, tiny_trainer, tmp_path):
    task = _conv_task()
    del task.network.neuron_layers
    callback = DistinctivenessCallback()
    _fit([callback], tiny_data, tiny_trainer, task=task)
    assert callback.places == {"conv": "pool"}
    assert [*Run(tmp_path).read_angles()] == ["conv"]


def test_a_network_without_hidden_layers_has_no_angles_and_says_so(tiny_data, tiny_trainer, tmp_path, caplog):
    task = ClassificationTask(nn.Sequential(nn.Flatten(), nn.Linear(64, 7)))
    with caplog.at_level(logging.WARNING, "fer.callbacks"):
        _fit([DistinctivenessCallback()], tiny_data, tiny_trainer, task=task)
    assert not (tmp_path / "angles").exists()
    assert "no angles: the hidden layers are none (" in caplog.text


@pytest.mark.slow
def test_the_layers_of_a_real_network_are_measured(tiny_data, tiny_trainer, tmp_path):
    data = tiny_data(size=32)
    task = Conv6Task(widths=(2, 3, 4, 5, 6), image_size=32, compile=False)
    tiny_trainer(callbacks=[DistinctivenessCallback()]).fit(task, datamodule=data)
    assert [len(matrix) for matrix in Run(tmp_path).read_angles().values()] == [2, 3, 4, 5, 6]


def test_angles_that_are_not_there_are_named(tmp_path):
    with pytest.raises(InputError, match=r"distinctiveness\.every_n_epochs"):
        Run(tmp_path).read_angles()
