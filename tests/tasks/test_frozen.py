"""A network with a frozen part: features instead of inputs, and everything else as it is without."""

import json
import logging
from pathlib import Path

import pytest
import torch
from command import call
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from fer.callbacks import DistinctivenessCallback, PruneCallback
from fer.callbacks.validation import fresh_val_loaders
from fer.errors import InputError
from fer.tasks import task_of

EPOCHS = 3


class Frozen(nn.Module):
    """A network as anyone writes it: a frozen convolution with batch norm, then a head."""

    frozen_part: str | None = "backbone"

    def __init__(self, num_classes: int = 7):
        super().__init__()
        torch.manual_seed(1)
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        ).requires_grad_(requires_grad=False)
        self.fc1 = nn.Linear(20, 9)
        self.act = nn.Tanh()
        self.fc2 = nn.Linear(9, num_classes)
        self.num_computed = 0
        self.train()

    def train(self, mode: bool = True):
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, inputs):
        if inputs.ndim == 4:
            self.num_computed += len(inputs)
            inputs = self.backbone(inputs)
        return self.fc2(self.act(self.fc1(inputs)))


class Called(Callback):
    """Notes what the steps take."""

    def __init__(self):
        self.shapes = {"train": set(), "val": set(), "test": set()}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.shapes["train"].add(tuple(batch[0].shape[1:]))

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.shapes["val"].add(tuple(batch[0].shape[1:]))

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self.shapes["test"].add(tuple(batch[0].shape[1:]))


FEATURES, PIXELS = {(20,)}, {(1, 8, 8)}


@pytest.fixture
def fit(tiny_data, tiny_trainer):
    """Train, and return the task, the trainer and what the steps were given."""

    def run(*, network=Frozen, data=None, ckpt_path=None, callbacks=(), trainer=None, **settings):
        called = Called()
        used = tiny_trainer(**{"max_epochs": EPOCHS, "callbacks": [called, *callbacks]} | (trainer or {}))
        task = task_of(network)(**{"lr": 0.05, "optimizer": "sgd"} | settings)
        torch.manual_seed(2)
        used.fit(task, datamodule=tiny_data(**data or {}), ckpt_path=ckpt_path)
        return task, used, called.shapes

    return run


def metrics_of(trainer):
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


SOFT = {"labels": [0, 0, 0, 0, *range(7), *range(7), *range(7), 1, 2, 3]}


@pytest.mark.parametrize(
    ("settings", "data"),
    [
        pytest.param({}, {}, id="plain"),
        pytest.param({"class_weights": "balanced", "label_smoothing": 0.1}, SOFT, id="class weights"),
        pytest.param({"loss": "mse"}, {"sampler": "balanced"} | SOFT, id="balanced sampler"),
        pytest.param({"optimizer": "adamw", "weight_decay": 0.1, "schedule": "onecycle"}, {}, id="schedule"),
    ],
)
@pytest.mark.slow
def test_a_training_on_features_ends_as_one_on_inputs(settings, data, fit):
    whole, trainer, given = fit(train_features=0, data=data, **settings)
    once, other, features = fit(data=data, **settings)
    assert given["train"] == given["val"] == PIXELS
    assert features["train"] == features["val"] == FEATURES
    assert metrics_of(other) == pytest.approx(metrics_of(trainer), rel=1e-4)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(once.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    assert not torch.equal(whole.network.fc1.weight, Frozen().fc1.weight)


@pytest.mark.slow
def test_each_sample_is_computed_once(fit):
    task, _, _ = fit(trainer={"max_epochs": 1})
    longer, _, _ = fit(trainer={"max_epochs": 5})
    assert longer.network.num_computed == task.network.num_computed


@pytest.mark.slow
def test_soft_targets_stay(fit, tiny_data, monkeypatch):
    import numpy as np

    targets = np.random.default_rng(0).dirichlet(np.ones(7), 28).astype(np.float32)
    load = tiny_data.load_splits

    def with_targets(self):
        from dataclasses import replace

        splits = load(self)
        return splits | {"train": replace(splits["train"], targets=targets)}

    monkeypatch.setattr(tiny_data, "load_splits", with_targets)
    _, trainer, _ = fit(train_features=0)
    _, other, features = fit()
    assert features["train"] == FEATURES
    assert metrics_of(other) == pytest.approx(metrics_of(trainer), rel=1e-4)


@pytest.mark.slow
def test_a_checkpoint_is_as_without_features(fit, tmp_path):
    saved = {}
    for name, kept in (("whole", 0), ("once", None)):
        checkpoint = ModelCheckpoint(tmp_path / name, save_last=True)
        settings = {"enable_checkpointing": True}
        fit(train_features=kept, callbacks=[checkpoint], trainer={"callbacks": [checkpoint], **settings})
        saved[name] = torch.load(tmp_path / name / "last.ckpt", weights_only=True)
    assert saved["once"].keys() == saved["whole"].keys()
    assert saved["once"]["state_dict"].keys() == saved["whole"]["state_dict"].keys()
    assert saved["once"]["input_shape"] == (1, 8, 8)


@pytest.mark.slow
def test_a_resumed_training_ends_bit_for_bit_as_one_that_was_not_stopped(fit, tmp_path):
    data = {"augment": "markou"}
    whole, trainer, _ = fit(data=data, train_features=2, trainer={"max_epochs": 4})
    _, half, _ = fit(data=data, train_features=2, trainer={"max_epochs": 2})
    half.save_checkpoint(tmp_path / "half.ckpt")
    resumed, other, _ = fit(
        data=data, train_features=2, trainer={"max_epochs": 4}, ckpt_path=tmp_path / "half.ckpt"
    )
    assert metrics_of(other) == metrics_of(trainer)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


@pytest.mark.slow
def test_augmented_versions_are_drawn_in_each_epoch(fit):
    data = {"augment": "markou"}
    _, one, given = fit(data=data, train_features=1)
    _, many, _ = fit(data=data, train_features=4)
    _, anew, _ = fit(data=data)
    assert given["train"] == FEATURES
    losses = {metrics_of(trainer)["train/loss"] for trainer in (one, many, anew)}
    assert len(losses) == 3


class Unfrozen(Frozen):
    """The backbone trains."""

    frozen_part = None

    def __init__(self, num_classes: int = 7):
        super().__init__(num_classes)
        self.backbone.requires_grad_()


class Training(Frozen):
    """Batch norm of the backbone is in train mode."""

    def __init__(self, num_classes: int = 7):
        super().__init__(num_classes)
        self.backbone.train()


class Drifting(Frozen):
    """Batch norm of the backbone is in train mode after train()."""

    def __init__(self, num_classes: int = 7):
        super().__init__(num_classes)
        self.backbone.eval()

    def train(self, mode: bool = True):
        return nn.Module.train(self, mode)


class Learning(Frozen):
    """A weight of the backbone trains."""

    def __init__(self, num_classes: int = 7):
        super().__init__(num_classes)
        self.backbone[0].bias.requires_grad_()


@pytest.mark.parametrize(
    ("settings", "split", "reason"),
    [
        pytest.param({"network": Unfrozen}, "val", "no part of Unfrozen is frozen", id="unfrozen"),
        pytest.param({"network": Training}, "val", "backbone is in training mode", id="in training mode"),
        pytest.param({"network": Drifting}, "val", "train() sets backbone to training mode", id="drifting"),
        pytest.param({"network": Learning}, "val", "parameters of backbone require gradients", id="learning"),
        pytest.param({"train_features": 0}, "val", "model.train_features is 0", id="switched off"),
        pytest.param({"trainer": {"limit_val_batches": 1}}, "val", "limit_val_batches is set", id="val"),
        pytest.param({"trainer": {"fast_dev_run": True}}, "val", "limit_val_batches is set", id="dry"),
        pytest.param({"mixup": 0.4}, "train", "mixed by model.mixup", id="mixup"),
        pytest.param({"cutmix": 1.0}, "train", "mixed by model.cutmix", id="cutmix"),
        pytest.param({"data": {"augment": "markou"}}, "train", "--model.train_features 8", id="augmented"),
        pytest.param(
            {"trainer": {"limit_train_batches": 0.5}}, "train", "limit_train_batches is set", id="train"
        ),
    ],
)
def test_where_pixels_are_needed_they_are_given_and_one_line_says_why(settings, split, reason, fit, caplog):
    caplog.set_level(logging.INFO, "fer.tasks")
    _, trainer, given = fit(**settings)
    assert given["train"] == PIXELS
    assert given["val"] == (PIXELS if split == "val" else FEATURES)
    (message,) = [each.getMessage() for each in caplog.records if each.name == "fer.tasks"]
    assert reason in message
    assert "train/loss" in trainer.callback_metrics


class Deaf(Frozen):
    """Takes no features."""

    def forward(self, inputs):
        return self.fc2(self.act(self.fc1(self.backbone(inputs))))


class Twice(Frozen):
    """Computes something else for features."""

    def forward(self, inputs):
        if inputs.ndim == 4:
            return super().forward(inputs)
        return super().forward(inputs * 2)


@pytest.mark.parametrize(
    ("network", "problem"),
    [
        pytest.param(Deaf, "forward does not accept the outputs of that part", id="takes none"),
        pytest.param(Twice, "returns other values for that part's outputs", id="other values"),
    ],
)
def test_a_declaration_that_does_not_hold_is_refused(network, problem, fit):
    with pytest.raises(InputError, match=rf"{network.__name__}.frozen_part is 'backbone', but .*{problem}"):
        fit(network=network)


def test_a_part_that_is_unfrozen_in_the_training_is_refused(fit):
    class Unfreeze(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            pl_module.network.backbone.requires_grad_()

    with pytest.raises(InputError, match=r"backbone changed during training.*--model.train_features 0"):
        fit(callbacks=[Unfreeze()])


@pytest.mark.slow
def test_weights_that_are_set_to_what_they_were_are_no_change(fit):
    class Reload(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            pl_module.load_state_dict(pl_module.state_dict())

    fit(callbacks=[Reload()])


@pytest.mark.slow
def test_a_test_is_on_features_too_and_a_training_can_follow(fit, tiny_data, tiny_trainer):
    task, data, called = task_of(Frozen)(), tiny_data(), Called()
    tiny_trainer(callbacks=[called]).test(task, datamodule=data, verbose=False)  # in inference mode
    trainer = tiny_trainer(callbacks=[called])
    trainer.fit(task, datamodule=data)
    assert called.shapes["test"] == called.shapes["train"] == FEATURES
    assert task.input_shape == (1, 8, 8)


@pytest.mark.slow
def test_outside_of_a_run_and_for_other_networks_loaders_give_inputs(tiny_data, tiny_trainer):
    shapes = {}

    class Look(Callback):
        def on_fit_end(self, trainer, pl_module):
            (shapes["fresh"],) = {tuple(each.shape[1:]) for each, _ in fresh_val_loaders(trainer)}
            (shapes["own"],) = {tuple(each.shape[1:]) for each, _ in trainer.val_dataloaders}

    class Fail(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            raise KeyError

    data = tiny_data()
    tiny_trainer(callbacks=[Look()]).fit(task_of(Frozen)(), datamodule=data)
    assert shapes == {"fresh": (1, 8, 8), "own": (20,)}
    assert next(iter(data.val_dataloader()))[0].shape[1:] == (1, 8, 8)
    with pytest.raises(KeyError):
        tiny_trainer(callbacks=[Fail()]).fit(task_of(Frozen)(), datamodule=data)
    assert next(iter(data.val_dataloader()))[0].shape[1:] == (1, 8, 8)


@pytest.mark.slow
def test_angles_of_the_head_are_the_same_and_the_backbone_computes_its_samples_once(fit):
    measured, num_computed = [], []
    for kept, epochs in ((0, 2), (None, 2), (None, 4)):
        callback = DistinctivenessCallback(every_n_epochs=1, layers=["act"])
        task, _, _ = fit(train_features=kept, callbacks=[callback], trainer={"max_epochs": epochs})
        measured.append(callback)
        num_computed.append(task.network.num_computed)
    whole, once, _ = measured
    torch.testing.assert_close(once.degrees["act"], whole.degrees["act"], atol=1e-2, rtol=0)
    assert once.history["act"]["epoch"] == [1.0, 2.0]
    assert num_computed[1] == num_computed[2]


@pytest.mark.slow
def test_angles_in_the_backbone_are_measured_on_images(fit):
    callback = DistinctivenessCallback(every_n_epochs=1, layers=["backbone.2", "act"])
    fit(callbacks=[callback])
    assert callback.degrees.keys() == {"backbone.2", "act"}


@pytest.mark.slow
def test_a_frozen_backbone_can_be_pruned_at_the_end_of_a_training_on_features(fit, tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "checkpoints", filename="best", monitor="val/loss")
    prune = PruneCallback(enabled=True, share_removed=0.4, merge="drop")
    settings = {"enable_checkpointing": True, "callbacks": [checkpoint, prune]}
    fit(trainer=settings)
    assert prune.pruned.network.backbone[0].out_channels < 5
    assert prune.results is not None


@pytest.mark.slow
def test_the_commands_take_a_run_that_was_trained_on_features():
    words = [
        "--network",
        "transfer",
        "--model.backbone",
        "test_efficientnet",
        "--model.hidden",
        "12",
        "--data.image_size",
        "32",
        "--data.channels",
        "3",
    ]
    words += ["--data.num_train", "70", "--data.num_val", "35", "--data.num_test", "35"]
    words += ["--data.batch_size", "16", "--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"]
    words += ["--gradients.every_n_epochs", "0", "--distinctiveness.every_n_epochs", "0"]
    words += ["--stages.enabled", "false", "--wandb.mode", "disabled"]
    splits = {}
    for name, kept in (("once", "null"), ("anew", "0")):
        called = call("fit", *words, "--model.train_features", kept, "--run_name", name)
        assert called.status == 0, called.err
        assert ("computes each sample once" in called.err) == (name == "once")
        found = json.loads(Path("runs", name, "results.json").read_text())["splits"]
        # Of several views no features are kept.
        splits[name] = {split: each | {"tta": None} for split, each in found.items()}
    assert splits["once"] == splits["anew"]
    for command in (
        ["test", "runs/once"],
        ["predict", "--ckpt_path", "runs/once"],
        ["export", "runs/once/checkpoints/best.ckpt"],
        ["prune", "runs/once", "--prune.share_removed", "0.2", "--tune_epochs", "1"],
        ["test", "runs/once-prune/checkpoints/pruned.ckpt"],
    ):
        called = call(*command)
        assert called.status == 0, called.err
