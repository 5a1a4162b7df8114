"""Settings are checked once, and frozen."""

from dataclasses import FrozenInstanceError, replace

import pytest

from fer.errors import InputError
from fer.pruning import PruneSettings


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param({"num_samples": 1}, "angles need 2 samples or more", id="one sample"),
        pytest.param({"similar_below": 170}, "in this order", id="thresholds crossed"),
        pytest.param({"similar_below": -1}, "0 to 180 degrees", id="negative threshold"),
        pytest.param({"idle_below": 2}, "a share of a block's input", id="share above 1"),
        pytest.param({"criterion": "pears"}, "did you mean 'pairs'", id="criterion"),
        pytest.param({"criterion": "no.such.Class"}, "cannot be imported", id="class path"),
        pytest.param({"share_removed": 1.0}, "at least 0 and below 1", id="all neurons"),
        pytest.param({"share_removed": 0.5, "num_removed": {"a": 1}}, "exclude each other", id="two numbers"),
    ],
)
def test_what_is_out_of_range_is_refused(changed, message):
    with pytest.raises(InputError, match=message):
        PruneSettings(**changed)
    with pytest.raises(InputError, match=message):
        replace(PruneSettings(), **changed)


def test_settings_are_frozen():
    with pytest.raises(FrozenInstanceError):
        PruneSettings().similar_below = 3


@pytest.mark.parametrize(
    ("changed", "share"),
    [
        pytest.param({}, 0.5, id="usually"),
        pytest.param({"rule": "narayan"}, 0, id="a rule"),
        pytest.param({"layers": ["conv1"]}, 0, id="layers"),
    ],
)
def test_blocks_stay_with_a_rule_or_layers(changed, share):
    settings = PruneSettings(idle_below=0.5, **changed)

    assert settings.idle_share == settings.to_dict()["idle_below"] == share


def test_numbers_of_neurons_are_stored_only_if_given():
    assert "num_removed" not in PruneSettings().to_dict()
    assert PruneSettings(num_removed={"conv1": 2}).to_dict()["num_removed"] == {"conv1": 2}
