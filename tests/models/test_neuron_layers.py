"""What networks declare of their hidden neurons: which layers, and where the next one sees them."""

import pytest
import torch
from torch import nn

from fer.models import (
    AlexNet,
    AnnNet,
    CbamResNet,
    Conv1Net,
    Conv2Net,
    Conv4Net,
    Conv6Net,
    ResNet,
    TransferNet,
    VggNet,
)
from fer.neurons import measure

SMALL = {"channels": 1, "image_size": 32}


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        pytest.param(AnnNet(), {"fc1": "activation"}, id="ann"),
        pytest.param(Conv1Net(**SMALL), {"conv1": "pool1"}, id="conv1"),
        pytest.param(
            Conv2Net(**SMALL),
            {"conv1": "pool1", "conv2": "pool2", "fc1": "fc1_relu", "fc2": "fc2_relu"},
            id="conv2",
        ),
        pytest.param(
            Conv4Net(**SMALL, widths=(2, 3, 4, 5)),
            {f"conv{k}": f"pool{k}" for k in range(1, 5)} | {f"fc{k}": f"fc{k}_relu" for k in (1, 2)},
            id="conv4: dropout does nothing in evaluation",
        ),
        pytest.param(
            VggNet(widths=(2, 3, 4), depths=(1, 2, 1)),
            {"conv1_1": "pool1", "conv2_1": "relu2_1", "conv2_2": "pool2", "conv3_1": "avgpool"},
            id="vgg",
        ),
        pytest.param(Conv6Net(), {f"conv{k}": f"pool{k}" for k in range(1, 6)}, id="conv6"),
        pytest.param(
            AlexNet(),
            {
                **{"conv1": "pool1", "conv2": "pool2", "conv3": "relu3", "conv4": "relu4", "conv5": "pool5"},
                **{"fc1": "fc1_relu", "fc2": "fc2_relu"},
            },
            id="alexnet",
        ),
        pytest.param(TransferNet(**SMALL), {}, id="transfer: nothing hidden learns"),
        pytest.param(TransferNet(**SMALL, unfreeze=1), {"backbone": "backbone"}, id="transfer, a stage"),
        pytest.param(
            TransferNet(**SMALL, hidden=9), {"head.fc1": "head.fc1_sigmoid"}, id="transfer, hidden layer"
        ),
    ],
)
def test_layers_by_hand(network, expected):
    assert network.neuron_layers == expected


@pytest.mark.parametrize("network", [ResNet, CbamResNet])
@pytest.mark.parametrize(("depth", "num_inner"), [(18, 1), (50, 2)])
@pytest.mark.slow
def test_a_residual_network_declares_stem_inside_and_outside_of_blocks(network, depth, num_inner):
    resnet = network(depth=depth, **SMALL)
    layers = resnet.neuron_layers
    num_blocks = 8 if depth == 18 else 16
    assert len(layers) == 1 + num_blocks * (num_inner + 1)
    statistics = measure(resnet, [torch.randn(2, 1, 32, 32)], layers.values())
    for layer, place in layers.items():
        # Neurons are as many as the last convolution of the layer makes.
        convolutions = [
            module
            for name, module in resnet.get_submodule(layer).named_modules()
            if isinstance(module, nn.Conv2d) and "downsample" not in name
        ]
        assert statistics[place].num_neurons == convolutions[-1].out_channels
        assert (statistics[place].minimum >= 0).all()  # after the activation


def test_attention_is_part_of_what_a_block_gives():
    layers = CbamResNet(depth=18, **SMALL).neuron_layers
    assert layers["layer1.0"] == "layer1.cbam0"
    assert layers["layer1.0.conv1"] == "layer1.0.conv2:input"
    assert layers["layer4.1"] == "avgpool"
