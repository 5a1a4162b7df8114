"""Measurements within an epoch: when they are made, what they hold, and how a budget decides on them."""

import logging
import math
from collections import OrderedDict
from itertools import pairwise

import pytest
import torch
from any_module import AnyModule, any_data, any_fit, any_loader
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from fer.callbacks import DistinctivenessCallback
from fer.callbacks.budget import LEFT_OUT, LONG, SHORT, TIMED
from fer.callbacks.measuring import Pass
from fer.errors import InputError
from fer.neurons import measure
from fer.neurons.cka import linear_cka
from fer.neurons.collapse import Collapse
from fer.runs import Run
from fer.tasks import ClassificationTask

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step`")

TIMED_STEPS = LEFT_OUT + TIMED


class Clock:
    """Seconds that pass in steps and in measurements alone."""

    def __init__(self, monkeypatch, *, step=1.0, fixed=0.1, per_sample=0.0, validation=0.0):
        self.now, self.step, self.validation = 0.0, step, validation
        before = Pass.over

        def over(self_, sets):
            self.now += fixed + per_sample * len(sets.measured)
            return before(self_, sets)

        monkeypatch.setattr(Pass, "over", over)

    def __call__(self):
        return self.now


class Steps(Callback):
    """Let time pass in each batch, and in a validation."""

    def __init__(self, clock):
        self.clock = clock

    def on_train_batch_start(self, *_):
        self.clock.now += self.clock.step

    def on_validation_start(self, *_):
        self.clock.now += self.clock.validation


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Leave out what takes most of the time: drawing."""
    monkeypatch.setattr("fer.callbacks.angle_figures.save_figure", lambda *_, **__: None)


def _task(**settings):
    layers = OrderedDict(
        conv=nn.Conv2d(1, 3, 3, padding=1),
        relu=nn.ReLU(),
        drop=nn.Dropout(0.3),
        flatten=nn.Flatten(),
        fc=nn.Linear(192, 5),
        last=nn.ReLU(),
        head=nn.Linear(5, 7),
    )
    network = nn.Sequential(layers)
    network.neuron_layers = {"conv": "relu", "fc": "last"}
    return ClassificationTask(network, **{"optimizer": "sgd", "lr": 0.1} | settings)


def _fit(callbacks, tiny_data, tiny_trainer, *, task=None, ckpt_path=None, data=None, **settings):
    seed_everything(3, verbose=False)
    task, data = task or _task(), data or tiny_data()
    trainer = tiny_trainer(callbacks=callbacks, **settings)
    trainer.fit(task, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return trainer, task, data


def _timed(monkeypatch, *, of_callback=None, **clock):
    """Return a callback with a budget, and what lets time pass."""
    callback = DistinctivenessCallback(**of_callback or {})
    time = Clock(monkeypatch, **clock)
    callback.when.clock = time
    return [Steps(time), callback], callback


def _equal(left, right):
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    return torch.equal(torch.tensor(left).nan_to_num(-9), torch.tensor(right).nan_to_num(-9))


EPOCHS = SHORT // 4 + 4
"""Epochs of four steps that are long enough to be timed."""


@pytest.mark.slow
def test_the_first_steps_decide(monkeypatch, tiny_data, tiny_trainer, capsys):
    callbacks, callback = _timed(monkeypatch, fixed=0.09)
    _fit(callbacks, tiny_data, tiny_trainer, max_epochs=EPOCHS)
    # 5 % of 4 s are 2.2 measurements an epoch.
    assert callback.when.decided == {
        "every_n_steps": 2, "every_n_epochs": None, "num_samples": 28, "first_step": TIMED_STEPS,
    }  # fmt: skip
    expected = [3 + step / 2 for step in range(2 * (EPOCHS - 3) + 1)]
    assert callback.history["conv"]["epoch"] == callback.losses["epoch"] == expected
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("angles ")]
    assert len(lines) == 2
    assert "how often is decided in the first steps" in lines[0]
    assert "2 measurements an epoch on 28 samples: 4.5 % of the time (budget 5 %); 40 meas" in lines[1]


@pytest.mark.slow
def test_stages_have_enough_measurements_whatever_the_budget(monkeypatch, tiny_data, tiny_trainer, capsys):
    """The budget alone would allow five."""
    callbacks, callback = _timed(monkeypatch, fixed=0.7)
    _fit(callbacks, tiny_data, tiny_trainer, max_epochs=EPOCHS)
    assert callback.when.decided["every_n_epochs"] == 2
    assert callback.losses["epoch"] == [*range(4, 21, 2)]
    line = "a measurement every 2 epochs on 28 samples: 8.7 % of the time (budget 5 %, exceeded since"
    assert line in capsys.readouterr().out


@pytest.mark.slow
def test_what_an_epoch_takes_beside_its_steps_counts_in_a_long_training(monkeypatch, tiny_data, tiny_trainer):
    callbacks, callback = _timed(monkeypatch, fixed=10.0, validation=1000.0)
    settings = {"max_epochs": LONG, "limit_train_batches": 2, "num_sanity_val_steps": 0}
    _fit(callbacks, tiny_data, tiny_trainer, **settings)
    # 5 % of 1,002 s are 5 measurements an epoch, or one after each step; of 2 s there would be one in all.
    assert callback.when.decided["every_n_steps"] == 1
    assert callback.when.decided["first_step"] == TIMED_STEPS
    assert callback.losses["epoch"][:3] == [6, 6.5, 7]


@pytest.mark.slow
def test_a_training_too_short_for_its_budget_is_measured_after_its_last_epoch(
    monkeypatch, tiny_data, tiny_trainer
):
    """Its first epoch, which a measurement every so many epochs begins with, is over before it decides."""
    callbacks, callback = _timed(monkeypatch, fixed=100.0)
    _fit(callbacks, tiny_data, tiny_trainer, max_epochs=EPOCHS)
    assert callback.when.decided["every_n_epochs"] == EPOCHS
    assert callback.history["conv"]["epoch"] == [EPOCHS]
    again = DistinctivenessCallback(**callback.when.decided)
    _fit([again], tiny_data, tiny_trainer, max_epochs=EPOCHS)
    assert again.history["conv"]["epoch"] == [EPOCHS]


@pytest.mark.slow
def test_the_settings_that_were_decided_give_the_same_history(monkeypatch, tiny_data, tiny_trainer):
    callbacks, callback = _timed(monkeypatch, fixed=0.01, per_sample=0.01, of_callback={"num_samples": 20})
    _, task, _ = _fit(callbacks, tiny_data, tiny_trainer, max_epochs=EPOCHS)
    again = DistinctivenessCallback(**callback.when.decided)
    _, other, _ = _fit([again], tiny_data, tiny_trainer, max_epochs=EPOCHS)
    assert _equal(again.history, callback.history)
    assert _equal(again.losses, callback.losses)
    assert _equal(again.collapse, callback.collapse)
    weights = [torch.cat([each.flatten() for each in net.state_dict().values()]) for net in (task, other)]
    assert torch.equal(*weights)


@pytest.mark.parametrize("more", [{"every_n_steps": 1}, {}], ids=["each step", "budget"])
@pytest.mark.slow
def test_training_does_not_notice(more, monkeypatch, tiny_data, tiny_trainer):
    callbacks, callback = _timed(monkeypatch, of_callback=more)
    weights = []
    for each in ([], callbacks):
        seed_everything(1, verbose=False)
        _, task, _ = _fit(each, tiny_data, tiny_trainer, max_epochs=EPOCHS, task=_task(mixup=0.2))
        states = torch.get_rng_state().float()
        weights.append(torch.cat([states, *[value.flatten() for value in task.state_dict().values()]]))
    assert callback.history
    assert torch.equal(*weights)


@pytest.mark.slow
def test_a_resumed_run_keeps_the_decision(monkeypatch, tiny_data, tiny_trainer, tmp_path):
    callbacks, callback = _timed(monkeypatch, fixed=0.09)
    trainer, _, _ = _fit(callbacks, tiny_data, tiny_trainer, max_epochs=EPOCHS)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    monkeypatch.undo()
    others, other = _timed(monkeypatch, fixed=50.0)
    path = tmp_path / "last.ckpt"
    _fit(others, tiny_data, tiny_trainer, max_epochs=EPOCHS + 1, ckpt_path=path)
    assert other.when.decided == callback.when.decided
    assert other.losses["epoch"] == [*callback.losses["epoch"], EPOCHS + 0.5, EPOCHS + 1]
    third, again = _timed(monkeypatch, fixed=50.0)
    again.load_state_dict(other.state_dict())
    _fit(third, tiny_data, tiny_trainer, max_epochs=EPOCHS)  # another training, from the start
    assert again.when.decided != callback.when.decided


@pytest.mark.slow
def test_a_short_training_is_measured_after_each_epoch(monkeypatch, tiny_data, tiny_trainer):
    callbacks, callback = _timed(monkeypatch, fixed=1e6)
    _fit(callbacks, tiny_data, tiny_trainer, max_epochs=3)
    assert callback.losses["epoch"] == [1, 2, 3]
    assert callback.when.decided == {}


def test_a_training_that_ends_before_its_steps_were_timed_says_so(tiny_data, tiny_trainer, caplog):
    class Stop(Callback):
        def on_train_epoch_end(self, trainer, _):
            trainer.should_stop = True

    callback = DistinctivenessCallback()
    with caplog.at_level(logging.WARNING, "fer.callbacks"):
        _fit([callback, Stop()], tiny_data, tiny_trainer, max_epochs=-1)
    assert caplog.messages == [f"no angles: the training ended before {TIMED_STEPS} steps were timed"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({"max_epochs": 2}, [0.5, 1.0, 1.5, 2.0], id="as it is"),
        pytest.param({"max_epochs": 3, "limit_train_batches": 1}, [1, 2, 3], id="epochs of one batch"),
        pytest.param({"max_epochs": 1, "limit_train_batches": 3}, [2 / 3, 1], id="fewer batches"),
        pytest.param({"max_epochs": 1, "accumulate_grad_batches": 3}, [0.5, 1], id="accumulated"),
        pytest.param({"max_epochs": -1, "max_steps": 5}, [0.5, 1, 1.25], id="cut short"),
        pytest.param({"fast_dev_run": True}, [1], id="fast dev run"),
        pytest.param({"max_epochs": 1, "val_check_interval": 0.5}, [0.5, 1], id="validated within"),
    ],
)
def test_times_are_epochs_trained(settings, expected, tiny_data, tiny_trainer):
    callback = DistinctivenessCallback(every_n_steps=2)
    _fit([callback], tiny_data, tiny_trainer, **settings)
    assert callback.losses["epoch"] == pytest.approx(expected)
    assert callback.history["fc"]["epoch"] == callback.losses["epoch"]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(any_data())


@pytest.mark.slow
@pytest.mark.parametrize(
    "of_end", [{"max_epochs": 2}, {"max_epochs": -1, "max_steps": 9}], ids=["epochs", "steps"]
)
def test_a_loader_without_a_length_is_measured_in_order(of_end, tiny_trainer):
    callback = DistinctivenessCallback(every_n_steps=3)
    any_fit(tiny_trainer, [callback], train=DataLoader(Stream(), batch_size=6), **of_end)
    times = callback.losses["epoch"]
    assert len(times) > 3
    assert all(before < after for before, after in pairwise(times))


@pytest.mark.slow
def test_no_budget_measures_an_unknown_number_without_an_end(monkeypatch, tiny_trainer):
    callbacks, callback = _timed(monkeypatch)
    any_fit(tiny_trainer, callbacks, train=DataLoader(Stream(), batch_size=2), max_epochs=6)
    assert callback.when.decided["every_n_steps"] == 100
    assert callback.losses["epoch"] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_rows_of_measurements_are_logged_with_their_time(tiny_data, tiny_trainer, tmp_path):
    logger = CSVLogger(tmp_path, name="", version="")
    callback = DistinctivenessCallback(every_n_steps=2)
    _fit([callback], tiny_data, tiny_trainer, max_epochs=2, logger=logger)
    metrics = Run(tmp_path).read_metrics()
    rows = [
        (epoch, value) for epoch, value in zip(metrics["epoch"], metrics["sample/val_loss"], strict=True)
        if value == value
    ]  # fmt: skip
    assert [epoch for epoch, _ in rows] == [0.5, 1.0, 1.5, 2.0]
    assert [value for _, value in rows] == pytest.approx(callback.losses["val/loss"])
    assert sum(value == value for value in metrics["neurons/fc/redundant"]) == 2
    assert sum(value == value for value in metrics["cka/fc"]) == 3
    assert {int(path.stem[-4:]) for path in (tmp_path / "angles").iterdir()} == {0, 1}


def _sample(data, name, num):
    items = [data.dataset(name)[int(row)] for row in data.sample(name, num)]
    return torch.stack([image for image, _ in items]), torch.tensor([int(label) for _, label in items])


def test_losses_collapse_and_cka_are_those_of_the_network(tiny_data, tiny_trainer):
    rows = []

    class Keep(DistinctivenessCallback):
        def _measure(self, trainer, pl_module, *, is_last):
            done = super()._measure(trainer, pl_module, is_last=is_last)
            rows.append(self.rows)
            return done

    callback = Keep(every_n_steps=2, num_samples=14)
    _, task, data = _fit([callback], tiny_data, tiny_trainer, task=_task(label_smoothing=0.3, mixup=0.2))
    task.eval()
    with torch.no_grad():
        for split in ("train", "val"):
            images, labels = _sample(data, split, 14)
            loss = F.cross_entropy(task(images), labels)
            assert callback.losses[f"{split}/loss"][-1] == pytest.approx(float(loss), rel=1e-5)
        images, labels = _sample(data, "train", 14)
        hidden = task.network[:6](images)
        expected = Collapse.of(hidden, labels, task(images).argmax(1))
        maps = task.network[:2](images).mean((2, 3))
    for name in ("nc1", "nc2_spread", "nc4"):
        assert callback.collapse[name] == [pytest.approx(getattr(expected, name), rel=1e-4)]
    torch.testing.assert_close(callback.rows["conv"], maps)
    torch.testing.assert_close(callback.rows["fc"], hidden)
    assert callback.history["conv"]["cka"][0] != callback.history["conv"]["cka"][0]
    assert callback.history["conv"]["cka"][1] == linear_cka(rows[0]["conv"], rows[1]["conv"])
    size = task.network[:2](images).abs().mean((0, 2, 3))
    dormant = (size <= 0.1 * size.mean()).double().mean()
    assert callback.history["conv"]["dormant"][-1] == float(dormant)
    assert callback.widths == {"conv": 3, "fc": 5}


def test_a_network_that_stays_is_similar_to_itself(tiny_data, tiny_trainer):
    callback = DistinctivenessCallback(every_n_steps=2)
    _fit([callback], tiny_data, tiny_trainer, task=_task(lr=0.0))
    assert callback.history["fc"]["cka"] == [pytest.approx(math.nan, nan_ok=True), pytest.approx(1)]
    assert callback.history["fc"]["speed"][1] == 0
    assert math.isnan(callback.history["fc"]["redundant"][0])
    assert 0 <= callback.history["fc"]["redundant"][1] <= 1


def test_a_foreign_loss_is_that_of_the_samples(tiny_trainer):
    def loss(outputs, batch):
        return F.cross_entropy(outputs, batch[1]) + 1

    callback, module = DistinctivenessCallback(loss=loss, num_samples=40), AnyModule()
    val = any_loader(num=60)
    any_fit(tiny_trainer, [callback], module, val=val)
    images, labels = (each[:40] for each in val.dataset.tensors)
    with torch.no_grad():
        expected = F.cross_entropy(module.eval()(images), labels) + 1
    assert callback.losses["val/loss"] == [pytest.approx(float(expected), rel=1e-5)]
    assert math.isfinite(callback.losses["train/loss"][0])
    assert callback.collapse["epoch"] == [1]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="no loss"),
        pytest.param({"loss": lambda outputs, batch: outputs["logits"]}, id="a loss that fails"),
        pytest.param({"loss": lambda outputs, batch: outputs}, id="no scalar"),
    ],
)
def test_a_loss_that_is_not_known_is_said_once(settings, tiny_trainer, caplog):
    callback = DistinctivenessCallback(**settings)
    with caplog.at_level(logging.INFO, "fer.callbacks"):
        any_fit(tiny_trainer, [callback], max_epochs=2)
    said = [each for each in caplog.records if "losses on fixed samples" in each.getMessage()]
    assert [each.levelname for each in said] == ["WARNING" if settings else "INFO"]
    assert _equal(
        callback.losses, {"epoch": [1.0, 2.0], "train/loss": [math.nan] * 2, "val/loss": [math.nan] * 2}
    )


def test_samples_without_classes_have_no_collapse(tiny_trainer, caplog):
    callback = DistinctivenessCallback(samples=any_data().tensors[0])
    with caplog.at_level(logging.INFO, "fer.callbacks"):
        any_fit(tiny_trainer, [callback], max_epochs=2)
    assert sum("no neural collapse" in each for each in caplog.messages) == 1
    assert callback.collapse == {}


def test_who_asks_first_measures_and_who_asks_again_is_told_so(tiny_data, tiny_trainer):
    answers = []

    class Asks(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            answers.append([callback.measure_if_due(trainer, pl_module, batch_idx) for _ in range(2)])

        def on_train_epoch_end(self, trainer, pl_module):
            answers.append([callback.measure_if_due(trainer, pl_module, None) for _ in range(2)])

    callback = DistinctivenessCallback(every_n_steps=2)
    _fit([Asks(), callback, Asks()], tiny_data, tiny_trainer)
    assert answers == [
        [due, due] for due in (False, False, True, True, False, False, False, False, True, True)
    ]
    assert callback.losses["epoch"] == [0.5, 1]


def test_one_neuron_is_measured(tiny_data, tiny_trainer):
    task = _task()
    task.network.fc, task.network.head = nn.Linear(192, 1), nn.Linear(1, 7)
    callback = DistinctivenessCallback(every_n_steps=2)
    _fit([callback], tiny_data, tiny_trainer, task=task)
    assert callback.widths["fc"] == 1
    assert math.isnan(callback.history["fc"]["mean"][-1])
    assert all(value in (1, 0) or value != value for value in callback.history["fc"]["effective"])


def test_a_history_that_is_full_ends_the_measuring(monkeypatch, tiny_data, tiny_trainer, caplog):
    monkeypatch.setattr("fer.callbacks.distinctiveness.MOST_MEASUREMENTS", 3)
    callback = DistinctivenessCallback(every_n_steps=1)
    with caplog.at_level(logging.WARNING, "fer.callbacks"):
        _fit([callback], tiny_data, tiny_trainer, max_epochs=2)
    assert len(callback.losses["epoch"]) == 3
    assert [each for each in caplog.messages if "the most that are kept" in each] == [
        "no angles from epoch 1 on: 3 measurements are the most that are kept; set "
        "distinctiveness.every_n_steps or every_n_epochs to a longer interval"
    ]


def test_too_many_measurements_are_refused_before_training(tiny_data, tiny_trainer):
    with pytest.raises(InputError, match="every_n_steps is 1: 80,000 measurements are more than"):
        _fit([DistinctivenessCallback(every_n_steps=1)], tiny_data, tiny_trainer, max_epochs=20_000)


@pytest.mark.slow
def test_the_samples_of_the_budget_are_measured(monkeypatch, tiny_data, tiny_trainer):
    monkeypatch.setattr("fer.callbacks.distinctiveness.LEAST_SAMPLES", 6)
    monkeypatch.setattr("fer.callbacks.budget.LEAST_SAMPLES", 8)
    callbacks, callback = _timed(monkeypatch, fixed=0.0, per_sample=0.01, of_callback={"layers": ["conv"]})
    _, task, data = _fit(callbacks, tiny_data, tiny_trainer, max_epochs=EPOCHS)
    num = callback.when.decided["num_samples"]
    assert 6 <= num < 28
    inputs, _ = _sample(data, "train", num)
    expected = measure(task.network, [inputs], ["relu"])["relu"]
    assert len(callback.rows["conv"]) == num
    torch.testing.assert_close(callback.rows["conv"].mean(0).double(), expected.mean, atol=1e-5, rtol=1e-5)
