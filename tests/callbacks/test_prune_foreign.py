"""PruneCallback in trainings that know nothing of this package."""

import json
import logging
import os
import sys
from copy import deepcopy

import pytest
import torch
from forked import run_python
from lightning.pytorch import LightningDataModule, LightningModule, seed_everything
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from fer.callbacks import PruneCallback
from fer.callbacks.prune import why_not
from fer.checkpoints import read_checkpoint
from fer.errors import InputError
from fer.pruning import PruneResults, load_pruned

WIDE = {"similar_below": 60, "complementary_above": 120}


def make_data(num=40):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(num, 5, generator=generator)
    return TensorDataset(inputs, inputs[:, :3].argmax(dim=1))


def loader(num=40, **settings):
    return DataLoader(make_data(num), batch_size=10, **settings)


class Foreign(LightningModule):
    """A classifier with metrics of torchmetrics; ``compiled`` compiles its network."""

    def __init__(self, width=24, compiled=False):
        super().__init__()
        self.save_hyperparameters()
        network = nn.Sequential(nn.Linear(5, width), nn.ReLU(), nn.Linear(width, 3))
        self.backbone = torch.compile(network, backend="eager") if compiled else network
        self.accuracy = MulticlassAccuracy(3, average="micro")

    def forward(self, inputs):
        return self.backbone(inputs)

    def training_step(self, batch, _):
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, _, dataloader_idx=0):
        logits = self(batch[0])
        self.accuracy(logits, batch[1])
        self.log("val_acc", self.accuracy)
        self.log("val_loss", F.cross_entropy(logits, batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def fit(tiny_trainer, tmp_path):
    """Train with the callback; return it and the trainer."""

    def do(module=None, *, data=None, val=True, prune=None, checkpoint=None, **settings):
        callback = PruneCallback(enabled=True, **{"metric": "val_acc", **WIDE, **(prune or {})})
        best = checkpoint or ModelCheckpoint(dirpath=tmp_path / "checkpoints", filename="best")
        is_kept = settings.setdefault("enable_checkpointing", True)
        callbacks = [*([best] if is_kept else []), *settings.pop("callbacks", []), callback]
        trainer = tiny_trainer(callbacks=callbacks, **settings)
        seed_everything(0, verbose=False)
        loaders = (
            {"datamodule": data}
            if isinstance(data, LightningDataModule)
            else {"train_dataloaders": loader() if data is None else data}
        )
        if val and "datamodule" not in loaders:
            loaders["val_dataloaders"] = loader() if val is True else val
        trainer.fit(Foreign() if module is None else module, **loaders)
        return callback, trainer

    return do


def warnings_in(caplog):
    """Return what was warned of, without the advice on few samples."""
    texts = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    return [text for text in texts if "fewer than 10 per neuron" not in text and "of the others" not in text]


@pytest.mark.slow
def test_a_training_ends_with_a_smaller_module(fit, tmp_path, caplog, capsys):
    module = Foreign()
    callback, trainer = fit(module, logger=CSVLogger(tmp_path, name="", version=""))

    pruned, results = callback.pruned, callback.results
    assert isinstance(pruned, Foreign)
    assert not pruned.training
    assert pruned.backbone[0].out_features == results.layers["backbone.0"]["after"] < 24
    assert module.backbone[0].out_features == 24
    assert module.trainer is trainer
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    place = next(number for number, row in enumerate(rows) if row[:1] == ["val,"])
    assert rows[place + 1][:3] == ["accuracy", f"{100 * results.before.metrics['val_acc']:.2f}", "%"]
    assert "val_acc" not in out  # the same number
    assert "40 samples: spread evenly over the training data, augmented where its loader augments them" in out
    assert "  network = load_pruned(Foreign(), 'checkpoints/pruned.ckpt')" in out
    assert results.before.metrics["val_acc"] == pytest.approx(results.before.acc)
    assert results.before.metrics["val_loss"] == pytest.approx(results.before.loss)
    assert results.class_names == ["class_0", "class_1", "class_2"]
    assert PruneResults.read(tmp_path) == results
    logged = (tmp_path / "metrics.csv").read_text()
    assert "prune/val_acc_after" in logged
    assert "prune/acc_before" in logged
    assert len(repr(results)) < 120
    assert {path.name for path in (tmp_path / "figures").iterdir()} >= {"prune.png", "prune-merges.png"}
    assert warnings_in(caplog) == []


@pytest.mark.slow
def test_the_trained_module_is_left_as_it_was(tiny_trainer, tmp_path):
    def train(*callbacks):
        seed_everything(0, verbose=False)
        module = Foreign()
        trainer = tiny_trainer(callbacks=list(callbacks), enable_checkpointing=False)
        trainer.fit(module, loader(), loader())
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        return module, metrics, trainer.state, torch.rand(1)

    (plain, metrics, state, number), (module, same_metrics, same_state, same_number) = (
        train(),
        train(PruneCallback(enabled=True, metric="val_acc", **WIDE)),
    )
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, module.state_dict()[name])
    assert metrics == same_metrics
    assert state == same_state
    assert number == same_number
    assert module.training == plain.training
    assert (tmp_path / "checkpoints" / "pruned.ckpt").is_file()


@pytest.mark.slow
def test_the_module_is_given_back_in_ones_own_code(fit, tmp_path):
    callback, _ = fit()
    path = tmp_path / "checkpoints" / "pruned.ckpt"
    content = torch.load(path, weights_only=True)
    full = Foreign()
    before = deepcopy(full.state_dict())

    loaded = load_pruned(full, path)

    inputs = torch.randn(7, 5)
    assert torch.equal(loaded(inputs), callback.pruned(inputs))
    assert isinstance(loaded, Foreign)
    assert not loaded.training
    assert content["pruned_network"] == ""
    with pytest.raises(InputError, match=r"PruneCallback wrote this checkpoint .*load_pruned\(MyModule"):
        read_checkpoint(path)
    assert content["hyper_parameters"] == {"width": 24, "compiled": False}
    assert content["state_dict"].keys() == loaded.state_dict().keys()
    assert all(torch.equal(before[name], tensor) for name, tensor in full.state_dict().items())


@pytest.mark.slow
def test_the_smaller_module_is_trained_on(fit, tiny_trainer):
    callback, _ = fit()
    before = callback.pruned.backbone[0].weight.detach().clone()

    again = tiny_trainer()
    again.fit(callback.pruned.train(), loader(), loader())

    assert "val_acc" in again.callback_metrics
    assert not torch.equal(before, callback.pruned.backbone[0].weight)


@pytest.mark.slow
def test_a_network_in_the_module_is_pruned_by_its_name(fit, tmp_path):
    callback, _ = fit(prune={"network": "backbone", "layers": ["backbone.0"]})

    assert list(callback.results.layers) == ["backbone.0"]
    assert torch.load(tmp_path / "checkpoints" / "pruned.ckpt")["pruned_network"] == "backbone"
    loaded, inputs = load_pruned(Foreign(), tmp_path / "checkpoints" / "pruned.ckpt"), torch.randn(7, 5)
    assert torch.equal(loaded(inputs), callback.pruned(inputs))


@pytest.mark.slow
def test_the_best_weights_are_pruned_not_the_last(fit, tmp_path):
    class Worse(Foreign):
        def on_train_epoch_start(self):
            with torch.no_grad():  # each epoch is worse than the first
                self.backbone[2].bias[0] += 3 * self.current_epoch

    best = ModelCheckpoint(dirpath=tmp_path / "checkpoints", filename="best", monitor="val_loss")
    callback, _ = fit(Worse(), checkpoint=best, max_epochs=3)

    assert callback.results.before.metrics["val_loss"] == pytest.approx(
        float(best.best_model_score), abs=1e-5
    )


class Adversarial(Foreign):
    """Two networks, two optimisers, manual optimisation."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.other = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))

    def training_step(self, batch, _):
        for optimizer in self.optimizers():
            loss = F.cross_entropy(self(batch[0]), batch[1]) + self.other(self(batch[0])).mean()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()

    def configure_optimizers(self):
        return [torch.optim.SGD(each.parameters(), lr=0.01) for each in (self.backbone, self.other)]


class ByName(Foreign):
    """Batches are mappings, and forward names what it takes."""

    def forward(self, features, scale=None):
        return self.backbone(features * scale)

    def training_step(self, batch, _):
        return F.cross_entropy(self(batch["features"], batch["scale"]), batch["label"])

    def validation_step(self, batch, _):
        self.log(
            "val_acc", (self(batch["features"], batch["scale"]).argmax(1) == batch["label"]).float().mean()
        )


def as_mappings(samples):
    inputs, labels = (torch.stack(each) for each in zip(*samples, strict=True))
    return {"label": labels, "features": inputs, "scale": torch.ones(len(labels), 1)}


class Built(Foreign):
    """Its network is built in ``setup``; the validation needs the data module and a logger."""

    def __init__(self):
        super().__init__()
        del self.backbone

    def setup(self, stage):
        assert stage == "fit"
        self.backbone = nn.Sequential(nn.Linear(5, 24), nn.ReLU(), nn.Linear(24, 3))

    def validation_step(self, batch, index):
        assert self.trainer.datamodule.is_set_up
        assert batch[0].abs().max() <= 1
        if self.logger is not None:
            self.logger.experiment.add_image("inputs", batch[0])
        super().validation_step(batch, index)


class HookedData(LightningDataModule):
    """Scales batches after their transfer; is set up once."""

    is_set_up = False

    def setup(self, stage):
        assert not self.is_set_up
        self.is_set_up = True

    def train_dataloader(self):
        return loader(shuffle=True)

    def val_dataloader(self):
        return loader()

    def on_after_batch_transfer(self, batch, dataloader_idx):
        assert not self.trainer.predicting
        return batch[0] / batch[0].abs().max(), batch[1]


class Batches:
    """Batches that come from no loader of torch."""

    def __iter__(self):
        return iter(loader())


class WholeCompiled:
    """Makes a LightningModule that ``torch.compile`` compiled as a whole."""

    def __new__(cls):
        return torch.compile(Foreign(), backend="eager")


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        pytest.param(Adversarial, {"prune": {"network": "backbone"}}, id="manual optimisation"),
        pytest.param(Adversarial, {}, id="two optimizers, one network in forward"),
        pytest.param(Foreign, {"accumulate_grad_batches": 3}, id="accumulated gradients"),
        pytest.param(Foreign, {"callbacks": [EMAWeightAveraging(decay=0.5)]}, id="EMA"),
        pytest.param(
            Foreign,
            {"callbacks": [EMAWeightAveraging(decay=0.5)], "enable_checkpointing": False},
            id="EMA, last weights",
        ),
        pytest.param(Foreign, {"precision": "bf16-mixed"}, id="bf16-mixed"),
        pytest.param(Foreign, {"precision": "bf16-true"}, id="bf16-true"),
        pytest.param(lambda: Foreign(compiled=True), {}, id="compiled network"),
        pytest.param(
            lambda: Foreign(compiled=True), {"prune": {"network": "backbone"}}, id="compiled network, by name"
        ),
        pytest.param(WholeCompiled, {}, id="compiled module"),
        pytest.param(
            ByName,
            {"data": loader(collate_fn=as_mappings), "val": loader(collate_fn=as_mappings)},
            id="mappings",
        ),
        pytest.param(Built, {"data": HookedData()}, id="data module with hooks, network of setup"),
        pytest.param(
            Foreign,
            {"prune": {"samples": loader(), "criterion": "taylor", "share_removed": 0.5}},
            id="labels",
        ),
        pytest.param(Foreign, {"prune": {"samples": torch.randn(30, 5)}}, id="samples given"),
        pytest.param(Foreign, {"prune": {"inputs": lambda batch: batch[0]}}, id="inputs given"),
        pytest.param(Foreign, {"data": Batches()}, id="batches without a loader"),
        pytest.param(Foreign, {"limit_val_batches": 2}, id="part of the validation"),
    ],
)
@pytest.mark.slow
def test_any_training_ends_with_a_smaller_module(make, settings, fit, tmp_path, caplog):
    module = make()
    callback, trainer = fit(module, **settings)

    before, after = callback.results.before, callback.results.after
    assert after.parameters < before.parameters
    assert before.acc == pytest.approx(before.metrics["val_acc"], abs=1e-6)
    assert after.acc == pytest.approx(after.metrics["val_acc"], abs=1e-6)
    if callback.settings.criterion == "pairs" and trainer.precision == "32-true":
        assert before.metrics["val_acc"] == pytest.approx(float(trainer.callback_metrics["val_acc"]))
    assert warnings_in(caplog) == []
    full = make()
    if isinstance(full, Built):
        full.setup("fit")
    full = getattr(full, "_orig_mod", full)
    loaded, inputs = load_pruned(full, tmp_path / "checkpoints" / "pruned.ckpt"), torch.randn(7, 5)
    assert torch.equal(loaded.backbone(inputs), callback.pruned.backbone(inputs))
    assert callback.pruned.backbone(inputs).dtype == torch.float32


@pytest.mark.slow
def test_each_loader_of_the_validation_is_reported(fit, caplog):
    callback, _ = fit(val=[loader(), loader(20)], prune={"metric": "val_acc"})

    metrics = callback.results.after.metrics
    assert set(metrics) == {f"{name}/dataloader_idx_{k}" for name in ("val_acc", "val_loss") for k in (0, 1)}
    assert callback.results.metric == "val_acc/dataloader_idx_0"
    assert callback.results.n == 40
    assert warnings_in(caplog) == []


class Stream(IterableDataset):
    """Data without a length."""

    def __iter__(self):
        return iter(make_data())


class AutoEncoder(Foreign):
    """No classes."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(5, 24), nn.ReLU(), nn.Linear(24, 5))

    def training_step(self, batch, _):
        return F.mse_loss(self(batch[0]), batch[0])

    def validation_step(self, batch, _):
        self.log("error", F.mse_loss(self(batch[0]), batch[0]))


@pytest.mark.slow
def test_a_network_without_classes_has_its_own_metrics(fit, tmp_path, capsys):
    data = DataLoader(TensorDataset(make_data().tensors[0]), batch_size=10)
    callback, _ = fit(AutoEncoder(), data=data, val=data, prune={"metric": "error"})

    results = callback.results
    assert (results.n, results.mcnemar, results.class_names, results.before.acc) == (None,) * 4
    assert results.scalars()["prune/error_after"] == results.after.metrics["error"]
    assert "prune/acc_after" not in results.scalars()
    written = json.loads((tmp_path / "prune.json").read_text())
    assert "n" not in written
    assert "acc" not in written["before"]
    assert PruneResults.read(tmp_path) == results
    assert "McNemar" not in capsys.readouterr().out
    assert (tmp_path / "figures" / "prune.png").is_file()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param(
            {"val": False},
            "prune: Foreign is not validated: it has no validation_step or no validation loader",
            id="no loop",
        ),
        pytest.param(
            {"prune": {"metric": "val_ac"}},
            "prune.metric: the validation logs no 'val_ac'; did you mean 'val_acc'? "
            "it logs val_acc, val_loss",
            id="unknown metric",
        ),
        pytest.param(
            {"prune": {"num_patterns": 30}},
            "num_patterns is now called num_samples; the old name will go",
            id="old",
        ),
        pytest.param({"nan": True}, "prune: val_acc is NaN before pruning", id="NaN"),
        pytest.param(
            {"fails": True}, "prune: the validation of Failing failed: KeyError: 'gone'", id="it fails"
        ),
    ],
)
def test_what_is_in_the_way_is_one_warning_and_the_module_is_pruned(settings, message, fit, caplog, tmp_path):
    class Undefined(Foreign):
        def validation_step(self, batch, index):
            if self.trainer.state.fn != "fit":
                self.log("val_acc", float("nan") if self.backbone[0].out_features == 24 else 1.0)

    class Failing(Foreign):
        def validation_step(self, batch, index):
            if self.trainer.state.fn != "fit":
                raise KeyError("gone")

    module = (
        Undefined() if settings.pop("nan", False) else Failing() if settings.pop("fails", False) else None
    )
    callback, _ = fit(module, **settings)

    assert warnings_in(caplog) == [message]
    assert (tmp_path / "checkpoints" / "pruned.ckpt").is_file()
    assert callback.results.after.parameters < callback.results.before.parameters


class Flat(Foreign):
    """Nothing is hidden."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(5, 3)


@pytest.mark.parametrize(
    ("module", "settings", "message"),
    [
        pytest.param(Foreign, {"fast_dev_run": True}, "fast_dev_run only tries the code", id="fast_dev_run"),
        pytest.param(Foreign, {"max_epochs": 0}, "no batch was trained on", id="0 epochs"),
        pytest.param(
            Flat,
            {},
            "Flat has no hidden neurons that can be removed (backbone: these are the network's outputs)",
            id="nothing to prune",
        ),
        pytest.param(
            Foreign, {"prune": {"samples": []}}, "0 samples: those given (list); give some with", id="none"
        ),
        pytest.param(
            Foreign,
            {"prune": {"samples": torch.randn(9, 4)}},
            "mat1 and mat2 shapes cannot be multiplied (2x4 and 5x24); give samples= that it takes, inputs=,",
            id="shape",
        ),
        pytest.param(
            Foreign,
            {"prune": {"samples": torch.randn(9, 5), "criterion": "taylor", "share_removed": 0.5}},
            "the criterion needs labels",
            id="no labels",
        ),
    ],
)
def test_where_nothing_can_be_pruned_one_line_says_why(module, settings, message, fit, caplog, tmp_path):
    callback, trainer = fit(module(), **settings)

    (warned,) = warnings_in(caplog)
    assert warned.startswith("prune: nothing is pruned: ")
    assert message in warned
    assert "\n" not in warned
    assert trainer.state.finished
    assert (callback.pruned, callback.results) == (None, None)
    assert not list(tmp_path.rglob("pruned.ckpt"))


@pytest.mark.slow
def test_the_first_samples_of_a_stream_are_taken(fit, capsys):
    callback, _ = fit(data=DataLoader(Stream(), batch_size=8), prune={"num_samples": 20})

    assert (
        "20 samples: the first of the training loader, augmented where its loader augments them"
        in capsys.readouterr().out
    )
    assert callback.results.after.parameters < callback.results.before.parameters


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param(
            {"layers": ["backbone.7"]}, "prune.layers: Foreign has no layer 'backbone.7': did you", id="layer"
        ),
        pytest.param({"layers": ["backbone.2"]}, "backbone.2", id="output layer"),
        pytest.param(
            {"network": "spine"}, "network='spine': Foreign has no such module; its modules are", id="network"
        ),
    ],
)
def test_what_was_named_and_cannot_be_pruned_is_an_error(settings, message, fit):
    with pytest.raises(InputError, match=message.replace(".", r"\.")):
        fit(prune=settings)


def test_two_callbacks_do_not_overwrite_each_other(fit):
    with pytest.raises(InputError, match="two PruneCallbacks would write the same"):
        fit(callbacks=[PruneCallback(enabled=True)])


@pytest.mark.slow
def test_a_checkpoint_holds_no_code_of_others(fit, tmp_path):
    class Configured(Foreign):
        def __init__(self, act=nn.ReLU):
            super().__init__()
            self.save_hyperparameters()

    callback, _ = fit(Configured(), max_epochs=1)

    content = torch.load(tmp_path / "checkpoints" / "pruned.ckpt", weights_only=True)
    assert "hyper_parameters" not in content
    assert callback.results is not None


def test_sharded_weights_are_not_pruned(tiny_trainer):
    from lightning.pytorch.strategies import FSDPStrategy

    trainer = tiny_trainer()
    trainer.fit(Foreign(), loader(), loader())
    assert why_not(trainer) == ""
    trainer.strategy.__class__ = FSDPStrategy
    assert why_not(trainer) == "FSDPStrategy shards the weights across processes; use DDP"


SCRIPT = """
import json, os, sys
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.callbacks import ModelCheckpoint
from fer.callbacks import PruneCallback
from test_prune_foreign import Foreign, loader

strategy = sys.argv[1]
seed_everything(0, verbose=False)
prune = PruneCallback(
    enabled=True, metric="val_acc", similar_below=60, complementary_above=120, layers=json.loads(sys.argv[2])
)
trainer = Trainer(
    accelerator="cpu", devices=2, strategy=strategy, max_epochs=1, enable_progress_bar=False,
    enable_model_summary=False, logger=CSVLogger(".", name="", version=""), log_every_n_steps=1,
    callbacks=[ModelCheckpoint("checkpoints", "best"), prune],
)
module = Foreign()
trainer.fit(module, loader(shuffle=True), loader())
print(json.dumps({
    "rank": trainer.global_rank,
    "pruned": [float(each.sum()) for each in prune.pruned.parameters()] if prune.pruned else None,
    "metrics": prune.results and dict(prune.results.after.metrics),
    "acc": prune.results and prune.results.after.acc,
    "mine": {name: float(value) for name, value in trainer.callback_metrics.items()},
}), flush=True)
"""


def run_script(folder, strategy="ddp", layers=None):
    (folder / "script.py").write_text(SCRIPT)
    here = __file__.rpartition("/")[0]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([here, *filter(None, sys.path)]),
        "OMP_NUM_THREADS": "1",
    }
    return run_python(folder / "script.py", strategy, json.dumps(layers), cwd=folder, env=environment)


@pytest.mark.slow
def test_two_processes_prune_one_network(tmp_path):
    ran = run_script(tmp_path)

    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    assert {line["rank"] for line in lines} == {0, 1}
    first, second = (line for line in sorted(lines, key=lambda line: line["rank"]))
    assert first["pruned"] == second["pruned"] is not None
    assert first["metrics"] == second["metrics"]
    assert first["metrics"]["val_acc"] == pytest.approx(first["acc"])
    assert ran.stdout.count("measured on") == 1
    assert "val, n = 40" in ran.stdout
    assert load_pruned(Foreign(), tmp_path / "checkpoints" / "pruned.ckpt").backbone[0].out_features < 24
    assert "prune/val_acc_after" in (tmp_path / "metrics.csv").read_text()


@pytest.mark.slow
def test_no_process_waits_for_one_that_failed(tmp_path):
    ran = run_script(tmp_path, layers=["backbone.2"])

    assert ran.returncode != 0
    assert "InputError" in ran.stderr


class Autoencoder(Foreign):
    """No classifier, with batch norm."""

    def __init__(self, width=24):
        super().__init__(width)
        norm = nn.BatchNorm1d(width)
        self.backbone = nn.Sequential(nn.Linear(5, width), norm, nn.ReLU(), nn.Linear(width, 5))

    def training_step(self, batch, _):
        return F.mse_loss(self(batch[0]), batch[0])

    def validation_step(self, batch, _, dataloader_idx=0):
        self.log("error", self.training_step(batch, 0))


@pytest.mark.slow
def test_no_gain_of_recalibration_is_credited_to_pruning_without_classes(fit):
    data = DataLoader(TensorDataset(make_data()[:][0]), batch_size=10)
    callback, _ = fit(Autoencoder(), data=data, val=data, prune={"metric": "error", "network": "backbone"})

    results, other = callback.results, callback.results.recalibration
    values = [results.before, other.before, other.after, results.after]
    errors = [each.metrics["error"] for each in values]
    assert len({*errors}) == 4
    assert other.mcnemar is None
    lines = [line.split() for line in results.table().splitlines() if "by pruning alone" in line]
    assert [line[3:5] for line in lines] == [[f"{errors[1]:.4f}", f"{errors[3]:.4f}"]]
    assert results.scalars()["prune/error_before_recalibrated"] == errors[1]
