"""Pruning in rounds: equal steps, an end in time, and the network of the last round that was kept."""

import copy
from dataclasses import replace

import pytest
import torch

from fer.pruning import Limit, PruneSettings, compare, count_macs, prune_in_rounds
from fer.pruning.rounds import join_rounds

BELOW_80 = PruneSettings(similar_below=80.0, complementary_above=100.0)


def train_a_step(network, widths):
    """Fine-tune by one step of gradient descent."""
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4)
    network(torch.randn(7, 1, 32, 32)).square().mean().backward()
    optimizer.step()
    return network.eval()


@pytest.mark.slow
def test_thresholds_approach_the_target_in_equal_steps(network, train, val):
    whole = count_macs(network, train[0][0])
    state = copy.deepcopy(network.state_dict())

    rounds = list(
        prune_in_rounds(network, train, val, BELOW_80, rounds=3, tolerance=1.0, fine_tune=train_a_step)
    )

    assert [each.result.threshold for each in rounds] == pytest.approx([80 / 3, 160 / 3, 80])
    assert all(each.result.is_kept for each in rounds)
    last = rounds[-1]
    assert count_macs(last.pruning.network, train[0][0]) == last.result.macs < whole
    assert all(tensor.equal(state[name]) for name, tensor in network.state_dict().items())


@pytest.mark.slow
def test_rounds_stop_when_val_falls_too_far(network, train, val):
    (only,) = prune_in_rounds(network, train, val, BELOW_80, rounds=3, tolerance=-1.0)

    assert not only.result.is_kept


@pytest.mark.slow
def test_rounds_have_two_thresholds(network, train, val):
    settings = replace(BELOW_80, complementary_above=180.0)

    (only,) = prune_in_rounds(network, train, val, settings, rounds=1, tolerance=1.0)

    assert sum(layer["similar"] for layer in only.result.layers.values()) > 0
    assert not any(layer["complementary"] for layer in only.result.layers.values())


@pytest.mark.slow
def test_multiply_adds_approach_the_target_in_equal_steps(network, train, val):
    whole = count_macs(network, train[0][0])
    settings = PruneSettings(criterion="span")

    rounds = list(
        prune_in_rounds(
            network, train, val, settings, rounds=2, tolerance=1.0, limit=Limit("macs", 0.5, of=network)
        )
    )

    assert all(each.result.macs <= whole * share for each, share in zip(rounds, (0.75, 0.5), strict=True))
    assert [each.result.threshold for each in rounds] == [None, None]


@pytest.mark.slow
def test_a_size_is_approached_in_equal_steps_as_well_as_a_share(network, train, val):
    whole = count_macs(network, train[0][0])
    settings, limit = PruneSettings(criterion="span"), Limit("macs", whole // 2)

    rounds = list(prune_in_rounds(network, train, val, settings, rounds=2, tolerance=1.0, limit=limit))

    assert [each.pruning.target.most for each in rounds] == pytest.approx([whole * 0.75, whole * 0.5], abs=1)


@pytest.mark.slow
def test_only_one_round_alone_has_a_network_without_recalibration(network, train, val):
    rounds = list(prune_in_rounds(network, train, val, BELOW_80, rounds=2, tolerance=1.0))
    results = [compare(network, join_rounds(rounds[:num], BELOW_80, network), val) for num in (1, 2)]

    assert ["by pruning alone*" in each.table() for each in results] == [True, True]
    assert "prune/acc_after_not_recalibrated" not in results[1].scalars()


@pytest.mark.slow
def test_a_round_that_prunes_nothing_leaves_the_last_one(copies, train, val, caplog):
    """The first takes all copies but one, so that nothing in the layer can be removed."""
    settings = replace(BELOW_80, layers=["conv2"])

    (only,) = prune_in_rounds(copies, train, val, settings, rounds=2, tolerance=1.0)

    assert only.result.layers["conv2"]["after"] == 1
    assert "round 2 prunes nothing; the earlier rounds are kept: " in caplog.text


@pytest.mark.slow
def test_neurons_left_are_those_of_all_layers(copies, train, val):
    """A layer that is down to one neuron is in no later plan."""
    first, second = prune_in_rounds(copies, train, val, BELOW_80, rounds=2, tolerance=1.0)

    assert first.result.layers["conv2"]["after"] == 1
    assert "conv2" not in second.result.layers
    left = sum(layer["after"] for layer in second.result.layers.values())
    assert second.result.neurons == 1 + left
    joined = join_rounds([first, second], BELOW_80)
    assert sum(layer["after"] for layer in joined.layers.values()) == second.result.neurons
    assert joined.layers["conv1"]["before"] == 4
    assert joined.network is second.pruning.network


@pytest.mark.slow
def test_a_fine_tuning_that_is_asked_to_stop_ends_the_rounds(network, train, val):
    trained = []

    def fine_tune(network, widths):
        trained.append(widths)
        return network if len(trained) == 1 else None

    (only,) = prune_in_rounds(network, train, val, BELOW_80, rounds=3, tolerance=1.0, fine_tune=fine_tune)

    assert only.result.threshold == pytest.approx(80 / 3)
    assert trained[0] == only.pruning.widths


@pytest.mark.slow
@pytest.mark.parametrize("recalibrate", [True, False])
def test_rounds_recalibrate_batch_norm_unless_it_is_left_out(network, train, val, recalibrate):
    settings = replace(BELOW_80, recalibrate=recalibrate)

    (only,) = prune_in_rounds(network, train, val, settings, rounds=1, tolerance=1.0)

    mean = only.pruning.network.bn1.running_mean
    assert bool(mean.any()) == recalibrate  # an untrained network's are zero
    assert recalibrate or only.result.recalibrated == only.result.pruned
