"""Whole networks pruned: what was planted goes, and the logits stay; sizes by formula; timm's networks."""

import itertools
import sys

import pytest
import timm
import torch
from timm.layers import Conv2dSame
from torch import nn

from fer.errors import InputError
from fer.models import AlexNet, AnnNet, CbamResNet, Conv6Net, ResNet
from fer.neurons import (
    RULES,
    PrunePlan,
    Removal,
    find_prunable,
    measure_groups,
    plan_groups,
    prune,
    resize,
)
from fer.neurons.planning import removal_costs
from fer.neurons.surgery import widths

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


class InPlace(nn.Module):
    """A block before activation whose second convolution, without a bias, is added to in place."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(9, 9, 3, padding=1), nn.BatchNorm2d(9)
        self.conv2, self.norm2 = nn.Conv2d(9, 9, 1, bias=False), nn.BatchNorm2d(9)
        self.stem, self.fc = nn.Conv2d(1, 9, 3), nn.Linear(9, 3)

    def forward(self, inputs):
        inputs = self.stem(inputs)
        maps = self.conv2(self.norm1(self.conv1(inputs)).relu())
        maps += inputs
        return self.fc((self.norm2(maps).relu() + maps).mean((2, 3)))


SMALL = {"widths": (8, 8, 9, 9, 9)}
PLACES = {
    "linear": (lambda: AnnNet(hidden=9, activation="relu"), (10,), "fc1"),
    "convolution": (lambda: chain(nn.ReLU), (1, 9, 9), "0"),
    "batch norm": (lambda: chain(nn.ReLU, norm=True), (1, 9, 9), "0"),
    "before a padded convolution": (lambda: Conv6Net(**SMALL), (1, 48, 48), "conv3"),
    "before a padded convolution, one position": (lambda: Conv6Net(**SMALL), (1, 48, 48), "conv5"),
    "flatten": (lambda: AlexNet(**SMALL, hidden=(9, 8)), (1, 32, 32), "conv5"),
    "in a residual block": (lambda: ResNet(depth=18, width=8), (1, 64, 64), "layer2.1.conv1"),
    "residual stage": (lambda: ResNet(depth=18, width=8), (1, 64, 64), "layer2.0.conv2"),
    "stem and first stage": (lambda: ResNet(depth=18, width=8), (1, 64, 64), "conv1"),
    "last stage": (lambda: ResNet(depth=18, width=8), (1, 64, 64), "layer4.0.conv2"),
    "in a block with attention": (lambda: CbamResNet(depth=18, width=8), (1, 64, 64), "layer2.1.conv1"),
    "attention": (
        lambda: CbamResNet(depth=18, width=8, reduction=1),
        (1, 64, 64),
        "layer2.cbam0.channel.fc1",
    ),
    "added and read": (Unlike, (1, 9, 9), "conv1"),
    "before what is added to in place": (InPlace, (1, 9, 9), "conv1"),
    "before an activation in place": (
        lambda: nn.Sequential(
            *(nn.Conv2d(1, 9, 3), nn.ReLU(), nn.Conv2d(9, 9, 1, bias=False), nn.ReLU(inplace=True)),
            *(nn.BatchNorm2d(9), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(9, 3)),
        ),
        (1, 9, 9),
        "0",
    ),
    "before a convolution that pads by itself": (
        lambda: nn.Sequential(
            *(nn.Conv2d(1, 9, 3), nn.ReLU(), Conv2dSame(9, 5, 3, stride=2), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)),
        ),
        (1, 9, 9),
        "0",
    ),
}
"""Network, shape of its inputs, and the first layer that makes the neurons."""


def make(place):
    torch.manual_seed(0)
    network, shape, layer = PLACES[place]
    network, inputs = stir(network()), torch.randn(40, *shape, dtype=torch.float64)
    return network, inputs, next(one for one in find_prunable(network, inputs).groups if one.name == layer)


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
@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("network", "shape", "layer"),
    [
        pytest.param(lambda: chain(nn.Tanh), (1, 9, 9), "0", id="convolution"),
        pytest.param(lambda: chain(nn.Tanh, norm=True), (1, 9, 9), "0", id="batch norm"),
        pytest.param(lambda: chain(nn.Tanh, padding=1), (1, 9, 9), "0", id="before a padded convolution"),
        pytest.param(lambda: AnnNet(activation="sigmoid", hidden=9), (10,), "fc1", id="complement"),
        pytest.param(lambda: chain(nn.Sigmoid), (1, 9, 9), "0", id="complement, convolution"),
        pytest.param(
            lambda: chain(nn.Sigmoid, padding=1), (1, 9, 9), "0", id="complement before a padded convolution"
        ),
    ],
)
def test_one_of_two_opposites_stands_for_both(network, shape, layer):
    """tanh(-x) = -tanh(x), and sigmoid(-x) = 1 - sigmoid(x), for which a padded consumer needs a constant."""
    torch.manual_seed(0)
    network, inputs = stir(network()), torch.randn(40, *shape, dtype=torch.float64)
    group = find_prunable(network, inputs).groups[0]
    rewrite(network, group, 1, 0, factor=-1)
    rewrite(network, group, 2, 2, constant=0.5)
    pruned = prune(network, inputs.split(20), layers=[layer], **EXACT)
    reasons = {removal.reason: removal.neuron for removal in pruned.plans[layer].removals}
    assert reasons["complementary"] in {0, 1}
    assert_same_logits(pruned, network, inputs)


@pytest.mark.slow
def test_a_mean_over_maps_stays_when_half_of_them_are_copies():
    torch.manual_seed(0)
    network, inputs = (
        stir(CbamResNet(depth=18, width=8)),
        torch.randn(40, 1, 64, 64, dtype=torch.float64),
    )
    group = next(one for one in find_prunable(network, inputs).groups if one.name == "layer2.0.conv2")
    assert group.num_neurons == 16
    for neuron in range(0, 16, 2):
        rewrite(network, group, neuron + 1, neuron)
    plans = {group.name: PrunePlan(16, tuple(Removal(k, "similar", k - 1) for k in range(1, 16, 2)))}
    pruned = prune(network, inputs.split(20), plans=plans)
    assert (pruned.network(inputs) - network(inputs)).abs().max() < 1e-12
    dropped = prune(network, inputs.split(20), plans=plans, merge="drop")
    assert (dropped.network(inputs) - network(inputs)).abs().max() > 1e-9


@pytest.mark.slow
def test_parameters_are_those_of_the_formula():
    """Conv6Net: 9 weights for each map read, a bias and two numbers of batch norm for each map made."""
    torch.manual_seed(0)
    network = Conv6Net(widths=(8, 10, 12, 14, 16)).eval()
    inputs = torch.randn(200, 1, 48, 48)
    pruned = prune(network, inputs.split(50), similar_below=60, complementary_above=120)
    left = [1, *(len(plan.kept) for plan in pruned.plans.values()), 7]
    by_formula = sum(made * (9 * read + 1 + 2) for read, made in itertools.pairwise(left))
    assert pruned.report["parameters"]["after"] == by_formula
    assert by_formula == sum(tensor.numel() for tensor in pruned.network.parameters())
    assert by_formula < pruned.report["parameters"]["before"]
    for name, group in pruned.report["groups"].items():
        plan = pruned.plans[name]
        assert group == {"before": plan.num_neurons, "after": len(plan.kept), **plan.counts, "block": 0}


@pytest.mark.slow
def test_only_the_layers_that_are_named_lose_neurons():
    network, inputs, _ = make("residual stage")
    pruned = prune(network, inputs.split(20), layers=["layer2.1.conv2"], similar_below=60)
    assert [*pruned.plans] == ["layer2.0.conv2"]  # the stage that the layer is added to
    changed = {name for name, size in widths(network).items() if size != pruned.widths[name]}
    assert changed == {
        *(f"layer2.{layer}.out_channels" for layer in ("0.conv2", "0.downsample.0", "1.conv2")),
        *(f"layer2.{layer}.num_features" for layer in ("0.bn2", "0.downsample.1", "1.bn2")),
        *(f"{layer}.in_channels" for layer in ("layer2.1.conv1", "layer3.0.conv1", "layer3.0.downsample.0")),
    }


@pytest.mark.slow
@pytest.mark.parametrize(("similar_below", "is_said"), [(0.0, True), (60, False)])
def test_that_nothing_was_removed_is_said(similar_below, is_said, caplog):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    pruned = prune(network, torch.randn(9, 20, 6), similar_below=similar_below, complementary_above=180)
    assert any(plan.removals for plan in pruned.plans.values()) != is_said
    assert ("nothing was removed: no neurons are similar enough" in caplog.text) == is_said


@pytest.mark.slow
def test_a_constant_that_a_padded_convolution_lacks_is_measured():
    """On one position the convolution sees its middle weights only; on more it sees a border, too."""
    torch.manual_seed(0)
    network = stir(Conv6Net(**SMALL))
    inputs = torch.randn(90, 1, 48, 48, dtype=torch.float64)
    for layer, exact in (("conv5", True), ("conv4", False)):
        group = next(one for one in find_prunable(network, inputs).groups if one.name == layer)
        plans = {layer: PrunePlan(9, (Removal(3, "similar", 2),))}
        with torch.no_grad():
            network.get_submodule(layer).weight[3] = network.get_submodule(layer).weight[2]
            norm = network.get_submodule(group.name.replace("conv", "bn"))
            for tensor in (norm.weight, norm.running_mean, norm.running_var):
                tensor[3] = tensor[2]
            norm.bias[2], norm.bias[3] = 9, 10  # no ReLU is at rest: one is the other plus one
            before = network(inputs)
            error = {
                merge: (prune(network, inputs.split(30), plans=plans, merge=merge).network(inputs) - before)
                for merge in ("drop", "scale", "affine", "refit")
            }
        size = {merge: float(one.square().mean()) for merge, one in error.items()}
        assert size["refit"] <= size["affine"] * (1 + 1e-6) + 1e-20
        assert size["affine"] <= size["scale"] <= size["drop"]
        assert (size["affine"] < 1e-20) == exact


@pytest.mark.parametrize("rule", RULES)
def test_the_papers_rules_prune_too(rule):
    torch.manual_seed(0)
    network = AnnNet(hidden=9).double().eval()
    inputs = torch.randn(200, 10, dtype=torch.float64)
    weight, bias = network.fc1.weight.data, network.fc1.bias.data
    weight[1], bias[1] = weight[0], bias[0]
    pruned = prune(network, inputs.split(50), rule=rule, similar_below=1e-4, complementary_above=180)
    (removal,) = pruned.plans["fc1"].removals
    assert {removal.neuron, removal.into} == {0, 1}
    if rule == "jain":  # incoming weights are added, too: another function
        kept = [*pruned.plans["fc1"].kept].index(removal.into)
        torch.testing.assert_close(pruned.network.fc1.weight[kept], 2 * weight[0])
    else:
        assert_same_logits(pruned, network, inputs)


@pytest.mark.slow
def test_pruning_leaves_the_network_alone():
    network, inputs, _ = make("in a residual block")
    network.train()
    network.bn1.eval()
    modes = [module.training for module in network.modules()]
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    before = torch.random.get_rng_state()
    pruned = prune(network, inputs.split(20), similar_below=60)
    assert torch.random.get_rng_state().equal(before)
    assert [module.training for module in network.modules()] == modes
    assert [module.training for module in pruned.network.modules()] == modes
    assert all(tensor.equal(state[name]) for name, tensor in network.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in pruned.network.modules())
    again = resize(network, pruned.widths)
    again.load_state_dict(pruned.network.state_dict())


def test_batches_may_have_labels():
    network, inputs, _ = make("linear")
    labels = torch.zeros(20, dtype=torch.long)
    with_labels = prune(network, [(batch, labels) for batch in inputs.split(20)], similar_below=60)
    assert with_labels.report == prune(network, inputs.split(20), similar_below=60).report


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        pytest.param(
            {"layers": ["fc2"]}, "'fc2' cannot be removed: these are the network's outputs", id="output layer"
        ),
        pytest.param({"layers": ["fc11"]}, "no layer 'fc11' .*did you mean 'fc1'", id="unknown layer"),
        pytest.param({"rule": "jane"}, "rule is 'jane': did you mean 'jain'", id="unknown rule"),
        pytest.param({"similar_below": 170}, "they must be 0 to 180 degrees in this order", id="order"),
        pytest.param({"criterion": "triples"}, "criterion is 'triples'", id="criterion"),
        pytest.param({"merge": "glue"}, "merge is 'glue'", id="merge"),
        pytest.param({"plans": {"fc1": PrunePlan(3)}}, "fc1 has 9 neurons, but its plan is for 3", id="plan"),
        pytest.param({"num_removed": {"fc": 2}}, "no group 'fc': did you mean 'fc1'", id="number of what"),
        pytest.param({"layers": []}, "layers is empty: name some of fc1", id="no layers"),
    ],
)
def test_what_cannot_be_done_is_refused(settings, reason):
    network, inputs, _ = make("linear")
    rewrite(network, find_prunable(network, inputs).groups[0], 1, 0)
    with pytest.raises(InputError, match=reason):
        prune(network, [inputs], **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"criterion": "l1"},
        {"rule": "grail"},
        {"share_removed": 1.5},
        {"share_removed": 0.5, "num_removed": {"0": 1}},
        {"criterion": "span", "similar_below": 400},
    ],
)
def test_settings_are_checked_before_anything_is_measured(settings):
    class Unread:
        def __iter__(self):
            raise AssertionError

    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    with pytest.raises(InputError, match=r"no threshold|share_removed|0 to 180"):
        prune(network, Unread(), **settings)


@pytest.mark.parametrize(
    ("batches", "reason"),
    [
        pytest.param([], "the analysis set is empty", id="empty"),
        pytest.param([torch.zeros(0, 10)], "the analysis set is empty", id="no samples"),
        pytest.param(iter([torch.zeros(2, 10)]), "can be iterated over only once", id="once"),
        pytest.param([torch.zeros(2, 3)], r"AnnNet does not take float32 \(2, 3\)", id="another shape"),
    ],
)
def test_batches_that_cannot_be_used_are_refused(batches, reason):
    with pytest.raises(InputError, match=reason):
        prune(AnnNet(), batches)


TIMM = {
    # name: number of layers that must stay
    "vgg11_bn": 1,
    "densenet121": 1,
    "mobilenetv2_050": 1,
    "regnetx_002": 1,
    "convnext_atto": 5,  # layer norm holds its stages together
    "mobilenetv3_small_050": 1,
    "ghostnet_050": 2,
    "dla34": 1,
    "mnasnet_small": 1,
}
"""Networks that are not ours, as their authors left them: untrained, so that many neurons are alike."""


@pytest.mark.parametrize("name", TIMM)
@pytest.mark.slow
def test_networks_of_timm_become_smaller(name):
    """Merged by affine, as is advised for so few samples.

    The default refit, with fewer samples than survivors, fits noise: the logits of several of these networks
    are then off by more than their size at 50 or 60 degrees (of densenet121 by 1e10). Blocks that are begun
    with weights of zero, as of convnext_atto, would go as a whole.
    """
    torch.manual_seed(0)
    network, inputs = timm.create_model(name, num_classes=7).eval(), torch.randn(24, 3, 64, 64)
    if name == "vgg11_bn":  # a head of 4096 neurons takes minutes
        network = resize(network, {key: 64 for key, size in widths(network).items() if size == 4096})
    pruned = prune(network, inputs.split(8), similar_below=60, merge="affine", idle_below=0)
    assert len(pruned.report["refused"]) == TIMM[name]
    assert pruned.report["parameters"]["after"] < pruned.report["parameters"]["before"]
    with torch.no_grad():
        for samples in (inputs, torch.randn(24, 3, 64, 64)):  # measured on, and others
            logits, before = pruned.network(samples), network(samples)
            assert logits.shape == before.shape
            assert logits.isfinite().all()
            assert (logits - before).abs().max() < before.abs().max()
        again = resize(network, pruned.widths)
        again.load_state_dict(pruned.network.state_dict())
        assert again(samples).equal(logits)


@pytest.mark.slow
def test_attention_is_refused_in_words_and_left_whole():
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", num_classes=7, img_size=64, depth=2).eval()
    batches = torch.randn(24, 3, 64, 64).split(8)
    with pytest.raises(InputError, match=r"'blocks\.0\.attn\.qkv' cannot be .* takes only some of them"):
        prune(network, batches, layers=["blocks.0.attn.qkv"])
    pruned = prune(network, batches, similar_below=75)
    assert [*pruned.report["groups"]] == ["blocks.0.mlp.fc1", "blocks.1.mlp.fc1"]
    changed = {name for name, size in widths(network).items() if size != pruned.widths[name]}
    assert changed == {
        f"blocks.{n}.mlp.{name}" for n in (0, 1) for name in ("fc1.out_features", "fc2.in_features")
    }
    assert "pos_embed" in pruned.report["refused"]["patch_embed.proj"]
    assert pruned.network(batches[0]).isfinite().all()


def shifted_chain():
    """Map 1 is map 0 seen one column further right, read by a padded convolution; ReLUs."""
    torch.manual_seed(0)
    network = stir(chain(nn.ReLU, padding=1))
    with torch.no_grad():
        network[0].weight[1] = 0
        network[0].weight[1, :, :, 1:] = network[0].weight[0, :, :, :-1]
        network[0].weight[0, :, :, -1] = 0
        network[0].bias[1] = network[0].bias[0]
    return network, torch.randn(2000, 1, 9, 9, dtype=torch.float64)


@pytest.mark.slow
def test_a_survivor_stands_for_its_neighbour_by_what_is_beside_it(monkeypatch):
    """Place by place of the consumer's kernel a fit finds the map that was shifted; map by map it cannot."""
    network, inputs = shifted_chain()
    plans = {"0": PrunePlan(9, (Removal(1, "similar", 0),))}
    errors = {}
    for entries in (0, 5000):
        monkeypatch.setattr(sys.modules["fer.neurons.compensation"], "MAX_ENTRIES", entries)
        pruned = prune(network, inputs.split(200), plans=plans, refit="joint").network
        with torch.no_grad():
            errors[entries] = float((pruned(inputs) - network(inputs)).square().mean())
    assert errors[5000] < 0.5 * errors[0]


def test_too_few_patterns_are_fitted_map_by_map(monkeypatch):
    network, inputs = shifted_chain()
    plans = {"0": PrunePlan(9, (Removal(1, "similar", 0),))}
    few = inputs[:10].split(5)  # 490 positions for 8 survivors at 9 places
    as_it_is = prune(network, few, plans=plans).network
    monkeypatch.setattr(sys.modules["fer.neurons.compensation"], "MAX_ENTRIES", 0)
    assert all(
        tensor.equal(other)
        for tensor, other in zip(
            as_it_is.state_dict().values(),
            prune(network, few, plans=plans).network.state_dict().values(),
            strict=True,
        )
    )


def test_costs_of_spans_are_shares_of_what_readers_without_a_bias_are_given():
    """Two neurons that are on in turn: nothing alike, unless a constant stands for their sum."""
    samples = torch.eye(2, dtype=torch.float64).repeat(10, 1)
    shares = {}
    for has_bias in (False, True):
        network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 3, bias=has_bias)).double()
        with torch.no_grad():
            network[0].weight.copy_(torch.eye(2))
            network[0].bias.zero_()
            network[2].weight.fill_(1)
        shares[has_bias] = removal_costs(network, measure_groups(network, [samples]))["0"]
    assert shares[False] == pytest.approx([0.5])
    assert shares[True] == pytest.approx([0.0], abs=1e-6)


def test_costs_of_spans_are_in_the_order_in_which_blocks_lose_neurons_in_turn():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 3, groups=2)).eval()
    measurement = measure_groups(network, [torch.randn(50, 1, 9, 9)])
    plan = plan_groups(network, measurement, criterion="span", num_removed={"0": 14})["0"]
    assert [removal.neuron // 8 for removal in plan.removals] == [0, 1] * 7
    costs = removal_costs(network, measurement)["0"]
    assert costs[5] < costs[9] < costs[13]
    with pytest.raises(InputError, match="'0' is 3: its 2 blocks must lose equally many neurons"):
        prune(network, [torch.randn(50, 1, 9, 9)], criterion="span", num_removed={"0": 3})


class Apart(nn.Module):
    """Two layers that read the same neurons, one around another mean, which its bias takes back."""

    def __init__(self, offset):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 9), nn.Linear(9, 3), nn.Linear(9, 3)
        self.offset = offset
        self.c.bias.data -= offset * self.c.weight.data.sum(1)

    def forward(self, inputs):
        hidden = self.a(inputs).relu()
        return self.b(hidden) + self.c(hidden + self.offset)


def test_costs_of_spans_do_not_depend_on_where_each_reader_sees_its_mean():
    costs = []
    for offset in (0.0, 5.0):
        torch.manual_seed(0)
        network, samples = Apart(offset).double(), torch.randn(200, 4, dtype=torch.float64)
        costs.append(removal_costs(network, measure_groups(network, [samples]))["a"])
    assert costs[1] == pytest.approx(costs[0], rel=1e-6)


@pytest.mark.parametrize("has_bias", [True, False])
def test_costs_of_spans_leave_out_neurons_that_are_not_finite(has_bias):
    torch.manual_seed(0)
    consumer = nn.Linear(8, 8, bias=has_bias)
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), consumer, nn.Sigmoid(), nn.Linear(8, 3))
    with torch.no_grad():
        network[0].weight[0] = torch.tensor([3e38, 0, 0, 0])
    costs = removal_costs(network, measure_groups(network, [torch.randn(200, 4)]))["0"]
    assert 0 < sum(costs) < float("inf")
