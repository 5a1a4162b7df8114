"""A trained network's classes and a data set's are matched by their names."""

import logging

import numpy as np
import pytest

from fer.data.matching import match_classes
from fer.errors import InputError
from fer.labels import EXPRESSIONS, LABEL_TABLES

RAFDB = tuple(LABEL_TABLES["rafdb"].values())


@pytest.mark.parametrize(
    ("data", "network", "labels", "unknown", "absent"),
    [
        pytest.param(("a", "b"), ("a", "b"), (0, 1), (), (), id="the same"),
        pytest.param(("b", "a"), ("a", "b"), (1, 0), (), (), id="another order"),
        pytest.param(("Joy", "anger"), ("angry", "happy"), (1, 0), (), (), id="aliases"),
        pytest.param(("a", "b", "c"), ("c", "a"), (1, -1, 0), ("b",), (), id="unknown to the network"),
        pytest.param(("c", "a"), ("a", "b", "c"), (2, 0), (), ("b",), id="absent in the data"),
        pytest.param(RAFDB, EXPRESSIONS, (6, 2, 1, 3, 5, 0, 4), (), (), id="RAF-DB's order"),
    ],
)
def test_labels_by_hand(data, network, labels, unknown, absent):
    match = match_classes(data, network)
    assert (match.labels, match.unknown, match.absent) == (labels, unknown, absent)
    assert match.is_complete == (not unknown and not absent)
    assert len(match.lines()) == bool(unknown) + bool(absent)


@pytest.mark.parametrize("network", [("c", "d"), ("a", "d")])
def test_fewer_than_two_shared_classes_are_refused(network):
    with pytest.raises(InputError, match="share fewer than 2 names"):
        match_classes(("a", "b"), network)


def test_a_data_module_takes_the_labels_of_a_network(tiny_data, caplog):
    """Labels are renumbered; samples of classes that the network does not know are left out and counted."""
    data, plain = tiny_data(num_train=28), tiny_data(num_train=28)
    plain.setup()
    network = ("surprise", "contempt", "happiness", "angry")
    data.match_network(network)
    with caplog.at_level(logging.INFO, "fer.data"):
        data.setup()
    assert data.label_names == network
    assert data.class_names == EXPRESSIONS
    before, after = plain.splits["train"], data.splits["train"]
    by_name = dict(zip(before.names, before.labels, strict=True))
    expected = {
        EXPRESSIONS.index("surprise"): 0,
        EXPRESSIONS.index("happy"): 2,
        EXPRESSIONS.index("angry"): 3,
    }
    assert [expected[by_name[name]] for name in after.names] == after.labels.tolist()
    assert data.class_counts.tolist() == [4, 0, 4, 4]
    assert "train 16 of 28, val 8 of 14, test 8 of 14" in caplog.text


def test_a_split_without_a_known_class_is_refused(tiny_data):
    data = tiny_data(labels=np.zeros(28, np.int64))
    data.match_network(("sad", "fear"))
    with pytest.raises(InputError, match="train has no sample of the checkpoint's classes"):
        data.setup()
