import pytest
import torch
from torch import fx, nn

from fer.errors import InputError
from fer.models import AnnNet


@pytest.mark.parametrize(
    ("settings", "num_parameters"),
    [
        pytest.param({}, 907, id="Markou, 50 sigmoids"),
        pytest.param({"hidden": 20, "activation": "relu"}, 367, id="Jain, 20 ReLUs"),
    ],
)
def test_number_of_parameters(settings, num_parameters):
    assert sum(p.numel() for p in AnnNet(**settings).parameters()) == num_parameters


@pytest.mark.parametrize(
    ("activation", "layer"), [("sigmoid", nn.Sigmoid), ("relu", nn.ReLU), ("tanh", nn.Tanh)]
)
def test_layers_and_logits(activation, layer):
    network = AnnNet(in_features=4, hidden=3, activation=activation, num_classes=5)
    assert list(dict(network.named_children())) == ["flatten", "fc1", "activation", "fc2"]
    assert isinstance(network.activation, layer)
    inputs = torch.randn(6, 4)
    expected = network.fc2(layer()(network.fc1(inputs)))
    torch.testing.assert_close(network(inputs), expected)
    assert expected.shape == (6, 5)
    torch.testing.assert_close(fx.symbolic_trace(network)(inputs), expected)


@pytest.mark.parametrize("settings", [{"hidden": 0}, {"in_features": 0}, {"activation": "gelu"}])
def test_unsuitable_settings_are_named(settings):
    (name,) = settings
    with pytest.raises(InputError, match=f"{name}="):
        AnnNet(**settings)


def test_a_image_is_its_values_in_a_row():
    network = AnnNet(in_features=2 * 3 * 3, hidden=3)
    images = torch.randn(4, 2, 3, 3)
    torch.testing.assert_close(network(images), network(images.reshape(4, -1)))
