"""How often neurons are measured within a budget: decided from the seconds of a step and of a measurement."""

import math
import re

import pytest

from fer.callbacks.schedule import (
    LEAST_SAMPLES,
    MOST_MEASUREMENTS,
    Cost,
    Schedule,
    is_due,
    plan,
)
from fer.callbacks.settings import check_intervals
from fer.errors import InputError


def _plan(step=0.1, fixed=0.01, per_sample=1e-4, of_epoch=0.0, **settings):
    usual = {"num_steps": 100, "num_epochs": 30, "budget": 0.05, "num_samples": 1024}
    return plan(step, Cost(fixed, per_sample, of_epoch), **usual | settings)


def _spent(schedule, cost, step, num_steps, num_epochs):
    """Return the share of the training time that a schedule takes."""
    total = schedule.total(num_steps, num_epochs)
    num_ends = num_epochs if schedule.every_n_steps else math.ceil(num_epochs / schedule.every_n_epochs)
    seconds = total * cost.of(schedule.num_samples) + num_ends * cost.of_epoch
    return seconds / (step * num_steps * num_epochs)


@pytest.mark.parametrize(
    ("num_epochs", "least", "most"),
    [(8, 150, 200), (15, 150, 210), (30, 180, 210), (50, 200, 200), (200, 200, 200)],
)
def test_with_time_to_spare_a_run_has_100_to_210_measurements(num_epochs, least, most):
    schedule = _plan(step=10, num_epochs=num_epochs)
    assert schedule.num_samples == 1024
    assert least <= schedule.total(100, num_epochs) <= most


@pytest.mark.parametrize(("num_epochs", "every"), [(200, 1), (133, None), (399, 1), (2000, 10)])
def test_long_runs_are_measured_once_in_some_epochs(num_epochs, every):
    schedule = _plan(step=10, num_epochs=num_epochs)
    assert schedule.every_n_epochs == every
    assert 100 <= schedule.total(100, num_epochs) < 400


def test_first_the_samples_become_fewer_then_the_measurements():
    sizes = [_plan(step=step) for step in (1.0, 0.12, 0.06, 0.03, 1e-3, 1e-5)]
    assert [each.num_samples for each in sizes] == sorted((each.num_samples for each in sizes), reverse=True)
    totals = [each.total(100, 30) for each in sizes]
    assert totals == sorted(totals, reverse=True)
    assert sizes[0].num_samples == 1024
    assert LEAST_SAMPLES < sizes[1].num_samples < 1024
    assert totals[1] == totals[0]
    assert sizes[3].num_samples == LEAST_SAMPLES
    assert totals[3] < totals[0]
    assert totals[-1] == 1


@pytest.mark.parametrize("step", [1e-3, 1e-2, 0.1, 1.0])
@pytest.mark.parametrize("of_epoch", [0.0, 0.5])
@pytest.mark.parametrize(("num_steps", "num_epochs"), [(31, 8), (17, 60), (1, 500), (224, 30), (7, 2000)])
@pytest.mark.parametrize("budget", [0.01, 0.05, 1.0])
def test_the_budget_is_kept(step, of_epoch, num_steps, num_epochs, budget):
    cost = Cost(0.01, 2e-4, of_epoch)
    schedule = _plan(step, 0.01, 2e-4, of_epoch, num_steps=num_steps, num_epochs=num_epochs, budget=budget)
    spent = _spent(schedule, cost, step, num_steps, num_epochs)
    assert spent <= budget * (1 + 1e-9) or schedule.total(num_steps, num_epochs) == 1
    assert LEAST_SAMPLES <= schedule.num_samples <= 1024


def test_a_short_training_may_be_measured_for_some_seconds_whatever_the_budget():
    few, more = (_plan(step=5e-3, num_epochs=20, least_seconds=seconds) for seconds in (0.0, 2.0))
    assert few.total(100, 20) == 20 < more.total(100, 20)
    assert 0.05 < more.share <= 0.2  # 2 of 10 seconds
    assert 0.05 < _plan(step=1e-3, num_epochs=20, least_seconds=2.0).share <= 0.5
    assert _plan(step=1.0, least_seconds=2.0) == _plan(step=1.0)  # which the budget allows anyway


@pytest.mark.parametrize("num_epochs", [1, 4, 9, 17, 18, 19, 20, 30, 37, 200])
def test_a_training_has_enough_measurements_for_stages_whatever_the_budget(num_epochs):
    cost = Cost(0.01, 1e-4, 0.005)
    enough = 18 * (cost.of(LEAST_SAMPLES) + cost.of_epoch)
    steps = {"num_steps": 100, "num_epochs": num_epochs}
    often = {"of_epoch": cost.of_epoch, "budget": 1e-4, "least_number": 18, **steps}
    usual = _plan(4.1 * enough / (100 * num_epochs), **often)
    assert usual.total(100, num_epochs) >= 9
    assert _spent(usual, cost, 4.1 * enough / (100 * num_epochs), **steps) <= 0.25
    shortest = _plan(enough / (100 * num_epochs), **often)
    assert (
        shortest.total(100, num_epochs) == 1
        or _spent(shortest, cost, enough / (100 * num_epochs), **steps) <= 0.25
    )
    assert _plan(100.0, **often | {"budget": 0.05}) == _plan(100.0, of_epoch=cost.of_epoch, **steps)


def test_samples_are_not_fewer_than_those_given_or_the_floor():
    assert _plan(step=1e-4, num_samples=100).num_samples == 100
    assert _plan(step=1e-4, least_samples=700).num_samples == 700


def test_unknown_lengths():
    assert _plan(step=10, num_epochs=math.inf).every_n_epochs == 1
    unknown = _plan(step=10, num_steps=math.inf, num_epochs=math.inf)
    assert (unknown.every_n_steps, unknown.num_samples) == (100, 1024)
    slow = _plan(step=1e-3, num_steps=math.inf, num_epochs=5)
    assert slow.num_samples == LEAST_SAMPLES
    assert slow.every_n_steps == math.ceil(Cost(0.01, 1e-4).of(LEAST_SAMPLES) / (0.05 * 1e-3))


def test_settings_give_the_decided_schedule_again():
    for num_steps in range(1, 120):
        for wanted in (50, 200, 1000):
            found = _plan(step=100, num_steps=num_steps, num_epochs=10, wanted=wanted)
            again = Schedule(found.num_samples, found.every_n_steps, found.every_n_epochs)
            ends = [
                [each.is_due_at(step, num_steps) for step in range(1, num_steps)] + [each.is_due_after(3)]
                for each in (found, again)
            ]
            assert ends[0] == ends[1]
            assert sum(ends[0]) == found.per_epoch(num_steps)


@pytest.mark.parametrize(
    ("num_steps", "per_epoch", "expected"),
    [
        pytest.param(10, 1, [10], id="once"),
        pytest.param(10, 4, [3, 5, 8, 10], id="rounded up"),
        pytest.param(10, 10, list(range(1, 11)), id="each step"),
        pytest.param(1, 1, [1], id="an epoch of one batch"),
        pytest.param(7, 3, [3, 5, 7], id="odd"),
    ],
)
def test_steps_that_are_due(num_steps, per_epoch, expected):
    assert [step for step in range(1, num_steps + 1) if is_due(step, num_steps, per_epoch)] == expected


def test_a_loader_without_a_length_is_measured_every_n_steps():
    schedule = Schedule(256, every_n_steps=3)
    assert [step for step in range(1, 10) if schedule.is_due_at(step, math.inf)] == [3, 6, 9]
    assert schedule.is_due_after(0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param((-1, None, 0.05, 0), "every_n_steps is -1", id="steps"),
        pytest.param((None, -1, 0.05, 0), "every_n_epochs is -1", id="epochs"),
        pytest.param(
            (3, 1, 0.05, 0), "every_n_steps is 3 and every_n_epochs is 1: set one of them", id="both"
        ),
        pytest.param((None, None, 0.0, 0), "budget is 0", id="no budget"),
        pytest.param((None, None, 1.5, 0), "budget is 1.5", id="more than all"),
        pytest.param((None, None, math.nan, 0), "budget is nan", id="no number"),
        pytest.param((None, None, 0.05, -2), "first_step is -2", id="first step"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        check_intervals(*settings)


@pytest.mark.parametrize(
    ("settings", "num_steps", "num_epochs"),
    [
        pytest.param({"every_n_steps": 1}, 500, 30, id="steps"),
        pytest.param({"every_n_epochs": 1}, 3, 20_001, id="epochs"),
        pytest.param({"every_n_steps": 2}, 3, 6_000, id="two an epoch"),
        pytest.param({"every_n_steps": 9}, 9, 20_001, id="too many epochs"),
    ],
)
def test_too_many_measurements_are_refused_with_what_to_set(settings, num_steps, num_epochs):
    with pytest.raises(InputError, match=r"more than the 10,000 .* set dis") as caught:
        Schedule(256, **settings).check_number(num_steps, num_epochs)
    name, number = re.search(r"set distinctiveness\.(\w+) to (\d+)$", str(caught.value)).groups()
    longer = Schedule(256, **{name: int(number)})
    assert longer.total(num_steps, num_epochs) <= MOST_MEASUREMENTS


def test_as_many_as_can_be_kept_are_not_refused():
    Schedule(256, every_n_steps=1).check_number(100, 100)
    Schedule(256, every_n_steps=1).check_number(math.inf, 100)
