"""Networks and batches of other kinds: what is pruned all the same, and what is refused in one line."""

import threading

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as prune_weights

from fer.errors import InputError
from fer.neurons import Pruned, find_prunable, measure, measure_groups, prune, record
from fer.neurons.inputs import inputs_of
from fer.neurons.networks import copy_network

HALF = {"share_removed": 0.5}


class Recurrent(nn.Module):
    """A convolution whose positions are the steps of a recurrent layer."""

    def __init__(self, kind):
        super().__init__()
        self.conv, self.rnn = nn.Conv2d(1, 8, 3), kind(8, 6, batch_first=True)
        self.fc, self.out = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, inputs):
        steps, _ = self.rnn(self.conv(inputs).relu().flatten(2).transpose(1, 2))
        return self.out(self.fc(steps[:, -1]).relu())


class Casting(nn.Module):
    """A network that takes images of any type, as bytes are."""

    def __init__(self):
        super().__init__()
        self.net = chain()

    def forward(self, inputs):
        return self.net(inputs.float() / 255)


def chain(first=None):
    return nn.Sequential(
        *(first or nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)),
    )


def images(num=40):
    return torch.rand(num, 1, 9, 9, generator=torch.Generator().manual_seed(0))


def old_pruning(layer):
    return prune_weights.random_unstructured(layer, "weight", amount=0.5)


def names(network):
    return [group.name for group in find_prunable(network, images()).groups]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.slow
def test_a_recurrent_layer_is_refused_and_others_are_pruned(kind):
    torch.manual_seed(0)
    network = Recurrent(kind)
    pruned = prune(network, images().split(20), **HALF)
    assert [*pruned.plans] == ["fc"]
    assert "rnn" in pruned.report["refused"]["conv"]
    assert pruned.network(images()).shape == (40, 3)


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize(
    "compute",
    [nn.utils.weight_norm, nn.utils.spectral_norm, old_pruning],
    ids=["weight", "spectral", "pruning"],
)
def test_a_layer_whose_weights_a_hook_computes_is_copied_and_its_neighbours_are_pruned(compute):
    torch.manual_seed(0)
    network = chain(compute(nn.Conv2d(1, 8, 3)))
    network(images())  # the weights are now part of an autograd graph, which deepcopy refuses
    assert copy_network(network.eval())(images()).equal(network(images()))
    pruned = prune(network, images().split(20), **HALF)
    assert [*pruned.plans] == ["2"]
    assert pruned.report["refused"]["0"] == "the weights of 0 are computed from other parameters"
    assert pruned.network(images()).isfinite().all()


def test_a_network_that_cannot_be_copied_is_named_in_one_line():
    network = chain()
    network.lock = threading.Lock()
    with pytest.raises(InputError, match=r"^Sequential cannot be copied \(cannot pickle .*lock.*\): remove"):
        prune(network, [images()])


@pytest.mark.parametrize("inputs", [images(), (images() * 255).byte()], ids=["floats", "bytes"])
def test_a_network_that_casts_its_inputs_is_pruned(inputs):
    torch.manual_seed(0)
    network = Casting()
    pruned = prune(network, inputs.split(20), **HALF)
    assert [*pruned.plans] == ["net.0", "net.2"]
    assert next(pruned.network.parameters()).dtype == torch.float32


def test_one_slope_for_all_neurons_before_a_flatten_keeps_none_of_them():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.PReLU(), nn.Flatten(), nn.Linear(392, 5))
    assert names(network) == ["0"]
    pruned = prune(network, images().split(20), **HALF)
    assert pruned.network[1].weight.equal(network[1].weight)
    assert pruned.network[3].in_features == 196


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda batch: {"image": batch, "label": torch.zeros(len(batch))}, id="mapping"),
        pytest.param(lambda batch: ((batch, "a.png"), torch.zeros(len(batch))), id="nested"),
        pytest.param(lambda batch: [batch], id="list"),
    ],
)
def test_the_first_tensor_of_a_batch_is_the_input(wrap):
    torch.manual_seed(0)
    network = chain()
    batches = images().split(20)
    wrapped = [wrap(batch) for batch in batches]
    assert prune(network, wrapped, **HALF).plans == prune(network, batches, **HALF).plans
    assert measure(network, wrapped, "1")["1"].count == 40 * 49


@pytest.mark.parametrize("batch", [None, "image", [], {"path": "a.png"}])
def test_a_batch_without_a_tensor_is_refused(batch):
    with pytest.raises(
        InputError, match=f"a batch is a {type(batch).__name__} without tensors: give tensors"
    ):
        inputs_of(batch)


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        pytest.param(
            lambda: nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2)), "0.weight has no shape yet", id="lazy"
        ),
        pytest.param(lambda: nn.Linear(4, 2, device="meta"), "weight is on the meta device", id="meta"),
        pytest.param(
            lambda: nn.Sequential(torch.jit.trace(nn.Linear(4, 2), torch.zeros(2, 4))),
            "Sequential: 0 is scripted: give the module",
            id="scripted",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules", "ignore:.*torch.jit", "ignore::DeprecationWarning")
def test_networks_that_cannot_be_hooked_are_refused(network, reason):
    made = network()
    for use in (
        lambda: prune(made, [torch.zeros(2, 4)]),
        lambda: measure(made, [torch.zeros(2, 4)], [name for name, _ in made.named_modules() if name]),
    ):
        with pytest.raises(InputError, match=reason):
            use()


def test_a_string_is_one_name():
    network, batches = chain(), [images()]
    assert [*measure(network, batches, "1")] == ["1"]
    assert [group.name for group in measure_groups(network, batches, layers="2").groups] == ["2"]
    recorded = []
    with record(network, "1", lambda name, _: recorded.append(name)):
        network(images())
    assert recorded == ["1"]
    with pytest.raises(InputError, match="no layer 'layer3'"):
        measure(network, batches, "layer3")


def test_a_result_is_shown_in_a_line():
    torch.manual_seed(0)
    shown = repr(prune(chain(), images().split(20), **HALF))
    assert shown == "Pruned(Sequential, 163 of 539 parameters; neurons left: 0: 4 of 8, 2: 3 of 6)"
    many = {str(k): {"before": 9, "after": 5} for k in range(50)}
    report = {"parameters": {"before": 9, "after": 5}, "groups": many}
    assert len(repr(Pruned(chain(), {}, {}, report))) < 400
