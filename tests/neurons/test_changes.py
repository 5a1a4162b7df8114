"""Change points: cases by hand, ruptures as oracle, invariants."""

import math
from statistics import mean

import numpy as np
import pytest
from stage_histories import SHAPES, known

from fer.neurons.changes import agreeing, change_points, divide

NAN = math.nan


def bent(seed: int, size: float) -> np.ndarray:
    """Return 120 values that fall, jump at 40 and stay level from 80."""
    t = np.arange(120.0)
    curve = np.where(t < 40, 5 - 0.05 * t, np.where(t < 80, 5 - 0.05 * (t - 40), 3.0))
    return curve + size * np.random.default_rng(seed).standard_normal(120)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("penalty", [0.05, 0.5, 5.0])
def test_the_division_is_that_of_ruptures(seed, penalty):
    ruptures = pytest.importorskip("ruptures")
    y, t = bent(seed, 0.2), np.arange(120.0)
    signal = np.stack([y, t, np.ones_like(t)], axis=1)
    theirs = ruptures.Pelt(model="linear", min_size=4, jump=1).fit(signal).predict(pen=penalty)
    assert divide(y - y.mean(), t - t.mean(), penalty, 4) == theirs[:-1]


def test_the_noise_decides_what_a_change_is():
    jump, bend = change_points(bent(0, 0.02).tolist())
    assert jump == 40
    assert abs(bend - 80) <= 2
    assert change_points(bent(0, 3.0).tolist()) == []


@pytest.mark.parametrize("seed", range(6))
def test_noise_alone_has_no_change_points(seed):
    noise = np.random.default_rng(seed).standard_normal(200)
    assert change_points(noise.tolist()) == []
    assert change_points(np.convolve(noise, [0.2, 0.6, 1.0])[:200].tolist()) == []


def test_what_is_not_known_is_left_out_and_units_do_not_matter():
    values = bent(1, 0.05).tolist()
    expected = change_points(values)
    assert change_points([value * 1024 for value in values]) == expected
    gaps = [NAN, math.inf, *values, NAN]
    assert change_points(gaps) == [i + 2 for i in expected]
    half = [value if i % 2 == 0 else NAN for i, value in enumerate(values)]
    jump, bend = change_points(half)
    assert jump == 40
    assert abs(bend - 80) <= 4


@pytest.mark.parametrize(
    "values", [[], [1.0], [NAN] * 50, [0.1] * 50, [0.1 * i for i in range(50)], [1.0, 2.0, 1.0, 3.0, 1.0]]
)
def test_a_short_or_straight_series_has_no_change_points(values):
    assert change_points(values) == []


def test_a_line_is_straight_in_time_not_in_measurements():
    times = [0.1 * i for i in range(30)] + [3.0 + i for i in range(30)]
    falling = [10 - time for time in times]
    assert change_points(falling, times=times) == []
    assert change_points(falling) in ([30], [31])


def test_a_boundary_is_confirmed_by_the_series_that_change_near_it():
    times = [0.1 * (i + 1) for i in range(120)]
    series = {"rank": bent(0, 0.02).tolist(), "cka": [NAN, *[0.0] * 119], "speed": [2.0] * 60 + [0.2] * 60}
    assert agreeing(4.1, series, times, tolerance=0.1) == ("rank",)
    assert agreeing(6.0, series, times, tolerance=0.2) == ("speed",)
    assert agreeing(5.0, series, times, tolerance=0.2) == ()
    assert agreeing(5.0, series, times, tolerance=1.5) == ("rank", "speed")


def test_a_series_of_another_length_is_refused():
    with pytest.raises(ValueError, match="rank has 2 values, but times has 3"):
        agreeing(1.0, {"rank": [1.0, 2.0]}, [1.0, 2.0, 3.0], 0.1)


@pytest.mark.slow
def test_the_speed_confirms_most_known_boundaries_and_few_other_times(record_property):
    at_truth, elsewhere = [], []
    for shape in SHAPES:
        for seed in range(100, 104):
            history, *truth = known(seed, noise=0.02, num_epochs=15, per_epoch=10, shape=shape)
            found = [
                bool(agreeing(time, {"speed": history.speed}, history.times, 0.45))
                for time in (*truth, *(1.5 * i for i in range(1, 10)))
            ]
            at_truth += found[:2]
            elsewhere += found[2:]
    record_property("share of boundaries and of other times", (mean(at_truth), mean(elsewhere)))
    assert mean(at_truth) > 2 * mean(elsewhere)
    assert mean(at_truth) > 0.6
