"""The command ``fer explain`` on an untrained network and an image that is drawn."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from command import call, done
from PIL import Image

from fer.checkpoints import write_checkpoint
from fer.models import Conv2Net
from fer.neurons.networks import class_path
from fer.runs import Run
from fer.tasks import TASKS

SIZE = 24
OWN = """
from torch import nn

class Flat(nn.Sequential):
    def __init__(self, num_classes=7):
        super().__init__(nn.Flatten(), nn.Linear(576, num_classes))
"""


def write_run(folder, task, network):
    shape = {"pytorch-lightning_version": "2.6.4", "input_shape": [1, SIZE, SIZE], "epoch": 3}
    content = {
        **{"task": type(task).__name__, "network": network, "hyper_parameters": dict(task.hparams)},
        **{"state_dict": task.state_dict(), "class_names": list(task.class_names), **shape},
        **{"SyntheticDataModule": {"mean": [0.5], "std": [0.25]}},
    }
    run = Run(folder)
    run.checkpoints_dir.mkdir(parents=True)
    write_checkpoint(run.best_checkpoint, content)
    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with angles of its first layer, and the crop of a face that is none."""
    folder = tmp_path_factory.mktemp("explained")
    torch.manual_seed(0)
    task = TASKS["conv2"](widths=(6, 4), hidden=(5, 5), channels=1, image_size=SIZE)
    run = write_run(folder / "run", task, class_path(Conv2Net))
    degrees = np.full((6, 6), 80.0)
    np.fill_diagonal(degrees, 0)
    run.write_angles(3, {"conv1": degrees})
    pixels = np.random.default_rng(0).integers(256, size=(60, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "face.png")
    return folder


@pytest.mark.slow
@pytest.mark.drawn
def test_a_crop_is_explained(made):
    out = done("explain", made / "face.png", "--whole", "--ckpt_path", made / "run", "--out", "why")
    assert " points; neurons: conv1 " in out
    assert "No angles were measured for conv2" in out
    page = Path("why/explanation.html").read_text()
    assert "<script" not in page
    assert page.count("data:image/png;base64") >= 4
    assert ", 80\N{DEGREE SIGN}" in page  # the neurons of conv1 with their angle
    with Image.open("why/explanation.png") as drawn:
        assert drawn.width > 500


def test_without_a_run_around_it_the_strongest_neurons_are_shown(made, tmp_path):
    alone = shutil.copy(made / "run" / "checkpoints" / "best.ckpt", tmp_path / "alone.ckpt")
    out = done("explain", made / "face.png", "--whole", "--ckpt_path", alone)
    assert "No angles were measured for conv1, conv2" in out
    assert Path("face-explained/explanation.html").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["gone.png", "--ckpt_path", "run"], "gone.png", id="no photo"),
        pytest.param(["face.png", "--ckpt_path", "net.onnx"], "the gradients of an ONNX file", id="ONNX"),
        pytest.param(["face.png", "--ckpt_path", "rum"], "rum: no such checkpoint", id="no run"),
        pytest.param(["face.png", "--ckpt_path", "run", "--whole", "--out", "face.png"], "--out", id="out"),
    ],
)
def test_what_cannot_be_explained_is_an_error_of_one_line(words, message, made, monkeypatch):
    monkeypatch.chdir(made)
    called = call("explain", *words)
    assert called.status == 2
    assert message in called.err
    assert called.err.count("\n") == 1


def test_features_are_refused(made, tmp_path):
    task = TASKS["ann"]()
    run = write_run(tmp_path / "ann", task, class_path(type(task.network)))
    content = torch.load(run.best_checkpoint, weights_only=True) | {"input_shape": [10]}
    write_checkpoint(run.best_checkpoint, content)
    called = call("explain", made / "face.png", "--ckpt_path", run.folder)
    assert "a network for 10 features, not for images" in called.err


def test_a_network_of_the_users_own_without_feature_maps_is_refused(made, tmp_path, monkeypatch):
    (tmp_path / "flatnets.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    from flatnets import Flat

    from fer.tasks import task_of

    run = write_run(tmp_path / "own", task_of(Flat)(), "flatnets.Flat")
    words = ["explain", made / "face.png", "--whole", "--ckpt_path", run.folder]
    assert "add --network flatnets.Flat" in call(*words).err
    assert "Flat has no feature maps" in call(*words, "--network", "flatnets.Flat").err
