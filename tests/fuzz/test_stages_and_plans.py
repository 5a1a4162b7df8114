"""Stages of any histories, and plans of any statistics that get through."""

import math
from contextlib import suppress

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fer.errors import InputError
from fer.neurons import PrunePlan, label_stages, live_stages
from fer.neurons.planning import plan_pruning
from fer.neurons.statistics import ActivationStatistics

odd = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e308, -1e308, 5e-324])
numbers = st.floats(0, 10) | st.floats(allow_nan=True, allow_infinity=True) | odd


@st.composite
def histories(draw: st.DrawFn) -> list[list[float]]:
    length = draw(st.integers(0, 70))
    smooth = [draw(st.sampled_from([0.9, 0.99, 1.0, 1.05])) ** epoch for epoch in range(length)]
    columns = []
    for _ in range(4):
        column = (
            smooth[:] if draw(st.booleans()) else draw(st.lists(numbers, min_size=length, max_size=length))
        )
        for _ in range(draw(st.integers(0, 3)) if length else 0):
            column[draw(st.integers(0, length - 1))] = draw(odd)
        columns.append(column)
    return columns


@given(histories(), st.booleans())
@pytest.mark.slow
def test_every_epoch_of_any_history_has_a_stage(columns, has_ratio: bool) -> None:
    speed, train, val, ratio = columns
    updates = ratio if has_ratio else None
    if train:
        live = live_stages(speed, train, val, updates)
        assert len(live) == len(train)
        assert len(label_stages(speed, train, val, updates)) == len(train)
        # What is to come changes no label of the past.
        assert (
            live_stages(speed[:-1], train[:-1], val[:-1], updates and updates[:-1]) == live[:-1]
            or len(live) == 1
        )


@given(histories())
@pytest.mark.slow
def test_an_empty_history_has_no_stages(columns) -> None:
    del columns
    assert live_stages([], [], []) == label_stages([], [], []) == []


values = st.sampled_from([0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, 1e-8]) | st.floats(-3, 3, width=32)
rare = st.sampled_from([math.nan, math.inf, -math.inf, 1e38])


@st.composite
def activations(draw: st.DrawFn) -> torch.Tensor:
    num, width = draw(st.integers(0, 12)), draw(st.integers(1, 7))
    rows = [[draw(values) for _ in range(width)] for _ in range(num)]
    result = torch.tensor(rows, dtype=torch.float32).reshape(num, width)
    for _ in range(draw(st.integers(0, 3)) if num and width > 1 else 0):
        one, other = draw(st.integers(0, width - 1)), draw(st.integers(0, width - 1))
        match draw(st.sampled_from(["twin", "opposite", "dead", "constant", "odd"])):
            case "twin":
                result[:, one] = 2 * result[:, other]
            case "opposite":
                result[:, one] = -result[:, other]
            case "dead":
                result[:, one] = 0
            case "constant":
                result[:, one] = 3
            case "odd":
                result[draw(st.integers(0, num - 1)), one] = draw(rare)
    return result


@given(
    activations(),
    st.sampled_from(["pairs", "span", "magnitude", "norm", "apoz", "random", "variance", "nope"]),
    st.floats(-10, 200) | st.just(15.0),
    st.floats(-10, 200) | st.just(165.0),
    st.none() | st.integers(-1, 8),
    st.lists(st.integers(-1, 8), max_size=3),
    st.booleans(),
    st.sampled_from(["logistic", "tanh", "other"]),
)
@pytest.mark.slow
def test_a_plan_of_any_statistics_keeps_to_what_was_asked(
    samples, criterion, below, above, num, protected, minmax, unit
) -> None:
    with suppress(InputError):
        statistics = ActivationStatistics.of(samples, pattern_minmax=minmax, unit=unit)
        plan = plan_pruning(
            statistics,
            criterion=criterion,
            similar_below=below,
            complementary_above=above,
            num_removed=num,
            protected=protected,
        )
        assert not {removal.neuron for removal in plan.removals} & set(protected)
        if num is not None:
            assert len(plan.removals) <= num
        assert PrunePlan.from_json(plan.to_json()) == plan
