"""Groups of neurons, and networks without them: what belongs together, zero or gone, and what is refused."""

import copy
import io
import json
import random
import re
from contextlib import suppress
from functools import cache

import pytest
import torch
from torch import nn

from fer.errors import InputError
from fer.models import AlexNet, AnnNet, CbamResNet, Conv2Net, Conv4Net, Conv6Net, ResNet, TransferNet, VggNet
from fer.neurons import PrunePlan, Removal, cut, find_prunable, measure_groups, resize
from fer.neurons.prunable import neurons_within
from fer.neurons.surgery import cut_, mask, mask_, planned, undone, widths

NETWORKS = {
    "ann": (lambda: AnnNet(hidden=9), (10,)),
    "conv2": (lambda: Conv2Net(widths=(4, 5), hidden=(8, 6), image_size=16), (3, 16, 16)),
    "conv4": (lambda: Conv4Net(widths=(4, 5, 6, 7), hidden=(8, 9), image_size=32), (1, 32, 32)),
    "conv6": (lambda: Conv6Net(widths=(4, 5, 6, 7, 8)), (1, 48, 48)),
    "alexnet": (lambda: AlexNet(widths=(4, 5, 6, 7, 8), hidden=(9, 8)), (1, 32, 32)),
    "alexnet with batch norm": (
        lambda: AlexNet(widths=(4, 5, 6, 7, 8), hidden=(9, 8), batch_norm=True),
        (1, 32, 32),
    ),
    "vgg": (lambda: VggNet(widths=(4, 5, 6, 7), depths=(1, 2, 1, 1)), (1, 32, 32)),
    "resnet": (lambda: ResNet(depth=18, width=8), (1, 32, 32)),
    "resnet, half stem": (lambda: ResNet(depth=18, width=4, stem="half"), (1, 32, 32)),
    "cbam": (lambda: CbamResNet(depth=18, width=8, reduction=4), (1, 32, 32)),
    "cbam, parallel": (
        lambda: CbamResNet(depth=18, width=8, reduction=4, arrangement="parallel"),
        (1, 32, 32),
    ),
}


def block(width_in, width_out, **settings):
    return [nn.Conv2d(width_in, width_out, bias=False, **settings), nn.BatchNorm2d(width_out), nn.ReLU6()]


class Dense(nn.Module):
    """Each layer is given all before it, and normalises them for itself."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.norm1, self.conv1 = nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3, padding=1)
        self.norm2, self.conv2 = nn.BatchNorm2d(7), nn.Conv2d(7, 3, 3, padding=1)
        self.norm3, self.fc = nn.BatchNorm2d(10), nn.Linear(10, 2)

    def forward(self, inputs):
        first = self.stem(inputs)
        second = self.conv1(self.norm1(first).relu())
        third = self.conv2(self.norm2(torch.cat([first, second], 1)).relu())
        maps = self.norm3(torch.cat([first, second, third], 1)).relu()
        return self.fc(maps.mean((2, 3)))


class Gated(nn.Module):
    """Squeeze and excitation, a PReLU for each map and one for all, and half of the maps twice."""

    def __init__(self):
        super().__init__()
        self.conv1, self.prelu = nn.Conv2d(1, 6, 3), nn.PReLU(6)
        self.squeeze, self.one, self.excite = nn.Conv2d(6, 3, 1), nn.PReLU(), nn.Conv2d(3, 6, 1)
        self.conv2 = nn.Conv2d(12, 4, 1)

    def forward(self, inputs):
        maps = self.prelu(self.conv1(inputs))
        gate = self.excite(self.one(self.squeeze(maps.mean((2, 3), keepdim=True)))).sigmoid()
        return self.conv2(torch.cat([maps * gate, maps], 1)).mean((2, 3))


OTHERS = {
    "concatenated": (Dense, (1, 8, 8)),
    "gated": (Gated, (1, 8, 8)),
    "depthwise": (
        lambda: nn.Sequential(
            *block(1, 6, kernel_size=3),
            *block(6, 6, kernel_size=3, groups=6),
            *block(6, 5, kernel_size=1),
            nn.Flatten(),
            nn.Linear(80, 3),
        ),
        (1, 8, 8),
    ),
    "grouped": (
        lambda: nn.Sequential(
            *block(1, 8, kernel_size=3),
            *block(8, 12, kernel_size=3, groups=2),
            *block(12, 4, kernel_size=1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        ),
        (1, 8, 8),
    ),
}


def stir(network):
    """Give the network other weights than those with which blocks and norms begin; float64, eval mode."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / 4)
    return network.double().eval()


def make(name):
    torch.manual_seed(0)
    network, shape = (NETWORKS | OTHERS)[name]
    return stir(network()), torch.randn(5, *shape, dtype=torch.float64)


@cache
def found(name):
    """Return the network, inputs and groups, which no test may change."""
    network, inputs = make(name)
    return network, inputs, list(find_prunable(network, inputs).groups)


def plan_without(num_neurons, *neurons):
    return PrunePlan(num_neurons, tuple(Removal(neuron, "span") for neuron in neurons))


def random_plan(group, seed=0):
    """Return a plan without some neurons, as many of each block, whichever they are."""
    size, draw = group.num_neurons // group.num_blocks, random.Random(seed)
    num = draw.randrange(1, size)
    blocks = range(0, group.num_neurons, size)
    return plan_without(
        group.num_neurons, *(n for start in blocks for n in draw.sample(range(start, start + size), num))
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("ann", {"fc1": (9, ["fc2:input"], [1])}, id="ann"),
        pytest.param(
            "conv2",
            {
                "conv1": (4, ["conv2:input"], [1]),
                "conv2": (5, ["fc1:input"], [16]),
                "fc1": (8, ["fc2:input"], [1]),
                "fc2": (6, ["fc3:input"], [1]),
            },
            id="conv2: a map is 16 columns behind a flatten",
        ),
        pytest.param(
            "conv6",
            {f"conv{k}": (k + 3, [f"conv{k + 1}:input"], [1]) for k in range(1, 6)},
            id="conv6: the sixth convolution is the output",
        ),
        pytest.param(
            "concatenated",
            {
                "stem": (4, ["conv1:input", "conv2:input", "fc:input"], [1, 1, 1]),
                "conv1": (3, ["conv2:input", "fc:input"], [1, 1]),
                "conv2": (3, ["fc:input"], [1]),
            },
            id="concatenated",
        ),
        pytest.param(
            "gated",
            {"conv1": (6, ["squeeze:input", "conv2:input"], [1, 2]), "squeeze": (3, ["excite:input"], [1])},
            id="gated",
        ),
        pytest.param(
            "grouped",
            {"0": (8, ["3:input"], [1]), "3": (12, ["6:input"], [1]), "6": (4, ["11:input"], [1])},
            id="grouped",
        ),
        pytest.param("depthwise", {"0": (6, ["6:input"], [1]), "6": (5, ["10:input"], [16])}, id="depthwise"),
    ],
)
def test_groups_by_hand(name, expected):
    groups = found(name)[2]
    assert {
        group.name: (
            group.num_neurons,
            [consumer.input for consumer in group.consumers],
            [len(consumer.columns[0]) for consumer in group.consumers],
        )
        for group in groups
    } == expected
    assert [group.name for group in groups] == list(expected)


def test_a_residual_network_has_stages_and_inner_maps():
    groups = {group.name: group for group in found("resnet")[2]}
    inner = [f"layer{stage}.{number}.conv1" for stage in range(1, 5) for number in range(2)]
    stages = ["conv1", "layer2.0.conv2", "layer3.0.conv2", "layer4.0.conv2"]
    assert groups.keys() == {*inner, *stages}
    stage = groups["layer2.0.conv2"]
    assert stage.producers == ("layer2.0.conv2", "layer2.0.downsample.0", "layer2.1.conv2")
    assert [*stage.attached] == ["layer2.0.bn2", "layer2.0.downsample.1", "layer2.1.bn2"]
    assert [consumer.layer for consumer in stage.consumers] == [
        *("layer2.1.conv1", "layer3.0.conv1", "layer3.0.downsample.0")
    ]
    assert [(consumer.padded, consumer.shift) for consumer in stage.consumers] == [
        *((True, "layer2.1.bn1"), (True, "layer3.0.bn1"), (False, "layer3.0.downsample.1"))
    ]


def test_what_is_made_in_blocks_alone_goes_with_them():
    network, inputs, groups = found("resnet")
    blocks = ["layer1.0", "layer2.1"]  # stages have neurons of other blocks, too
    sizes = {group.name: group.num_neurons for group in groups}
    expected = {f"{block}.conv1": sizes[f"{block}.conv1"] for block in blocks}
    assert neurons_within(network, inputs, blocks) == expected
    assert neurons_within(network, inputs, []) == {}


@pytest.mark.parametrize("name", ["cbam", "cbam, parallel"])
@pytest.mark.slow
def test_attention_belongs_to_the_stage_and_has_neurons_of_its_own(name):
    groups = {group.name: group for group in found(name)[2]}
    assert len(groups) == 4 + 8 + 8
    stage = groups["layer2.0.conv2"]
    assert {f"layer2.cbam{number}.channel.fc2" for number in range(2)} < {*stage.producers}
    assert {f"layer2.cbam{number}.channel.fc1" for number in range(2)} < {
        one.layer for one in stage.consumers
    }
    assert stage.means == (("layer2.cbam0.spatial.conv", 0), ("layer2.cbam1.spatial.conv", 0))
    hidden = groups["layer2.cbam0.channel.fc1"]
    assert (hidden.num_neurons, hidden.consumers[0].layer) == (4, "layer2.cbam0.channel.fc2")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NETWORKS, *OTHERS])
def test_neurons_that_are_cut_out_and_neurons_that_are_zero_are_the_same(name):
    network, inputs, groups = found(name)
    plans = {group.name: random_plan(group, seed) for seed, group in enumerate(groups)}
    masked, small = mask(network, groups, plans), cut(network, groups, plans)
    with torch.no_grad():
        expected, logits = masked(inputs), small(inputs)
        assert (logits - expected).abs().max() <= 1e-12 * max(1, expected.abs().max())
        assert (logits - network(inputs)).abs().max() > 1e-6
    assert sum(map(torch.numel, small.parameters())) < sum(map(torch.numel, network.parameters()))
    assert {name: p.shape for name, p in masked.named_parameters()} == {
        name: p.shape for name, p in network.named_parameters()
    }


def mask_all(network, groups, plans):
    for group, plan in planned(groups, plans):
        mask_(network, group, plan)


@pytest.mark.parametrize("change", [cut_, mask_all])
@pytest.mark.parametrize("name", ["conv6", "resnet, half stem", "grouped", "depthwise"])
def test_what_was_cut_or_masked_is_undone(name, change):
    network, inputs, groups = found(name)
    network = copy.deepcopy(network)
    state, sizes, before = copy.deepcopy(network.state_dict()), widths(network), network(inputs)
    plans = {group.name: random_plan(group, seed) for seed, group in enumerate(groups)}
    layers = {layer for group in groups for layer in group.layers}
    with suppress(ZeroDivisionError), torch.no_grad(), undone(network, layers):
        change(network, groups, plans)
        assert not network(inputs).allclose(before)
        raise ZeroDivisionError
    assert widths(network) == sizes
    assert network.state_dict().keys() == state.keys()
    assert all(tensor.equal(state[name]) for name, tensor in network.state_dict().items())
    assert network(inputs).equal(before)


def test_other_weights_are_what_they_were():
    network, _, groups = found("conv6")
    small = cut(network, groups, {"conv2": plan_without(5, 1, 3)})
    kept = [0, 2, 4]
    cuts = {
        **{f"conv2.{name}": getattr(network.conv2, name)[kept] for name in ("weight", "bias")},
        **{f"bn2.{name}": tensor[kept] for name, tensor in network.bn2.state_dict().items() if tensor.ndim},
        "conv3.weight": network.conv3.weight[:, kept],
    }
    for name, tensor in small.state_dict().items():
        assert tensor.equal(cuts.get(name, network.state_dict()[name])), name
    assert (small.conv2.out_channels, small.bn2.num_features, small.conv3.in_channels) == (3, 3, 3)


@pytest.mark.parametrize("name", ["conv6", "alexnet", "resnet", "depthwise", "grouped", "gated"])
def test_a_state_dict_and_widths_make_the_network_again(name):
    network, inputs, groups = found(name)
    small = cut(network, groups, {group.name: random_plan(group) for group in groups})
    file = io.BytesIO()
    torch.save({"widths": json.dumps(widths(small)), "state_dict": small.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = resize(network, json.loads(saved["widths"]))
    again.load_state_dict(saved["state_dict"])
    assert again(inputs).equal(small(inputs))
    assert widths(again) == widths(small)
    assert repr(again) == repr(small)


@pytest.mark.slow
def test_finding_cutting_and_resizing_leave_the_network_alone():
    network, inputs = make("resnet")
    network.float().train()
    network.conv1.weight.requires_grad_(False)
    state = copy.deepcopy(network.state_dict())
    before = torch.random.get_rng_state()
    groups = find_prunable(network, inputs.float()).groups
    small = cut(network, groups, {"conv1": plan_without(8, *range(4))})
    resize(network, widths(small))
    assert torch.random.get_rng_state().equal(before)
    assert all(tensor.equal(state[name]) for name, tensor in network.state_dict().items())
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in network.modules())
    assert network.training
    assert small.training
    assert not small.conv1.weight.requires_grad
    assert small.bn1.weight.requires_grad
    assert small.conv1.weight.dtype == torch.float32


def test_memory_stays_in_its_format():
    network, inputs = make("conv6")
    network = network.to(memory_format=torch.channels_last)
    small = cut(network, find_prunable(network, inputs).groups, {"conv2": plan_without(5, 1)})
    assert small.conv3.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
def test_what_is_frozen_and_not_traced_stays():
    network = TransferNet(backbone="resnet18", hidden=4, image_size=32).eval()
    assert [group.name for group in find_prunable(network, torch.zeros(2, 3, 32, 32)).groups] == ["head.fc1"]


class Odd(nn.Module):
    """Two convolutions with something between them that does not leave neurons alone."""

    def __init__(self, between, width=6):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 3), nn.Conv2d(width, 4, 1)
        self.between = between
        self.inner = nn.Conv2d(4, 5, 1)
        self.fc = nn.Linear(5, 2)
        self.scale = nn.Parameter(torch.rand(6, 1, 1))
        self.norm = nn.GroupNorm(2, 6)

    def forward(self, inputs):
        maps = self.conv2(self.between(self, self.conv1(inputs)))
        return self.fc(self.inner(maps).relu().mean((2, 3)))


@pytest.mark.parametrize(
    ("between", "width", "reason"),
    [
        pytest.param(lambda net, maps: net.norm(maps), 6, "norm is a GroupNorm, which cannot", id="norm"),
        pytest.param(
            lambda net, maps: maps * net.scale,
            6,
            "scale is a parameter outside of the layers",
            id="parameter",
        ),
        pytest.param(lambda net, maps: maps.softmax(1), 6, "normalises or sums over them", id="softmax"),
        pytest.param(
            lambda net, maps: maps - maps.mean(1, keepdim=True),
            6,
            "not taken by a convolution alone",
            id="mean",
        ),
        pytest.param(
            lambda net, maps: maps * maps[:, 0, None], 6, "normalises or sums over them", id="one for all"
        ),
        pytest.param(lambda net, maps: torch.cat([maps, maps[:, :2]], 1), 8, "some of them", id="some twice"),
        pytest.param(
            lambda net, maps: maps.unflatten(1, (2, 3)).transpose(1, 2).flatten(1, 2),
            6,
            "does not run|normalises or sums",
            id="shuffle",
        ),
    ],
)
def test_neurons_that_do_not_stand_for_themselves_stay_and_others_go(between, width, reason):
    torch.manual_seed(0)
    result = find_prunable(Odd(between, width), torch.randn(2, 1, 8, 8))
    assert [group.name for group in result.groups] == ["conv2", "inner"]
    assert set(result.refused) == {"conv1", "fc"}
    assert re.search(reason, result.refused["conv1"])
    assert result.refused["fc"] == "these are the network's outputs"


def test_shared_weights_stay():
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    network[2].weight = network[0].weight
    result = find_prunable(network, torch.zeros(2, 4))
    assert result.groups == ()
    assert result.refused["0"] == "0.weight and 2.weight are the same weights"
    with pytest.raises(InputError, match=r"can be removed \(0: 0.weight and 2.weight are"):
        measure_groups(network, [torch.zeros(2, 4)])


def test_computed_weights_stay():
    network = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.ReLU(), nn.Linear(4, 2)
    )
    assert (
        find_prunable(network, torch.zeros(2, 4)).refused["0"]
        == "the weights of 0 are computed from other parameters"
    )


class Several(nn.Linear):
    def forward(self, inputs):
        return super().forward(inputs), inputs


@pytest.mark.parametrize(
    ("network", "shape", "reason"),
    [
        pytest.param(nn.Linear(4, 2), (2, 4), "Linear has no hidden neurons", id="one layer"),
        pytest.param(nn.ReLU(), (2, 4), "ReLU has no hidden .*it has no linear layers", id="no layer"),
        pytest.param(AnnNet(), (2, 4), r"AnnNet does not take float32 \(2, 4\): ", id="another shape"),
        pytest.param(Several(4, 2), (2, 4), "Several cannot be traced: AttributeError: 'tuple'", id="tuple"),
        pytest.param(
            nn.GRU(4, 2), (2, 4), "GRU has no hidden .*the network: it is of type GRU", id="recurrent"
        ),
    ],
)
def test_networks_that_cannot_be_pruned_are_refused(network, shape, reason):
    with pytest.raises(InputError, match=reason):
        measure_groups(network, [torch.zeros(shape)])


@pytest.mark.parametrize(
    ("plans", "reason"),
    [
        pytest.param({"conv1": plan_without(5)}, "conv1 has 4 neurons, but its plan is for 5", id="width"),
        pytest.param(
            {"conv6": plan_without(7, 1)}, "no group 'conv6': did you mean 'conv", id="output layer"
        ),
    ],
)
def test_plans_that_are_not_for_the_network_are_refused(plans, reason):
    network, _, groups = found("conv6")
    for function in (mask, cut):
        with pytest.raises(InputError, match=reason):
            function(network, groups, plans)


def test_blocks_lose_as_many_neurons_each():
    network, _, groups = found("grouped")
    assert [group.num_blocks for group in groups] == [2, 2, 1]
    with pytest.raises(
        InputError, match="in 2 blocks of 6 neurons; a plan must remove the same number from each"
    ):
        cut(network, groups, {"3": plan_without(12, 0, 1)})
    small = cut(network, groups, {"3": plan_without(12, 0, 11), "0": plan_without(8, 3, 4)})
    assert (small[3].in_channels, small[3].out_channels, small[3].groups) == (6, 10, 2)


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        pytest.param(
            {"conv9.out_channels": 2}, "no conv9.out_channels, .* did you mean", id="another network"
        ),
        pytest.param({"conv1.out_channels": 9}, "conv1.out_channels is 4 in Conv6Net.* to 9", id="larger"),
        pytest.param({"conv1.out_channels": 0}, "cannot be cut to 0", id="nothing left"),
    ],
)
def test_sizes_of_another_network_are_refused(sizes, reason):
    with pytest.raises(InputError, match=reason):
        resize(found("conv6")[0], sizes)
