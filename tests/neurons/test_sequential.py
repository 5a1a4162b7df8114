"""Sequential compensation: its fits, where they are added, and what keeps the joint fit."""

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn
from torch.nn import functional as F

from fer.errors import InputError
from fer.neurons import PrunePlan, Removal, measure_groups, prune
from fer.neurons.additions import find_addition
from fer.neurons.compensation import compensate
from fer.neurons.im2col import as_map, padding_of, windows_of
from fer.neurons.inputs import Inputs
from fer.neurons.nested import tensors_in
from fer.neurons.normal_equations import NormalEquations
from fer.neurons.resume import Runs
from fer.neurons.rules import Rule
from fer.neurons.sequential import refit_in_order_
from fer.neurons.surgery import planned
from fer.neurons.turns import _follow


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Block(nn.Module):
    """Two residual blocks behind a convolution, the second with a convolution in its shortcut."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.conv1, self.conv2 = nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.conv3, self.conv4 = nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)
        self.shortcut, self.scale = nn.Conv2d(6, 4, 1), nn.Parameter(torch.rand(4, 1, 1) + 0.5)
        self.fc = nn.Linear(4, 3)

    def forward(self, inputs):
        maps = self.stem(inputs)
        maps = self.norm(self.conv2(self.conv1(maps).relu())) + maps
        inner = self.conv4(self.conv3(maps).relu())
        inner = inner * self.scale
        inner += self.shortcut(maps)
        return self.fc(inner.mean((2, 3)))


def block():
    torch.manual_seed(0)
    network = Block().double().eval()
    network.norm.running_var.copy_(torch.rand(6) + 0.5)
    network.norm.weight.data.copy_(torch.randn(6))
    return network


def place_of(network, layer, inputs):
    """Return where the output of a layer is added to another term."""
    run = _follow(
        network,
        [name for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)],
        inputs,
    )
    taken = {name: calls.taken for name, calls in run.calls.items()}
    return find_addition(Runs(network), layer, inputs, run.terms, taken, [layer])


@pytest.mark.parametrize(
    ("layer", "number", "factors"),
    [
        pytest.param("stem", None, None, id="both terms depend on it"),
        pytest.param("conv1", None, None, id="not linear"),
        pytest.param(
            "conv2",
            0,
            lambda net: net.norm.weight / (net.norm.running_var + net.norm.eps).sqrt(),
            id="behind batch norm",
        ),
        pytest.param("conv4", 1, lambda net: net.scale.flatten(), id="behind a scale, in place"),
        pytest.param("shortcut", 1, lambda net: torch.ones(4), id="a shortcut"),
        pytest.param("fc", None, None, id="the last layer"),
    ],
)
def test_the_sum_that_a_layer_is_added_to_is_found(layer, number, factors):
    network, inputs = block(), Inputs.of(normal(3, 1, 8, 8))

    found = place_of(network, layer, inputs)

    assert (found and found.number) == number
    if found is not None:
        torch.testing.assert_close(found.factors, factors(network).double())
    assert not any(module._forward_hooks for module in network.modules())


class Weighted(nn.Module):
    """Two layers whose outputs are added with different weights."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, inputs):
        return torch.add(self.one(inputs), self.two(inputs), alpha=3)


def test_a_sum_with_weights_is_no_sum():
    network, inputs = Weighted().double().eval(), Inputs.of(normal(5, 4))
    assert [place_of(network, name, inputs) for name in ("one", "two")] == [None, None]


class Side(nn.Module):
    """A layer whose output is added to another term, and before perhaps taken by a third layer."""

    def __init__(self, is_taken):
        super().__init__()
        self.one, self.side, self.two = nn.Linear(4, 3), nn.Linear(3, 3), nn.Linear(4, 3)
        self.is_taken = is_taken

    def forward(self, inputs):
        output = self.one(inputs)
        side = self.side(output).relu() if self.is_taken else 0
        return output + self.two(inputs) + side


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_layer_waits_for_its_sum_only_if_no_other_layer_takes_its_output_before(is_taken):
    place = place_of(Side(is_taken).double().eval(), "one", Inputs.of(normal(5, 4)))
    assert (place is None) == is_taken


def test_no_inputs_of_layers_are_held_while_they_are_compared():
    run = _follow(block(), ["conv1", "conv2", "fc"], Inputs.of(normal(3, 1, 8, 8)))
    assert list(run.calls) == ["conv1", "conv2", "fc"]
    assert not list(tensors_in(run))


def half_of(group, num):
    return {group: PrunePlan(num, tuple(Removal(k, "criterion") for k in range(num // 2)))}


def errors(network, inputs, plans, **settings):
    """Return the mean squared errors of the outputs by the joint and by the sequential refit."""
    found = []
    for refit in ("joint", "sequential"):
        small = prune(network, inputs, plans=plans, refit=refit, **settings).network
        with torch.no_grad():
            found.append(float(F.mse_loss(small(inputs), network(inputs))))
    return found


@pytest.mark.slow
def test_later_layers_correct_the_errors_of_earlier_ones():
    """The errors of conv1's removal reach conv3 in the joint refit, and its removal adds to them."""
    network, inputs = block(), normal(300, 1, 8, 8)
    plans = half_of("conv1", 8) | half_of("conv3", 8)

    joint, sequential = errors(network, inputs, plans)

    assert sequential < 0.85 * joint


@pytest.mark.slow
def test_the_last_convolution_of_a_block_makes_the_sum_right():
    """Only the stream's first block loses neurons; conv4 sees no removed neuron, but wrong inputs."""
    network, inputs = block(), normal(300, 1, 8, 8)

    small = prune(network, inputs, plans=half_of("conv1", 8)).network
    same = prune(network, inputs, plans=half_of("conv1", 8), refit="joint").network

    assert not torch.equal(small.conv4.weight, same.conv4.weight)
    assert torch.equal(small.stem.weight, network.stem.weight)
    joint, sequential = errors(network, inputs, half_of("conv1", 8))
    assert sequential < 0.9 * joint


class Parallel(nn.Module):
    """Two convolutions of the same maps, whose outputs are added, perhaps behind a gate of one of them."""

    def __init__(self, gated):
        super().__init__()
        self.stem, self.mid = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.one, self.two = nn.Conv2d(8, 6, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1)
        self.gated = gated

    def forward(self, inputs):
        maps = self.mid(self.stem(inputs).relu()).relu()
        shortcut = self.two(maps)
        gate = maps.mean((1, 2, 3), keepdim=True).sigmoid() if self.gated else 1
        return self.one(maps) * gate + shortcut


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.slow
def test_a_sum_is_made_right_only_once(gated):
    """What one term is fitted to correct, the other does not correct again."""
    torch.manual_seed(1)
    network, inputs = Parallel(gated).double().eval(), normal(300, 1, 8, 8)

    joint, sequential = errors(network, inputs, half_of("stem", 8))

    assert sequential < 0.825 * joint


@pytest.mark.parametrize(
    ("limit", "most"),
    [
        pytest.param("MOST_KEPT", 0, id="no activations"),
        pytest.param("MOST_KEPT", 30_000, id="those of a batch"),
        pytest.param("MOST_TARGETS", 1, id="the targets of one layer"),
    ],
)
@pytest.mark.slow
def test_fits_do_not_depend_on_what_is_kept_in_memory(monkeypatch, limit, most):
    network, inputs = block(), normal(60, 1, 8, 8).split(25)
    plans = half_of("conv1", 8) | half_of("conv3", 8)
    usual = prune(network, inputs, plans=plans).network

    monkeypatch.setattr(f"fer.neurons.sequential.{limit}", most)
    other = prune(network, inputs, plans=plans).network

    assert all(a.equal(b) for a, b in zip(usual.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("has_constant", [True, False])
def test_normal_equations_agree_with_least_squares(has_constant):
    z, weight = normal(2, 400, 5), normal(2, 3, 5, seed=1)
    z[..., 4] = 1 if has_constant else 0  # does not vary
    r = z @ weight.transpose(1, 2) + 2 * has_constant + 1e-4 * normal(2, 400, 3, seed=2)
    equations = NormalEquations(has_constant=has_constant)
    for start in range(0, 400, 50):
        part = slice(start, start + 50)
        equations.add(z[:, part], r[:, part], r[:, part], torch.arange(start, start + 50) % 5 == 4)

    fit = equations.solve()

    assert (equations.num_rows, equations.num_unknowns) == (320, 4)
    expected = torch.linalg.lstsq(torch.cat([z, torch.ones(2, 400, 1)], 2)[:, :, [0, 1, 2, 3, 5]], r).solution
    torch.testing.assert_close(fit.weight[..., :4], expected[:, :4].transpose(1, 2), atol=1e-3, rtol=0)
    assert not fit.weight[..., 4].any()
    torch.testing.assert_close(fit.constant, expected[:, 4], atol=1e-3, rtol=0)
    assert fit.after < 1e-6 < fit.before


def test_held_out_rows_choose_the_ridge_and_refuse_noise():
    z, noise = normal(1, 60, 40), normal(1, 60, 2, seed=1)
    equations = NormalEquations(has_constant=True)
    equations.add(z, z[..., :2] + noise, z[..., :2], torch.arange(60) % 5 == 4)
    ridge = equations.solve().ridge
    assert ridge > 1e-2

    equations = NormalEquations(has_constant=True)
    equations.add(z, noise, z[..., :2], torch.arange(60) % 5 == 4)
    assert equations.solve() is None


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        pytest.param(nn.Conv2d(4, 6, 3, padding=1), (2, 4, 7, 9), id="padding"),
        pytest.param(nn.Conv2d(4, 6, (3, 2), stride=(2, 1), dilation=(1, 2)), (2, 4, 9, 9), id="dilation"),
        pytest.param(nn.Conv2d(4, 6, 4, padding="same", dilation=2), (2, 4, 9, 9), id="same size"),
        pytest.param(nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (2, 4, 7, 7), id="reflected"),
        pytest.param(nn.Conv2d(4, 6, 3, groups=2, bias=False), (2, 4, 7, 7), id="groups"),
        pytest.param(nn.Conv2d(4, 4, 3, groups=4), (2, 4, 7, 7), id="depthwise"),
        pytest.param(Conv2dSame(4, 6, 3, stride=2), (2, 4, 8, 8), id="pads by itself"),
        pytest.param(nn.Linear(4, 6), (5, 4), id="linear"),
        pytest.param(nn.Linear(4, 6), (5, 3, 4), id="tokens"),
    ],
)
def test_windows_times_weights_are_the_output(layer, shape):
    torch.manual_seed(0)
    layer, inputs = layer.double(), normal(*shape)
    with torch.no_grad():
        output = layer(inputs)
    pads = padding_of(layer, inputs, output)
    assert pads == isinstance(layer, Conv2dSame)
    if isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros" and not pads:
        windows = windows_of(layer, inputs, pads=pads)
        found = torch.einsum("nchwij,ocij->nohw", windows, layer.weight) + layer.bias[:, None, None]
        torch.testing.assert_close(found, as_map(output, layer))
    assert padding_of(layer, inputs, output + 1) is None


class Depthwise(nn.Module):
    """A separable convolution, whose depthwise part is fitted as well."""

    def __init__(self):
        super().__init__()
        self.conv, self.depth = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, groups=8)
        self.point, self.fc = nn.Conv2d(8, 6, 1), nn.Linear(6, 3)

    def forward(self, inputs):
        maps = self.depth(torch.sigmoid(self.conv(inputs)))
        return self.fc(torch.sigmoid(self.point(torch.sigmoid(maps))).mean((2, 3)))


def test_depthwise_convolutions_keep_removed_neurons_out():
    torch.manual_seed(0)
    network, inputs = Depthwise().double().eval(), normal(200, 1, 9, 9)

    pruned = prune(network, inputs, plans=half_of("conv", 8))  # checked against the unpruned network

    assert pruned.network.depth.weight.shape == (4, 1, 3, 3)
    joint, sequential = errors(network, inputs, half_of("conv", 8))
    assert sequential <= joint


def test_the_fit_of_a_depthwise_convolution_is_judged_by_what_is_kept():
    """Its kept maps are right already: removed ones are no reason to fit it."""
    torch.manual_seed(0)
    network, inputs = Depthwise().double().eval(), [normal(200, 1, 9, 9)]
    measurement, plans = measure_groups(network, inputs), half_of("conv", 8)
    masked = compensate(network, inputs, measurement, plans, Rule())

    fits = refit_in_order_(masked, network, inputs, planned(measurement.groups, plans))

    assert "fc" in fits
    assert "depth" not in fits


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 3))


def test_with_few_samples_the_joint_refit_stays_and_the_number_needed_is_named(caplog):
    network, inputs = mlp(), torch.randn(10, 8, generator=torch.Generator().manual_seed(1))
    plans = half_of("0", 20)

    sequential, joint = (
        prune(network, inputs, plans=plans, refit=refit) for refit in ("sequential", "joint")
    )

    pairs = zip(sequential.network.parameters(), joint.network.parameters(), strict=True)
    assert all(one.equal(two) for one, two in pairs)
    (message,) = (
        record.getMessage() for record in caplog.records if "keeps the joint fit" in record.getMessage()
    )
    assert "it has 8 windows, fewer than its " in message
    assert int(message.partition("give ")[2].split()[0]) > 10


class Windows(nn.Module):
    """A network that splits each sample into four windows of two tokens, as attention in windows does."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.out = nn.Linear(4, 6), nn.Linear(6, 4), nn.Linear(4, 2)

    def forward(self, inputs):
        windows = self.two(self.one(inputs.reshape(-1, 2, 4)).relu())
        return self.out(windows.reshape(len(inputs), -1, 4).mean(1))


class TokensFirst(Windows):
    """A network whose first axis is that of the tokens."""

    def forward(self, inputs):
        return self.out(self.two(self.one(inputs.transpose(0, 1)).relu()).mean(0))


@pytest.mark.parametrize("kind", [Windows, TokensFirst])
def test_all_tokens_of_a_sample_are_held_out_together(monkeypatch, kind):
    network, held_out, fitted = kind(), set(), set()
    nn.init.ones_(network.one.weight)
    nn.init.zeros_(network.one.bias)
    inputs = torch.arange(40.0)[:, None, None].expand(40, 8, 4)  # the number of the sample

    def add(self, z, r, targets, is_held_out):
        if z.shape[2] == 3:  # the layer two, which takes three neurons
            held_out.update(z[0, is_held_out, 0].div(4).tolist())
            fitted.update(z[0, ~is_held_out, 0].div(4).tolist())

    monkeypatch.setattr(NormalEquations, "add", add)
    prune(network, inputs.split(8), num_removed={"one": 3}, layers=["one"])

    assert held_out == set(range(4, 40, 5))
    assert not held_out & fitted


class Token(nn.Module):
    """A network that weights its neurons by numbers which it computes from a parameter."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 5))
        self.one, self.two = nn.Linear(5, 8), nn.Linear(8, 6)
        self.hidden, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, inputs):
        return self.last((self.hidden(inputs) * self.two(self.one(self.token).relu())).relu())


def test_layers_that_do_not_take_the_samples_may_lose_neurons():
    torch.manual_seed(0)
    network, inputs = Token(), torch.randn(80, 4)

    small = prune(network, inputs, layers=["one"], share_removed=0.5).network

    torch.testing.assert_close(small(inputs), network(inputs))  # one sample: a constant is exact


class Branch(nn.Module):
    """A network that calls one of two layers, by the mean of a batch."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 16), nn.Linear(16, 12)
        self.low, self.high, self.limit = nn.Linear(12, 3), nn.Linear(12, 3), 0.0

    def forward(self, inputs):
        hidden = self.two(self.one(inputs).tanh())
        mean = hidden.mean()
        return (self.high if mean > self.limit else self.low)(hidden.tanh())


def test_layers_that_the_pruned_network_does_not_call_keep_the_joint_refit(caplog):
    torch.manual_seed(0)
    network, inputs = Branch(), torch.randn(200, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():  # every other batch takes the other layer
        network.limit = float(network.two(network.one(inputs).tanh()).mean())

    pruned = prune(network, inputs.split(20), layers=["one"], share_removed=0.7)

    assert pruned.plans["one"].removals
    assert "keeps the joint fit: the pruned and the unpruned network call it differently" in caplog.text


def test_samples_are_not_run_for_layers_that_are_too_wide(monkeypatch, caplog):
    network, inputs, called = mlp(), torch.randn(400, 8, generator=torch.Generator().manual_seed(1)), []
    network.register_forward_pre_hook(lambda *_: called.append(1))
    plans, counts = half_of("0", 20), []
    for most in (5000, 5):
        monkeypatch.setattr("fer.neurons.sequential.MAX_UNKNOWNS", most)
        prune(network, inputs, plans=plans)
        counts.append(len(called) - sum(counts))

    assert "it has more than 5 regressors" in caplog.text
    assert counts[0] - counts[1] == (1 + 2) * 7  # the unpruned network once, the pruned one for two layers


def test_inputs_that_are_not_finite_keep_the_joint_refit(caplog):
    network = mlp()
    inputs = torch.randn(400, 8, generator=torch.Generator().manual_seed(1))
    inputs[350] = 1e30
    network[0].weight.data[15] *= 1e10  # infinite for this sample
    small = prune(network, inputs, plans=half_of("0", 20), refit="joint")
    again = prune(network, inputs, plans=half_of("0", 20))
    pairs = zip(small.network.parameters(), again.network.parameters(), strict=True)
    assert all(torch.allclose(*pair, rtol=0, atol=0, equal_nan=True) for pair in pairs)
    assert "some of its inputs or targets are not finite" in caplog.text


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_and_train_mode(dtype):
    network = mlp().to(dtype).train()
    inputs = torch.randn(400, 8, generator=torch.Generator().manual_seed(1))

    small = prune(network, inputs, plans=half_of("0", 20)).network

    assert small.training
    assert all(each.dtype == dtype and each.isfinite().all() for each in small.parameters())
    before, after = (each(inputs.to(dtype)).float() for each in (network, small))
    assert F.mse_loss(after, before) < 0.5 * before.var()


def test_an_unknown_refit_is_refused():
    with pytest.raises(InputError, match="refit is 'late': it must be one of sequential, joint"):
        prune(mlp(), torch.randn(9, 8), refit="late")
