"""Copies of networks compute with their own weights, whatever was done to the original's methods."""

import copy
from functools import partial
from types import MethodType

import lightning
import pytest
import torch
import torchmetrics
from lightning.pytorch.utilities.compile import from_compiled
from torch import nn

from fer.errors import InputError
from fer.neurons import measure, prune
from fer.neurons.networks import copy_network


class Task(lightning.LightningModule):
    """A LightningModule with a metric, and losses that are still part of a graph."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
        self.accuracy = torchmetrics.classification.MulticlassAccuracy(3)
        self.losses = []

    def forward(self, inputs):
        return self.net(inputs)

    def training_step(self, batch):
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.losses.append(loss)
        return loss


INPUTS, LABELS = torch.rand(40, 5, generator=torch.Generator().manual_seed(1)), torch.arange(40) % 3


def task():
    torch.manual_seed(0)
    return Task()


def compiled(module):
    module.compile(backend="eager")
    return module


def with_compiled_child():
    made = task()
    made.net = torch.compile(made.net, backend="eager")
    return made


def with_forward(make_forward):
    network = task().net
    network.forward = make_forward(network)
    return network


def run(network, inputs):
    return network[2](network[1](network[0](inputs)))


NETWORKS = {
    "LightningModule": task,
    "compile() of a LightningModule": lambda: compiled(task()),
    "compile() of a network": lambda: compiled(task().net),
    "torch.compile of a network": lambda: torch.compile(task().net, backend="eager"),
    "torch.compile of a child": with_compiled_child,
    "as Lightning unwraps it": lambda: from_compiled(torch.compile(task(), backend="eager")),
    "a compiled forward": lambda: with_forward(lambda net: torch.compile(net.forward, backend="eager")),
    "a compiled forward, one graph": lambda: with_forward(
        lambda net: torch.compile(net.forward, backend="eager", fullgraph=True)
    ),
    "as Lightning unwraps it, one graph": lambda: from_compiled(
        torch.compile(task(), backend="eager", fullgraph=True)
    ),
    "a method": lambda: with_forward(lambda net: MethodType(run, net)),
    "a partial": lambda: with_forward(lambda net: partial(run, net)),
}


@pytest.fixture(autouse=True)
def nothing_compiled_before():
    """A class of which too many networks were compiled in this process is not compiled again."""
    torch._dynamo.reset()


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_copy_computes_with_its_own_weights(kind):
    network = NETWORKS[kind]()
    expected = network(INPUTS)
    twin = copy_network(network)
    torch.testing.assert_close(twin(INPUTS), expected)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert not twin(INPUTS).any()
    torch.testing.assert_close(network(INPUTS), expected)


@pytest.mark.parametrize("kind", NETWORKS)
def test_they_are_measured_and_pruned(kind):
    network = NETWORKS[kind]()
    expected = prune(task().net, [INPUTS], share_removed=0.5)
    pruned = prune(network, [INPUTS], share_removed=0.5)
    assert [*pruned.plans.values()] == [*expected.plans.values()]
    torch.testing.assert_close(pruned.network(INPUTS), expected.network(INPUTS))
    (statistics,) = measure(network, [INPUTS]).values()
    torch.testing.assert_close(statistics.scatter, measure(task().net, [INPUTS])["0"].scatter)


@pytest.mark.parametrize("kind", ["as Lightning unwraps it", "compile() of a LightningModule"])
def test_the_pruned_module_of_a_compiled_one_trains_its_own_weights(kind):
    network = NETWORKS[kind]()
    small = prune(network, [INPUTS], share_removed=0.5).network.train()
    small.training_step((INPUTS, LABELS)).backward()
    assert small.net[0].weight.grad.shape == (4, 5)
    assert network.net[0].weight.grad is None


class NotCopied:
    """A trainer that must not be copied."""

    def __deepcopy__(self, memo):
        raise AssertionError


def test_a_lightning_module_is_copied_without_its_trainer():
    network = task()
    network._trainer = NotCopied()
    assert copy_network(network)._trainer is None
    assert isinstance(network._trainer, NotCopied)


def test_losses_that_a_module_collects_do_not_stop_the_copy():
    network = task()
    network.training_step((INPUTS, LABELS))
    assert network.losses[0].grad_fn is not None
    twin = copy_network(network)
    assert twin.losses[0].equal(network.losses[0])
    assert not twin.losses[0].requires_grad
    assert twin.accuracy is not network.accuracy


def with_attribute(make):
    network = task()
    network.encode = make(network)
    return network


def closure(network):
    layer = network[0]
    return lambda inputs: network[2](layer(inputs))


def decorated(network):
    return torch.no_grad()(network.forward)


GLOBAL = task()


@pytest.mark.parametrize(
    ("network", "name"),
    [
        pytest.param(lambda: with_forward(closure), "Sequential.*function forward holds", id="closure"),
        pytest.param(lambda: with_forward(decorated), "Sequential.*function forward holds", id="decorated"),
        pytest.param(
            lambda: with_forward(lambda net: torch.compile(closure(net), backend="eager")),
            "function forward",
            id="compiled closure",
        ),
        pytest.param(
            lambda: with_attribute(lambda made: [lambda inputs: made.net(inputs)]), "Task.*encode", id="list"
        ),
        pytest.param(
            lambda: with_attribute(lambda made: partial(lambda net, x: net(x), closure(made.net))),
            "encode",
            id="partial",
        ),
        pytest.param(
            lambda: with_attribute(lambda made: lambda inputs, net=made.net: net(inputs)),
            "encode",
            id="default",
        ),
        pytest.param(
            lambda: with_attribute(lambda made: MethodType(lambda self, x: made(x), made)),
            "encode",
            id="method",
        ),
    ],
)
def test_a_function_that_would_use_the_originals_weights_is_refused(network, name):
    made = network()
    with pytest.raises(InputError, match=rf"{name}.*which the copy would share: make the function a method"):
        copy_network(made)


def test_a_layer_that_a_function_takes_from_the_program_is_found():
    GLOBAL.encode = lambda inputs: GLOBAL.net(inputs)
    with pytest.raises(InputError, match="the function encode holds one of its layers"):
        copy_network(GLOBAL)


def test_functions_that_hold_no_layer_are_kept():
    network, other = task(), nn.Linear(8, 8)
    network.augment = lambda inputs: other(inputs)  # not a part of it
    network.scale = partial(torch.mul, other=2)
    twin = copy_network(network)
    assert twin.augment is network.augment
    assert twin.scale(torch.ones(1)).item() == 2


def test_a_copy_can_be_copied_again():
    network = from_compiled(torch.compile(task(), backend="eager"))
    twin = copy_network(copy_network(network))
    assert "forward" not in vars(task())
    torch.testing.assert_close(copy.deepcopy(twin)(INPUTS), network(INPUTS))
