"""The training loop: its losses, what it logs, and how it goes on from a checkpoint."""

import copy
import math

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.nn import functional as F

from fer.metrics.keys import final_prefix
from fer.tasks import AnnTask, ClassificationTask, TransferTask, load

UNIFORM = torch.zeros(1, 7)
SURE_OF_0 = 100 * F.one_hot(torch.tensor([0]), 7).float()


def _task(**settings):
    return AnnTask(**{"in_features": 64, "hidden": 5} | settings)


def _weighted(weights, **settings):
    task = _task(**settings)
    task.get_buffer("weights")[: len(weights)] = torch.tensor(weights)
    return task


class Keep(Callback):
    """Keep what was logged, epoch by epoch."""

    def __init__(self):
        self.epochs = []

    def on_train_epoch_end(self, trainer, pl_module):
        self.epochs.append(
            {"epoch": trainer.current_epoch} | {k: float(v) for k, v in trainer.callback_metrics.items()}
        )


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float64, torch.float64)],
)
def test_logits_of_half_precision_are_float32(dtype, expected):
    assert _task().to(dtype)(torch.zeros(2, 64, dtype=dtype)).dtype == expected


# Losses


@pytest.mark.parametrize(
    ("loss", "logits", "targets", "expected"),
    [
        pytest.param("cross_entropy", UNIFORM, [3], math.log(7), id="cross-entropy, undecided"),
        pytest.param("cross_entropy", SURE_OF_0, [0], 0.0, id="cross-entropy, right"),
        pytest.param("cross_entropy", SURE_OF_0, [1], 100.0, id="cross-entropy, wrong"),
        pytest.param("mse", UNIFORM, [3], 6 / 49, id="mse, undecided"),  # (36 + 6) / 49 / 7
        pytest.param("mse", SURE_OF_0, [0], 0.0, id="mse, right"),
        pytest.param("mse", SURE_OF_0, [1], 2 / 7, id="mse, wrong"),
        pytest.param(
            "cross_entropy", UNIFORM, [[0.5, 0.5, 0, 0, 0, 0, 0]], math.log(7), id="cross-entropy, mixed"
        ),
        pytest.param("mse", SURE_OF_0, [[0.5, 0.5, 0, 0, 0, 0, 0]], 0.5 / 7, id="mse, mixed"),
    ],
)
def test_loss_by_hand(loss, logits, targets, expected):
    assert float(_task(loss=loss).loss_of(logits, torch.tensor(targets))) == pytest.approx(expected, abs=1e-6)


def test_mse_counts_a_pattern_by_the_weight_of_its_class():
    task = _weighted([1.0, 3.0], loss="mse")
    logits, labels = torch.cat([SURE_OF_0, UNIFORM]), torch.tensor([0, 1])
    expected = (1 * 0 + 3 * 6 / 49) / (1 + 3)
    assert float(task.loss_of(logits, labels)) == pytest.approx(expected)
    one_hot = F.one_hot(labels, 7).float()
    assert float(task.loss_of(logits, one_hot)) == pytest.approx(expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs_with_weights_and_smoothing(smoothing):
    weights = torch.rand(7) + 0.5
    task = _weighted(weights.tolist(), label_smoothing=smoothing)
    logits, labels = torch.randn(9, 7), torch.arange(9) % 7
    expected = nn.CrossEntropyLoss(weights, label_smoothing=smoothing)(logits, labels)
    torch.testing.assert_close(task.loss_of(logits, labels), expected)


def test_balanced_weights_make_each_class_count_the_same(tiny_data, tiny_trainer):
    counts = [4, 2, 1, 1, 1, 1, 4]  # 14 images: the weight of class k is 14 / (7 counts[k])
    labels = [k for k, num in enumerate(counts) for _ in range(num)]
    task = _task(class_weights="balanced")
    tiny_trainer().fit(task, datamodule=tiny_data(labels=labels, num_train=14))
    assert task.get_buffer("weights").tolist() == pytest.approx([0.5, 1, 2, 2, 2, 2, 0.5])


def _soft_batch():
    torch.manual_seed(0)
    targets = torch.softmax(3 * torch.randn(9, 7), dim=1)
    return torch.randn(9, 1, 8, 8), targets


@pytest.mark.parametrize("mixup", [0.0, 0.2])
def test_soft_targets_train_by_cross_entropy_and_count_their_largest_class(mixup, monkeypatch):
    task, (inputs, targets), logged = _task(mixup=mixup), _soft_batch(), {}
    monkeypatch.setattr(task, "log", lambda name, value, **_: logged.setdefault(name, float(value.detach())))
    loss = task.training_step((inputs, targets), 0)
    right = (task(inputs).argmax(dim=1) == targets.argmax(dim=1)).float().mean()
    if mixup == 0:
        by_hand = -(targets * task(inputs).log_softmax(dim=1)).sum(dim=1).mean()
        torch.testing.assert_close(loss, by_hand)
        assert logged["train/acc"] == pytest.approx(float(right))
    assert logged["train/loss"] == pytest.approx(float(loss.detach()))
    loss.backward()
    assert all(parameter.grad is not None for parameter in task.parameters())


@pytest.mark.parametrize("alphas", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 4.0, "cutmix": 4.0}], ids=str)
def test_it_trains_on_mixtures_and_counts_the_plain_labels(alphas):
    torch.manual_seed(0)
    task = _task(**alphas)
    seen = []
    task.loss_of = lambda logits, targets: seen.append(targets) or logits.sum()
    task.log = lambda *args, **kwargs: None
    labels = torch.arange(7)
    task.training_step((torch.randn(7, 1, 8, 8), labels), 0)
    (targets,) = seen
    assert targets.shape == (7, 7)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(7))
    assert 1 < (targets > 0).sum(dim=1).max() <= 2


def test_cutmix_gives_an_image_a_part_of_another_and_the_label_that_share():
    torch.manual_seed(0)
    task, seen = _task(cutmix=1.0), {}
    task.network = nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
    task.network.register_forward_pre_hook(lambda _, inputs: seen.update(inputs=inputs[0]))
    task.loss_of = lambda logits, targets: seen.update(targets=targets) or logits.sum()
    task.log = lambda *args, **kwargs: None
    labels = torch.arange(7)
    images = labels.float()[:, None, None, None].expand(7, 1, 8, 8).clone()
    task.training_step((images, labels), 0)
    own = (seen["inputs"] == images).float().mean(dim=(1, 2, 3))
    torch.testing.assert_close(seen["targets"][labels, labels], own)
    assert 0 < own.min() < 1


# What a fit logs


@pytest.mark.parametrize("schedule", ["none", "multistep", "cyclic", "plateau", "onecycle", "cosine"])
def test_every_schedule_trains(schedule, tiny_data, tiny_trainer):
    keep = Keep()
    task = _task(schedule=schedule, lr=0.01, milestones=(1,), optimizer="sgd", nesterov=True, mixup=0.2)
    tiny_trainer(max_epochs=2, callbacks=[keep]).fit(task, datamodule=tiny_data())
    for logged in keep.epochs:
        assert {"train/loss", "train/acc", "val/loss", "val/acc", "val/acc_best", "lr"} <= logged.keys()
        assert math.isfinite(logged["train/loss"])
    if schedule == "multistep":
        assert [logged["lr"] for logged in keep.epochs] == pytest.approx([0.01, 0.001])


@pytest.mark.slow
def test_the_running_best_never_falls(tiny_data, tiny_trainer):
    keep = Keep()
    task = _task(lr=0.1, activation="relu")
    tiny_trainer(max_epochs=6, callbacks=[keep]).fit(task, datamodule=tiny_data(num_val=49))
    accuracies = [logged["val/acc"] for logged in keep.epochs]
    assert sorted(accuracies) != accuracies  # it does fall, else this would show nothing
    expected = [max(accuracies[: i + 1]) for i in range(6)]
    assert [logged["val/acc_best"] for logged in keep.epochs] == pytest.approx(expected)


def test_a_resumed_fit_goes_on_at_its_epoch_with_its_best(tiny_data, tiny_trainer, tmp_path):
    first = tiny_trainer(max_epochs=2)
    first.fit(_task(), datamodule=tiny_data())
    first.save_checkpoint(path := tmp_path / "last.ckpt")
    content = torch.load(path, weights_only=True)
    assert content["best_val_acc"] == first.model.best_val_acc
    torch.save(content | {"best_val_acc": 0.99}, path)

    keep = Keep()
    task = _task()
    second = tiny_trainer(max_epochs=4, callbacks=[keep])
    second.fit(task, datamodule=tiny_data(), ckpt_path=path, weights_only=True)
    assert [logged["epoch"] for logged in keep.epochs] == [2, 3]
    assert [logged["val/acc_best"] for logged in keep.epochs] == pytest.approx([0.99, 0.99])
    assert second.global_step == 4 * 4


@pytest.mark.slow
def test_a_test_reports_every_split_from_one_checkpoint(tiny_data, tiny_trainer, tmp_path):
    data = tiny_data(augment="markou", num_val=49)
    best = ModelCheckpoint(tmp_path, "best", monitor="val/acc", mode="max")
    trainer = tiny_trainer(max_epochs=4, callbacks=[best], enable_checkpointing=True)
    task = _task(lr=0.1, activation="relu")
    trainer.fit(task, datamodule=data)
    trainer.test(task, datamodule=data, ckpt_path="best", weights_only=True, verbose=False)

    network = load(tmp_path / "best.ckpt")
    for name, prefix in (("train", "final/train"), ("val", "final/val"), ("test", "test")):
        split = data.splits[name]
        inputs = torch.stack([data.dataset(name)[row][0] for row in range(len(split))])
        with torch.no_grad():
            right = network(inputs).argmax(dim=1) == torch.from_numpy(split.labels)
        logged = {key: float(value) for key, value in trainer.callback_metrics.items()}
        assert logged[f"{prefix}/acc"] == pytest.approx(float(right.float().mean()))
        assert logged[f"{prefix}/n"] == len(split)
        assert logged[f"{prefix}/acc_low"] <= logged[f"{prefix}/acc"] <= logged[f"{prefix}/acc_high"]
        assert task.reports[name].n == len(split)


@pytest.mark.parametrize(
    ("name", "prefix"), [("train", "final/train"), ("test", "test"), ("public", "test/public")]
)
def test_final_prefix(name, prefix):
    assert final_prefix(name) == prefix


def test_validation_before_training_and_the_sanity_check_leave_nothing_behind(tiny_data, tiny_trainer):
    task = _task()
    (logged,) = tiny_trainer().validate(task, datamodule=tiny_data(), verbose=False)
    assert logged["val/acc"] == pytest.approx(task.reports["val"].accuracy)
    trainer = tiny_trainer(num_sanity_val_steps=1)
    trainer.fit(task, datamodule=tiny_data())
    assert task.reports["val"].n == 14  # the sanity check's seven are not counted


def test_predictions_are_probabilities(tiny_data, tiny_trainer):
    batches = tiny_trainer().predict(_task(), datamodule=tiny_data())
    assert [batch.shape for batch in batches] == [(7, 7), (7, 7)]
    torch.testing.assert_close(torch.cat(batches).sum(dim=1), torch.ones(14))


@pytest.mark.slow
def test_training_does_not_move_a_frozen_backbone(tiny_data, tiny_trainer):
    task = TransferTask(image_size=32, lr=0.1, weight_decay=0.1, optimizer="sgd")
    before = copy.deepcopy(task.network.state_dict())
    tiny_trainer(limit_train_batches=2).fit(task, datamodule=tiny_data(size=32, depth=3))
    after = task.network.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"head.fc.weight", "head.fc.bias"}


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_layout_of_images_changes_nothing_but_speed(channels_last):
    task = ClassificationTask(nn.Sequential(nn.Conv2d(3, 7, 4), nn.Flatten()), channels_last=channels_last)
    assert task.network[0].weight.is_contiguous(memory_format=task.memory_format)
    plain = nn.Sequential(nn.Conv2d(3, 7, 4), nn.Flatten())
    plain.load_state_dict(task.network.state_dict())
    inputs = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(task(inputs), plain(inputs))
