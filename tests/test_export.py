"""Networks as ONNX: the same logits for batches of any size, in one file that says how to be fed."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from command import call, done
from torch import nn

from fer.data import DATA_MODULES
from fer.errors import InputError
from fer.export import export_onnx
from fer.labels import EXPRESSIONS
from fer.models import AnnNet
from fer.neurons import prune
from fer.tasks import TASKS

SMALL = {
    "ann": {},
    "conv1": {"image_size": 48},
    "conv2": {"image_size": 48},
    "conv4": {"widths": (8, 8, 8, 8), "hidden": (8, 8)},
    "conv6": {"widths": (8, 8, 9, 9, 9)},
    "alexnet": {"widths": (8, 8, 9, 9, 9), "hidden": (9, 8)},
    "resnet": {"depth": 18},
    "cbam": {"depth": 18},
    "vgg": {"widths": (8, 8, 9, 9), "depths": (1, 2, 1, 1)},
    "transfer": {"backbone": "mobilenetv3_small_050", "image_size": 64},
}


def save(task, path, **others):
    """Write a checkpoint as training and pruning do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "task": type(task).__name__,
        "state_dict": task.state_dict(),
        "hyper_parameters": dict(task.hparams),
        "pytorch-lightning_version": "2.6.0",
        **others,
    }
    torch.save(content, path)
    return path


def logits_of(path, inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"inputs": inputs.numpy()})[0]


def metadata_of(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ann", "conv6"])
def test_a_file_gives_torchs_logits_for_batches_of_any_size(name, tmp_path):
    torch.manual_seed(0)
    network = TASKS[name](**SMALL[name]).network.train()
    shape = (10,) if name == "ann" else (1, 48, 48)
    written = export_onnx(network, torch.zeros(4, *shape), tmp_path / "new" / "network.onnx")
    assert network.training
    assert [path.name for path in written.path.parent.iterdir()] == ["network.onnx"]
    assert written.num_bytes == written.path.stat().st_size
    network.eval()
    for num in (1, 2, 17):
        inputs = torch.randn(num, *shape)
        with torch.no_grad():
            expected = network(inputs).numpy()
        np.testing.assert_allclose(logits_of(written.path, inputs), expected, atol=1e-4)
    assert written.difference < 1e-4


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in SMALL])
def test_every_network_of_ours_can_be_exported_from_a_checkpoint(name, tmp_path):
    torch.manual_seed(0)
    checkpoint = save(TASKS[name](**SMALL[name]), tmp_path / "checkpoints" / "best.ckpt")
    said = done("export", tmp_path)  # a run is as good as its best checkpoint
    assert "best.onnx" in said
    assert metadata_of(checkpoint.with_suffix(".onnx"))["network"] == type(TASKS[name]().network).__name__


@pytest.mark.slow
def test_the_file_says_how_to_be_fed_and_the_command_how_to_use_it(tmp_path):
    torch.manual_seed(0)
    normalisation = {"mean": [0.5], "std": [0.25]}
    task = TASKS["conv6"](**SMALL["conv6"])
    checkpoint = save(
        task, tmp_path / "a" / "best.ckpt", **{DATA_MODULES["synthetic"].__name__: normalisation}
    )
    out = tmp_path / "b" / "faces.onnx"
    said = done("export", checkpoint, "--out", out, "--opset", 18)
    metadata = metadata_of(out)
    assert json.loads(metadata["class_names"]) == list(EXPRESSIONS)
    assert json.loads(metadata["mean"]) == [0.5]
    assert json.loads(metadata["std"]) == [0.25]
    assert json.loads(metadata["input_shape"]) == [1, 48, 48]
    assert metadata["checkpoint"] == str(checkpoint)
    assert "opset 18" in said
    assert "pixels 0 to 1, minus mean 0.5000, divided by std 0.2500" in said
    first, *lines = said.split("use it\n")[1].splitlines()
    assert first.strip() == f"fer predict photo.jpg --ckpt_path {out}"
    names = {"inputs": np.zeros((2, 1, 48, 48), np.float32)}
    exec("\n".join(line.strip() for line in lines), names)
    assert names["logits"].shape == (2, 7)


@pytest.mark.slow
def test_a_normalisation_that_cannot_be_found_is_said_to_be_missing(tmp_path):
    checkpoint = save(TASKS["conv6"](**SMALL["conv6"]), tmp_path / "checkpoints" / "best.ckpt")
    assert "normalisation is not known" in done("export", checkpoint)
    assert "mean" not in metadata_of(checkpoint.with_suffix(".onnx"))


@pytest.mark.slow
def test_a_pruned_checkpoint_takes_the_normalisation_of_its_runs_data(tmp_path):
    """Trained, pruned and exported as a user would."""
    small = ["--data.num_train", 70, "--data.num_val", 21, "--data.num_test", 21, "--data.batch_size", 7]
    fit = ["--network", "conv6", "--dataset", "synthetic", "--model.widths", "[8,8,9,9,9]"]
    run = ["--trainer.max_epochs", 1, "--test", "false", "--wandb.mode", "disabled", "--run_name"]
    done("fit", *fit, *small, *run, "full")
    best = tmp_path / "runs" / "full" / "checkpoints" / "best.ckpt"
    done("prune", best, "--run_name", "small", "--prune.similar_below", 70)
    pruned = tmp_path / "runs" / "small" / "checkpoints" / "pruned.ckpt"
    done("export", best)
    done("export", pruned)
    files = [path.with_suffix(".onnx") for path in (best, pruned)]
    assert files[1].stat().st_size < files[0].stat().st_size
    full, small = (metadata_of(path) for path in files)
    assert json.loads(full["mean"]) == json.loads(small["mean"])


@pytest.mark.slow
def test_a_pruned_network_is_exported_with_the_sizes_that_it_has(tmp_path):
    torch.manual_seed(0)
    task = TASKS["ann"](hidden=20)
    pruned = prune(task.network.eval(), [torch.rand(100, 10)], similar_below=70)
    left = dict(pruned.widths)["fc1.out_features"]
    assert left < 20
    task.network = pruned.network
    checkpoint = save(task, tmp_path / "pruned.ckpt", widths=dict(pruned.widths))
    done("export", checkpoint)
    shapes = {tuple(one.dims) for one in onnx.load(tmp_path / "pruned.onnx").graph.initializer}
    assert (left, 10) in shapes or (10, left) in shapes
    inputs = torch.randn(5, 10)
    with torch.no_grad():
        expected = pruned.network.eval()(inputs).numpy()
    np.testing.assert_allclose(logits_of(tmp_path / "pruned.onnx", inputs), expected, atol=1e-5)


@pytest.mark.slow
def test_a_pruned_network_of_timm_can_be_exported(tmp_path):
    """As it is, one is exported as ``transfer``'s backbone."""
    torch.manual_seed(0)
    network, inputs = timm.create_model("mobilenetv3_small_050", num_classes=5), torch.randn(24, 3, 64, 64)
    pruned = prune(network, inputs.split(8), similar_below=60, merge="affine", idle_below=0)
    assert pruned.report["parameters"]["after"] < pruned.report["parameters"]["before"]
    assert export_onnx(pruned.network, inputs, tmp_path / "a.onnx").difference < 1e-4


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_without_the_extra_the_way_to_it_is_said(package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf'\({package}\): pip install "fer-neurons\[export\]"'):
        export_onnx(AnnNet(), torch.zeros(1, 10), tmp_path / "a.onnx")


class Wrong(nn.Module):
    """Other logits than those that are exported."""

    def __init__(self, *, error):
        super().__init__()
        self.fc, self.error = nn.Linear(10, 7), error

    def forward(self, inputs):
        logits = self.fc(inputs)
        return logits + self.error if torch.compiler.is_exporting() else logits


class Unwritable(nn.Module):
    """What is computed hangs on the inputs' values."""

    def forward(self, inputs):
        return inputs if bool(inputs.sum() > 0) else -inputs


@pytest.mark.parametrize(
    ("network", "settings", "reason"),
    [
        pytest.param(Wrong(error=2e-4), {}, "other logits than in torch: they differ by 0.0002", id="other"),
        pytest.param(Wrong(error=float("nan")), {}, "has other logits", id="no number"),
        pytest.param(Unwritable(), {}, "Unwritable cannot be written as ONNX: ", id="no graph"),
        pytest.param(AnnNet(), {"opset": 11}, "opset is 11: it must be 18 to 23", id="old opset"),
    ],
)
@pytest.mark.slow
def test_what_is_not_right_is_refused_and_leaves_no_file(network, settings, reason, tmp_path):
    with pytest.raises(InputError, match=reason):
        export_onnx(network, torch.zeros(1, 10), tmp_path / "a.onnx", **settings)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.slow
def test_a_small_error_is_measured(tmp_path):
    written = export_onnx(Wrong(error=5e-5), torch.zeros(1, 10), tmp_path / "a.onnx")
    assert written.difference == pytest.approx(5e-5, rel=0.02)


@pytest.mark.parametrize("content", [None, b"no checkpoint"])
def test_a_bad_checkpoint_is_named(content, tmp_path):
    path = Path(tmp_path) / "bad.ckpt"
    if content:
        path.write_bytes(content)
    called = call("export", path)
    assert called.status == 2
    assert "bad.ckpt: " in called.err
    assert not path.with_suffix(".onnx").exists()
