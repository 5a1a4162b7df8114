"""What the page shows of neurons: the last known value of each layer, at the right times."""

from math import nan

from fer.report.statistics import statistics_of


def test_the_last_known_value_of_each_statistic():
    history = {
        "epoch": [0.5, 1.0, 0, 1.5],
        "train/loss": [nan, nan, 2.0, nan],
        "rank/conv1/effective": [3.0, 4.0, nan, 5.0],
        "rank/conv1/participation": [2.0, 3.0, nan, 4.0],
        "neurons/conv1/cloned": [nan, 0.25, nan, nan],
        "rank/fc.2/effective": [nan, nan, nan, nan],
        "collapse/nc1": [nan, 7.0, nan, nan],
    }
    conv1 = {"effective": 5.0, "participation": 4.0, "dormant": None, "cloned": 0.25, "redundant": None}
    conv1["has_few_samples"] = True
    assert statistics_of(history) == {
        "ranks": {"conv1": {"x": [0.5, 1.0, 1.5], "y": [3.0, 4.0, 5.0]}},
        "layers": [{"name": "conv1", **conv1}],
        "collapse": {"nc1": {"x": [1.0], "y": [7.0]}},
    }


def test_layers_with_too_few_samples_to_tell_redundant_neurons_are_known():
    """A layer that is NaN has no share at all, which is not for want of samples."""
    history = {"epoch": [1.0, 2.0]}
    for name, cloned, redundant in (("few", 0.5, nan), ("enough", 0.5, 0.25), ("broken", nan, nan)):
        history |= {
            f"rank/{name}/effective": [3.0, 4.0],
            f"neurons/{name}/cloned": [cloned, cloned],
            f"neurons/{name}/redundant": [redundant, redundant],
        }
    found = {row["name"]: row["has_few_samples"] for row in statistics_of(history)["layers"]}
    assert found == {"few": True, "enough": False, "broken": False}


def test_the_collapse_of_a_network_that_was_named_is_shown():
    found = statistics_of({"epoch": [1.0, 2.0], "collapse/encoder/nc1": [7.0, 3.0]})
    assert found == {"collapse": {"nc1": {"x": [1.0, 2.0], "y": [7.0, 3.0]}}}


def test_runs_of_older_versions_have_none():
    assert statistics_of({}) == {}
    assert statistics_of({"epoch": [0, 1], "angles/fc/mean": [80.0, 81.0], "train/loss": [2.0, 1.0]}) == {}
