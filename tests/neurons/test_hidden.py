"""Hidden layers found in any network: those that our chains declare, and where functions hide them."""

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from fer.models import AlexNet, AnnNet, Conv1Net, Conv2Net, Conv4Net, Conv6Net, ResNet
from fer.neurons import find_hidden_layers, measure
from fer.neurons.trace import OUTPUTS

SMALL = {"channels": 1, "image_size": 32}


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        pytest.param(AnnNet(), (10,), id="ann"),
        pytest.param(AnnNet(activation="tanh"), (10,), id="ann, tanh"),
        pytest.param(Conv1Net(**SMALL), (1, 32, 32), id="conv1"),
        pytest.param(Conv2Net(**SMALL), (1, 32, 32), id="conv2"),
        pytest.param(Conv4Net(**SMALL, widths=(2, 3, 4, 5)), (1, 32, 32), id="conv4"),
        pytest.param(Conv6Net(widths=(2, 3, 4, 5, 6)), (1, 48, 48), id="conv6"),
        pytest.param(AlexNet(widths=(2, 3, 4, 5, 6)), (1, 32, 32), id="alexnet"),
        pytest.param(AlexNet(widths=(2, 3, 4, 5, 6), batch_norm=True), (1, 32, 32), id="alexnet, norm"),
    ],
)
def test_a_chain_has_the_layers_that_it_declares(network, shape):
    found = find_hidden_layers(network, torch.randn(2, *shape))
    assert found.layers == network.neuron_layers
    assert list(found.refused.values()) == [OUTPUTS]


class Functional(nn.Module):
    """Activations, pooling and flatten are functions, as in many tutorials."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3)
        self.fc1, self.fc2, self.unused = nn.Linear(6 * 4, 5), nn.Linear(5, 3), nn.Linear(2, 2)

    def forward(self, inputs):
        maps = F.max_pool2d(F.relu(self.conv2(F.relu(self.conv1(inputs)))), 2)
        return F.log_softmax(self.fc2(F.relu(self.fc1(torch.flatten(maps, 1)))), 1)


def test_functions_between_layers_are_seen_at_the_next_layers_input():
    torch.manual_seed(0)
    network, inputs = Functional(), torch.randn(5, 1, 8, 8)
    found = find_hidden_layers(network, inputs)
    assert found.layers == {"conv1": "conv2:input", "conv2": "fc1:input:6x2x2", "fc1": "fc2:input"}
    assert found.refused == {"unused": "the network does not call it", "fc2": OUTPUTS}
    maps = F.max_pool2d(F.relu(network.conv2(F.relu(network.conv1(inputs)))), 2)
    statistics = measure(network, [inputs], "fc1:input:6x2x2")["fc1:input:6x2x2"]
    assert (statistics.count, statistics.num_neurons) == (5 * 4, 6)
    torch.testing.assert_close(statistics.mean, maps.double().mean((0, 2, 3)))


def test_a_sequence_is_followed_through_pooling_and_dropout():
    network = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Dropout(), nn.Linear(4, 5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 2)),
    )
    found = find_hidden_layers(network, torch.randn(2, 1, 9, 9))
    assert found.layers == {"0": "3", "6": "7"}


class Blocks(nn.Module):
    """One activation that is called twice, a sum with a shortcut, and two branches that are joined."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.short = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(4, 6)
        self.relu, self.left, self.right = nn.ReLU(), nn.Linear(6, 2), nn.Linear(6, 3)
        self.sigmoid, self.out = nn.Sigmoid(), nn.Linear(5, 2)

    def forward(self, inputs):
        hidden = self.relu(self.b(self.relu(self.a(inputs))) + self.short(inputs))
        return self.out(torch.cat([self.sigmoid(self.left(hidden)), self.right(hidden).tanh()], 1))


def test_sums_and_joined_branches():
    found = find_hidden_layers(Blocks(), torch.randn(2, 4))
    assert found.layers == {"a": "b:input", "b": "left:input", "left": "sigmoid"}
    assert found.refused == {
        "short": "its outputs are combined with those of b, and recorded there",
        "right": "the next layer, out, takes them together with others, or only some of them",
        "out": OUTPUTS,
    }


@pytest.mark.slow
def test_a_residual_network_has_the_stem_and_inner_maps_that_it_declares():
    network = ResNet(depth=18)
    found, declared = find_hidden_layers(network, torch.randn(2, 1, 48, 48)).layers, network.neuron_layers
    inner = [name for name in declared if "conv1" in name]
    assert len(inner) == 9
    assert {name: found[name] for name in inner} == {name: declared[name] for name in inner}


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.fc, self.out = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, inputs):
        return self.out(self.fc(self.lstm(inputs)[0][:, -1]).relu())


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.out = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, inputs):
        return self.out(self.fc(self.fc(inputs).relu()).relu())


@pytest.mark.parametrize(
    ("network", "shape", "layer", "reason"),
    [
        pytest.param(Recurrent(), (7, 3), "lstm", "LSTM is neither a linear layer nor", id="recurrent"),
        pytest.param(Twice(), (4,), "fc", "it is called 2 times per batch", id="twice"),
        pytest.param(nn.Linear(4, 2), (4,), "", OUTPUTS, id="one layer"),
        pytest.param(
            nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)), (7, 4), "0", "shape", id="tokens"
        ),
    ],
)
def test_what_cannot_be_recorded_has_its_reason(network, shape, layer, reason):
    found = find_hidden_layers(network, torch.randn(2, *shape))
    assert layer not in found.layers
    assert reason in found.refused[layer]


def test_finding_leaves_the_network_alone():
    network = Functional().train()
    network.fc1.weight.requires_grad_(requires_grad=False)
    find_hidden_layers(network, torch.randn(2, 1, 8, 8))
    assert network.training
    assert not network.fc1.weight.requires_grad
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in network.modules())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "num_layers"),
    [
        pytest.param(lambda: timm.create_model("resnet18"), 17, id="timm resnet18"),
        pytest.param(lambda: timm.create_model("mobilenetv2_050"), 52, id="timm mobilenetv2"),
        pytest.param(lambda: timm.create_model("densenet121"), 62, id="timm densenet121"),
        pytest.param(lambda: timm.create_model("convnext_atto"), 39, id="timm convnext"),
        pytest.param(lambda: torchvision.models.squeezenet1_0(), 21, id="torchvision squeezenet"),
        pytest.param(lambda: torchvision.models.shufflenet_v2_x0_5(), 37, id="torchvision shufflenet"),
    ],
)
def test_published_networks_have_hidden_layers_of_their_widths(make, num_layers):
    network, inputs = make(), torch.randn(2, 3, 64, 64)
    layers = find_hidden_layers(network, inputs).layers
    assert len(layers) == num_layers
    measured = measure(network, [inputs], layers.values())
    for layer, name in layers.items():
        assert measured[name].num_neurons == len(network.get_submodule(layer).weight)
