"""McNemar's test, by hand."""

import pytest
import torch

from fer.metrics import mcnemar


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param("1100", "1100", (0, 0, 1.0), id="the same"),
        pytest.param("1111100", "0000000", (5, 0, 2 / 32), id="five lost: 2 of 32 coin tosses"),
        pytest.param("11000", "00111", (2, 3, 1.0), id="as near to even as can be"),
        pytest.param("1110000", "0000001", (3, 1, 10 / 16), id="three to one"),
    ],
)
def test_by_hand(before, after, expected):
    answers = [torch.tensor([letter == "1" for letter in word]) for word in (before, after)]
    assert mcnemar(*answers) == pytest.approx(expected)


def test_other_patterns_are_refused():
    with pytest.raises(ValueError, match="compare the same samples"):
        mcnemar(torch.ones(3, dtype=torch.bool), torch.ones(4, dtype=torch.bool))
