"""Pruning after training: the cost is reported, and the smaller network is a checkpoint like any other."""

import json

import pytest
import torch
from command import call, done
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fer.callbacks import PruneCallback
from fer.errors import InputError
from fer.pruning import PruneResults
from fer.tasks import Conv6Task, load

WORDS = [
    *("--data.num_train", "70", "--data.num_val", "35", "--data.num_test", "35", "--data.batch_size", "16"),
    *("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--wandb.mode", "disabled"),
    *(
        "--gradients.every_n_epochs",
        "0",
        "--distinctiveness.every_n_epochs",
        "0",
        "--stages.enabled",
        "false",
    ),
]


@pytest.fixture(scope="module")
def pruned_run(tmp_path_factory, sandboxed):
    """A training that ends with pruning."""
    folder = tmp_path_factory.mktemp("pruned")
    wide = ["--prune.enabled", "true", "--prune.similar_below", "60", "--prune.complementary_above", "120"]
    with sandboxed(folder):
        trained = call("fit", *WORDS, "--run_name", "a", *wide)
    assert trained.status == 0
    assert "fewer than 10 per neuron" in trained.err  # of so few samples, and of nothing else
    assert all("fewer than" in line for line in trained.err.splitlines())
    return folder / "runs" / "a", trained.out


@pytest.mark.slow
def test_a_training_can_end_with_pruning(pruned_run):
    run, out = pruned_run
    results = json.loads((run / "prune.json").read_text())
    assert results["n"] == 35
    assert results["settings"]["similar_below"] == 60
    small = load(run / "checkpoints" / "pruned.ckpt")
    parameters = sum(parameter.numel() for parameter in small.network.parameters())
    assert results["after"]["parameters"] == parameters < results["before"]["parameters"]
    assert results["after"]["macs"] < results["before"]["macs"]
    left = {name: layer["after"] for name, layer in results["layers"].items()}
    assert left == {f"conv{k}": small.network.get_submodule(f"conv{k}").out_channels for k in range(1, 6)}
    assert "McNemar" in out
    assert f"pruned       {run.relative_to(run.parent.parent)}/checkpoints/pruned.ckpt" in out


@pytest.mark.slow
def test_a_pruned_checkpoint_is_tested_and_trained_on(pruned_run, tmp_path):
    run, _ = pruned_run
    pruned = run / "checkpoints" / "pruned.ckpt"
    results = json.loads((run / "prune.json").read_text())
    done("test", "--ckpt_path", pruned, "--run_name", "tested")
    tested = json.loads((tmp_path / "runs" / "tested" / "results.json").read_text())
    assert tested["splits"]["val"]["acc"] == results["after"]["acc"]
    done("fit", *WORDS, "--start_from", pruned, "--run_name", "on", "--model.lr", "0", "--test", "false")
    last = load(tmp_path / "runs" / "on" / "checkpoints" / "last.ckpt")
    before = load(pruned)
    assert last.widths == before.widths is not None
    torch.testing.assert_close(last.network.conv3.weight, before.network.conv3.weight)


@pytest.mark.drawn
@pytest.mark.slow
def test_a_checkpoint_is_pruned_by_a_command(pruned_run, tmp_path):
    run, _ = pruned_run
    words = ["--prune.layers", "[conv5]", "--prune.similar_below", "60", "--run_name", "b"]
    called = call("prune", run / "checkpoints" / "best.ckpt", *words)
    assert called.status == 0, called.err
    results = json.loads((tmp_path / "runs" / "b" / "prune.json").read_text())
    assert list(results["layers"]) == ["conv5"]
    assert "conv5" in called.out
    assert (tmp_path / "runs" / "b" / "figures" / "prune.png").stat().st_size > 10_000
    done("test", "--ckpt_path", tmp_path / "runs" / "b" / "checkpoints" / "pruned.ckpt", "--run_name", "c")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["gone.ckpt"], "gone.ckpt: no such checkpoint; ", id="no checkpoint"),
        pytest.param([], "fer prune needs a checkpoint", id="none given"),
        pytest.param(["--prune.similar_below", "170"], "in this order", id="thresholds crossed"),
        pytest.param(["--prune.layers", "[conv9]"], "has no layer 'conv9' whose neurons", id="unknown layer"),
        pytest.param(["--prune.layers", "[conv6]"], "conv6", id="output layer"),
        pytest.param(["--prune.layers", "[]"], "layers is empty", id="no layers"),
    ],
)
def test_what_is_refused(words, message, pruned_run, tmp_path):
    run, _ = pruned_run
    best = [] if words in (["gone.ckpt"], []) else [run / "checkpoints" / "best.ckpt"]
    called = call("prune", *best, *words)
    assert called.status == 2
    assert message in called.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_training_does_not_go_on_from_a_pruned_checkpoint(pruned_run):
    run, _ = pruned_run
    called = call("fit", *WORDS, "--ckpt_path", run / "checkpoints" / "pruned.ckpt")
    assert called.status == 2
    assert "use --start_from instead, which starts a new training" in called.err


@pytest.mark.slow
def test_a_network_that_was_compiled_is_so_again_when_it_is_smaller():
    task = Conv6Task(widths=(2, 2, 2, 2, 2), image_size=32, compile=True)
    task.shrink({"conv1.out_channels": 1, "bn1.num_features": 1, "conv2.in_channels": 1})
    assert task.network._compiled_call_impl is not None


def test_a_disabled_callback_prunes_nothing(tiny_data, tiny_trainer, tmp_path):
    task = Conv6Task(widths=(2, 2, 2, 2, 2), image_size=32)
    tiny_trainer(callbacks=[PruneCallback(enabled=False)], enable_checkpointing=True).fit(
        task, datamodule=tiny_data(size=32)
    )
    assert not list(tmp_path.rglob("pruned.ckpt"))


def test_settings_are_checked():
    with pytest.raises(InputError, match="angles need 2 samples"):
        PruneCallback(num_samples=1)
    problem = (
        r"PruneCallback has no setting 'similar': did you mean 'similar_below'\?.* metric, .* criterion,"
    )
    with pytest.raises(InputError, match=problem):
        PruneCallback(similar=1)
    with pytest.raises(InputError, match="target_macs is 2: the share to keep must be above 0 and below 1"):
        PruneCallback(target_macs=2)
    with pytest.raises(InputError, match="target_macs is 'half': the share"):
        PruneCallback(target_macs="half")
    with pytest.raises(InputError, match="target_macs and target_params exclude each other"):
        PruneCallback(target_macs=0.5, target_params=0.5)
    with pytest.raises(InputError, match="share_removed and target_macs both set the size"):
        PruneCallback(target_macs=0.5, share_removed=0.5)


def test_a_criterion_without_a_size_is_refused_before_training():
    callback = PruneCallback(criterion="l1")
    with pytest.raises(InputError, match="criterion l1 has no threshold: set num_removed or share_removed"):
        callback.on_fit_start(Trainer(logger=False, enable_checkpointing=False), Plain())
    PruneCallback(criterion="l1", enabled=False).on_fit_start(Trainer(logger=False), Plain())


class Plain(LightningModule):
    """A module and data that know nothing of this package."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 3))

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch, _):
        self.log("val/acc", (self.network(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class PlainData(LightningDataModule):
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.samples = TensorDataset(torch.randn(30, 5, generator=generator), torch.arange(30) % 3)

    def train_dataloader(self):
        return DataLoader(self.samples, batch_size=10)

    def val_dataloader(self):
        return DataLoader(self.samples, batch_size=10)


@pytest.mark.slow
def test_any_lightning_module_with_a_network_is_pruned(tiny_trainer, tmp_path):
    checkpoints = ModelCheckpoint(dirpath=tmp_path / "checkpoints", filename="best", monitor="val/acc")
    pruning = PruneCallback(enabled=True, network="network", similar_below=60, complementary_above=120)

    tiny_trainer(callbacks=[checkpoints, pruning], enable_checkpointing=True).fit(Plain(), PlainData())

    results = PruneResults.read(tmp_path)
    assert results.n == 30
    assert len(results.before.confusion) == 3
    content = torch.load(tmp_path / "checkpoints" / "pruned.ckpt", weights_only=True)
    assert len(content["state_dict"]["network.0.weight"]) == results.layers["network.0"]["after"] < 12


@pytest.mark.slow
def test_a_size_is_reached_over_all_layers(tiny_trainer, tmp_path):
    """That of the network alone, in a module of which it is a part."""
    pruning = PruneCallback(network="network", criterion="span", target_params=0.5)
    tiny_trainer(callbacks=[pruning]).fit(Plain(), PlainData())
    before, after = (each.parameters for each in (pruning.results.before, pruning.results.after))
    whole = 5 * 12 + 12 + 12 * 3 + 3
    assert before == whole
    assert 0.3 * whole < after <= 0.5 * whole
    assert pruning.results.target.kind == "params"
