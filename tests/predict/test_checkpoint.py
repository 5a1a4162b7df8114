"""A checkpoint says how photos have to be prepared, and so does what is made from it."""

import json
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
import torch
from command import call
from safetensors.torch import save_file

from fer.checkpoints import write_checkpoint
from fer.data import DATA_MODULES
from fer.errors import InputError
from fer.models.conv1 import Conv1Net
from fer.neurons.surgery import resize
from fer.predict.default import load_default
from fer.predict.recognizer import Recognizer
from fer.predict.torch_network import preprocessing_of
from fer.tasks import TASKS, load

FER2013 = {"Fer2013DataModule": {"mean": [0.5], "std": [0.25]}}


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """Write a checkpoint of an untrained network, with what its data module would keep."""
    torch.manual_seed(0)
    tasks = {"conv1": TASKS["conv1"](channels=1, image_size=48, widths=(2,)), "ann": TASKS["ann"]()}

    def write(name: str = "conv1", data=FER2013, **content) -> Path:
        task = tasks[name]
        content |= {"hyper_parameters": dict(task.hparams), "state_dict": task.state_dict()} | data
        task.on_save_checkpoint(content)
        path = tmp_path_factory.mktemp("run") / "best.ckpt"
        write_checkpoint(path, content)
        return path

    return write


def test_preprocessing_is_read_from_the_checkpoint(write):
    fitted = {"split": "val", "n": 9, "ece_before": 0.1, "ece_after": 0.05}
    calibration = fitted | {"temperature": 2.0, "views": {"flip": fitted | {"temperature": 1.5}}}
    found = preprocessing_of(write(calibration=calibration, trained_on="faces"))
    assert (found.image_size, found.channels, found.mean, found.std) == (48, 1, (0.5,), (0.25,))
    assert (found.network, found.trained_on, len(found.class_names)) == ("Conv1Net", "faces", 7)
    assert [found.temperature_for(tta) for tta in ("none", "flip", "ten_crop")] == [2.0, 1.5, 2.0]
    assert (found.detector, found.align) == ("mtcnn", False)


@pytest.mark.parametrize(
    ("module", "settings", "crop"),
    [
        pytest.param("folder", {"crop": "none"}, ("mtcnn", 0.1, False), id="crops of somebody's"),
        pytest.param(
            "sfew",
            {"crop": "narayan", "crop_margin": 0.3, "crop_align": True},
            ("narayan", 0.3, True),
            id="ours",
        ),
        pytest.param("synthetic", {}, ("mtcnn", 0.1, False), id="images in general"),
    ],
)
def test_photos_are_cropped_as_the_training_images_were(write, module, settings, crop):
    data = {DATA_MODULES[module].__name__: {"mean": [0.5], "std": [0.25]}}
    found = preprocessing_of(write(data=data, datamodule_hyper_parameters=settings))
    assert (found.detector, found.margin, found.align) == crop


def test_a_network_for_features_is_refused(write):
    with pytest.raises(InputError, match=r"AnnNet, a network for 10 features, not for images"):
        preprocessing_of(write("ann"))


def test_a_checkpoint_without_normalisation_is_refused(write):
    with pytest.raises(InputError, match="how its images were normalised"):
        preprocessing_of(write(data={}))


def write_default(checkpoint: Path, folder: Path) -> Path:
    """Write the files of the package's own network."""
    task = load(checkpoint)
    settings = {key: value for key, value in task.hparams.items() if key in signature(Conv1Net).parameters}
    facts = json.loads(preprocessing_of(checkpoint).to_json()) | {"settings": settings}
    (folder / "default.json").write_text(json.dumps(facts))
    weights = {key: value.clone() for key, value in task.network.state_dict().items()}
    save_file(weights, folder / "default.safetensors")
    return folder / "default.safetensors"


def test_the_package_s_own_network_answers_as_its_checkpoint(write, tmp_path):
    checkpoint = write()
    write_default(checkpoint, tmp_path)
    crops = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), np.uint8)
    shipped = Recognizer(*load_default(tmp_path)).probabilities(crops)
    np.testing.assert_allclose(shipped, Recognizer.load(checkpoint).probabilities(crops), atol=1e-6)


def test_the_package_s_own_network_may_be_pruned_and_rounded(write, tmp_path):
    checkpoint = write()
    path = write_default(checkpoint, tmp_path)
    network = load(checkpoint).network
    sizes = {"conv1.out_channels": 1, "fc1.in_features": network.fc1.in_features // 2}
    small = resize(network, sizes)
    rounded = {key: value.bfloat16() for key, value in small.state_dict().items()}
    save_file(rounded, path)
    facts = json.loads((tmp_path / "default.json").read_text()) | {"widths": sizes}
    (tmp_path / "default.json").write_text(json.dumps(facts))
    preprocessing, shipped = load_default(tmp_path)
    crops = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), np.uint8)
    small.load_state_dict(rounded)
    inputs = torch.from_numpy(preprocessing.prepare(crops))
    assert shipped.module.conv1.out_channels == 1
    torch.testing.assert_close(torch.from_numpy(shipped(crops)), small.eval()(inputs))
    assert shipped.module.conv1.weight.dtype == torch.float32


def test_without_a_network_of_its_own_the_package_says_so(tmp_path):
    with pytest.raises(InputError, match="--ckpt_path CHECKPOINT"):
        load_default(tmp_path)


def test_a_damaged_network_of_its_own_is_said(write, tmp_path):
    write_default(write(), tmp_path).write_bytes(b"no weights")
    with pytest.raises(InputError, match="is damaged"):
        load_default(tmp_path)


@pytest.mark.parametrize("inside", [False, True], ids=["beside the graph", "in the graph"])
@pytest.mark.slow
def test_an_exported_network_answers_as_its_checkpoint(write, tmp_path, inside):
    checkpoint, path = write(), tmp_path / "model.onnx"
    called = call("export", checkpoint, "--out", path, *(["--uint8"] if inside else []))
    assert called.status == 0, called.err
    assert (tmp_path / "preprocessing.json").read_text() == preprocessing_of(checkpoint).to_json()
    crops = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), np.uint8)
    exported, trained = (Recognizer.load(each, tta="ten_crop") for each in (path, checkpoint))
    np.testing.assert_allclose(exported.probabilities(crops), trained.probabilities(crops), atol=1e-5)
