"""Every way in which Lightning trains: precisions, compilation, averaged weights, loggers, loaders."""

import pytest
import torch
from foreign.digits import DigitsDataModule, LitDigits
from foreign.images import CornersDataModule, LitTransfer
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from fer.callbacks import DistinctivenessCallback, EvaluationCallback, PruneCallback, StageCallback
from fer.neurons import angles, measure

SLOW = pytest.mark.slow


def callbacks_of(**prune):
    return (
        DistinctivenessCallback(),
        StageCallback(train_loss="train_loss", val_loss="val_loss"),
        PruneCallback(enabled=True, metric="val_acc", **{"share_removed": 0.5} | prune),
        EvaluationCallback(),
    )


def assert_all_worked(trainer, callbacks, warned):
    distinct, stages, pruning, _ = callbacks
    assert trainer.current_epoch == 2
    assert list(distinct.degrees) == ["layer_1", "layer_2"]
    assert all(torch.tensor(losses).isfinite().all() for losses in stages.losses.values())
    assert pruning.pruned.layer_1.out_features == 24
    assert [text for text in warned() if "fewer than 10" not in text] == []


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="no logger"),
        pytest.param({"enable_checkpointing": False}, id="no checkpoints", marks=SLOW),
        pytest.param({"accumulate_grad_batches": 3}, id="accumulated gradients", marks=SLOW),
        pytest.param({"precision": "bf16-mixed"}, id="bf16-mixed"),
        pytest.param({"precision": "bf16-true"}, id="bf16-true", marks=SLOW),
        pytest.param({"precision": "64-true"}, id="64-true", marks=SLOW),
        pytest.param({"gradient_clip_val": 1.0}, id="clipped gradients", marks=SLOW),
        pytest.param({"num_sanity_val_steps": 0}, id="no sanity check", marks=SLOW),
        pytest.param({"limit_val_batches": 1}, id="one validation batch", marks=SLOW),
        pytest.param({"reload_dataloaders_every_n_epochs": 1}, id="loaders made anew", marks=SLOW),
    ],
)
@pytest.mark.slow
def test_a_trainer_may_be_set_in_any_way(settings, fit, warned):
    callbacks = callbacks_of()
    trainer = fit(LitDigits, DigitsDataModule(), callbacks, **settings)
    assert_all_worked(trainer, callbacks, warned)


@pytest.mark.slow
def test_the_first_of_several_validation_loaders_is_measured(fit, warned):
    class Several(DigitsDataModule):
        def val_dataloader(self):
            return [super().val_dataloader(), DataLoader(self.rest, batch_size=64)]

    callbacks = callbacks_of()
    distinct, stages, pruning, _ = callbacks
    trainer = fit(LitDigits, Several(), callbacks)
    assert trainer.current_epoch == 2
    assert list(distinct.degrees) == ["layer_1", "layer_2"]
    data = Several()
    data.setup("fit")
    images = torch.stack([x for x, _ in data.val])
    expected = angles(measure(trainer.lightning_module, [images], ["layer_2:input"])["layer_2:input"])
    torch.testing.assert_close(distinct.degrees["layer_1"], expected, atol=0.01, rtol=0, equal_nan=True)
    del stages, pruning  # names of metrics end in /dataloader_idx_0: see test_bad_input


@pytest.mark.slow
def test_metrics_of_several_loaders_are_named_with_their_number(fit, warned):
    class Several(DigitsDataModule):
        def val_dataloader(self):
            return [super().val_dataloader(), DataLoader(self.rest, batch_size=64)]

    stages = StageCallback(train_loss="train_loss", val_loss="val_loss/dataloader_idx_1")
    pruning = PruneCallback(enabled=True, metric="val_acc/dataloader_idx_0", share_removed=0.5)
    fit(LitDigits, Several(), [stages, pruning])
    assert all(torch.tensor(losses).isfinite().all() for losses in stages.losses.values())
    assert pruning.pruned.layer_1.out_features == 24
    assert [text for text in warned() if "fewer than 10" not in text] == []


@pytest.mark.slow
def test_averaged_weights_are_pruned_where_they_were_validated(fit, warned, tmp_path):
    """The checkpoint and the module that remains have the averaged weights."""
    callbacks = callbacks_of(similar_below=0, complementary_above=180, share_removed=None)
    best = ModelCheckpoint(tmp_path / "checkpoints", filename="best", monitor="val_acc", mode="max")
    averaging = EMAWeightAveraging(decay=0.9)
    fit(LitDigits, DigitsDataModule(), [*callbacks, averaging, best], max_epochs=3)
    distinct, _, pruning, _ = callbacks
    assert list(distinct.degrees) == ["layer_1", "layer_2"]
    state = torch.load(best.best_model_path, weights_only=True)["state_dict"]
    small = pruning.pruned
    sizes = {name: tuple(value.shape) for name, value in small.state_dict().items()}
    if all(sizes[name] == tuple(value.shape) for name, value in state.items()):
        torch.testing.assert_close(small.layer_1.weight, state["layer_1.weight"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_network_is_measured(fit, warned):
    callbacks = callbacks_of()
    distinct, _, pruning, _ = callbacks
    net = LitTransfer()
    net.backbone = torch.compile(net.backbone, backend="eager")
    trainer = fit(net, CornersDataModule(), callbacks)
    assert trainer.current_epoch == 2
    assert len(distinct.degrees) == 4
    assert all("_orig_mod" not in name for name in distinct.degrees)
    assert pruning.pruned is not None or any("compile" in text for text in warned())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_a_compiled_network_is_measured_by_its_name(fit):
    distinct = DistinctivenessCallback(network="backbone")
    net = LitTransfer()
    net.backbone = torch.compile(net.backbone, backend="eager")
    fit(net, CornersDataModule(), [distinct])
    assert list(distinct.degrees) == ["backbone.0", "backbone.2", "backbone.6"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_lightning_module_is_measured_and_pruned(fit, warned):
    callbacks = callbacks_of()
    net = LitDigits()
    trainer = fit(torch.compile(net, backend="eager"), DigitsDataModule(), callbacks)
    assert_all_worked(trainer, callbacks, warned)
    images = torch.stack([x for x, _ in trainer.datamodule.val])
    expected = angles(measure(net, [images], ["layer_2:input"])["layer_2:input"])
    distinct = callbacks[0]
    torch.testing.assert_close(distinct.degrees["layer_1"], expected, atol=0.01, rtol=0, equal_nan=True)


@pytest.mark.slow
def test_numbers_and_figures_go_to_the_logger_that_there_is(fit, tmp_path):
    callbacks = callbacks_of()
    logger = CSVLogger(tmp_path / "logs", name="digits")
    fit(LitDigits, DigitsDataModule(), callbacks, logger=logger)
    folder = tmp_path / "logs" / "digits" / "version_0"
    header = (folder / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"angles/layer_1/mean", "stage/network", "update_ratio/layer_2"} <= set(header)
    assert (folder / "stages.json").is_file()
    assert (folder / "prune.json").is_file()
    assert (folder / "checkpoints" / "pruned.ckpt").is_file()
    figures = {path.stem for path in (folder / "figures").iterdir()}
    assert {"angle-matrix", "angles", "angular-speed", "curves"} <= figures


def test_fast_dev_run_runs_through_and_writes_nothing(fit, warned, tmp_path):
    trainer = fit(LitDigits, DigitsDataModule(), callbacks_of(), fast_dev_run=True)
    assert trainer.global_step == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert len(warned()) <= 3


def test_no_epochs_are_no_error(fit, warned):
    distinct, stages, pruning, evaluation = callbacks_of()
    trainer = fit(LitDigits, DigitsDataModule(), [distinct, stages, pruning, evaluation], max_epochs=0)
    assert trainer.global_step == 0
    assert distinct.degrees == {}
    assert pruning.pruned is None
    assert len(warned()) <= 1


@pytest.mark.slow
def test_a_training_goes_on_from_its_checkpoint(fit, tmp_path):
    first, second = DistinctivenessCallback(), DistinctivenessCallback()
    trainer = fit(LitDigits, DigitsDataModule(), [first], max_epochs=2)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    fit(LitDigits, DigitsDataModule(), [second], max_epochs=3, ckpt_path=tmp_path / "last.ckpt")
    assert second.history["layer_1"]["epoch"] == [1.0, 2.0, 3.0]


@pytest.mark.slow
def test_a_module_can_be_trained_twice_with_the_same_callbacks(fit):
    distinct, stages, pruning, evaluation = callbacks_of()
    for _ in range(2):
        fit(LitDigits, DigitsDataModule(), [distinct, stages, pruning, evaluation])
        assert list(distinct.degrees) == ["layer_1", "layer_2"]
        assert pruning.pruned.layer_1.out_features == 24
