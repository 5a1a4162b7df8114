"""Whole networks pruned: what was planted goes, and the logits stay; sizes by formula; timm's networks."""

import pytest
import timm
import torch
from torch import nn

from fer.errors import InputError
from fer.models import AlexNet, AnnNet, CbamResNet, Conv6Net, ResNet
from fer.neurons import RULES, PrunePlan, Removal, find_groups, prune, resize, widths

EXACT = {"similar_below": 1e-4, "complementary_above": 180 - 1e-4}
"""Degrees between which only what was planted lies."""


def stir(network):
    """Give norms other numbers than those with which they begin; float64, eval mode."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / 4)
    return network.double().eval()


def narrow(network):
    """Return the network with an eighth of its hidden neurons, two at least."""
    kept = {"conv1.in_channels", "fc.out_features"}
    return resize(
        network,
        {
            name: max(2, size // 8)
            for name, size in widths(network).items()
            if name not in kept and "spatial" not in name and not name.endswith("groups")
        },
    )


def chain(activation, *, padding=0, norm=False):
    """Two convolutions, of which the second reads the maps of the first."""
    return nn.Sequential(
        nn.Conv2d(1, 9, 3),
        nn.BatchNorm2d(9) if norm else nn.Identity(),
        activation(),
        nn.Conv2d(9, 5, 3, padding=padding),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(20, 3),
    )


class Unlike(nn.Module):
    """What is read twice: by a convolution with padding and, added to another, by one without."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 9, 3), nn.Conv2d(9, 9, 3, padding=1, bias=False)
        self.norm, self.fc = nn.BatchNorm2d(9), nn.Linear(9, 3)

    def forward(self, inputs):
        maps = self.conv1(inputs).relu()
        return self.fc((maps + self.norm(self.conv2(maps)).relu()).mean((2, 3)))


SMALL = {"widths": (8, 8, 9, 9, 9)}
PLACES = {
    "linear": (lambda: AnnNet(hidden=9, activation="relu"), (10,), "fc1"),
    "convolution": (lambda: chain(nn.ReLU), (1, 9, 9), "0"),
    "batch norm": (lambda: chain(nn.ReLU, norm=True), (1, 9, 9), "0"),
    "before a padded convolution": (lambda: Conv6Net(**SMALL), (1, 48, 48), "conv3"),
    "before a padded convolution, one position": (lambda: Conv6Net(**SMALL), (1, 48, 48), "conv5"),
    "flatten": (lambda: AlexNet(**SMALL, hidden=(9, 8)), (1, 32, 32), "conv5"),
    "in a residual block": (lambda: narrow(ResNet(depth=18)), (1, 64, 64), "layer2.1.conv1"),
    "residual stage": (lambda: narrow(ResNet(depth=18)), (1, 64, 64), "layer2.0.conv2"),
    "stem and first stage": (lambda: narrow(ResNet(depth=18)), (1, 64, 64), "conv1"),
    "last stage": (lambda: narrow(ResNet(depth=18)), (1, 64, 64), "layer4.0.conv2"),
    "in a block with attention": (lambda: narrow(CbamResNet(depth=18)), (1, 64, 64), "layer2.1.conv1"),
    "attention": (
        lambda: narrow(CbamResNet(depth=18, reduction=1)),
        (1, 64, 64),
        "layer2.cbam0.channel.fc1",
    ),
    "added and read": (Unlike, (1, 9, 9), "conv1"),
}
"""Network, shape of its inputs, and the first layer that makes the neurons."""


def make(place):
    torch.manual_seed(0)
    network, shape, layer = PLACES[place]
    network, inputs = stir(network()), torch.randn(40, *shape, dtype=torch.float64)
    return network, inputs, next(one for one in find_groups(network, inputs) if one.name == layer)


def rewrite(network, group, neuron, source, *, factor=1.0, constant=None):
    """Let a neuron be a multiple of another, everywhere in its group, or a constant."""
    for layer, entries in (*group.rows.items(), *group.attached.items()):
        module = network.get_submodule(layer)
        is_last = not group.attached or layer in group.attached
        goes, stays = entries[neuron][0], entries[source][0]
        for name, tensor in module.state_dict().items():
            if tensor.ndim:
                tensor[goes] = tensor[stays]
            if name in ("weight", "bias") and is_last:
                tensor[goes] *= factor
            if name == "weight" and constant is not None:
                tensor[goes] = 0
            if name == "bias" and constant is not None:
                tensor[goes] = constant


def assert_same_logits(pruned, network, inputs):
    with torch.no_grad():
        expected = network(inputs)
        assert expected.std() > 1e-3
        assert (pruned.network(inputs) - expected).abs().max() <= 1e-10 * max(1, expected.abs().max())


@pytest.mark.parametrize("place", PLACES)
def test_what_is_planted_goes_and_the_logits_stay(place):
    """Neuron 1 copies 0, 3 is a multiple of 2, 4 and 5 are constant, 6 is dead; ReLUs."""
    network, inputs, group = make(place)
    rewrite(network, group, 1, 0)
    is_gate = place == "attention"  # without a bias
    if len(group.rows) == 1:
        rewrite(network, group, 3, 2, factor=2.5)
    rewrite(network, group, 4, 4, constant=0.0 if is_gate else 0.75)
    rewrite(network, group, 5, 5, constant=0.0 if is_gate else 0.25)
    rewrite(network, group, 6, 6, constant=0.0)
    pruned = prune(network, inputs.split(20), layers=[group.name], **EXACT)
    gone = {removal.neuron for removal in pruned.plans[group.name].removals}
    assert gone & {0, 1}
    assert gone & {4, 5}
    assert 6 in gone
    assert gone & {2, 3} or len(group.rows) > 1
    assert_same_logits(pruned, network, inputs)
