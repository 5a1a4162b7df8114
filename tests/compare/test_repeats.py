"""Two repeats, paired by seed and by sample."""

import math

import numpy as np
import pytest

from fer.compare import Answers, pair_repeats
from fer.errors import InputError


def answers(right: str, name: str = "s") -> Answers:
    """Answers that are right where the text has a 1."""
    n = len(right)
    predicted = np.where([each == "1" for each in right], "happy", "sad")
    labels = np.array(["happy"] * (n - 1) + ["sad"])
    predicted[-1] = "sad" if right[-1] == "1" else "happy"
    return Answers(np.array([f"{name}{i}" for i in range(n)]), labels, predicted)


def test_differences_by_hand():
    found = pair_repeats(
        "runs/a", {0: answers("1100"), 1: answers("1000")}, {1: answers("1110"), 0: answers("0111")}
    )
    by_seed = {each.seed: each for each in found.seeds}
    assert (by_seed[0].before, by_seed[0].after, by_seed[0].mcnemar[:2]) == (0.5, 0.75, (1, 2))
    assert (by_seed[1].before, by_seed[1].after, by_seed[1].mcnemar[:2]) == (0.25, 0.75, (0, 2))
    assert found.difference == pytest.approx(0.375)
    # Student: mean 0.375, standard deviation 0.1768, of two 12.71 * 0.1768 / sqrt(2).
    assert found.of_seeds == pytest.approx((0.375 - 1.588, 0.375 + 1.588), abs=1e-3)
    # Mean differences of the samples: -0.5, 0.5, 1, 0.5.
    margin = 1.96 * np.std([-0.5, 0.5, 1, 0.5], ddof=1) / 2
    assert found.of_samples == pytest.approx((0.375 - margin, 0.375 + margin), abs=1e-3)
    assert "+37.50" in found.table()


def test_one_seed_has_no_interval_of_other_seeds():
    found = pair_repeats("runs/a", {0: answers("1100")}, {0: answers("1110")})
    assert math.isnan(found.of_seeds[0])
    assert found.plain()["of_seeds"] is None
    assert "other seeds" not in found.table()


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        pytest.param({0: "11"}, {1: "11"}, "it has the seeds 0, and this repeat 1", id="other seeds"),
        pytest.param({0: "11"}, {0: "111"}, "seed 0 cannot be paired, .* 2 and 3 samples", id="other splits"),
    ],
)
def test_what_cannot_be_paired_is_refused(before, after, named):
    with pytest.raises(InputError, match=named):
        pair_repeats(
            "runs/a",
            {seed: answers(text) for seed, text in before.items()},
            {seed: answers(text) for seed, text in after.items()},
        )


def test_samples_of_other_names_are_refused():
    with pytest.raises(InputError, match="hold different samples"):
        pair_repeats("runs/a", {0: answers("11", "a")}, {0: answers("11", "b")})
