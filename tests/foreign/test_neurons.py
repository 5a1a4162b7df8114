"""``fer.neurons`` on other people's modules: a LightningModule is a network like any other."""

import pytest
import torch
from foreign.digits import LitDigits
from foreign.images import (
    Autoencoder,
    CornersDataModule,
    DictConvNet,
    LitMobileNet,
    LitResnet,
    LitTimmResnet,
    LitTransfer,
    Segmenter,
)
from foreign.others import GAN, LSTMClassifier, PairsDataModule, SentencesDataModule, TwoInputs

from fer.errors import InputError
from fer.neurons import angles, classify, measure, prune
from fer.neurons.inputs import call

CORNERS = CornersDataModule().val_dataloader

SLOW = pytest.mark.slow


def digits():
    return [torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))] * 2


def pair(batch):
    return batch[0], batch[1]


CASES = [
    pytest.param(LitDigits, digits, None, 2, id="MLP"),
    pytest.param(LitResnet, CORNERS, None, 17, id="ResNet-18 of torchvision", marks=SLOW),
    pytest.param(LitTimmResnet, CORNERS, None, 11, id="timm ResNet", marks=SLOW),
    pytest.param(LitMobileNet, CORNERS, None, 50, id="timm MobileNet", marks=SLOW),
    pytest.param(LitTransfer, CORNERS, None, 4, id="backbone and head", marks=SLOW),
    pytest.param(Autoencoder, CORNERS, None, 2, id="autoencoder"),
    pytest.param(Segmenter, CORNERS, None, 2, id="segmentation"),
    pytest.param(lambda: Segmenter(DictConvNet()), CORNERS, None, 2, id="segmentation, dict of outputs"),
    pytest.param(LSTMClassifier, SentencesDataModule().val_dataloader, None, 2, id="text"),
    pytest.param(TwoInputs, PairsDataModule().val_dataloader, pair, 1, id="two inputs"),
]


@pytest.mark.parametrize(("module", "batches", "inputs", "least"), CASES)
def test_all_hidden_layers_are_found_and_measured(module, batches, inputs, least):
    torch.manual_seed(0)
    measured = measure(module(), batches(), inputs=inputs)
    assert len(measured) >= least
    for name, statistics in measured.items():
        degrees = angles(statistics)
        assert len(degrees) == classify(statistics, degrees).num_neurons, name
        assert float(degrees.nan_to_num().max()) <= 180


@pytest.mark.parametrize(("module", "batches", "inputs", "least"), CASES)
def test_removing_nothing_changes_nothing_and_half_is_half(module, batches, inputs, least):
    torch.manual_seed(0)
    network, loader = module(), batches()
    first = next(iter(loader))
    first = inputs(first) if inputs else first
    thresholds = {"similar_below": 0.0, "complementary_above": 180.0, "criterion": "pairs"}
    same = prune(network, loader, inputs=inputs, **thresholds).network
    half = prune(network, loader, inputs=inputs, share_removed=0.5).network
    assert type(half) is type(network)
    sizes = [sum(p.numel() for p in each.parameters()) for each in (network, half)]
    assert sizes[1] < sizes[0]
    with torch.no_grad():
        outputs = [first_tensor(call(each.eval(), _as_batch(first))) for each in (network, same, half)]
    assert outputs[2].shape == outputs[0].shape
    dead = sum(p.numel() for p in same.parameters()) < sizes[0]  # neurons that are dead may go
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-3, atol=1e-2 if dead else 1e-4)
    del least


def _as_batch(first):
    from fer.neurons.inputs import Inputs

    return Inputs.of(first) if isinstance(first, tuple) else first


def first_tensor(output):
    return next(iter(output.values())) if isinstance(output, dict) else output


def test_a_module_in_training_is_copied_without_its_trainer(fit):
    """The smaller module belongs to no trainer, and can be trained by another."""
    net = LitDigits()
    trainer = fit(net, digits_loader(), max_epochs=1)
    small = prune(net, digits(), share_removed=0.5).network
    assert net.trainer is trainer
    assert small._trainer is None
    assert small.hparams == net.hparams
    fit(small, digits_loader(), max_epochs=1)


def digits_loader():
    from torch.utils.data import DataLoader, TensorDataset

    return DataLoader(TensorDataset(torch.rand(64, 64), torch.arange(64) % 10), batch_size=16)


def test_a_part_of_a_module_is_measured():
    net = GAN()
    assert list(measure(net.generator, torch.randn(100, 8))) == ["0"]
    assert list(measure(net.discriminator, torch.rand(100, 64))) == ["0", "2"]


@pytest.mark.slow
def test_a_compiled_module_is_pruned_with_the_weights_it_has():
    net = LitDigits()
    compiled = torch.compile(net, backend="eager")
    with torch.no_grad():
        net.layer_3.weight.fill_(0.5)
    x = digits()[0]
    same = prune(compiled, digits(), similar_below=0, complementary_above=180).network
    torch.testing.assert_close(same.eval()(x), net.eval()(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("module", "batches", "message"),
    [
        pytest.param(
            TwoInputs,
            PairsDataModule().val_dataloader,
            r"TwoInputs does not take float32 \(\d+, 6\): .*'right'.*inputs=",
            id="two inputs",
        ),
        pytest.param(
            GAN, lambda: [torch.rand(9, 64)], r"GAN does not take float32 \(\d+, 64\)", id="other inputs"
        ),
        pytest.param(LitDigits, list, "no samples", id="empty"),
        pytest.param(LitDigits, lambda: [{"a": "b"}], "without tensors", id="no tensors"),
        pytest.param(
            LitDigits, lambda: iter([torch.rand(4, 64)]), "only once|come", id="batches that come once"
        ),
    ],
)
def test_what_cannot_be_called_is_one_line(module, batches, message):
    with pytest.raises(InputError, match=message) as caught:
        prune(module(), batches())
    assert "\n" not in str(caught.value)
