"""Where a search looks next."""

import numpy as np
import pytest

from fer.studies.search import SettingError, Tried, check_method, suggest
from fer.studies.space import read_space

SPACE = read_space({"x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}, "z": {"value": 3}})
SMALL = read_space({"x": {"values": ["a", "b"]}, "y": {"values": [1, 2]}})


def search(space, method, num, *, value=lambda point: 0.0, seed=0, maximize=True, **kwargs):
    tried = []
    while len(tried) < num:
        found = suggest(space, method, tried, seed=seed, maximize=maximize, **kwargs)
        if found is None:
            break
        tried.append(Tried(found.cube, found.point, value(found.point)))
    return tried


def hill(point):
    return 1 - (point["x"] - 0.7) ** 2 - (point["y"] - 0.2) ** 2


def test_a_grid_is_gone_through_once():
    points = [each.point for each in search(SMALL, "grid", 9)]
    assert points == list(SMALL.grid())


def test_a_grid_goes_on_behind_what_was_tried():
    tried = search(SMALL, "grid", 2)
    assert suggest(SMALL, "grid", tried, seed=0, maximize=True).point == {"x": "b", "y": 1}


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_the_seed_decides(method):
    first, again = (search(SPACE, method, 3, value=hill, seed=1) for _ in range(2))
    assert first == again
    assert first != search(SPACE, method, 3, value=hill, seed=2)


def test_random_draws_do_not_depend_on_what_was_found():
    found = [
        [each.point for each in search(SPACE, "random", 4, value=value)] for value in (hill, lambda p: 0.0)
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("is_parallel", [False, True], ids=["Gaussian process", "TPE"])
@pytest.mark.parametrize("maximize", [True, False])
@pytest.mark.slow
def test_bayes_comes_nearer_than_chance(is_parallel, maximize):
    sign = 1 if maximize else -1

    def best(method, **kwargs):
        tried = search(SPACE, method, 24, value=lambda p: sign * hill(p), maximize=maximize, **kwargs)
        return np.mean([sign * each.value for each in tried[12:]])

    assert best("bayes", is_parallel=is_parallel) > best("random") + 0.05


def test_bayes_knows_of_trials_that_run():
    tried = search(SPACE, "bayes", 12, value=hill)
    running = [*tried, Tried((0.7, 0.2), SPACE.point((0.7, 0.2)), is_running=True)]
    found = suggest(SPACE, "bayes", running, seed=0, maximize=True, is_parallel=True)
    assert all(0 <= u <= 1 for u in found.cube)


def test_bayes_is_nowhere_twice_while_there_are_other_points():
    points = [each.point for each in search(SMALL, "bayes", 4, value=lambda p: float(p["x"] == "a"))]
    assert sorted(map(str, points)) == sorted(map(str, SMALL.grid()))


@pytest.mark.parametrize(
    ("parameters", "method", "words"),
    [
        pytest.param({"a": {"min": 0.0, "max": 1.0}}, "grid", "a grid cannot enumerate uniform", id="grid"),
        pytest.param(
            {"a": {"values": [1, 2], "probabilities": [0.5, 0.5]}},
            "bayes",
            "cannot use probabilities",
            id="odds",
        ),
        pytest.param(
            {"a": {"values": [1, 2], "probabilities": [0.5, 0.5]}},
            "grid",
            "cannot enumerate",
            id="odds in a grid",
        ),
        pytest.param({"a": {"value": 1}}, "random", "all parameters are constants", id="nothing to choose"),
        pytest.param({"a": {"values": [1, 2]}}, "custom", "there are grid, random, bayes", id="unknown"),
    ],
)
def test_what_a_method_cannot_take_is_refused(parameters, method, words):
    with pytest.raises(SettingError, match=words):
        check_method(read_space(parameters), method)
