"""Networks of many kinds, as people train them with Lightning: what is measured, pruned and refused."""

import logging
from dataclasses import dataclass

import lightning
import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from fer.errors import InputError
from fer.neurons import find_hidden_layers, find_prunable, measure, prune
from fer.neurons.text import join_reasons
from fer.neurons.trace import OUTPUTS
from fer.neurons.warn import joined_warnings, warn


class Mlp(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, inputs):
        return self.net(inputs)


class AutoEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU()),
        )
        self.decoder = nn.Sequential(
            *(nn.ConvTranspose2d(12, 8, 2, 2), nn.ReLU(), nn.ConvTranspose2d(8, 1, 2, 2), nn.Sigmoid()),
        )

    def forward(self, inputs):
        return self.decoder(self.encoder(inputs))


class Vae(nn.Module):
    """It draws at random in eval mode, and returns a tuple."""

    def __init__(self):
        super().__init__()
        self.encode, self.mean, self.scale = nn.Linear(16, 12), nn.Linear(12, 4), nn.Linear(12, 4)
        self.decode, self.out = nn.Linear(4, 12), nn.Linear(12, 16)

    def forward(self, inputs):
        hidden = self.encode(inputs).relu()
        mean, scale = self.mean(hidden), self.scale(hidden).exp()
        return self.out(self.decode(mean + scale * torch.randn_like(mean)).relu()), mean, scale


class Segmenter(nn.Module):
    """It returns a mapping of maps."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU()),
        )
        self.head, self.aux = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 1)

    def forward(self, inputs):
        maps = self.body(inputs)
        return {"out": self.head(maps), "aux": self.aux(maps)}


class TextClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(50, 12), nn.LSTM(12, 10, batch_first=True)
        self.fc, self.out = nn.Linear(10, 16), nn.Linear(16, 2)

    def forward(self, ids, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(ids), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        _, (state, _) = self.lstm(packed)
        return self.out(self.fc(state[-1]).relu())


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.norm = nn.Linear(10, 8 * 4 * 4), nn.BatchNorm1d(128)
        self.up, self.conv, self.out = (
            nn.ConvTranspose2d(8, 6, 4, 2, 1),
            nn.Conv2d(6, 8, 3),
            nn.Conv2d(8, 1, 3),
        )

    def forward(self, noise):
        maps = F.leaky_relu(self.norm(self.fc(noise)).view(-1, 8, 4, 4))
        return self.out(self.conv(self.up(maps).relu()).relu()).tanh()


@dataclass
class Answer:
    logits: torch.Tensor
    hidden: torch.Tensor


class Revealing(nn.Module):
    """It returns a dataclass with the activations of a hidden layer."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, inputs):
        hidden = self.b(self.a(inputs).relu())
        return Answer(self.out(hidden.relu()), hidden)


class Sequences(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc, self.out = nn.Conv1d(2, 8, 3), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, inputs):
        return self.out(self.fc(self.conv(inputs).relu().mean(2)).relu())


def images(*shape, num=48):
    return torch.rand(num, *shape, generator=torch.Generator().manual_seed(0))


TOKENS = {
    "ids": torch.arange(48 * 7).view(48, 7) % 50,
    "lengths": torch.arange(48) % 7 + 1,
    "labels": torch.arange(48) % 2,
}
UP = "ConvTranspose2d, which cannot lose neurons"
KINDS = {
    # what, a batch, the layers measured, the groups pruned, why others are not pruned
    "LightningModule": (Mlp, images(1, 4, 4), ["net.1"], ["net.1"], {"net.3": OUTPUTS}),
    "autoencoder": (
        AutoEncoder,
        images(1, 8, 8),
        ["encoder.0", "encoder.2"],
        ["encoder.0"],
        {"encoder.2": f"decoder.0 is a {UP}", "decoder.0": f"it is of type {UP}"},
    ),
    "variational autoencoder": (
        Vae,
        images(16),
        ["encode", "decode"],
        ["encode", "decode"],
        {"mean": OUTPUTS, "out": OUTPUTS},
    ),
    "segmentation": (
        Segmenter,
        images(3, 8, 8),
        ["body.0", "body.3"],
        ["body.0", "body.3"],
        {"head": OUTPUTS, "aux": OUTPUTS},
    ),
    "text": (
        TextClassifier,
        TOKENS,
        ["fc"],
        ["fc"],
        {"lstm": "it is of type LSTM, which cannot lose neurons", "out": OUTPUTS},
    ),
    "generator": (Generator, images(10), ["conv"], ["conv"], {"fc": f"up is a {UP}"}),
    "hidden output": (Revealing, images(5), ["a"], ["a"], {"b": OUTPUTS, "out": OUTPUTS}),
    "sequences": (
        Sequences,
        images(2, 9),
        ["fc"],
        ["fc"],
        {"conv": "it is of type Conv1d, which cannot lose neurons"},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_of_any_kind_is_measured_and_pruned(kind):
    make, batch, measured, pruned, refused = KINDS[kind]
    torch.manual_seed(0)
    network = make()
    statistics = measure(network, [batch])
    assert [name for name in statistics if name in measured] == measured
    assert {layer.count % 48 for layer in statistics.values()} == {0}
    small = prune(network, [batch], share_removed=0.5)
    assert list(small.plans) == pruned
    assert {name: small.report["refused"].get(name) for name in refused} == refused
    for name in pruned:
        assert len(small.network.get_submodule(name).weight) == len(network.get_submodule(name).weight) // 2
    assert measure(small.network, [batch]).keys() == statistics.keys()


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: torchvision.models.resnet18(num_classes=10), id="torchvision"),
        pytest.param(lambda: timm.create_model("resnet10t", num_classes=10), id="timm"),
    ],
)
@pytest.mark.slow
def test_residual_networks_of_others_have_hidden_layers_and_groups(make):
    network, batch = make(), images(3, 32, 32, num=2)
    hidden, prunable = find_hidden_layers(network, batch), find_prunable(network, batch)
    assert hidden.refused.keys() >= prunable.refused.keys() == {"fc"}
    produced = {layer for group in prunable.groups for layer in group.producers}
    assert produced >= hidden.layers.keys()


class Detached(nn.Linear):
    def forward(self, inputs):
        with torch.no_grad():
            return super().forward(inputs)


class Caption(nn.Module):
    def forward(self, inputs):
        return str(inputs.shape)


class Headless(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(4, 3)


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        pytest.param(
            lambda: Detached(4, 3), "Detached cannot be traced, because its outputs have no", id="grad"
        ),
        pytest.param(
            lambda: nn.Sequential(nn.Linear(4, 3), Caption()),
            "Sequential returns a str without tensors: give the network",
            id="no tensor",
        ),
        pytest.param(
            Headless, r'Headless does not take float.* \(2, 4\): .* missing the required "forw', id="forward"
        ),
    ],
)
def test_what_is_refused_is_named_in_one_line(network, reason):
    made = network()
    for use in (measure, prune):
        with pytest.raises(InputError, match=reason) as caught:
            use(made, [torch.zeros(2, 4)])
        assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")
def test_a_quantized_network_is_refused():
    network = torch.ao.quantization.quantize_dynamic(Mlp().net, {nn.Linear}, dtype=torch.qint8)
    for use in (measure, prune):
        with pytest.raises(
            InputError, match="Sequential: 1 is quantized: give the network before quantization"
        ):
            use(network, [images(1, 4, 4)])


def test_a_network_with_numbers_that_are_not_trained_is_traced():
    network = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    network.order = nn.Parameter(torch.arange(3), requires_grad=False)
    assert list(find_hidden_layers(network, images(5)).layers) == ["0"]
    assert [group.name for group in find_prunable(network, images(5)).groups] == ["0"]


def test_tracing_a_network_that_draws_leaves_the_random_state():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    network = KINDS["variational autoencoder"][0]()
    torch.random.set_rng_state(before)
    measure(network, [images(16)])
    find_prunable(network, images(16))
    assert torch.random.get_rng_state().equal(before)


def test_few_samples_are_warned_of_once_with_the_layer_that_needs_most(caplog):
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 20), nn.ReLU(), nn.Linear(20, 12), nn.ReLU()),
        nn.Linear(12, 2),
    )
    with caplog.at_level(logging.WARNING):
        prune(network, [images(5, num=30)], share_removed=0.5)
    (record,) = caplog.records
    assert record.getMessage().startswith("10 survivors are fitted to 30 values of each")
    assert record.getMessage().endswith("give 3.4 times as many samples (and 2 more of this kind)")


def test_warnings_wait_for_the_outermost_context(caplog):
    with joined_warnings(), joined_warnings():
        for number in (1, 3, 2):
            warn("%d of them", number, severity=number)
        assert not caplog.records
    warn("%d of them", 7)
    assert [one.getMessage() for one in caplog.records] == [
        "3 of them (and 2 more of this kind)",
        "7 of them",
    ]


@pytest.mark.parametrize(
    ("num", "expected"), [(0, ""), (2, "0: no; 1: no"), (5, "0: no; 1: no; and 3 more layers")]
)
def test_only_some_reasons_are_named(num, expected):
    assert join_reasons({str(number): "no" for number in range(num)}, 2) == expected
