"""The script of the documentation on modules that know nothing of this package."""

import ast
import json
from pathlib import Path

import pytest
import torch
from foreign.digits import DigitsDataModule, LitDigits, LogsAtEpochEnd, StepAndEpoch
from foreign.images import (
    Autoencoder,
    CornersDataModule,
    DictConvNet,
    LitResnet,
    LitTimmResnet,
    LitTransfer,
    Segmenter,
    noise_with_corners,
)
from foreign.others import GAN, LSTMClassifier, PairsDataModule, SentencesDataModule, TwoInputs
from torch.utils.data import DataLoader

from fer.callbacks import DistinctivenessCallback, PruneCallback, StageCallback

SLOW = pytest.mark.slow


def script(*, metric="val_acc", samples=None, network=None, inputs=None, **prune):
    """Return the callbacks of the documentation's script."""
    of_network = {"network": network, "inputs": inputs}
    return (
        DistinctivenessCallback(samples=samples, **of_network),
        StageCallback(train_loss="train_loss", val_loss="val_loss", network=network),
        PruneCallback(
            enabled=True, metric=metric, samples=samples, **{"share_removed": 0.5} | of_network | prune
        ),
    )


def num_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def network_stages(folder):
    return json.loads(next(folder.rglob("stages.json")).read_text())


@pytest.mark.parametrize("name", ["digits", "images", "others"])
def test_the_modules_know_nothing_of_this_package(name):
    tree = ast.parse((Path(__file__).parent / f"{name}.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [getattr(node, "module", None) or node.names[0].name for node in imports]
    assert names
    assert not [each for each in names if each.split(".")[0] == "fer"]


@pytest.mark.parametrize(
    ("module", "data", "layers"),
    [
        pytest.param(LitDigits, DigitsDataModule, {"layer_1": 48, "layer_2": 48}, id="MLP on digits"),
        pytest.param(
            StepAndEpoch, DigitsDataModule, {"layer_1": 48, "layer_2": 48}, id="step and epoch", marks=SLOW
        ),
        pytest.param(
            LogsAtEpochEnd, DigitsDataModule, {"layer_1": 48, "layer_2": 48}, id="epoch end", marks=SLOW
        ),
        pytest.param(
            LitTimmResnet,
            CornersDataModule,
            {"model.conv1.0": 6, "model.layer2.0.conv1": 12, "model.layer4.0.conv2": 24},
            id="timm ResNet",
            marks=SLOW,
        ),
        pytest.param(
            LitTransfer,
            CornersDataModule,
            {"backbone.0": 8, "backbone.2": 12, "backbone.6": 16, "backbone.8": 12},
            id="backbone and head",
            marks=SLOW,
        ),
        pytest.param(
            LSTMClassifier, SentencesDataModule, {"dense": 20, "dense2": 16}, id="text, dict batches"
        ),
        pytest.param(Segmenter, CornersDataModule, {"net.down1": 8, "net.down2": 12}, id="segmentation"),
    ],
)
@pytest.mark.slow
def test_the_script_measures_labels_and_prunes(module, data, layers, fit, warned, tmp_path):
    distinct, stages, pruning = callbacks = script()
    net = module()
    trainer = fit(net, data(), callbacks)

    assert trainer.current_epoch == 2
    sizes = {name: len(degrees) for name, degrees in distinct.degrees.items()}
    assert {name: sizes.get(name) for name in layers} == layers
    for name in layers:
        assert f"angles/{name}/mean" in trainer.callback_metrics
        assert f"stage/{name}" in trainer.callback_metrics
    assert {"network", *layers} <= network_stages(tmp_path).keys()
    assert all(torch.tensor(losses).isfinite().all() for losses in stages.losses.values())
    assert type(pruning.pruned) is module
    assert num_parameters(pruning.pruned) < num_parameters(net)
    assert [path.name for path in tmp_path.rglob("pruned.ckpt")] == ["pruned.ckpt"]
    refused = ["layers without angles"] if module is LSTMClassifier else []
    few = [text for text in warned() if "fewer than 10 per neuron" in text]  # of 64 samples
    assert len(few) <= 1
    assert [text.partition(":")[0] for text in warned() if text not in few] == refused


@pytest.mark.slow
@pytest.mark.parametrize("module", [LitResnet])
def test_the_script_measures_labels_and_prunes_large_networks(module, fit, tmp_path):
    distinct, _, pruning = callbacks = script()
    net = module()
    fit(net, CornersDataModule(), callbacks)
    assert len(distinct.degrees) >= 17
    assert all(name.startswith("model.") for name in distinct.degrees)
    assert set(distinct.degrees) <= network_stages(tmp_path).keys()
    assert num_parameters(pruning.pruned) < 0.6 * num_parameters(net)
    images = torch.randn(2, 3, 16, 16)
    assert pruning.pruned.eval()(images).shape == (2, 4)


@pytest.mark.slow
def test_a_network_without_classes_is_pruned_by_its_loss(fit, tmp_path):
    distinct, _, pruning = callbacks = script(metric="val_loss")
    net = Autoencoder()
    fit(net, CornersDataModule(), callbacks)
    assert list(distinct.degrees) == ["encoder.0", "encoder.2"]
    assert "network" in network_stages(tmp_path)
    assert pruning.pruned.encoder[0].out_channels == 4
    assert pruning.pruned.decoder[-1].out_channels == 3


@pytest.mark.slow
def test_batches_that_are_tensors_are_measured(fit):
    images = noise_with_corners(64, 16).tensors[0]
    distinct, _, pruning = callbacks = script(metric="val_loss")
    fit(Autoencoder, DataLoader(images, batch_size=32), callbacks, val=DataLoader(images, batch_size=32))
    assert list(distinct.degrees) == ["encoder.0", "encoder.2"]
    assert pruning.pruned is not None


@pytest.mark.slow
def test_a_dict_of_outputs_is_measured(fit):
    distinct, *_ = callbacks = script()
    trainer = fit(Segmenter(DictConvNet()), CornersDataModule(), callbacks)
    assert trainer.current_epoch == 2
    assert list(distinct.degrees) == ["net.down1", "net.down2"]


@pytest.mark.slow
def test_samples_are_a_tensor_a_list_of_batches_or_a_loader(fit):
    data = noise_with_corners(48, 16, seed=5)
    images = data.tensors[0]
    degrees = []
    for samples in (images, list(images.split(20)), DataLoader(data, batch_size=16)):
        distinct = DistinctivenessCallback(samples=samples)
        fit(LitTransfer, CornersDataModule(), [distinct], max_epochs=1)
        degrees.append(distinct.degrees)
    for each in degrees[1:]:
        assert each.keys() == degrees[0].keys()
        for name, matrix in each.items():
            torch.testing.assert_close(matrix, degrees[0][name], atol=0.02, rtol=0, equal_nan=True)


@pytest.mark.slow
def test_a_network_is_named_by_its_attribute(fit):
    distinct, _, pruning = callbacks = script(network="backbone")
    net = LitTransfer()
    trainer = fit(net, CornersDataModule(), callbacks)
    # The outputs of the backbone are those of its last layer: they stay.
    assert list(distinct.degrees) == ["backbone.0", "backbone.2", "backbone.6"]
    assert "stage/backbone.0" in trainer.callback_metrics
    logged = {key for key in trainer.callback_metrics if key.startswith("collapse/")}
    assert logged == {f"collapse/backbone/{name}" for name in ("nc1", "nc2_spread", "nc4")}
    assert pruning.pruned.backbone[0].out_channels == 4
    assert pruning.pruned.head.in_features == net.head.in_features == 12


@pytest.mark.slow
def test_each_network_of_a_gan_is_measured_and_pruned_by_its_name(fit, warned):
    z, images = torch.randn(200, 8), torch.rand(200, 64)
    of_generator = DistinctivenessCallback(samples=z, network="generator")
    of_discriminator = DistinctivenessCallback(samples=images, network="discriminator")
    stages = StageCallback(train_loss="g_loss", val_loss="d_loss", network="discriminator")
    trainer = fit(GAN, DigitsDataModule(), [of_generator, of_discriminator, stages])
    assert list(of_generator.degrees) == ["generator.0"]
    assert list(of_discriminator.degrees) == ["discriminator.0", "discriminator.2"]
    assert trainer.callback_metrics["update_ratio/discriminator.0"] > 0
    assert warned() == []


@pytest.mark.slow
def test_several_arguments_are_named_by_inputs(fit):
    callbacks = script(inputs=lambda batch: (batch[0], batch[1]))
    distinct, _, pruning = callbacks
    net = TwoInputs()
    fit(net, PairsDataModule(), callbacks)
    assert "mix" in distinct.degrees
    assert pruning.pruned.mix.out_features == 7
    left, right = torch.randn(2, 5, 6)
    assert pruning.pruned(left, right).shape == (5, 2)


def test_layers_are_named_by_the_user(fit):
    distinct = DistinctivenessCallback(layers=["layer_2", "bn"])
    fit(LitDigits, DigitsDataModule(), [distinct])
    assert list(distinct.degrees) == ["layer_2", "bn"]


@pytest.mark.slow
def test_the_losses_of_stages_are_those_of_their_own_epoch(fit):
    logged = {}
    for module in (StepAndEpoch, LogsAtEpochEnd):
        stages = StageCallback(train_loss="train_loss", val_loss="val_loss")
        fit(module, DigitsDataModule(), [stages], max_epochs=3)
        logged[module] = torch.tensor(list(stages.losses.values()))
    torch.testing.assert_close(logged[StepAndEpoch], logged[LogsAtEpochEnd], atol=1e-5, rtol=1e-4)
