"""What all image networks promise: one table, checked on each."""

import inspect

import pytest
import torch
from torch import fx, nn

from fer.errors import InputError
from fer.models import (
    NETWORKS,
    AlexNet,
    CbamResNet,
    Conv1Net,
    Conv2Net,
    Conv4Net,
    Conv6Net,
    ResNet,
    TransferNet,
    VggNet,
)

SMALL = [
    pytest.param(Conv1Net, {"widths": (3,)}, 2, id="conv1"),
    pytest.param(Conv2Net, {"widths": (3, 4), "hidden": (5, 6)}, 4, id="conv2"),
    pytest.param(Conv4Net, {"widths": (2, 3, 4, 5), "hidden": (6, 7)}, 16, id="conv4"),
    pytest.param(Conv4Net, {"widths": (2, 3, 4), "hidden": (6, 7)}, 8, id="conv4, three blocks"),
    pytest.param(Conv6Net, {"widths": (2, 3, 4, 5, 6)}, 32, id="conv6"),
    pytest.param(AlexNet, {"widths": (2, 3, 4, 5, 6), "hidden": (7, 8)}, 8, id="alexnet"),
    pytest.param(
        AlexNet, {"widths": (2, 3, 4, 5, 6), "hidden": (7, 8), "batch_norm": True}, 8, id="alexnet, bn"
    ),
    pytest.param(ResNet, {"depth": 18, "width": 4}, 32, id="resnet"),
    pytest.param(ResNet, {"depth": 18, "width": 4, "stem": "small"}, 8, id="resnet, small stem"),
    pytest.param(ResNet, {"depth": 18, "stem": "half", "width": 3}, 16, id="resnet, half stem"),
    pytest.param(VggNet, {"widths": (2, 3, 4, 5)}, 16, id="vgg"),
    pytest.param(VggNet, {"widths": (2, 3, 4), "depths": (1, 2, 1)}, 8, id="vgg, three stages"),
    pytest.param(CbamResNet, {"depth": 18, "width": 4}, 32, id="cbam"),
    pytest.param(CbamResNet, {"depth": 50, "width": 4}, 32, id="cbam, narrow"),
    pytest.param(CbamResNet, {"depth": 18, "width": 4, "arrangement": "parallel"}, 32, id="cbam, parallel"),
    pytest.param(TransferNet, {"backbone": "alexnet", "hidden": 5}, 63, id="transfer, alexnet"),
    pytest.param(TransferNet, {"backbone": "resnet18", "unfreeze": 1}, 1, id="transfer, resnet18"),
]


@pytest.mark.parametrize(("kind", "settings", "smallest"), SMALL)
def test_from_the_smallest_image_on_there_are_logits_and_a_graph(kind, settings, smallest):
    for channels, image_size in ((1, smallest), (2, smallest + 5)):
        network = kind(**settings, channels=channels, image_size=image_size, num_classes=4).eval()
        inputs = torch.randn(2, channels, image_size, image_size)
        with torch.no_grad():
            logits = network(inputs)
            assert logits.shape == (2, 4)
            assert logits.isfinite().all()
            last = network(inputs.contiguous(memory_format=torch.channels_last))
            torch.testing.assert_close(last, logits, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(fx.symbolic_trace(network)(inputs), logits)


@pytest.mark.parametrize(("kind", "settings", "smallest"), SMALL)
def test_a_image_that_would_shrink_to_nothing_is_refused(kind, settings, smallest):
    with pytest.raises(InputError, match=rf"image_size={smallest - 1}\b.*\b{smallest}\b"):
        kind(**settings, image_size=smallest - 1)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Conv1Net, {"widths": (3, 4)}),
        (Conv2Net, {"widths": (3,)}),
        (Conv2Net, {"hidden": (3,)}),
        (Conv4Net, {"widths": (3, 4)}),
        (Conv4Net, {"hidden": (3, 4, 5)}),
        (Conv4Net, {"widths": (3, 4, 0, 6)}),
        (Conv4Net, {"dropout": 1.0}),
        (Conv6Net, {"widths": (2, 3, 4, 5)}),
        (AlexNet, {"widths": (2, 3, 4, 5)}),
        (AlexNet, {"hidden": ()}),
        (AlexNet, {"dropout": -0.1}),
        (ResNet, {"depth": 101}),
        (ResNet, {"width": 0}),
        (VggNet, {"widths": (2, 3)}),
        (VggNet, {"depths": (2, 2, 2)}),
        (VggNet, {"dropout": 1.0}),
        (ResNet, {"stem": "large"}),
        (ResNet, {"channels": 0}),
        (CbamResNet, {"num_classes": 0}),
        (CbamResNet, {"arrangement": "both"}),
        (TransferNet, {"hidden": 0}),
    ],
)
def test_unsuitable_settings_are_named(kind, settings):
    (name,) = settings
    with pytest.raises(InputError, match=f"{name}="):
        kind(**settings)


@pytest.mark.parametrize(
    ("kind", "settings", "layers"),
    [
        pytest.param(Conv1Net, {}, "conv1 relu1 pool1 flatten fc1", id="conv1"),
        pytest.param(
            Conv2Net,
            {"image_size": 8},
            "conv1 bn1 relu1 pool1 conv2 bn2 relu2 pool2 flatten fc1 fc1_relu fc2 fc2_relu fc3",
            id="conv2",
        ),
        pytest.param(
            Conv4Net,
            {"widths": (1, 1, 1, 1)},
            "conv1 bn1 relu1 pool1 dropout1 conv2 bn2 relu2 pool2 dropout2 "
            "conv3 bn3 relu3 pool3 dropout3 conv4 bn4 relu4 pool4 dropout4 "
            "flatten fc1 fc1_bn fc1_relu fc1_dropout fc2 fc2_bn fc2_relu fc2_dropout fc3",
            id="conv4",
        ),
        pytest.param(
            Conv6Net,
            {},
            "conv1 bn1 relu1 pool1 conv2 bn2 relu2 pool2 conv3 bn3 relu3 pool3 "
            "conv4 bn4 relu4 pool4 conv5 bn5 relu5 pool5 conv6 bn6 pool6 flatten",
            id="conv6",
        ),
        pytest.param(
            AlexNet,
            {},
            "conv1 relu1 pool1 conv2 relu2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 pool5 "
            "flatten fc1 fc1_relu fc1_dropout fc2 fc2_relu fc2_dropout fc3",
            id="alexnet",
        ),
        pytest.param(
            VggNet,
            {"widths": (2, 3, 4, 5), "depths": (1, 2, 1, 1)},
            "conv1_1 bn1_1 relu1_1 pool1 conv2_1 bn2_1 relu2_1 conv2_2 bn2_2 relu2_2 pool2 "
            "conv3_1 bn3_1 relu3_1 pool3 conv4_1 bn4_1 relu4_1 pool4 avgpool flatten dropout fc",
            id="vgg",
        ),
        pytest.param(
            AlexNet,
            {"batch_norm": True},
            "conv1 bn1 relu1 pool1 conv2 bn2 relu2 pool2 conv3 bn3 relu3 conv4 bn4 relu4 "
            "conv5 bn5 relu5 pool5 flatten fc1 fc1_relu fc1_dropout fc2 fc2_relu fc2_dropout fc3",
            id="alexnet, bn",
        ),
    ],
)
def test_layers_are_called_in_the_published_order(kind, settings, layers):
    graph = fx.symbolic_trace(kind(**settings)).graph
    assert [node.target for node in graph.nodes if node.op == "call_module"] == layers.split()
    assert {node.op for node in graph.nodes} == {"placeholder", "call_module", "output"}


def _conv(inputs, outputs, kernel=3, *, bn=True):
    return inputs * outputs * kernel**2 + outputs + 2 * outputs * bn


def _fc(inputs, outputs, *, bn=False):
    return inputs * outputs + outputs + 2 * outputs * bn


@pytest.mark.parametrize(
    ("kind", "num_parameters"),
    [
        pytest.param(Conv1Net, _conv(3, 32, 5, bn=False) + _fc(32 * 112**2, 7), id="conv1"),
        pytest.param(Conv2Net, 25_715_719, id="conv2"),
        pytest.param(VggNet, 4_689_735, id="vgg"),
        pytest.param(
            Conv4Net,
            _conv(1, 64) + _conv(64, 128) + _conv(128, 1024) + _conv(1024, 512)
            + _fc(512 * 3 * 3, 256, bn=True) + _fc(256, 512, bn=True) + _fc(512, 7),
            id="conv4",
        ),
        pytest.param(
            Conv6Net,
            _conv(1, 16) + _conv(16, 32) + _conv(32, 64) + _conv(64, 128) + _conv(128, 256) + _conv(256, 7),
            id="conv6",
        ),
        pytest.param(
            AlexNet,
            _conv(1, 48, bn=False) + _conv(48, 96, bn=False) + _conv(96, 192, bn=False)
            + _conv(192, 192, bn=False) + _conv(192, 256, bn=False)
            + _fc(4096, 512) + _fc(512, 256) + _fc(256, 7),
            id="alexnet",
        ),
    ],
)  # fmt: skip
def test_number_of_parameters(kind, num_parameters):
    assert sum(p.numel() for p in kind().parameters()) == num_parameters


def test_a_residual_network_of_half_the_width_has_the_layers_of_torchvisions_with_half_the_maps():
    wide, narrow = ResNet(depth=18), ResNet(depth=18, width=32, stem="half")
    shapes = {name: p.shape for name, p in narrow.named_parameters()}
    assert shapes.keys() == {name for name, _ in wide.named_parameters()}
    assert all(2 * shapes[name][0] == p.shape[0] for name, p in wide.named_parameters() if "fc" not in name)
    assert sum(p.numel() for p in narrow.parameters()) == 2_796_263
    assert narrow.neuron_layers.keys() == wide.neuron_layers.keys()


def test_conv6_has_one_number_a_feature_map_after_its_fifth_pool():
    network = Conv6Net(widths=(1, 2, 3, 4, 5))
    seen = []
    network.pool5.register_forward_hook(lambda _layer, _inputs, outputs: seen.append(outputs.shape))
    network.eval()(torch.randn(2, 1, 48, 48))
    assert seen == [(2, 5, 1, 1)]


def test_dropout_reaches_every_block_of_conv4():
    network = Conv4Net(widths=(1, 1, 1, 1), hidden=(1, 1), dropout=0.5)
    assert [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] == [0.5] * 6


@pytest.mark.parametrize("name", NETWORKS)
def test_settings_are_keyword_only_and_have_defaults(name):
    parameters = inspect.signature(NETWORKS[name]).parameters.values()
    assert "num_classes" in {p.name for p in parameters}
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in parameters)
