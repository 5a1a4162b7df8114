"""Which networks and batches are those of a classifier."""

import pytest
import torch
from torch import nn

from fer.pruning.classes import classify_both

INPUTS = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


class Squares(nn.Module):
    def forward(self, inputs):
        return inputs[:, :1].square()


@pytest.mark.parametrize(
    ("batch", "names"),
    [
        pytest.param((INPUTS, LABELS), ["class_0", "class_1", "class_2"], id="pair"),
        pytest.param([INPUTS, LABELS.int(), ["a.png"] * 6], ["class_0", "class_1", "class_2"], id="more"),
        pytest.param({"label": LABELS, "input": INPUTS}, ["class_0", "class_1", "class_2"], id="mapping"),
    ],
)
def test_a_classifier_is_evaluated(batch, names):
    found = classify_both({"a": nn.Linear(5, 3), "b": nn.Linear(5, 3)}, iter([batch, batch]))

    assert {name: each.report.n for name, each in found.items()} == {"a": 12, "b": 12}
    assert list(found["a"].report.class_names) == names


def test_names_of_another_number_are_not_taken():
    found = classify_both({"a": nn.Linear(5, 7)}, [(INPUTS, LABELS)], ["cat", "dog"])

    assert list(found["a"].report.class_names) == [f"class_{k}" for k in range(7)]


@pytest.mark.parametrize(
    ("network", "batch"),
    [
        pytest.param(nn.Linear(5, 3), INPUTS, id="no labels"),
        pytest.param(nn.Linear(5, 3), (INPUTS, LABELS.float()), id="regression"),
        pytest.param(nn.Linear(5, 3), (INPUTS, torch.ones(6, 2).long()), id="labels of another shape"),
        pytest.param(nn.Linear(5, 2), (INPUTS, LABELS), id="more labels than outputs"),
        pytest.param(nn.Linear(5, 3), (INPUTS, LABELS - 1), id="an ignored label"),
        pytest.param(nn.Conv2d(1, 3, 1), (torch.ones(6, 1, 4, 4), LABELS), id="maps"),
        pytest.param(Squares(), (INPUTS, torch.zeros(6).long()), id="one output"),
    ],
)
def test_others_are_not(network, batch):
    assert classify_both({"a": network}, [batch]) == {}


def test_nothing_to_evaluate_on_is_no_result():
    assert classify_both({"a": nn.Linear(5, 3)}, []) == {}
