"""Runs that are resumed: what is computed again, and that all is as in a whole run."""

from contextlib import suppress

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from fer.neurons.inputs import Inputs
from fer.neurons.resume import Reached, Runs, received


class Counting(TorchFunctionMode):
    """Count the linear layers that are computed."""

    def __init__(self):
        super().__init__()
        self.num = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.num += getattr(func, "__name__", "") == "linear"
        return func(*args, **(kwargs or {}))


class Network(nn.Module):
    """Layers with views, a sum in place, a branch by a value, and a tensor that is used much later."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(5))

    def forward(self, inputs):
        first = self.layers[0](inputs)
        left, right = first.chunk(2, dim=1)
        values = torch.cat([right, left.relu()], 1)
        if values.sum() > -100:
            values = values + self.layers[1](values)
        view = values.view(-1, 2, 2)
        values = self.layers[2](values)
        view.mul_(2)  # after the start of the second run
        values += first
        values = self.layers[3](values)
        return self.layers[4](values.relu_() + view.flatten(1))


class Listed(Network):
    """A network that iterates over a tensor."""

    def forward(self, inputs):
        return super().forward(torch.stack([row * 2 for row in inputs]))


def last_input(run):
    """Return what the last layer takes, and how many linear layers were computed."""
    found = []
    with torch.no_grad(), Counting() as counting, suppress(Reached):
        run(lambda name, taken, output: found.append(taken.clone()))
    return found[0], counting.num


@pytest.mark.parametrize(
    ("kind", "most", "num_computed"),
    [
        pytest.param(Network, 2**20, 3, id="resumed"),
        pytest.param(Network, 100, 5, id="too large to keep"),
        pytest.param(Network, 0, 5, id="nothing is kept"),
        pytest.param(Listed, 2**20, 3, id="iterates over a tensor"),
    ],
)
def test_a_run_starts_where_the_last_one_stood(kind, most, num_computed):
    torch.manual_seed(0)
    network, inputs = kind().eval(), Inputs.of(torch.randn(6, 4))
    runs = Runs(network, most)
    changing = ["layers.2", "layers.3", "layers.4"]

    def run(receive):
        with received(network, ["layers.4"], receive):
            runs.run(0, inputs, changing)

    def whole(receive):
        with received(network, ["layers.4"], receive):
            network(*inputs.args)

    assert last_input(run)[0].equal(last_input(whole)[0])
    for number in (2, 3):
        network.layers[number].weight.data += 1
        again, num = last_input(run)
        assert again.equal(last_input(whole)[0])
        assert num == num_computed
        changing = changing[1:]
