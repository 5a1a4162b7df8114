"""Curves over thresholds begin with the network before pruning."""

import copy

import pytest

from fer.pruning import METHODS, evaluate, threshold_curves
from fer.pruning.curves import curve_table, measure_twice, measurement_for


@pytest.mark.slow
def test_a_curve_begins_with_the_network_before_pruning(network, train, val):
    state = copy.deepcopy(network.state_dict())
    rows: dict[str, list] = {}

    for method, row in threshold_curves(network, train, val, thresholds=(30.0, 80.0)):
        rows.setdefault(method, []).append(row)

    assert list(rows) == list(METHODS)
    accuracy = evaluate(network, val).report.accuracy
    for of_method in rows.values():
        assert [row["threshold"] for row in of_method] == [0, 30, 80]
        assert of_method[0]["acc"] == accuracy
        assert of_method[0]["neurons"] == of_method[0]["macs"] == 1
        shares = [row["neurons"] for row in of_method]
        assert shares == sorted(shares, reverse=True)
        assert all(row["acc_low"] <= row["acc"] <= row["acc_high"] for row in of_method)
    assert min(of_method[-1]["neurons"] for of_method in rows.values()) < 1
    assert all(tensor.equal(state[name]) for name, tensor in network.state_dict().items())


def test_each_method_gets_the_samples_that_it_needs(network, train):
    measurements = measure_twice(network, train)

    rescaled = {name for name, each in METHODS.items() if measurement_for(each, measurements).pattern_minmax}

    assert rescaled == {"jain"}


def test_a_table_has_a_line_for_each_threshold():
    curves = {"pairs": {"threshold": [0, 7.5], "acc": [0.5, 0.25], "neurons": [1, 0.5]}}

    lines = curve_table(curves).splitlines()

    assert lines[0].split() == ["threshold", "pairs"]
    assert lines[2].split() == ["7.5°", "25.00", "%", "(50", "%)"]
