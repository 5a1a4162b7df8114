"""Networks and data of one's own, by class path: fit, test, prune, export, and what is refused."""

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml
from command import call, done

import fer.tasks
from fer.errors import InputError

MODULE = '''
"""A file of the user's, in the working directory."""
import torch
from lightning.pytorch import LightningDataModule
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Plain(nn.Sequential):
    """A sequence of layers.

    Args:
        width: Number of feature maps.
    """

    def __init__(self, width=4, channels=1, num_classes=7):
        super().__init__(
            nn.Conv2d(channels, width, 3), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 5, 3), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, num_classes),
        )


class Functional(nn.Module):
    def __init__(self, image_size: int, hidden: int = 6, *, num_classes: int = 7):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.fc1 = nn.Linear(4 * (image_size // 2) ** 2, hidden)
        self.fc2 = nn.Linear(hidden, num_classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class Declaring(Functional):
    neuron_layers = {"fc1": "fc2:input"}


class TakesLr(nn.Module):
    def __init__(self, lr=0.1):
        super().__init__()


class ThreeOutputs(Plain):
    def __init__(self):
        super().__init__(num_classes=3)


class Own(LightningDataModule):
    def __init__(self, batch_size: int = 6, image_size: int = 8):
        super().__init__()
        self.batch_size, self.image_size = batch_size, image_size
        self.class_names = ("cat", "dog", "owl")

    def setup(self, stage):
        shape = (24, 1, self.image_size, self.image_size)
        images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        self.data = TensorDataset(images, torch.arange(24) % 3)

    def train_dataloader(self):
        return DataLoader(self.data, self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.data, self.batch_size)

    def test_dataloader(self):
        return DataLoader(self.data, self.batch_size)


class NoClasses(LightningDataModule):
    pass


class FromTwo(Own):
    def setup(self, stage):
        super().setup(stage)
        images, labels = self.data.tensors
        self.data = TensorDataset(images, labels + 2)


class Dicts(Own):
    def train_dataloader(self):
        return [{"image": 1}]


def build(num_classes=7):
    return Plain(num_classes=num_classes)
'''
SIZES = [
    *("--data.num_train", "35", "--data.num_val", "14", "--data.num_test", "14"),
    "--data.batch_size",
    "7",
]
QUIET = [
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
TINY = [*SIZES, *QUIET, "--data.image_size", "8"]


@pytest.fixture(autouse=True)
def own_module(tmp_path):
    """Write the file ``mynets.py`` into the working directory."""
    (tmp_path / "mynets.py").write_text(MODULE)


@pytest.mark.parametrize(
    ("name", "found"), [("Plain", "0, 3 (2 layers)"), ("Functional", "conv, fc1 (2 layers)")]
)
@pytest.mark.slow
def test_an_own_network_trains_is_tested_pruned_and_exported(name, found):
    own = ["--network", f"mynets.{name}"]
    out = done("fit", *own, *TINY, "--run_name", "a")
    assert f"network      mynets.{name}: " in out
    assert f"neurons      {found}" in out
    best = Path("runs/a/checkpoints/best.ckpt")
    done("test", *own, "--ckpt_path", best, *QUIET, "--run_name", "tested")
    splits = [json.loads(Path(f"runs/{run}/results.json").read_text())["splits"] for run in ("a", "tested")]
    assert splits[0] == splits[1]
    words = [*own, *QUIET, "--prune.similar_below", "60", "--run_name", "pruned"]
    assert call("prune", best, *words).status == 0  # it may warn that there are few samples
    pruned = Path("runs/pruned/checkpoints/pruned.ckpt")
    out = done("export", pruned, *own)
    assert "checked" in out
    network = getattr(sys.modules["mynets"], name)
    assert type(fer.tasks.load(pruned, network=network).network) is network


@pytest.mark.slow
def test_own_data_trains_and_tests_an_own_network():
    own = ["--network", "mynets.Plain", "--dataset", "mynets.Own"]
    watched = ["--distinctiveness.every_n_epochs", "1", "--stages.enabled", "true"]
    out = done("fit", *own, *QUIET, *watched, "--run_name", "a")
    assert "the first of the validation loader; layers 0, 3 (2 layers)" in out
    assert Path("runs/a/angles/epoch-0000.npz").is_file()
    assert json.loads(Path("runs/a/stages.json").read_text()).keys() == {"network", "0", "3"}
    results = json.loads(Path("runs/a/results.json").read_text())
    assert (results["data"], results["splits"]["test"]["n"]) == ("Own", 24)
    assert len(results["splits"]["test"]["confusion"]) == 3
    assert fer.tasks.load(
        "runs/a/checkpoints/best.ckpt", sys.modules["mynets"].Plain
    ).class_names == ("cat", "dog", "owl")  # fmt: skip
    done("test", "--ckpt_path", "runs/a/checkpoints/best.ckpt", *own, *QUIET)
    called = call("prune", "runs/a/checkpoints/best.ckpt", *own, *QUIET)
    assert (called.status, "needs a data module that is a fer.data.ExpressionDataModule" in called.err) == (
        2,
        True,
    )


@pytest.mark.slow
def test_a_network_may_declare_its_hidden_layers():
    out = done("fit", "--network", "mynets.Declaring", *TINY, "--run_name", "a", "--test", "false",
               "--distinctiveness.every_n_epochs", "1")  # fmt: skip
    assert "neurons      fc1 (1 layer)" in out
    assert Path("runs/a/angles/epoch-0000.npz").is_file()


@pytest.mark.slow
def test_an_own_networks_parameters_are_settings():
    words = ["--network", "mynets.Plain", "--model.width", "9", "--data.channels", "3", *TINY]
    config = yaml.safe_load(done("fit", *words, "--print_config"))
    assert config["model"]["width"] == 9
    help_text = call("fit", "--network", "mynets.Plain", "--help").out
    assert "--model.width" in help_text
    assert "Number of feature maps." in help_text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "settings"),
    [
        pytest.param("torchvision.models.SqueezeNet", ["--data.channels", "3"], id="torchvision"),
        pytest.param(
            "timm.models.ConvNeXt",
            ["--data.channels", "3", "--model.depths", "[1, 1, 1, 1]", "--model.dims", "[8, 8, 16, 16]"],
            id="timm",
        ),
    ],
)
def test_a_published_class_trains(path, settings):
    words = ["--network", path, *SIZES, *QUIET, "--data.image_size", "64", *settings]
    out = done("fit", *words, "--run_name", "a")
    assert f"network      {path}: " in out


@pytest.mark.parametrize(
    ("words", "reasons"),
    [
        pytest.param(
            "--network mynets.Plan", ["no class 'Plan'", "did you mean 'Plain'?"], id="no such class"
        ),
        pytest.param(
            "--network mynet.Plain", ["no module 'mynet'", "did you mean 'mynets'?"], id="no module"
        ),
        pytest.param(
            "--network mynets.build", ["this function is not a subclass of torch's Module"], id="function"
        ),
        pytest.param("--network mynets.Own", ["this class is not a subclass of torch's Module"], id="data"),
        pytest.param("--dataset mynets.Plain", ["lightning's LightningDataModule"], id="a network as data"),
        pytest.param(
            "--network mynets.TakesLr", ["'lr'", "setting of the training"], id="a name that clashes"
        ),
        pytest.param("--network broken.Net", ["importing broken failed: SyntaxError"], id="broken module"),
        pytest.param("--dataset mynets.NoClasses", ["neither num_classes nor class_names"], id="no classes"),
        pytest.param("--network mynets.Plain --dataset mynets.Dicts", ["(inputs, labels)"], id="dicts"),
        pytest.param(
            "--network mynets.Plain --dataset mynets.FromTwo",
            ["the data has the label 3: number the 3 classes 0 to 2"],
            id="labels from 2",
        ),
        pytest.param("--network mynets.ThreeOutputs", ["outputs of shape (2, 3)", "(2, 7)"], id="outputs"),
        pytest.param(
            "--network mynets.Functional --model.image_size 9 --dataset mynets.Own --data.image_size 8",
            ["model.image_size"],
            id="a size that the data sets",
        ),
        pytest.param(
            "--network torchvision.models.SqueezeNet",
            ["cannot take the data's inputs of shape", "--data.channels and --data.image_size set the shape"],
            id="channels",
        ),
    ],
)
@pytest.mark.slow
def test_what_cannot_be_used_is_named_in_one_line(words, reasons):
    Path("broken.py").write_text("class Net(:\n")
    called = call("fit", *words.split(), *QUIET)
    assert called.status == 2, called
    for reason in reasons:
        assert reason in called.err
    assert len(called.err.splitlines()) == 1
    assert not Path("runs").exists()


@pytest.mark.slow
def test_a_batch_too_small_for_batch_norm_is_refused():
    called = call("fit", "--network", "conv6", *QUIET, "--data.batch_size", "1")
    assert called.status == 2
    assert "set --data.batch_size to 2 or more" in called.err
    assert not Path("runs").exists()


@pytest.mark.slow
def test_a_batch_of_one_is_fine_without_batch_norm():
    words = [*TINY, "--data.batch_size", "1", "--trainer.limit_train_batches", "2", "--test", "false"]
    done("fit", "--network", "ann", *words)


@pytest.mark.slow
def test_nothing_is_imported_that_the_user_did_not_name():
    done("fit", "--network", "mynets.Plain", "--dataset", "mynets.Own", *QUIET, "--run_name", "a")
    del sys.modules["mynets"]
    best = "runs/a/checkpoints/best.ckpt"
    for words, missing in (
        ([], "--network mynets.Plain"),
        (["--dataset", "synthetic"], "--network mynets.Plain"),
        (["--network", "conv6"], "--dataset mynets.Own"),
    ):
        called = call("test", "--ckpt_path", best, *words, *QUIET)
        assert called.status == 2
        assert f"add {missing}" in called.err
    assert "add --network mynets.Plain" in call("export", best).err
    with pytest.raises(InputError, match=r"network=Plain"):
        fer.tasks.load(best)
    assert "mynets" not in sys.modules


@pytest.mark.slow
def test_a_checkpoint_that_does_not_fit_the_class_is_named():
    done("fit", "--network", "mynets.Plain", *TINY, "--run_name", "a", "--test", "false")
    best = "runs/a/checkpoints/best.ckpt"
    with pytest.raises(InputError, match="does not fit LinearTask") as caught:
        fer.tasks.load(best, network=torch.nn.Linear)
    assert best in str(caught.value)
    assert "mynets.Plain" in str(caught.value)


def test_a_config_for_other_data_gives_the_network_and_what_the_data_sets_share():
    called = call("fit", "--config", "conv6", "--dataset", "folder", "--print_config")
    config = yaml.safe_load(called.out)
    assert "conv6.yaml is for fer2013: left out data.protocol=official" in called.err
    assert len(called.err.splitlines()) == 1
    assert (config["network"], config["dataset"], config["model"]["lr"]) == ("conv6", "folder", 6e-3)
    assert (config["data"]["batch_size"], config["data"]["augment"]) == (128, "fer")
    assert config["data"]["protocol"] != "official"


@pytest.mark.slow
def test_a_config_for_another_network_leaves_out_what_it_does_not_take():
    called = call("fit", "--config", "cbam", "--network", "mynets.Plain", "--print_config")
    config = yaml.safe_load(called.out)
    assert "cbam.yaml is for cbam: left out model.depth=34, model.arrangement=serial" in called.err
    assert (config["network"], config["model"]["lr"]) == ("mynets.Plain", 0.05)


@pytest.mark.slow
def test_an_own_network_trains_by_the_config_of_another():
    own = ["--network", "mynets.Plain", "--dataset", "synthetic", *TINY, "--test", "false"]
    called = call("fit", "--config", "conv6", *own, "--run_name", "own")
    assert called.status == 0, called.err
    assert Path("runs/own/checkpoints/best.ckpt").is_file()


@pytest.mark.slow
def test_a_config_may_be_a_runs_folder():
    done("fit", "--network", "ann", *TINY, "--model.hidden", "9", "--run_name", "a", "--test", "false")
    config = yaml.safe_load(done("fit", "--config", "runs/a", "--print_config"))
    assert (config["network"], config["model"]["hidden"], config["run_name"]) == ("ann", 9, None)
