"""A pruning to a size says what its thresholds alone would remove."""

from dataclasses import replace

import pytest

from fer.pruning import PruneResults, PruneSettings, compare, prune_once
from fer.pruning.limits import Reading, Target
from fer.pruning.size_request import SizeRequest


@pytest.mark.parametrize(
    ("criterion", "words"),
    [
        pytest.param("span", "the threshold of 20° to the linear span of the others", id="span"),
        pytest.param("pairs", "the thresholds of 20° and 170° between two neurons", id="pairs"),
    ],
)
@pytest.mark.slow
def test_the_thresholds_would_remove_what_they_do_remove(criterion, words, copies, train):
    settings = PruneSettings(criterion=criterion, similar_below=20, complementary_above=170)
    by_thresholds = prune_once(copies, train, settings)
    assert by_thresholds.size_request is None
    removed = sum(len(plan.removals) for plan in by_thresholds.plans.values())
    assert removed >= 5  # the copies

    pruning = prune_once(copies, train, replace(settings, share_removed=0.5))
    assert str(pruning.size_request) == (
        f"Asked for: 50 % of each layer removed. With no size given, {words} would remove {removed} of 28 "
        "neurons."
    )


@pytest.mark.slow
def test_it_is_in_the_table_and_in_the_file(network, train, val, tmp_path):
    pruning = prune_once(network, train, PruneSettings(criterion="l1", share_removed=0.5))
    results = compare(network, pruning, val)
    results.write(tmp_path)

    assert PruneResults.read(tmp_path).size_request == SizeRequest("50 % of each layer removed")
    assert "\nAsked for: 50 % of each layer removed.\n" in results.table()  # l1 has no thresholds


@pytest.mark.parametrize(
    ("settings", "target", "size"),
    [
        pytest.param({}, None, None, id="thresholds"),
        pytest.param({"num_removed": {"a": 1200, "b": 34}}, None, "1,234 neurons removed", id="numbers"),
        pytest.param(
            {},
            Target("macs", 5000.7, Reading.of([9]), Reading.of([5])),
            "at most 5,000 multiply-adds",
            id="limit",
        ),
    ],
)
def test_each_way_to_ask_for_a_size(settings, target, size):
    found = SizeRequest.of(PruneSettings(**settings), target=target)
    assert found == (size and SizeRequest(size))
