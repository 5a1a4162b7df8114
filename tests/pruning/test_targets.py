"""Networks of a given size."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fer.errors import InputError
from fer.pruning import SIZE_KINDS, Limit, PruneSettings, count_macs, prune_once, prune_to, size
from fer.pruning.limits import Meter, Reading
from fer.pruning.once import measure_for
from fer.pruning.size import count_parameters
from fer.pruning.targets import settings_at_size, threshold_at_size


@pytest.mark.slow
def test_numbers_of_neurons_are_found(network, train):
    whole = count_macs(network, train[0][0])

    pruning = prune_once(network, train, PruneSettings(criterion="span"), max_macs=0.7 * whole)

    assert count_macs(pruning.network, train[0][0]) <= 0.7 * whole
    removed = {name: layer["before"] - layer["after"] for name, layer in pruning.layers.items()}
    assert pruning.settings.num_removed == removed


@pytest.mark.slow
def test_parameters_are_limited(network, train):
    pruning = prune_once(network, train, PruneSettings(criterion="span"), max_params=1000)

    assert count_parameters(pruning.network) <= 1000
    assert pruning.target.kind == "params"
    assert pruning.target.before.value == count_parameters(network)
    assert pruning.target.after.value == count_parameters(pruning.network)
    assert str(pruning.target).startswith("at most 1,000 parameters: ")


@pytest.mark.parametrize("kind", ["macs", "params"])
@pytest.mark.slow
def test_no_neuron_can_be_given_back(kind, network, train):
    """What is left over is less than any one neuron needs."""
    limit = Limit(kind, 0.6, of=network)
    settings = PruneSettings(criterion="span")
    found = prune_to(network, train, settings, limit)
    meter = Meter(limit, network, train[0][0])
    assert meter.is_met(meter.read(found.network))
    removed = found.settings.num_removed
    assert any(removed.values())
    for name, num in removed.items():
        if num > found.layers[name]["dead"] + found.layers[name]["constant"]:
            more = PruneSettings(criterion="span", num_removed={**removed, name: num - 1})
            assert not meter.is_met(meter.read(prune_once(network, train, more).network))


def test_a_share_of_the_own_size_is_kept(network, train):
    pruning = prune_once(network, train, PruneSettings(criterion="span"), target_params=0.6)
    assert 0.5 < count_parameters(pruning.network) / count_parameters(network) <= 0.6


def test_what_is_no_limit_is_refused(network, train):
    with pytest.raises(InputError, match=r"limit is 0.5: give a Limit, such as Limit\('macs'"):
        prune_to(network, train, PruneSettings(criterion="span"), 0.5)
    with pytest.raises(InputError, match="max_macs and target_params both set the size"):
        prune_once(network, train, max_macs=1000, target_params=0.5)


def test_dead_neurons_go_even_where_they_save_little():
    torch.manual_seed(0)
    before = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = nn.Sequential(before, nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    with torch.no_grad():
        network[1].bias[:5] = -100
    images = list(torch.randn(320, 1, 8, 8).split(64))
    limit = Limit("macs", 0.6, of=network)
    layers = prune_to(network, images, PruneSettings(criterion="span"), limit).layers
    assert layers["1"]["dead"] >= 5
    assert layers["0.0"]["after"] < layers["0.0"]["before"]


@pytest.mark.slow
def test_one_threshold_is_found_for_the_rules_by_angles(network, train):
    whole = count_macs(network, train[0][0])

    pruning = prune_once(network, train, PruneSettings(rule="narayan"), max_macs=0.7 * whole)

    assert count_macs(pruning.network, train[0][0]) <= 0.7 * whole
    degrees = pruning.settings.similar_below
    assert 0 < degrees <= 90
    assert pruning.settings.complementary_above == 180 - degrees
    assert pruning.settings.num_removed is None


@pytest.mark.slow
def test_the_other_rules_remove_the_same_share_of_each_layer(network, train):
    pruning = prune_once(network, train, PruneSettings(rule="grail"), max_macs=7e5)

    share = pruning.settings.share_removed
    removed = {name: layer["criterion"] for name, layer in pruning.layers.items()}
    assert removed == {name: int(share * layer["before"]) for name, layer in pruning.layers.items()}


@pytest.mark.parametrize("numbers", [{"num_removed": {"conv2": 1}}, {"share_removed": 0.1}])
def test_a_limit_and_numbers_of_neurons_exclude_each_other(network, train, numbers):
    with pytest.raises(InputError, match="set the size: leave them out"):
        prune_once(network, train, PruneSettings(criterion="span", **numbers), max_params=1000)


@pytest.mark.slow
def test_the_settings_are_left_as_they_are(network, train):
    settings = PruneSettings(criterion="span")
    measurement = measure_for(network, train, settings)

    found = settings_at_size(
        *(settings, network, measurement, train), Meter(Limit("macs", 1e5), network, train[0][0])
    )

    assert settings == PruneSettings(criterion="span")
    assert found.num_removed


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"criterion": "span"}, {"rule": "jain"}, {"rule": "grail"}])
@pytest.mark.parametrize("kind", ["macs", "params"])
def test_a_size_out_of_reach_is_refused(kind, settings, network, train):
    unit = SIZE_KINDS[kind].unit
    message = rf"^1 {unit} cannot be reached: the smallest network has [\d,]+.*; raise target_{kind} \(--"
    with pytest.raises(InputError, match=message):
        prune_once(network, train, PruneSettings(**settings), **{f"max_{kind}": 1})


@pytest.mark.slow
def test_a_threshold_is_searched_for_any_criterion(network, train):
    settings = PruneSettings(criterion="span")
    measurement = measure_for(network, train, settings)

    degrees = threshold_at_size(
        *(settings, network, measurement), Meter(Limit("macs", 0.7, of=network), network, train[0][0])
    )

    assert 0 < degrees <= 90


@pytest.mark.parametrize("criterion", ["pairs", "span", "l1", "taylor", "fisher"])
@pytest.mark.slow
def test_every_criterion_reaches_a_size(criterion, network, train):
    whole = count_macs(network, train[0][0])

    pruning = prune_once(network, train, PruneSettings(criterion=criterion), max_macs=0.5 * whole)

    assert 0.4 * whole < count_macs(pruning.network, train[0][0]) <= 0.5 * whole


@pytest.mark.parametrize(
    ("most", "message"),
    [
        pytest.param({"max_macs": 1e6, "max_params": 1e3}, "max_macs and max_params exclude", id="two"),
        pytest.param({"max_latency": 0.0}, "max_latency is 0.0: it must be above 0", id="none"),
        pytest.param({"max_params": float("nan")}, "max_params is nan: it must be above 0", id="nan"),
    ],
)
def test_what_is_refused(most, message, network, train):
    with pytest.raises(InputError, match=message):
        prune_once(network, train, **most)


class Clock:
    """A clock that only layers move, by a microsecond a weight, and sometimes a hiccup of the machine."""

    def __init__(self):
        self.seconds = 0.0
        self.calls = 0

    def perf_counter(self):
        return self.seconds

    def pass_by(self, module):
        self.calls += 1
        self.seconds += 1e-6 * module.weight.numel() + (1e-3 if self.calls % 50 == 0 else 0)


CLOCK = Clock()


class Slow(nn.Linear):
    """A linear layer that takes time."""

    def forward(self, inputs):
        CLOCK.pass_by(self)
        return super().forward(inputs)


@pytest.fixture
def slow(monkeypatch):
    """A network of known latency: 320 + 3,072 + 96 weights."""
    monkeypatch.setattr(size, "time", CLOCK)
    monkeypatch.setattr(size, "LATENCY_SECONDS", 0.05)
    torch.manual_seed(0)
    return nn.Sequential(Slow(10, 32), nn.ReLU(), Slow(32, 96), nn.ReLU(), Slow(96, 1)).eval()


@pytest.mark.slow
def test_latency_is_limited_as_the_clock_measures_it(slow):
    batches = list(torch.randn(600, 10).split(100))

    pruning = prune_to(slow, batches, PruneSettings(criterion="span"), Limit("latency", 0.5, of=slow))

    weights = sum(module.weight.numel() for module in pruning.network if isinstance(module, nn.Linear))
    assert weights <= 0.5 * (320 + 3072 + 96)
    target = pruning.target
    assert target.before.value == pytest.approx(3.488)
    assert target.after.value == pytest.approx(weights / 1000, rel=0.01)
    assert target.after.low <= target.after.value <= target.after.high
    assert target.after.num_repeats >= 5
    assert "at most 1.744 ms for a batch of 1: " in str(target)
    assert f"median of {target.after.num_repeats}, quartiles " in str(target)
    left = [layer["after"] for layer in pruning.layers.values()]
    assert all(num % 16 == 0 for num in left)


def test_a_latency_out_of_reach_is_refused(slow):
    with pytest.raises(InputError, match=r"ms for a batch of 1 cannot be reached: .* raise target_latency"):
        prune_once(slow, list(torch.randn(600, 10).split(100)), max_latency=0.001)


def test_a_reading_of_repeats_is_their_median_with_quartiles():
    assert Reading.of([3.0, 1.0, 2.0, 4.0, 5.0]) == Reading(3.0, 1.5, 4.5, 5)
    assert Reading.of([3.0]) == Reading(3.0, 3.0, 3.0, 1)


def test_a_network_on_its_own_takes_the_load_of_the_machine_out(slow, monkeypatch):
    """Both are timed in turn: a machine that gets slower by a factor changes no ratio."""
    example = torch.randn(1, 10)
    meter = Meter(Limit("latency", 0.5, of=slow), slow, example)
    clock = SimpleNamespace(perf_counter=lambda: 3 * CLOCK.seconds)
    monkeypatch.setattr(size, "time", clock)

    assert meter.read(slow).value == pytest.approx(meter.whole.value)
