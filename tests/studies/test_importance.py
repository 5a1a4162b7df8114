"""Which parameter mattered."""

import math

import numpy as np
import pytest

from fer.studies.importance import LEAST_TRIALS, importances


def trials(num, seed=0):
    rng = np.random.default_rng(seed)
    points = [
        {
            "lr": float(rng.random()),
            "noise": float(rng.random()),
            "name": str(rng.choice(["a", "b", "c"])),
            "fixed": 3,
        }
        for _ in range(num)
    ]
    return points, [-3 * point["lr"] + (point["name"] == "b") for point in points]


@pytest.mark.slow
def test_what_moves_the_metric_is_important():
    found = importances(*trials(60))
    assert list(found) == ["lr", "name", "noise"]  # what never changed is left out
    assert sum(share for share, _ in found.values()) == pytest.approx(1)
    assert found["noise"][0] < 0.1
    assert found["lr"][1] < -0.7
    assert math.isnan(found["name"][1])


def test_few_trials_tell_nothing():
    assert importances(*trials(LEAST_TRIALS - 1)) == {}
    points, values = trials(20)
    assert importances(points, [0.5] * len(values)) == {}
