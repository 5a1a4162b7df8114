"""Stages of a run: what is logged and written, what is done on a plateau, and how a run goes on."""

import json
import logging
import math
from collections import OrderedDict

import pytest
import torch
from any_module import AnyModule, any_fit
from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from fer.callbacks import DistinctivenessCallback, StageCallback
from fer.callbacks.stages import is_action_due
from fer.callbacks.steps import FirstSteps, update_ratio
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


# In trainings of others

STAGES = {"train_loss": "train_loss", "val_loss": "val_loss"}


class Late(AnyModule):
    """Logs its training loss when an epoch has ended, after all callbacks: 0, 1, 2 …"""

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def on_train_epoch_end(self):
        self.log("train_loss", float(self.trainer.current_epoch))


def test_losses_that_are_logged_after_the_callbacks_are_not_an_epoch_late(tiny_trainer, tmp_path):
    stages = StageCallback(**STAGES)
    saved = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    any_fit(tiny_trainer, [stages, saved], Late(), max_epochs=3, enable_checkpointing=True)
    assert stages.losses["train/loss"] == [0, 1, 2]
    for epoch in range(3):
        states = torch.load(tmp_path / f"epoch={epoch}.ckpt", weights_only=True)["callbacks"]
        assert states["StageCallback"]["losses"]["train/loss"] == list(range(epoch + 1))


def test_a_loss_that_is_logged_by_step_too_is_read_by_epoch(tiny_trainer):
    stages = StageCallback(**STAGES)
    logged = any_fit(tiny_trainer, [stages], max_epochs=2).callback_metrics
    assert logged["train_loss_epoch"] != logged["train_loss_step"]
    assert stages.losses["train/loss"][1] == float(logged["train_loss_epoch"])
    assert stages.losses["val/loss"][1] == float(logged["val_loss"])
    assert stages.losses["train/loss"][0] != stages.losses["train/loss"][1]


def test_a_validation_loss_counts_in_its_own_epoch_only(tiny_trainer):
    stages = StageCallback(**STAGES)
    any_fit(tiny_trainer, [stages], max_epochs=4, check_val_every_n_epoch=2)
    assert [math.isnan(value) for value in stages.losses["val/loss"]] == [True, False, True, False]
    assert all(map(math.isfinite, stages.losses["train/loss"]))


def test_the_order_of_the_callbacks_does_not_matter(tiny_trainer):
    speeds = []
    for is_first in (True, False):
        stages, measured = StageCallback(**STAGES), DistinctivenessCallback()
        callbacks = [stages, measured] if is_first else [measured, stages]
        any_fit(tiny_trainer, callbacks, max_epochs=3)
        assert measured.history["body.0"]["epoch"] == [0, 1, 2]
        assert stages.speeds["body.0"] == pytest.approx(measured.history["body.0"]["speed"], nan_ok=True)
        speeds.append(stages.speeds["network"])
    assert speeds[0] == pytest.approx(speeds[1], nan_ok=True)
    assert speeds[0][1] > 0


def test_losses_that_are_not_logged_are_told_once(tiny_trainer, caplog):
    with caplog.at_level(logging.WARNING, "fer.callbacks"):
        trainer = any_fit(tiny_trainer, [StageCallback(val_loss="val_loss")], max_epochs=3)
    assert caplog.messages == [
        "stages are labelled without train_loss='train/loss', not logged: did you mean 'train_loss'? logged "
        "are train_loss, train_loss_step, val_loss, train_loss_epoch"
    ]
    assert "stage/network" in trainer.callback_metrics


def test_a_loss_that_is_no_number_is_told_once(tiny_trainer, caplog):
    class Broken(AnyModule):
        def validation_step(self, batch, batch_idx):
            self.log("val_loss", math.nan)

    with caplog.at_level(logging.WARNING, "fer.callbacks"):
        any_fit(tiny_trainer, [StageCallback(**STAGES)], Broken(), max_epochs=3)
    assert caplog.messages == ["epoch 0: val_loss is nan, which the stages leave out"]


class Restarts(AnyModule):
    """Notes by which factors its schedule is restarted."""

    factors = ()

    def restart_schedule(self, factor=1.0):
        self.factors = (*self.factors, factor)


@pytest.mark.parametrize(
    ("on_plateau", "module", "lr", "out"),
    [
        pytest.param(
            "reduce_lr", AnyModule(), 0.01, "multiplying the learning rate by 0.1", id="no schedule"
        ),
        pytest.param("reduce_lr", Restarts(), 0.1, "restarting the schedule at 0.1 times", id="its own way"),
        pytest.param("restart_lr", Restarts(), 0.1, "restarting the schedule", id="its own restart"),
        pytest.param("stop", AnyModule(), 0.1, "stopping the training", id="stop"),
    ],
)
def test_a_plateau_changes_any_training(on_plateau, module, lr, out, tiny_trainer, capsys):
    trainer = any_fit(tiny_trainer, [Plateau(on_plateau=on_plateau, **STAGES)], module, max_epochs=2)
    printed = capsys.readouterr().out
    assert f"plateau (stuck) after epoch 0: {out}" in printed
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(lr)
    assert trainer.current_epoch == (1 if on_plateau == "stop" else 2)
    if isinstance(module, Restarts):
        assert module.factors == (0.1 if on_plateau == "reduce_lr" else 1.0,)


@pytest.mark.parametrize(
    ("on_plateau", "module"),
    [
        pytest.param("reduce_lr", AnyModule(schedule=True), id="a schedule that cannot be restarted"),
        pytest.param("restart_lr", AnyModule(), id="no schedule"),
    ],
)
def test_a_plateau_that_could_not_be_acted_on_is_refused_at_once(on_plateau, module, tiny_trainer):
    with pytest.raises(InputError, match=rf"stages.on_plateau is {on_plateau}: give AnyModule a method"):
        any_fit(tiny_trainer, [StageCallback(on_plateau=on_plateau, **STAGES)], module)


def test_only_the_first_of_several_steps_counts():
    """Of each optimizer, also where one steps twice in a batch and the other in a later batch."""
    weights = [nn.Parameter(torch.ones(1, 4)) for _ in range(2)]
    one, other = (torch.optim.SGD([weight], lr=1.0) for weight in weights)
    named = [("one.weight", weights[0]), ("other.weight", weights[1])]
    steps = FirstSteps()
    for optimizer, weight, step in (
        *((one, weights[0], 0.5), (one, weights[0], 8.0)),
        *((other, weights[1], 0.25), (other, weights[1], 8.0)),
    ):
        steps.before(optimizer, named)
        with torch.no_grad():
            weight -= step
        if optimizer is other:
            steps.after()  # the batch ends
    assert steps.sizes == {"one.weight": (4 * 0.5**2, 4.0), "other.weight": (4 * 0.25**2, 4.0)}
