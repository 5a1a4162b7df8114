"""Outputs of layers by name: any network, no trace left, what is refused."""

import random

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fer.errors import InputError
from fer.neurons import ActivationStatistics, measure, record


def small_network():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(3, 4),
        nn.Sigmoid(),
        nn.Linear(4, 2),
        nn.Tanh(),
    )


def batches(num=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(4, 1, 5, 5, generator=generator) for _ in range(num)]


def num_hooks(network):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


def test_outputs_are_handed_over_before_the_next_layer_overwrites_them():
    network, kept = small_network().eval(), {}
    inputs = batches(1)[0]
    with record(network, ["1", "2"], lambda name, output: kept.update({name: output.clone()})):
        network(inputs)
    expected = network[1](network[0](inputs))
    torch.testing.assert_close(kept["1"], expected)
    torch.testing.assert_close(kept["2"], expected.relu())
    assert (kept["1"] < 0).any()
    assert not kept["1"].requires_grad


def test_hooks_are_released_even_after_an_error():
    network = small_network()
    with record(network, ["0", "2"], lambda *_: None):
        assert num_hooks(network) == 2
        with pytest.raises(RuntimeError):
            network(torch.zeros(1, 2, 5, 5))
    assert num_hooks(network) == 0
    with pytest.raises(InputError), record(network, ["0", "nothing"], lambda *_: None):
        pass
    assert num_hooks(network) == 0


def test_measured_layers_have_the_statistics_of_their_outputs():
    network = small_network()
    statistics = measure(network, batches(), ["7", "1"], maps={"1": "mean"})
    network.eval()
    images = torch.cat(batches())
    with torch.no_grad():
        maps, hidden = network[:2](images), network[:8](images)
    assert list(statistics) == ["7", "1"]
    for name, expected in {
        "7": ActivationStatistics.of(hidden),
        "1": ActivationStatistics.of(maps, maps="mean"),
    }.items():
        assert statistics[name].count == expected.count == 12
        torch.testing.assert_close(statistics[name].gram, expected.gram)
    assert measure(network, batches(), ["1"])["1"].count == 12 * 25
    rescaled = measure(network, batches(), ["7"], pattern_minmax=True)["7"]
    assert (rescaled.minimum.min(), rescaled.maximum.max()) == (-0.5, 0.5)


def test_the_kind_of_unit_is_known():
    statistics = measure(small_network(), batches(), ["7", "9", "6"])
    assert {name: layer.unit for name, layer in statistics.items()} == {
        "7": "logistic",
        "9": "tanh",
        "6": "other",
    }


def test_measuring_leaves_no_trace():
    """Mode of every module, random states, gradients, batch-norm statistics, hooks."""
    network = small_network().train()
    network[1].eval()  # a frozen layer stays frozen
    network(batches(1)[0]).sum().backward()
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    loader = DataLoader(TensorDataset(torch.cat(batches()), torch.zeros(12)), batch_size=5, shuffle=True)
    before = torch.random.get_rng_state(), random.getstate()

    assert measure(network, loader, ["7"])["7"].count == 12

    assert torch.random.get_rng_state().equal(before[0])
    assert random.getstate() == before[1]
    assert [module.training for module in network.modules()] == modes
    assert all(
        parameter.grad.equal(old) for parameter, old in zip(network.parameters(), gradients, strict=True)
    )
    assert all(tensor.equal(state[name]) for name, tensor in network.state_dict().items())
    assert num_hooks(network) == 0
    assert torch.is_grad_enabled()


def test_an_error_leaves_no_trace_either():
    network = small_network().train()
    with pytest.raises(InputError, match=r"Sequential does not take float32 \(1, 2, 5, 5\): .* channels"):
        measure(network, [torch.zeros(1, 2, 5, 5)], ["7"])
    assert network.training
    assert all(module.training for module in network.modules())
    assert num_hooks(network) == 0


def test_a_layer_that_is_not_finite_is_measured():
    network = small_network()
    nn.init.constant_(network[6].bias, torch.nan)
    statistics = measure(network, batches(), ["2", "6"])
    assert statistics["6"].non_finite.all()
    assert not statistics["2"].non_finite.any()


class Shared(nn.Module):
    """One activation called twice, one layer never, and one with two outputs."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.activation = nn.ReLU()
        self.protected = nn.Linear(3, 3)
        self.recurrent = nn.GRU(3, 3)

    def forward(self, inputs):
        outputs, _ = self.recurrent(self.activation(self.second(self.activation(self.first(inputs)))))
        return outputs


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        pytest.param(
            "secnd",
            "Shared has no layer 'secnd': did you mean 'second'[?] its layers are first, second, act",
            id="unknown",
        ),
        pytest.param("", "no layer ''", id="the network itself"),
        pytest.param("recurrent", r"layer 'recurrent' \(GRU\) returns a tuple, not a tensor", id="tuple"),
        pytest.param("activation", "layer 'activation' is called more than once", id="shared"),
        pytest.param("protected", "does not call its layers protected", id="not called"),
    ],
)
def test_layers_that_cannot_be_measured_are_named(layer, reason):
    with pytest.raises(InputError, match=reason):
        measure(Shared(), [torch.zeros(2, 3)], [layer])


@pytest.mark.parametrize(
    ("network", "inputs", "reason"),
    [
        pytest.param(nn.Conv1d(1, 2, 3), torch.zeros(2, 1, 9), "layer 'wrapped': expected act", id="shape"),
        pytest.param(
            nn.Linear(1, 20_000), torch.zeros(2, 1), "layer 'wrapped': 20,000 neurons are more", id="too wide"
        ),
    ],
)
def test_outputs_that_cannot_be_measured_name_their_layer(network, inputs, reason):
    wrapper = nn.Sequential()
    wrapper.add_module("wrapped", network)
    with pytest.raises(InputError, match=reason):
        measure(wrapper, [inputs], ["wrapped"])


def test_an_empty_analysis_set_is_refused():
    with pytest.raises(InputError, match="the analysis set is empty"):
        measure(small_network(), [], ["7"])


def test_a_place_can_be_what_a_layer_is_given():
    network, inputs = small_network().eval(), batches(2)
    statistics = measure(network, inputs, ["6:input", "4", "1:input", "0"])
    assert list(statistics) == ["6:input", "4", "1:input", "0"]
    torch.testing.assert_close(statistics["6:input"].scatter, statistics["4"].scatter)
    torch.testing.assert_close(statistics["1:input"].scatter, statistics["0"].scatter)
    assert num_hooks(network) == 0


def test_what_is_given_is_known_where_one_activation_serves_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2, self.act = nn.Linear(3, 4), nn.Linear(4, 2), nn.ReLU()

        def forward(self, inputs):
            return self.act(self.fc2(self.act(self.fc1(inputs))))

    network, inputs = Twice(), torch.randn(9, 3)
    with pytest.raises(InputError, match="called more than once"):
        measure(network, [inputs], ["act"])
    statistics = measure(network, [inputs], ["fc2:input"])["fc2:input"]
    torch.testing.assert_close(statistics.mean, network.fc1(inputs).relu().detach().double().mean(0))


@pytest.mark.slow
def test_a_compiled_network_is_measured():
    network, inputs = small_network().eval(), batches(2)
    expected = measure(network, inputs, ["2"])["2"]
    network.compile(backend="eager")
    network(inputs[0])
    torch.testing.assert_close(measure(network, inputs, ["2"])["2"].scatter, expected.scatter)


def test_an_unknown_layer_is_unknown_as_input_too():
    with pytest.raises(InputError, match="no layer '66'"):
        measure(small_network(), batches(), ["66:input"])
