"""A training with the callbacks is, bit for bit, the training without them."""

import random

import numpy as np
import pytest
import torch
from foreign.digits import DigitsDataModule, LitDigits
from foreign.images import CornersDataModule, LitResnet
from foreign.others import GAN, LSTMClassifier, SentencesDataModule
from lightning.pytorch import Callback
from torch.utils.data import DataLoader

from fer.callbacks import DistinctivenessCallback, EvaluationCallback, PruneCallback, StageCallback

SLOW = pytest.mark.slow


class ShuffledVal(DigitsDataModule):
    """Draws the validation from the global random state too."""

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=64, shuffle=True)


class Watch(Callback):
    """Notes what a training leaves behind before anything is cleaned up."""

    def on_train_epoch_end(self, trainer, pl_module):
        self.modes = {name: module.training for name, module in pl_module.named_modules()}
        self.grads = {
            name: None if parameter.grad is None else parameter.grad.clone()
            for name, parameter in pl_module.named_parameters()
        }
        self.requires = {name: p.requires_grad for name, p in pl_module.named_parameters()}
        self.hooks = {
            name: [len(getattr(module, kind)) for kind in ("_forward_hooks", "_forward_pre_hooks")]
            for name, module in pl_module.named_modules()
        }


def leftovers(fit, make, data, callbacks, **settings):
    """Return all that a training leaves: weights, optimisers, metrics, random states, modes."""
    watch = Watch()
    trainer = fit(make, data(), [*callbacks, watch], seed=7, **settings)
    module = trainer.lightning_module
    mine = (
        "angles/",
        "rank/",
        "neurons/",
        "cka/",
        "collapse/",
        "sample/",
        "stage/",
        "update_ratio/",
        "prune/",
    )
    metrics = {k: v for k, v in trainer.callback_metrics.items() if not k.startswith(mine)}
    return {
        "weights": module.state_dict(),
        "optimisers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "metrics": metrics,
        "random": (torch.get_rng_state(), np.random.get_state(), random.getstate()),
        "watched": (watch.modes, watch.grads, watch.requires, watch.hooks),
        "modes": [each.training for each in module.modules()],
        "counts": (trainer.global_step, trainer.current_epoch, str(trainer.state)),
    }


def assert_identical(one, two, where=""):
    """Compare nested values bit for bit."""
    assert type(one) is type(two), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, two), where
    elif isinstance(one, np.ndarray):
        assert np.array_equal(one, two), where
    elif isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for key in one:
            assert_identical(one[key], two[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(two), where
        for number, pair in enumerate(zip(one, two, strict=True)):
            assert_identical(*pair, f"{where}[{number}]")
    else:
        assert one == two, where


def all_callbacks(**network):
    return [
        DistinctivenessCallback(**network),
        StageCallback(train_loss="train_loss", val_loss="val_loss"),
        PruneCallback(enabled=True, metric="val_acc", share_removed=0.5, **network),
        EvaluationCallback(),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "data"),
    [
        pytest.param(lambda: LitDigits(dropout=0.5), DigitsDataModule, id="dropout and batch norm"),
        pytest.param(LitDigits, ShuffledVal, id="a shuffled validation loader", marks=SLOW),
        pytest.param(LSTMClassifier, SentencesDataModule, id="LSTM", marks=SLOW),
        pytest.param(LitResnet, CornersDataModule, id="ResNet-18 of torchvision", marks=pytest.mark.slow),
    ],
)
def test_training_does_not_notice(module, data, fit):
    plain = leftovers(fit, module, data, [])
    watched = leftovers(fit, module, data, all_callbacks())
    assert_identical(plain, watched)


@pytest.mark.slow
def test_manual_optimisation_does_not_notice(fit):
    callbacks = [
        DistinctivenessCallback(network="discriminator", samples=torch.rand(64, 64)),
        StageCallback(train_loss="g_loss", val_loss="d_loss", network="generator"),
    ]
    plain = leftovers(fit, GAN, DigitsDataModule, [])
    watched = leftovers(fit, GAN, DigitsDataModule, callbacks)
    assert_identical(plain, watched)


def test_a_comparison_that_differs_fails():
    with pytest.raises(AssertionError, match=r"\.a\[1\]"):
        assert_identical({"a": [1, torch.zeros(2)]}, {"a": [1, torch.ones(2)]})
