"""Stages of a run: what is logged and written, what is done on a plateau, and how a run goes on."""

import json
import logging
import math
import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from any_module import AnyModule, any_fit
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from stage_histories import LENGTHS, known
from torch import nn

import fer.callbacks
from fer.callbacks import ActionByReason, DistinctivenessCallback, StageCallback
from fer.callbacks.boundaries import confirm, series_of, series_of_network
from fer.callbacks.network import find_network
from fer.callbacks.plateau import STUCK_FOR, is_action_due
from fer.callbacks.steps import FirstSteps, update_ratio
from fer.dashboards.metrics import MetricsLogger
from fer.errors import InputError
from fer.neurons import Stage, label_stages, live_stages
from fer.neurons.stages import LEAST_VALUES, WINDOW, StageLabel
from fer.tasks import ClassificationTask

PLATEAU = StageLabel(Stage.PLATEAU, "stuck")
OVERFIT = StageLabel(Stage.PLATEAU, "overfit")
SETTLED = StageLabel(Stage.SOLUTION, "settled")


def _task(**settings):
    network = nn.Sequential(
        OrderedDict(flatten=nn.Flatten(), fc1=nn.Linear(64, 5), relu=nn.ReLU(), fc2=nn.Linear(5, 7))
    )
    network.neuron_layers = {"fc1": "relu"}
    return ClassificationTask(network, **{"optimizer": "sgd", "lr": 0.1} | settings)


def _fit(stages, tiny_data, tiny_trainer, *, task=None, measured=True, ckpt_path=None, **settings):
    seed_everything(1, verbose=False)
    callbacks = [DistinctivenessCallback(every_n_epochs=1), stages] if measured else [stages]
    task, trainer = task or _task(), tiny_trainer(callbacks=callbacks, **settings)
    trainer.fit(task, datamodule=tiny_data(), ckpt_path=ckpt_path, weights_only=True)
    return trainer, task


class Plateau(StageCallback):
    """Labels every measurement as a plateau."""

    reason = "overfit"

    def labels(self, *, live):
        label = StageLabel(Stage.PLATEAU, self.reason)
        return {layer: [label] * len(speeds) for layer, speeds in self.speeds.items()}


class Planned(DistinctivenessCallback):
    """Measures after given steps of every epoch, and finds what a test says of each time."""

    def __init__(self, *steps, layer="body.0", speed=None, train_loss=None, val_loss=None, **settings):
        super().__init__(every_n_epochs=1, **settings)
        self.planned, self.layer = steps, layer
        self.rules = {
            "speed": speed or (lambda time: 1 / time),
            "train/loss": train_loss or (lambda time: math.nan),
            "val/loss": val_loss or (lambda time: math.nan),
        }

    def on_train_start(self, trainer, pl_module):
        self.found = find_network(pl_module, self.network)
        self.places = {self.layer: self.layer}

    def measure_if_due(self, trainer, pl_module, batch_idx, *, is_over=False):
        last = trainer.num_training_batches
        step = last if batch_idx is None else batch_idx + 1
        if is_over or step not in self.planned or (step == last and batch_idx is not None):
            return False
        time = trainer.current_epoch + step / last
        if self.losses["epoch"][-1:] != [time]:
            for name, values in self.losses.items():
                values.append(time if name == "epoch" else self.rules[name](time))
            row = {"epoch": time, "speed": self.rules["speed"](time), "cka": 0.9, "effective": 4.0}
            row |= dict.fromkeys(("min", "q05", "q25", "median", "q75", "q95", "max"), 90.0)
            columns = self.history.setdefault(self.layer, {name: [] for name in row})
            for name, value in row.items():
                columns[name].append(value)
        return True

    @property
    def widths(self):
        return {self.layer: 8}

    def on_train_end(self, trainer, pl_module):
        pass

    def on_fit_end(self, trainer, pl_module):
        pass


def test_histories_are_what_was_logged(tiny_data, tiny_trainer, tmp_path):
    stages = StageCallback()
    trainer, _ = _fit(stages, tiny_data, tiny_trainer, max_epochs=3)
    logged = trainer.callback_metrics
    assert stages.times == [1.0, 2.0, 3.0]
    for name in ("train/loss", "val/loss"):
        assert stages.losses[name][-1] == pytest.approx(float(logged[f"sample/{name.replace('/', '_')}"]))
    assert stages.speeds["fc1"][-1] == pytest.approx(float(logged["angles/fc1/speed"]))
    assert stages.speeds["network"] == pytest.approx(stages.speeds["fc1"], nan_ok=True)  # the only layer
    assert float(logged["stage/network"]) == 0  # too early to be more
    assert float(logged["update_ratio/fc1"]) == pytest.approx(stages.ratios["fc1"][-1])
    written = json.loads((tmp_path / "stages.json").read_text())
    assert written["fc1"]["live"] == [{"stage": "initial", "reason": "warm_up", "begin": 0.0, "end": 3.0}]
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
    losses = [2 - 0.02 * number for number in range(60)]
    stages.losses = {"epoch": [0.25 * (n + 1) for n in range(60)], "train/loss": losses, "val/loss": losses}
    stages.speeds = {"network": [math.nan] + [5 / (number + 1) for number in range(59)]}
    stages.ratios = {"network": [1e-3] * 60}
    histories = (stages.speeds["network"], losses, losses, stages.ratios["network"])
    assert stages.labels(live=True)["network"] == live_stages(*histories, times=stages.times)
    assert stages.labels(live=False)["network"] == label_stages(*histories, times=stages.times)


@pytest.mark.parametrize(
    ("labels", "taken", "expected"),
    [
        pytest.param([SETTLED, OVERFIT], [], True, id="at once"),
        pytest.param([OVERFIT] * 50 + [SETTLED], [], False, id="no plateau"),
        pytest.param(
            [OVERFIT] * (9 + WINDOW), [(10, "stop")], False, id="the effect of the last cannot show"
        ),
        pytest.param([OVERFIT] * (10 + WINDOW), [(10, "reduce_lr")], True, id="a window later"),
        pytest.param([SETTLED] + [PLATEAU] * (STUCK_FOR - 1), [], False, id="it may be the learning rate"),
        pytest.param([SETTLED] + [PLATEAU] * STUCK_FOR, [], True, id="stuck"),
    ],
)
def test_when_something_is_done(labels, taken, expected):
    assert is_action_due(labels, taken) is expected


def test_a_plateau_can_stop(tiny_data, tiny_trainer, capsys):
    trainer, _ = _fit(Plateau(on_plateau="stop"), tiny_data, tiny_trainer, max_epochs=9)
    assert trainer.current_epoch == 1
    assert "plateau (overfit) after epoch 1: stopping the training" in capsys.readouterr().out


def test_a_plateau_is_only_logged_by_default(tiny_data, tiny_trainer):
    trainer, _ = _fit(Plateau(), tiny_data, tiny_trainer, max_epochs=3)
    assert trainer.current_epoch == 3


@pytest.mark.slow
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
    assert stages.taken == [(1, on_plateau)]


@pytest.mark.slow
def test_a_resumed_run_goes_on(tiny_data, tiny_trainer, tmp_path):
    whole, first, second = StageCallback(), Plateau(on_plateau="restart_lr"), StageCallback()
    _fit(whole, tiny_data, tiny_trainer, max_epochs=4)
    trainer, _ = _fit(first, tiny_data, tiny_trainer, max_epochs=2)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    content["callbacks"]["StageCallback"] = content["callbacks"].pop("Plateau")
    torch.save(content, tmp_path / "last.ckpt")
    _fit(second, tiny_data, tiny_trainer, max_epochs=4, ckpt_path=tmp_path / "last.ckpt")
    assert second.times == whole.times == [1.0, 2.0, 3.0, 4.0]
    assert second.speeds["fc1"][1] == first.speeds["fc1"][1]
    assert second.taken == [(1, "restart_lr")]


def test_nothing_is_done_where_it_is_off(tiny_data, tiny_trainer, tmp_path):
    _fit(StageCallback(enabled=False), tiny_data, tiny_trainer)
    assert not (tmp_path / "stages.json").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"on_plateau": "panic"}, "on_plateau is 'panic'", id="unknown"),
        pytest.param({"on_plateau": {"stuck": "panic"}}, r"on_plateau\.stuck is 'panic'", id="by reason"),
        pytest.param(
            {"on_plateau": {"overfitt": "stop"}},
            "there is no such reason; did you mean 'overfit'",
            id="unknown reason",
        ),
        pytest.param({"lr_factor": 1.0}, "lr_factor is 1.0", id="no reduction"),
        pytest.param({"decay_factor": 1.0}, "decay_factor is 1.0", id="no raise"),
        pytest.param({"on_plateau": "stop", "enabled": False}, "--stages.enabled true", id="off"),
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


@pytest.mark.slow
def test_the_order_of_the_callbacks_does_not_matter(tiny_trainer):
    speeds = []
    for is_first in (True, False):
        stages, measured = StageCallback(**STAGES), DistinctivenessCallback(every_n_steps=1)
        callbacks = [stages, measured] if is_first else [measured, stages]
        any_fit(tiny_trainer, callbacks, max_epochs=3)
        assert measured.history["body.0"]["epoch"] == pytest.approx([step / 3 for step in range(1, 10)])
        assert stages.times == measured.history["body.0"]["epoch"]
        assert stages.speeds["body.0"] == pytest.approx(measured.history["body.0"]["speed"], nan_ok=True)
        speeds.append(stages.speeds["network"])
    assert speeds[0] == pytest.approx(speeds[1], nan_ok=True)
    assert speeds[0][1] > 0


def test_losses_that_are_not_logged_are_told_once(tiny_trainer, caplog):
    with caplog.at_level(logging.WARNING, "fer.callbacks"):
        trainer = any_fit(tiny_trainer, [StageCallback(val_loss="val_loss")], max_epochs=3)
    assert caplog.messages == [
        "stages are labelled without train_loss='train/loss': no such name is logged; did you mean "
        "'train_loss'? logged names: train_loss, train_loss_step, val_loss, train_loss_epoch"
    ]
    assert "stage/network" in trainer.callback_metrics


def test_a_loss_that_is_no_number_is_told_once(tiny_trainer, caplog):
    class Broken(AnyModule):
        def validation_step(self, batch, batch_idx):
            self.log("val_loss", math.nan)

    with caplog.at_level(logging.WARNING, "fer.callbacks"):
        any_fit(tiny_trainer, [StageCallback(**STAGES)], Broken(), max_epochs=3)
    assert caplog.messages == ["epoch 1: val_loss is nan, which the stages leave out"]


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
    assert f"plateau (overfit) after epoch 1: {out}" in printed
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


def test_a_plateau_raises_the_weight_decay(tiny_trainer, capsys):
    class Decays(AnyModule):
        def configure_optimizers(self):
            decayed = {"params": self.body.parameters(), "weight_decay": 0.01}
            return torch.optim.SGD([decayed, {"params": self.head.parameters()}], lr=0.1)

    stages = Plateau(on_plateau=ActionByReason(overfit="raise_decay"), decay_factor=5.0, **STAGES)
    trainer = any_fit(tiny_trainer, [stages], Decays(), max_epochs=2)
    assert [group["weight_decay"] for group in trainer.optimizers[0].param_groups] == [0.05, 0]
    assert "plateau (overfit) after epoch 1: multiplying the weight decay by 5" in capsys.readouterr().out


def test_no_weight_decay_that_could_be_raised_is_refused_at_once(tiny_trainer):
    with pytest.raises(InputError, match=r"on_plateau.overfit is raise_decay, and every weight decay is 0"):
        any_fit(tiny_trainer, [StageCallback(on_plateau={"overfit": "raise_decay"}, **STAGES)])


@pytest.mark.parametrize(("reason", "num_epochs"), [("overfit", 1), ("lr_frozen", 4), ("stuck", 4)])
def test_a_plateau_is_acted_on_by_its_reason(reason, num_epochs, tiny_trainer, capsys):
    stages = Plateau(on_plateau={"overfit": "stop", "lr_frozen": "reduce_lr"}, **STAGES)
    stages.reason = reason
    trainer = any_fit(tiny_trainer, [stages, Planned(1, 3)], max_epochs=4)
    assert trainer.current_epoch == num_epochs
    assert ("multiplying the learning rate" in capsys.readouterr().out) is (reason == "lr_frozen")
    assert stages.taken == {"overfit": [(2, "stop")], "lr_frozen": [(2, "reduce_lr")], "stuck": []}[reason]


def test_an_action_is_repeated_a_window_of_measurements_later_at_the_end_of_an_epoch(tiny_trainer):
    stages = Plateau(on_plateau="reduce_lr", lr_factor=0.5, **STAGES)
    trainer = any_fit(tiny_trainer, [stages, Planned(1, 2, 3)], max_epochs=9)
    second = 3 * math.ceil((3 + WINDOW) / 3)
    assert stages.taken == [(3, "reduce_lr"), (second, "reduce_lr")]
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**2)


def _is_acted_on(num_epochs, seed, **settings):
    """Return whether a synthetic training would be acted on at the end of an epoch."""
    per_epoch = LENGTHS[num_epochs]
    history = known(seed, noise=0.02, num_epochs=num_epochs, per_epoch=per_epoch, **settings).history
    stages = StageCallback(on_plateau="stop")
    stages.losses = {"epoch": history.times, "train/loss": history.train, "val/loss": history.val}
    stages.speeds = {"network": history.speed}
    stages.ratios = {"network": history.ratio or [math.nan] * len(history.train)}
    labels = stages.labels(live=True)["network"]
    ends = range(per_epoch, len(labels) + 1, per_epoch)
    return any(is_action_due(labels[:end], []) for end in ends)


@pytest.mark.parametrize("num_epochs", [8, 30, 200])
def test_a_one_cycle_schedule_is_no_plateau(num_epochs):
    assert not any(_is_acted_on(num_epochs, seed, shape="one-cycle") for seed in range(25))
    assert all(_is_acted_on(num_epochs, seed, overfits=True) for seed in range(25))


def test_the_callback_of_the_readme_stops_by_reason_within_an_epoch(tiny_trainer):
    text = (Path(fer.callbacks.__file__).parent / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    code = next(block for block in blocks if "class StageStopping" in block)
    names: dict = {}
    exec(code, names)
    for reason, num_steps in (("overfit", 2), ("stuck", 6)):
        stages = Plateau(**STAGES)
        stages.reason = reason
        callbacks = [stages, Planned(2, 3), names["StageStopping"](stages)]
        assert any_fit(tiny_trainer, callbacks, max_epochs=2).global_step == num_steps


# Several measurements an epoch


def test_each_measurement_is_labelled_and_logged_with_its_time(tiny_trainer, tmp_path):
    stages = StageCallback(**STAGES)
    logger = MetricsLogger(tmp_path)
    any_fit(tiny_trainer, [stages, Planned(1, 3)], max_epochs=2, logger=logger)
    assert stages.times == pytest.approx([1 / 3, 1, 4 / 3, 2])
    rows = [row for row in logger.rows if "stage/network" in row]
    assert [row["epoch"] for row in rows] == stages.times
    assert [row["update_ratio/body.0"] for row in rows] == pytest.approx(stages.ratios["body.0"])
    assert all(math.isfinite(value) for value in stages.ratios["network"])


def test_the_update_ratio_is_that_of_the_first_step_after_a_measurement(tiny_trainer):
    class Weights(Callback):
        """Keeps the weights before and after each step."""

        values = ()

        def on_train_start(self, trainer, pl_module):
            self.on_train_batch_end(trainer, pl_module)

        def on_train_batch_end(self, trainer, pl_module, *_):
            self.values = (*self.values, pl_module.body[0].weight.detach().clone())

    stages, weights = StageCallback(**STAGES), Weights()
    any_fit(tiny_trainer, [weights, stages, Planned(2, 3)], max_epochs=2)
    norms = [
        float((after - before).norm() / before.norm())
        for before, after in zip(weights.values, weights.values[1:], strict=False)
    ]
    # Of six steps: those after the start and after measurements at steps 2, 3 and 5.
    assert stages.ratios["body.0"] == pytest.approx([norms[0], norms[2], norms[3], norms[5]], rel=1e-4)


def test_weights_are_copied_once_a_measurement(tiny_trainer, monkeypatch):
    class Counting(FirstSteps):
        num = 0

        def after(self):
            Counting.num += bool(self._before)
            super().after()

    monkeypatch.setattr("fer.callbacks.stages.FirstSteps", Counting)
    any_fit(tiny_trainer, [StageCallback(**STAGES), Planned(3)], max_epochs=4)
    assert Counting.num == 4  # of 12 steps


def test_a_loss_on_samples_comes_before_a_logged_one(tiny_trainer):
    stages = StageCallback(**STAGES)
    measured = Planned(1, 3, train_loss=lambda time: math.nan if time == 2 else 10 + time)
    logged = any_fit(tiny_trainer, [stages, measured], max_epochs=2).callback_metrics
    # A logged loss would be another quantity: where that on samples is NaN, it is none.
    assert stages.losses["train/loss"] == pytest.approx([10 + 1 / 3, 11, 10 + 4 / 3, math.nan], nan_ok=True)
    assert [math.isnan(value) for value in stages.losses["val/loss"]] == [True, False, True, False]
    assert stages.losses["val/loss"][-1] == pytest.approx(float(logged["val_loss"]))


def test_callbacks_that_measure_at_different_times_work_together(tiny_trainer, tmp_path):
    often = Planned(1, 2, 3, layer="body.0", network="body", speed=lambda _: 2.0)
    seldom = Planned(3, layer="head", network="head", speed=lambda time: 10.0 if time == 1 else math.nan)
    stages = StageCallback(**STAGES)
    any_fit(tiny_trainer, [stages, often, seldom], max_epochs=2)
    assert stages.times == pytest.approx([step / 3 for step in range(1, 7)])
    assert stages.speeds["body.0"] == [2.0] * 6
    nan = math.nan
    assert stages.speeds["head"] == pytest.approx([nan, nan, 10.0, nan, nan, nan], nan_ok=True)
    # Of a layer that is measured less often, the latest speed counts: no zigzag, until it has none.
    assert stages.speeds["network"] == [2.0, 2.0, 6.0, 6.0, 6.0, 2.0]
    assert json.loads((tmp_path / "stages.json").read_text()).keys() == {"network", "body.0", "head"}


def test_a_callback_that_measures_nothing_leaves_the_end_of_each_epoch(tiny_trainer):
    stages = StageCallback(**STAGES)
    any_fit(tiny_trainer, [stages, DistinctivenessCallback(every_n_epochs=0)], max_epochs=2)
    assert stages.times == [1.0, 2.0]
    assert all(map(math.isfinite, stages.losses["train/loss"]))


def test_an_epoch_without_a_measurement_has_no_label(tiny_trainer):
    class Second(Planned):
        def measure_if_due(self, trainer, *args, **kwargs):
            return trainer.current_epoch % 2 == 1 and super().measure_if_due(trainer, *args, **kwargs)

    stages = Plateau(on_plateau="stop", **STAGES)
    trainer = any_fit(tiny_trainer, [stages, Second(3)], max_epochs=4)
    assert stages.times == [2.0]
    assert trainer.current_epoch == 2


def test_epochs_of_one_batch(tiny_trainer):
    stages = StageCallback(**STAGES)
    any_fit(tiny_trainer, [stages, Planned(1)], max_epochs=3, limit_train_batches=1)
    assert stages.times == [1.0, 2.0, 3.0]
    assert all(value > 0 for value in stages.ratios["body.0"])


@pytest.mark.slow
def test_an_epoch_that_is_cut_short_after_a_measurement_is_not_measured_twice(tiny_trainer, tmp_path):
    class Cut(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            trainer.should_stop = trainer.current_epoch == 1 and batch_idx == 1

    stages = StageCallback(**STAGES)
    any_fit(tiny_trainer, [DistinctivenessCallback(every_n_steps=1), stages, Cut()], max_epochs=3)
    assert stages.times == pytest.approx([1 / 3, 2 / 3, 1, 4 / 3, 5 / 3])
    assert json.loads((tmp_path / "stages.json").read_text())["network"]["live"][-1]["end"] == 1.7


def test_a_second_training_with_the_same_callbacks_starts_anew(tiny_trainer):
    stages = StageCallback(**STAGES)
    for _ in range(2):
        any_fit(tiny_trainer, [stages, Planned(1, 3)], max_epochs=2)
        assert stages.times == pytest.approx([1 / 3, 1, 4 / 3, 2])


def test_the_state_of_a_version_that_labelled_epochs_is_taken_over(caplog):
    losses = {"epoch": [0, 1, 2], "train/loss": [3.0, 2.0, 1.0], "val/loss": [3.0, 2.0, 1.0]}
    of_network = {"network": [math.nan, 2.0, 1.0]}
    old = {"losses": losses, "speeds": of_network, "ratios": of_network, "actions": [1], "steps": {}}
    stages = StageCallback(on_plateau="reduce_lr")
    with caplog.at_level(logging.INFO, "fer.callbacks"):
        stages.load_state_dict(old)
    assert stages.times == [1.0, 2.0, 3.0]
    assert stages.taken == [(2, "reduce_lr")]
    assert len(caplog.messages) == 1
    assert "from an older version: its stages have one measurement per epoch" in caplog.messages[0]


# The second opinion

COLUMNS = {
    "epoch": [0.5, 1.0, 2.0],
    "speed": [math.nan, 3.0, 1.0],
    "cka": [math.nan, 0.75, 0.5],
    "effective": [2.0, 4.0, 6.0],
}


def test_the_series_of_a_layer_are_nan_where_it_was_not_measured():
    series = series_of(COLUMNS, [0.25, 0.5, 1.0, 1.5, 2.0])
    nan = math.nan
    assert series["speed"] == pytest.approx([nan, nan, 3.0, nan, 1.0], nan_ok=True)
    assert series["cka"] == pytest.approx([nan, nan, 0.25, nan, 0.5], nan_ok=True)
    assert series["rank"] == pytest.approx([nan, 2.0, 4.0, nan, 6.0], nan_ok=True)


def test_the_series_of_the_network_are_means_over_the_layers_latest_values():
    other = {"epoch": [1.0], "speed": [5.0], "cka": [math.nan], "effective": [9.0]}
    series = series_of_network({"a": COLUMNS, "b": other}, {"a": 8, "b": 10}, [0.5, 1.0, 2.0])
    assert series["speed"] == pytest.approx([math.nan, 4.0, 3.0], nan_ok=True)
    assert series["cka"] == pytest.approx([math.nan, 0.25, 0.5], nan_ok=True)
    assert series["rank"] == pytest.approx([0.25, (0.5 + 0.9) / 2, (0.75 + 0.9) / 2])


def test_a_boundary_is_confirmed_by_what_changes_near_it():
    num, change = 100, 40
    labels = [StageLabel(Stage.INITIAL, "warm_up")] * change + [PLATEAU] * (num - change)
    times = [0.1 * (number + 1) for number in range(num)]

    def step(at):
        return [1.0 + 0.01 * (number % 2) + 5.0 * (number >= at) for number in range(num)]

    series = {"speed": step(change + 1), "cka": step(change + 20), "rank": step(num + 1)}
    assert confirm(labels, times, series) == {change: ("speed",)}
    assert confirm(labels, times, {}) == {change: ()}


class Boundary(StageCallback):
    """Finds that a plateau begins after the first third of the run."""

    def labels(self, *, live):
        num = len(self.times)
        labels = [StageLabel(Stage.INITIAL, "warm_up")] * (num // 3) + [PLATEAU] * (num - num // 3)
        return dict.fromkeys(self.speeds, labels)


@pytest.mark.parametrize(("falls_at", "confirmed_by"), [(10.0, ["speed"]), (25.0, [])])
@pytest.mark.slow
def test_who_confirms_a_boundary_is_written_and_printed(
    falls_at, confirmed_by, tiny_trainer, tmp_path, capsys
):
    measured = Planned(1, 2, 3, speed=lambda time: (1.0 if time > falls_at else 9.0) + 0.01 * (time % 1))
    any_fit(tiny_trainer, [Boundary(**STAGES), measured], max_epochs=30)
    written = json.loads((tmp_path / "stages.json").read_text())
    initial = {"stage": "initial", "reason": "warm_up", "begin": 0.0, "end": 10.0}
    plateau = {"stage": "plateau", "reason": "stuck", "begin": 10.0, "end": 30.0}
    for layer in ("network", "body.0"):
        assert written[layer]["live"] == [initial, plateau]
        assert written[layer]["final"] == [initial, {**plateau, "confirmed_by": confirmed_by}]
    printed = capsys.readouterr().out
    assert "stages       initial to 10.0, plateau (stuck) to 30.0 epochs\n" in printed
    counted = f"boundaries   {2 * len(confirmed_by)} of 2 stage changes (network and layers) confirmed"
    assert f"{counted} by angular speed, CKA or rank within 0.9 epochs\n" in printed
    assert (tmp_path / "figures" / "angles.png").is_file()


class Afterwards(Boundary):
    """Sees the plateau of :class:`Boundary` only after the run."""

    def labels(self, *, live):
        labels = super().labels(live=live)
        return {layer: [each[0]] * len(each) if live else each for layer, each in labels.items()}


@pytest.mark.slow
def test_a_last_stage_that_was_seen_only_afterwards_is_said(tiny_trainer, capsys):
    any_fit(tiny_trainer, [Afterwards(**STAGES), Planned(1)], max_epochs=30)
    said = "plateau (stuck) to 29.3 epochs (seen afterwards; during the training, the last stage was initial)"
    assert f"{said}; rough: 30 measured, 51 or more" in capsys.readouterr().out


@pytest.mark.parametrize("num_epochs", [LEAST_VALUES - 1, LEAST_VALUES])
def test_too_few_measurements_are_no_stages(num_epochs, tiny_trainer, tmp_path, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr("fer.callbacks.stages.save_figure", lambda _, name, draw, **__: draw())
    for name in ("fan_figure", "speed_figure"):
        monkeypatch.setattr(f"fer.callbacks.stages.{name}", lambda *given, **_: drawn.append(given[2]))
    any_fit(tiny_trainer, [StageCallback(**STAGES), Planned(1)], max_epochs=num_epochs)
    line = f"stages       unknown: {num_epochs} measured, {LEAST_VALUES} are needed: give every_n_steps=1 "
    assert (line in capsys.readouterr().out) == (num_epochs < LEAST_VALUES)
    assert [bool(stages) for stages in drawn] == [num_epochs >= LEAST_VALUES] * 2
    written = json.loads((tmp_path / "stages.json").read_text())["network"]
    assert bool(written["final"]) == (num_epochs >= LEAST_VALUES)


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
