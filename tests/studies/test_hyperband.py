"""When hyperband ends a trial: by hand, by its documentation's example, and as W&B's own package does."""

import numpy as np
import pytest

from fer.studies.hyperband import Hyperband


def test_bands_from_the_first():
    assert Hyperband.from_min_iter(3).bands[:4] == (3, 9, 27, 81)


def test_bands_from_the_last():
    assert Hyperband.from_max_iter(27, 2).bands == (3, 9)
    assert Hyperband.from_max_iter(5, 4, 2).bands == (1, 2)


RULE = Hyperband.from_min_iter(2, 3)


@pytest.mark.parametrize(
    ("histories", "stopped"),
    [
        pytest.param({1: [0.1]}, [], id="not there yet"),
        pytest.param({1: [0.1, 0.2]}, [], id="the first there is the best"),
        pytest.param({1: [0.1, 0.2], 2: [0.1, 0.3]}, [1], id="worse than the other"),
        pytest.param({1: [0.1, 0.3], 2: [0.1, 0.3]}, [], id="as good"),
        pytest.param({1: [0, 1], 2: [0, 2], 3: [0, 3], 4: [0, 4], 5: [0, 5], 6: [0, 6]}, [1, 2, 3], id="six"),
        pytest.param({1: [0.1, 0.2, 9.0], 2: [0.1, 0.3]}, [1], id="what came after the band is too late"),
        pytest.param({1: [0.1, float("nan"), 0.2], 2: [0.1, 0.3]}, [1], id="NaN is not counted"),
        pytest.param({1: [0.9] * 6, 2: [0.5] * 6, 3: [0.4, 0.4]}, [2, 3], id="one band at a time"),
    ],
)
def test_only_the_best_go_on(histories, stopped):
    assert RULE.to_stop(histories, sorted(histories), maximize=True) == stopped


def test_less_can_be_better():
    assert RULE.to_stop({1: [9.0, 1.0], 2: [9.0, 2.0]}, [1, 2], maximize=False) == [2]


def test_the_best_value_counts_where_it_is_not_strict():
    histories = {1: [0.5, 0.2], 2: [0.1, 0.3]}
    rule = Hyperband.from_min_iter(2, 3, strict=False)
    assert rule.to_stop(histories, [1, 2], maximize=True) == []


def test_only_those_that_run_can_be_ended():
    assert RULE.to_stop({1: [0.1, 0.2], 2: [0.1, 0.3]}, [2], maximize=True) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*class-based `config`")
@pytest.mark.parametrize(
    "settings", [{"min_iter": 2}, {"min_iter": 3, "eta": 2, "strict": False}, {"max_iter": 27, "s": 2}]
)
@pytest.mark.parametrize("goal", ["maximize", "minimize"])
def test_it_ends_what_wandb_ends(settings, goal):
    theirs = pytest.importorskip("sweeps.run", reason="W&B's sweeps is not installed", exc_type=ImportError)
    rng = np.random.default_rng(0)
    config = {
        "method": "random",
        "metric": {"name": "m", "goal": goal},
        "early_terminate": {"type": "hyperband", "eta": 3, "strict": True, **settings},
        "parameters": {"a": {"values": [1, 2]}},
    }
    rule = (
        Hyperband.from_max_iter(settings["max_iter"], settings["s"])
        if "s" in settings
        else Hyperband.from_min_iter(
            settings["min_iter"], settings.get("eta", 3), strict=settings.get("strict", True)
        )
    )
    for _ in range(20):
        histories = {trial: rng.random(rng.integers(30)).round(2).tolist() for trial in range(12)}
        running = [trial for trial in histories if rng.random() < 0.5]
        runs = [
            theirs.SweepRun(
                name=str(trial),
                state="running" if trial in running else "finished",
                history=[{"m": value} for value in values],
            )
            for trial, values in histories.items()
        ]
        stopped = [int(run.name) for run in theirs.stop_runs(config, runs)]
        assert rule.to_stop(histories, running, maximize=goal == "maximize") == stopped
