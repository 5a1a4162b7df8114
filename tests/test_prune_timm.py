"""``fer prune --timm``: anyone's network, on pictures without labels."""

import json

import pytest
import timm
import torch
from command import call

from fer.neurons import resize

NAME = "mobilenetv2_050"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A state dict of seven classes."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(timm.create_model(NAME, num_classes=7).state_dict(), path)
    return path


def test_a_smaller_network_is_written_that_loads_again(weights, make_pictures, tmp_path):
    make_pictures(tmp_path / "pictures", num=2)
    words = [
        "--timm",
        NAME,
        "--weights",
        weights,
        "--images",
        tmp_path / "pictures",
        "--out",
        tmp_path / "out",
    ]
    wide = ["--prune.similar_below", "50", "--prune.complementary_above", "130", "--prune.merge", "affine"]
    called = call("prune", *words, *wide)
    assert called.status == 0, called.err
    assert "top-1" in called.out
    content = torch.load(tmp_path / "out" / "pruned.pt", weights_only=True)
    network = resize(timm.create_model(content["model"], num_classes=7), content["widths"]).eval()
    network.load_state_dict(content["state_dict"])
    results = json.loads((tmp_path / "out" / "prune.json").read_text())
    assert results["agreement"]["measured"]["n"] + results["agreement"]["held out"]["n"] == 14
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert results["after"]["parameters"] == parameters < results["before"]["parameters"]
    assert network(torch.randn(1, 3, 64, 64)).isfinite().all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("mobilenetv2_055", "timm has no such network: did you mean", id="unknown network"),
        pytest.param("resnet18", "does not hold the weights of resnet18", id="another's weights"),
    ],
)
def test_what_is_refused(name, message, weights, make_pictures, tmp_path):
    make_pictures(tmp_path / "pictures", num=1)
    words = [
        "--timm",
        name,
        "--weights",
        weights,
        "--images",
        tmp_path / "pictures",
        "--out",
        tmp_path / "out",
    ]
    called = call("prune", *words)
    assert called.status == 2
    assert message in called.err
    assert not (tmp_path / "out").exists()


def test_pictures_are_wanted(weights, tmp_path):
    (tmp_path / "empty").mkdir()
    called = call("prune", "--timm", NAME, "--weights", weights, "--images", tmp_path / "empty")
    assert called.status == 2
    assert "empty" in called.err
