"""Pruning other people's modules when their training ends."""

import json

import lightning as L
import pytest
import torch
from foreign.digits import DigitsDataModule, LitDigits
from foreign.images import CornersDataModule, LitTransfer
from lightning.pytorch.callbacks import ModelCheckpoint

from fer.callbacks import PruneCallback
from fer.pruning import load_pruned


def best_of(tmp_path):
    return ModelCheckpoint(tmp_path / "checkpoints", filename="best", monitor="val_acc", mode="max")


@pytest.fixture
def pruned(fit, tmp_path):
    """A module, and the callback that pruned it to half of its neurons."""
    callback, module = PruneCallback(enabled=True, metric="val_acc", share_removed=0.5), LitDigits()
    fit(module, DigitsDataModule(), [callback, best_of(tmp_path)], max_epochs=3)
    return module, callback


@pytest.mark.slow
def test_half_of_the_neurons_are_removed(pruned):
    module, callback = pruned
    small = callback.pruned
    assert (small.layer_1.out_features, small.layer_2.out_features, small.layer_3.in_features) == (24, 24, 24)
    assert len(small.bn.running_mean) == 24
    assert small.layer_3.out_features == 10
    assert module.layer_1.out_features == 48


@pytest.mark.slow
def test_the_pruned_module_is_read_back_into_the_class_of_the_user(pruned, tmp_path):
    _, callback = pruned
    loaded = load_pruned(LitDigits(), tmp_path / "checkpoints" / "pruned.ckpt")
    assert type(loaded) is LitDigits
    x = torch.rand(9, 1, 8, 8)
    torch.testing.assert_close(loaded.eval()(x), callback.pruned.eval()(x), rtol=0, atol=0)


@pytest.mark.slow
def test_a_pruned_checkpoint_holds_no_code(pruned, tmp_path):
    content = torch.load(tmp_path / "checkpoints" / "pruned.ckpt", weights_only=True)
    assert content["pruned_network"] == ""
    assert content["widths"]["layer_1.out_features"] == 24
    assert content["state_dict"]["layer_2.weight"].shape == (24, 24)


@pytest.mark.slow
def test_the_pruned_module_trains_on(pruned, fit):
    _, callback = pruned
    before = callback.pruned.layer_1.weight.detach().clone()
    trainer = fit(callback.pruned, DigitsDataModule(), max_epochs=2)
    assert trainer.callback_metrics["val_acc"] > 0.8
    assert not torch.equal(before, callback.pruned.layer_1.weight)


@pytest.mark.slow
def test_the_metrics_of_the_user_are_those_of_a_validation(pruned, tmp_path):
    """Before: of the best checkpoint. After: of the pruned module."""
    _, callback = pruned
    silent = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(accelerator="cpu", enable_checkpointing=False, default_root_dir=tmp_path, **silent)
    best = LitDigits.load_from_checkpoint(tmp_path / "checkpoints" / "best.ckpt")
    expected = {}
    for name, module in (("before", best), ("after", callback.pruned)):
        (row,) = trainer.validate(module, datamodule=DigitsDataModule(), verbose=False)
        expected[name] = row
    written = json.loads((tmp_path / "prune.json").read_text())
    for name, row in expected.items():
        assert written[name]["metrics"] == pytest.approx(row, rel=1e-5)


@pytest.mark.slow
def test_only_the_named_network_shrinks(fit, tmp_path):
    callback = PruneCallback(enabled=True, metric="val_acc", network="backbone", share_removed=0.5)
    fit(LitTransfer, CornersDataModule(), [callback, best_of(tmp_path)])
    loaded = load_pruned(LitTransfer(), tmp_path / "checkpoints" / "pruned.ckpt")
    assert loaded.backbone[0].out_channels == 4
    x = torch.rand(3, 3, 16, 16)
    torch.testing.assert_close(loaded.eval()(x), callback.pruned.eval()(x), rtol=0, atol=0)


@pytest.mark.slow
def test_the_last_weights_are_pruned_without_checkpoints(fit, tmp_path):
    callback, module = PruneCallback(enabled=True, metric="val_acc", share_removed=0.5), LitDigits()
    fit(module, DigitsDataModule(), [callback], enable_checkpointing=False)
    assert callback.pruned.layer_1.out_features == 24
    assert list(tmp_path.rglob("pruned.ckpt"))


@pytest.mark.slow
def test_nothing_is_removed_from_what_is_distinct(fit):
    callback, module = (
        PruneCallback(
            enabled=True, metric="val_acc", similar_below=0, complementary_above=180, recalibrate=False
        ),
        LitDigits(dropout=0.0),
    )
    fit(module, DigitsDataModule(), [callback], enable_checkpointing=False)
    x = torch.rand(5, 1, 8, 8)
    torch.testing.assert_close(callback.pruned.eval()(x), module.eval()(x), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_few_samples_are_one_warning_of_all_layers(fit, warned):
    pruning = PruneCallback(enabled=True, metric="val_acc", share_removed=0.5, num_samples=64)
    fit(LitDigits, DigitsDataModule(), [pruning])
    assert pruning.pruned is not None
    texts = warned()
    assert len(texts) == 1, texts
    assert "fewer than 10" in texts[0]
