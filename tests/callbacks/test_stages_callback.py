"""Stages of a run: what is logged and written, what is done on a plateau, and how a run goes on."""

import json
import math
from collections import OrderedDict

import pytest
import torch
from lightning.pytorch import seed_everything
from torch import nn

from fer.callbacks import DistinctivenessCallback, StageCallback
from fer.callbacks.stages import is_action_due, update_ratio
from fer.errors import InputError
from fer.neurons import Stage, label_stages, live_stages
from fer.neurons.stages import StageLabel
from fer.tasks import ClassificationTask

PLATEAU = StageLabel(Stage.PLATEAU, "stuck")


def _task(**settings):
    network = nn.Sequential(
        OrderedDict(flatten=nn.Flatten(), fc1=nn.Linear(64, 5), relu=nn.ReLU(), fc2=nn.Linear(5, 7))
    )
    network.neuron_layers = {"fc1": "relu"}
    return ClassificationTask(network, **{"optimizer": "sgd", "lr": 0.1} | settings)


def _fit(stages, tiny_data, tiny_trainer, *, task=None, measured=True, ckpt_path=None, **settings):
    seed_everything(1, verbose=False)
    callbacks = [DistinctivenessCallback(), stages] if measured else [stages]
    task, trainer = task or _task(), tiny_trainer(callbacks=callbacks, **settings)
    trainer.fit(task, datamodule=tiny_data(), ckpt_path=ckpt_path, weights_only=True)
    return trainer, task


class Plateau(StageCallback):
    """Labels every epoch as a plateau."""

    def labels(self, *, live):
        return {layer: [PLATEAU] * len(speeds) for layer, speeds in self.speeds.items()}


def test_histories_are_what_was_logged(tiny_data, tiny_trainer, tmp_path):
    stages = StageCallback()
    trainer, _ = _fit(stages, tiny_data, tiny_trainer, max_epochs=3)
    logged = trainer.callback_metrics
    assert stages.losses["epoch"] == [0, 1, 2]
    for name in ("train/loss", "val/loss"):
        assert stages.losses[name][-1] == pytest.approx(float(logged[name]))
    assert stages.speeds["fc1"][-1] == pytest.approx(float(logged["angles/fc1/speed"]))
    assert stages.speeds["network"] == pytest.approx(stages.speeds["fc1"], nan_ok=True)  # the only layer
    assert float(logged["stage/network"]) == 0  # too early to be more
    assert float(logged["update_ratio/fc1"]) == pytest.approx(stages.ratios["fc1"][-1])
    written = json.loads((tmp_path / "stages.json").read_text())
    assert written["fc1"]["live"] == [{"stage": "initial", "reason": "warm_up", "first": 0, "last": 2}]
    assert {path.stem for path in (tmp_path / "figures").glob("*.svg")} >= {"angles", "angular-speed"}


def test_update_ratio_is_that_of_the_first_step(tiny_data, tiny_trainer):
    stages, task = StageCallback(), _task(lr=0.01)
    before = {name: value.detach().clone() for name, value in task.network.named_parameters()}
    _fit(stages, tiny_data, tiny_trainer, task=task, limit_train_batches=1)
    after = task.network.state_dict()
    step = (after["fc1.weight"] - before["fc1.weight"]).norm() / before["fc1.weight"].norm()
    assert stages.ratios["fc1"] == [pytest.approx(float(step), rel=1e-4)]
    assert stages.ratios["network"] != stages.ratios["fc1"]


def test_a_step_of_several_batches_is_measured(tiny_data, tiny_trainer):
    stages = StageCallback()
    _fit(stages, tiny_data, tiny_trainer, accumulate_grad_batches=4)
    assert stages.ratios["fc1"][0] > 0


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        pytest.param("fc1", 0.5, id="a layer"),
        pytest.param("layer4.2", 3.0, id="all below it"),
        pytest.param("layer4", 3.0, id="a stage"),
        pytest.param("", math.sqrt((1 + 36) / (4 + 4)), id="the network"),
        pytest.param("relu", math.sqrt((1 + 36) / (4 + 4)), id="no weights of its own"),
        pytest.param("layer", math.sqrt((1 + 36) / (4 + 4)), id="a beginning is no name"),
    ],
)
def test_update_ratio_by_hand(layer, expected):
    sizes = {"fc1.weight": (1.0, 4.0), "layer4.2.conv.weight": (36.0, 4.0)}
    assert update_ratio(sizes, layer) == pytest.approx(expected)


def test_nothing_measured_has_no_ratio():
    assert math.isnan(update_ratio({}, "fc1"))


def test_the_network_has_stages_without_angles(tiny_data, tiny_trainer, tmp_path):
    _fit(StageCallback(), tiny_data, tiny_trainer, measured=False)
    assert list(json.loads((tmp_path / "stages.json").read_text())) == ["network"]


def test_labels_are_those_of_the_pure_functions():
    stages = StageCallback()
    losses = [2 - 0.02 * epoch for epoch in range(60)]
    stages.losses = {"epoch": list(range(60)), "train/loss": losses, "val/loss": losses}
    stages.speeds = {"network": [math.nan] + [5 / (epoch + 1) for epoch in range(59)]}
    stages.ratios = {"network": [1e-3] * 60}
    histories = (stages.speeds["network"], losses, losses, stages.ratios["network"])
    assert stages.labels(live=True)["network"] == live_stages(*histories)
    assert stages.labels(live=False)["network"] == label_stages(*histories)


@pytest.mark.parametrize(
    ("label", "epoch", "actions", "expected"),
    [
        pytest.param(PLATEAU, 0, [], True, id="at once"),
        pytest.param(StageLabel(Stage.SOLUTION, "settled"), 50, [], False, id="no plateau"),
        pytest.param(PLATEAU, 30, [10], False, id="what came of the last cannot show yet"),
        pytest.param(PLATEAU, 31, [10], True, id="a window later"),
    ],
)
def test_when_something_is_done(label, epoch, actions, expected):
    assert is_action_due(label, epoch, actions) is expected


def test_a_plateau_can_stop(tiny_data, tiny_trainer, capsys):
    trainer, _ = _fit(Plateau(on_plateau="stop"), tiny_data, tiny_trainer, max_epochs=9)
    assert trainer.current_epoch == 1
    assert "plateau (stuck) after epoch 0: stopping the training" in capsys.readouterr().out


def test_a_plateau_is_only_logged_by_default(tiny_data, tiny_trainer):
    trainer, _ = _fit(Plateau(), tiny_data, tiny_trainer, max_epochs=3)
    assert trainer.current_epoch == 3


@pytest.mark.parametrize(
    ("on_plateau", "schedule", "lr_of_epochs"),
    [
        pytest.param("reduce_lr", {}, [1.0, 0.1, 0.1, 0.1], id="reduce, constant"),
        pytest.param("restart_lr", {}, [1.0, 1.0, 1.0, 1.0], id="restart, constant"),
        pytest.param(
            "restart_lr",
            {"schedule": "multistep", "milestones": [1], "gamma": 0.5},
            [1.0, 1.0, 0.5, 0.5],
            id="milestones count from the restart",
        ),
        pytest.param(
            "reduce_lr",
            {"schedule": "onecycle", "warmup": 0.0},
            [1.0, 0.1, None, None],
            id="one-cycle begins anew at a lower peak",
        ),
        pytest.param(
            "reduce_lr",
            {"schedule": "cyclic", "max_lr": 3.0, "cycle_epochs": 2},
            [1.0, 0.1, 0.3, 0.1],
            id="cyclic, and its top",
        ),
    ],
)
def test_a_plateau_can_change_the_learning_rate(on_plateau, schedule, lr_of_epochs, tiny_data, tiny_trainer):
    class Keep(Plateau):
        lrs: list

        def on_train_epoch_start(self, trainer, pl_module):
            super().on_train_epoch_start(trainer, pl_module)
            self.lrs = [*getattr(self, "lrs", []), trainer.optimizers[0].param_groups[0]["lr"]]

    stages = Keep(on_plateau=on_plateau)
    _fit(stages, tiny_data, tiny_trainer, task=_task(lr=1.0, **schedule), max_epochs=4)
    for lr, expected in zip(stages.lrs, lr_of_epochs, strict=True):
        assert expected is None or lr == pytest.approx(expected, rel=0.02)
    assert stages.actions == [0]


def test_a_resumed_run_goes_on(tiny_data, tiny_trainer, tmp_path):
    whole, first, second = StageCallback(), Plateau(on_plateau="restart_lr"), StageCallback()
    _fit(whole, tiny_data, tiny_trainer, max_epochs=4)
    trainer, _ = _fit(first, tiny_data, tiny_trainer, max_epochs=2)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    content["callbacks"]["StageCallback"] = content["callbacks"].pop("Plateau")
    torch.save(content, tmp_path / "last.ckpt")
    _fit(second, tiny_data, tiny_trainer, max_epochs=4, ckpt_path=tmp_path / "last.ckpt")
    assert second.losses["epoch"] == whole.losses["epoch"] == [0, 1, 2, 3]
    assert second.speeds["fc1"][1] == first.speeds["fc1"][1]
    assert second.actions == [0]


def test_nothing_is_done_where_it_is_off(tiny_data, tiny_trainer, tmp_path):
    _fit(StageCallback(enabled=False), tiny_data, tiny_trainer)
    assert not (tmp_path / "stages.json").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"on_plateau": "panic"}, "on_plateau is 'panic'", id="unknown"),
        pytest.param({"lr_factor": 1.0}, "lr_factor is 1.0", id="no reduction"),
        pytest.param({"on_plateau": "stop", "enabled": False}, "needs --stages.enabled", id="off"),
    ],
)
def test_what_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        StageCallback(**settings)
