"""Losses and logits that are not finite: what stops, what is skipped, and what is left as it was."""

import math

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn import functional as F
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from fer.callbacks.finite import MAX_SKIPPED, FiniteCallback, FiniteCheckpoint
from fer.errors import InputError
from fer.models import Conv2Net
from fer.tasks import Conv2Task
from fer.tasks.base import ClassificationTask

NAN = math.nan


class Regression(LightningModule):
    """A LightningModule of someone else: batch norm, momentum, and a loss that is returned alone."""

    def __init__(self, function=None):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.last = nn.Linear(4, 1)
        self.function = function or (lambda outputs: outputs.square().mean())

    def forward(self, inputs):
        return self.last(self.norm(10 * self.first(inputs)))

    def training_step(self, batch, batch_idx):
        return self.function(self(batch[0]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)


def batches(*values):
    """Return a loader of batches of 4, each of random inputs times a value."""
    generator = torch.Generator().manual_seed(0)
    inputs = {value: torch.randn(4, 3, generator=generator) for value in range(len(values))}
    chosen = [inputs[place] * value for place, value in enumerate(values)]
    return DataLoader(TensorDataset(torch.cat(chosen)), batch_size=4)


def without(loader, place):
    """Return a loader without one of its batches of 4."""
    (inputs,) = loader.dataset.tensors
    kept = torch.cat([inputs[: 4 * place], inputs[4 * place + 4 :]])
    return DataLoader(TensorDataset(kept), batch_size=4)


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_equal(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


# stop


def test_training_stops_before_the_step_and_says_where(tiny_trainer):
    good, broken = Regression(), Regression()
    tiny_trainer().fit(good, DataLoader(batches(1.0, 1.0).dataset, batch_size=4))
    with pytest.raises(InputError) as error:
        tiny_trainer(callbacks=[FiniteCallback()]).fit(broken, batches(1.0, 1.0, 1e38, 1.0))
    assert str(error.value) == (
        "epoch 1, batch 2: the loss is nan; the first layer whose outputs are not finite is norm; "
        "samples at the positions 0, 1, 2 and 1 more; lower the learning rate"
    )
    assert_equal(dict(broken.named_parameters()), dict(good.named_parameters()))


def test_inputs_that_are_not_finite_are_named(tiny_trainer):
    loader = batches(1.0, 1.0)
    loader.dataset.tensors[0][6, 1] = NAN
    with pytest.raises(InputError) as error:
        tiny_trainer(callbacks=[FiniteCallback()]).fit(Regression(), loader)
    assert str(error.value) == (
        "epoch 1, batch 1: the loss is nan; the inputs hold values that are not finite; "
        "samples at the positions 2; correct or remove these samples"
    )


def test_images_have_their_names_where_the_order_can_be_repeated(tiny_trainer, tiny_data):
    class Poisoned(type(tiny_data())):
        def train_dataloader(self):
            samples = self.dataset("train")
            sampler = DistributedSampler(samples, num_replicas=1, rank=0, seed=3)
            return DataLoader(samples, batch_size=7, sampler=sampler, collate_fn=self.collate)

        def collate(self, items):
            poisoned = self.dataset("train")[9][0]
            inputs = [each * (math.inf if torch.equal(each, poisoned) else 1) for each, _ in items]
            return torch.stack(inputs), torch.stack([label for _, label in items])

    with pytest.raises(
        InputError, match=r"the inputs hold values .*; samples 9; correct or remove these samples"
    ):
        tiny_trainer(callbacks=[FiniteCallback()]).fit(tiny_task(), datamodule=Poisoned())


def tiny_task(**settings):
    return Conv2Task(**{"widths": (2, 2), "hidden": (4, 4), "image_size": 8, "channels": 1} | settings)


@pytest.mark.parametrize("precision", ["32-true", "bf16-true", "16-true"])
def test_overflow_stops_in_every_precision_without_a_best_checkpoint(
    precision, tiny_trainer, tiny_data, tmp_path
):
    torch.manual_seed(0)
    lr = 60_000.0 if precision == "16-true" else 1e30
    best = FiniteCheckpoint(tmp_path, "best", monitor="val/acc", mode="max")
    trainer = tiny_trainer(
        callbacks=[FiniteCallback(), best], enable_checkpointing=True, precision=precision, max_epochs=2
    )
    with pytest.raises(InputError, match=r"(not finite|the loss is nan)") as error:
        trainer.fit(tiny_task(optimizer="sgd", lr=lr), datamodule=tiny_data())
    assert ("bf16-mixed or 32-true" in str(error.value)) == (precision == "16-true")
    assert not list(tmp_path.glob("*.ckpt"))


def test_an_infinite_logit_makes_the_loss_nan(monkeypatch):
    task = tiny_task()
    logits = torch.zeros(7, 7).index_fill(1, torch.tensor([6]), -math.inf)
    monkeypatch.setattr(task, "forward", lambda inputs: logits)
    labels = torch.zeros(7, dtype=torch.long)
    assert math.isfinite(F.cross_entropy(logits, labels))
    logged = {}
    monkeypatch.setattr(task, "log", lambda name, value, **_: logged.setdefault(name, float(value)))
    assert math.isnan(task.training_step((torch.randn(7, 1, 8, 8), labels), 0))
    assert math.isnan(logged["train/loss"])
    assert logged["train/acc"] == 0.0
    assert task.predict_step((torch.randn(7, 1, 8, 8), labels), 0).isnan().all()


def test_weights_that_a_step_broke_stop_before_validation(tiny_trainer, tmp_path):
    class Breaking(Regression):
        def validation_step(self, batch, batch_idx):
            self.validated = True

        def on_train_batch_end(self, outputs, batch, batch_idx):
            if batch_idx == 1:
                with torch.no_grad():
                    self.last.weight[0, 0] = math.inf

    module = Breaking()
    last = ModelCheckpoint(tmp_path, "last")
    trainer = tiny_trainer(
        callbacks=[FiniteCallback(), last], enable_checkpointing=True, num_sanity_val_steps=0
    )
    with pytest.raises(InputError, match=r"epoch 1, after batch 1: last.weight is not finite"):
        trainer.fit(module, batches(1.0, 1.0), batches(1.0))
    assert not hasattr(module, "validated")
    assert not list(tmp_path.glob("*.ckpt"))


# skip


@pytest.mark.parametrize("value", [pytest.param(NAN, id="NaN"), pytest.param(1e38, id="overflow")])
def test_a_skipped_batch_leaves_no_trace(value, tiny_trainer):
    loader = batches(1.0, 1.0, value, 1.0)
    with_batch, without_it = Regression(), Regression()
    trainer = tiny_trainer(callbacks=[FiniteCallback("skip")])
    trainer.fit(with_batch, loader)
    tiny_trainer().fit(without_it, without(loader, 2))
    state = state_of(with_batch)
    assert_equal(
        {name: each for name, each in state.items() if not name.endswith("tracked")},
        {name: each for name, each in state_of(without_it).items() if not name.endswith("tracked")},
    )
    assert int(with_batch.norm.num_batches_tracked) == 3
    assert trainer.callback_metrics["train/skipped"] == 1.0


def test_gradients_that_overflow_are_skipped(tiny_trainer):
    def root(outputs):
        return (outputs - outputs).sum().sqrt() + outputs.square().mean()  # its slope at 0 is infinite

    module = Regression(root)
    before = dict(state_of(module))
    trainer = tiny_trainer(callbacks=[FiniteCallback("skip")])
    trainer.fit(module, batches(1.0, 1.0))
    assert_equal({"last.weight": before["last.weight"]}, {"last.weight": module.last.weight.detach()})
    assert trainer.callback_metrics["train/skipped"] == 2.0


def test_a_step_of_several_batches_is_left_out_with_any_of_them(tiny_trainer):
    module = Regression()
    before = state_of(module)
    trainer = tiny_trainer(callbacks=[FiniteCallback("skip")], accumulate_grad_batches=2)
    trainer.fit(module, batches(NAN, 1.0))
    assert_equal({"first.weight": before["first.weight"]}, {"first.weight": module.first.weight.detach()})
    assert trainer.callback_metrics["train/skipped"] == 1.0


def test_the_epoch_is_that_of_the_other_batches(tiny_trainer, tiny_data):
    class Blind(ClassificationTask):
        def forward(self, inputs):
            logits = super().forward(inputs)
            return (
                logits * NAN if self.training and self.trainer.fit_loop.epoch_loop.batch_idx == 1 else logits
            )

    task = Blind(Conv2Net(widths=(2, 2), hidden=(4, 4), image_size=8, channels=1))
    seen = []
    step = task.training_step
    task.training_step = lambda batch, batch_idx: seen.append(step(batch, batch_idx)) or seen[-1]
    trainer = tiny_trainer(callbacks=[FiniteCallback("skip")])
    trainer.fit(task, datamodule=tiny_data())
    finite = [loss.detach() for place, loss in enumerate(seen) if place != 1]
    assert len(finite) == 3
    assert float(trainer.callback_metrics["train/loss"]) == pytest.approx(float(torch.stack(finite).mean()))
    assert trainer.callback_metrics["train/skipped"] == 1.0


@pytest.mark.parametrize(("num", "stops"), [(MAX_SKIPPED - 1, False), (MAX_SKIPPED, True)])
def test_training_stops_after_too_many_in_a_row(num, stops, tiny_trainer):
    trainer = tiny_trainer(callbacks=[FiniteCallback("skip")])
    loader = batches(NAN, 1.0, *[NAN] * num)
    if not stops:
        trainer.fit(Regression(), loader)
        assert trainer.callback_metrics["train/skipped"] == MAX_SKIPPED
        return
    with pytest.raises(
        InputError, match=r"^10 batches in a row were skipped, the last of them in epoch 1, batch 11"
    ):
        trainer.fit(Regression(), loader)


# Validation and checkpoints


class Validated(Regression):
    """Its validation has the losses and the metric that a test wants, epoch by epoch."""

    def __init__(self, losses, accuracies):
        super().__init__()
        self.losses, self.accuracies = losses, accuracies

    def validation_step(self, batch, batch_idx):
        self.log("val/acc", torch.tensor(self.accuracies[self.current_epoch]))
        return {"loss": torch.tensor(self.losses[self.current_epoch])}


def fit_validated(tiny_trainer, folder, on_nan, losses, accuracies):
    best = FiniteCheckpoint(folder, "best-{epoch}", monitor="val/acc", mode="max")
    last = ModelCheckpoint(folder, "last", enable_version_counter=False)
    trainer = tiny_trainer(
        callbacks=[FiniteCallback(on_nan), best, last], enable_checkpointing=True, max_epochs=len(losses)
    )
    trainer.fit(Validated(losses, accuracies), batches(1.0), batches(1.0, 1.0))


def test_a_validation_loss_that_is_not_finite_stops_before_the_checkpoint(tiny_trainer, tmp_path):
    with pytest.raises(InputError) as error:
        fit_validated(tiny_trainer, tmp_path, "stop", [0.5, NAN], [0.5, 0.9])
    assert str(error.value) == (
        "epoch 2: the validation loss is not finite in 2 of 2 batches, first in batch 0; "
        "lower the learning rate"
    )
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == ["best-epoch=0.ckpt", "last.ckpt"]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 0


def test_skip_only_warns_of_it(tiny_trainer, tmp_path, caplog):
    caplog.set_level("WARNING", "fer.callbacks")
    fit_validated(tiny_trainer, tmp_path, "skip", [0.5, math.inf], [0.5, 0.4])
    assert caplog.messages == [
        "epoch 2: the validation loss is not finite in 2 of 2 batches, first in batch 0"
    ]


@pytest.mark.parametrize("not_finite", [NAN, math.inf, -math.inf])
@pytest.mark.parametrize("first", [True, False])
def test_a_metric_that_is_not_finite_is_never_the_best(not_finite, first, tiny_trainer, tmp_path):
    accuracies = [not_finite, 0.3] if first else [0.3, not_finite]
    fit_validated(tiny_trainer, tmp_path, "stop", [0.5, 0.5], accuracies)
    epoch = 1 if first else 0
    assert [path.name for path in tmp_path.glob("best*.ckpt")] == [f"best-epoch={epoch}.ckpt"]


def test_no_best_without_a_finite_metric(tiny_trainer, tmp_path):
    fit_validated(tiny_trainer, tmp_path, "stop", [0.5], [NAN])
    assert [path.name for path in tmp_path.glob("*.ckpt")] == ["last.ckpt"]


# Without waiting for the device


def test_checking_a_loss_does_not_wait_for_the_device(tiny_trainer):
    trainer, callback = tiny_trainer(), FiniteCallback()
    with FakeTensorMode():  # its tensors have no values: whoever asks for one is told off
        loss = torch.zeros((), requires_grad=True)
        callback.on_before_backward(trainer, None, loss)
        callback.on_validation_batch_end(trainer, None, loss, None, 0)
        with pytest.raises(DataDependentOutputException):
            callback.on_after_backward(trainer, None)


def test_a_training_step_does_not_wait_for_the_device(monkeypatch):
    task, logged = tiny_task(), []
    monkeypatch.setattr(task, "log", lambda name, value, **_: logged.append(name))
    with FakeTensorMode(allow_non_fake_inputs=True):
        batch = torch.randn(7, 1, 8, 8), torch.zeros(7, dtype=torch.long)
        task.training_step(batch, 0)
    assert logged == ["train/loss", "train/acc"]
