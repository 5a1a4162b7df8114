"""Networks of a given size."""

import pytest

from fer.errors import InputError
from fer.pruning import PruneSettings, count_macs, prune_once, settings_at_macs
from fer.pruning.once import measure_for
from fer.pruning.targets import threshold_at_macs


def test_one_threshold_is_found_for_pairs(network, train):
    whole = count_macs(network, train[0][0])

    pruning = prune_once(network, train, PruneSettings(), max_macs=0.7 * whole)

    assert count_macs(pruning.network, train[0][0]) <= 0.7 * whole
    degrees = pruning.settings.similar_below
    assert 0 < degrees <= 90
    assert pruning.settings.complementary_above == 180 - degrees
    assert pruning.settings.num_removed is None


def test_numbers_of_neurons_are_found_for_a_criterion_with_costs(network, train):
    whole = count_macs(network, train[0][0])

    pruning = prune_once(network, train, PruneSettings(criterion="span"), max_macs=0.7 * whole)

    assert count_macs(pruning.network, train[0][0]) <= 0.7 * whole
    removed = {name: layer["before"] - layer["after"] for name, layer in pruning.layers.items()}
    assert pruning.settings.num_removed == removed


def test_the_settings_are_left_as_they_are(network, train):
    settings = PruneSettings(criterion="span")
    measurement = measure_for(network, train, settings)

    found = settings_at_macs(settings, network, measurement, train[0][0], 1e5)

    assert settings == PruneSettings(criterion="span")
    assert found.num_removed


@pytest.mark.parametrize("criterion", ["pairs", "span"])
def test_a_size_out_of_reach_is_refused(criterion, network, train):
    with pytest.raises(InputError, match=r"raise --target_macs or name more layers"):
        prune_once(network, train, PruneSettings(criterion=criterion), max_macs=1)


def test_a_threshold_is_searched_for_any_criterion(network, train):
    measurement = measure_for(network, train, PruneSettings())
    whole = count_macs(network, train[0][0])

    degrees = threshold_at_macs(
        *(network, measurement, train[0][0], 0.7 * whole), PruneSettings(criterion="span")
    )

    assert 0 < degrees <= 90


@pytest.mark.parametrize("criterion", ["pairs", "span", "l1", "taylor", "fisher"])
def test_every_criterion_reaches_a_size(criterion, network, train):
    whole = count_macs(network, train[0][0])

    pruning = prune_once(network, train, PruneSettings(criterion=criterion), max_macs=0.5 * whole)

    assert 0 < count_macs(pruning.network, train[0][0]) <= 0.5 * whole


def test_a_criterion_without_costs_and_thresholds_removes_the_same_share_of_each_layer(network, train):
    pruning = prune_once(network, train, PruneSettings(criterion="l1"), max_macs=7e5)

    share = pruning.settings.share_removed
    removed = {name: layer["criterion"] for name, layer in pruning.layers.items()}
    assert removed == {name: int(share * layer["before"]) for name, layer in pruning.layers.items()}
