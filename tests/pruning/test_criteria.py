"""A criterion of one's own, by its path or through the command line's settings."""

from dataclasses import dataclass

import pytest

from fer.neurons import Criterion
from fer.neurons.criteria import rank
from fer.pruning import PruneSettings, prune_once


@dataclass(frozen=True)
class FirstOnes(Criterion):
    """Remove the neurons with the lowest indices."""

    def removals(self, neurons, limits):
        costs = neurons.statistics.mean.new_tensor(range(neurons.statistics.num_neurons))
        return rank("first", costs, neurons, limits)


@pytest.mark.slow
def test_a_class_path_names_a_criterion(network, train):
    path = f"{__name__}.FirstOnes"

    pruning = prune_once(
        network, train, PruneSettings(criterion=path, layers=["conv2"], num_removed={"conv2": 3})
    )

    assert [removal.neuron for removal in pruning.plans["conv2"].removals] == [0, 1, 2]
    assert pruning.layers["conv2"]["criterion"] == 3
    assert pruning.settings.to_dict()["criterion"] == path
