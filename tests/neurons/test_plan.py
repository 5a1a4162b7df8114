"""Plans to prune: cases by hand, invariants over made-up layers, spans by NumPy, the papers' rules, JSON."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from fer.errors import InputError
from fer.neurons import RULES, ActivationStatistics, PrunePlan, Removal, angles, planning
from fer.neurons.criteria import CRITERIA
from fer.neurons.plan import REMOVAL_REASONS, count_removed

PRINTED = torch.tensor(
    [
        [0.33, 1.0, 0.91, 0.582, 0.593, 0.381],
        [0.091, 0.994, 0.339, 0.101, 0.834, 0.839],
        [0.098, 0.994, 0.348, 0.13, 0.874, 0.868],
        [0.022, 0.488, 0.026, 0.012, 0.96, 0.982],
        [0.094, 0.994, 0.325, 0.128, 0.853, 0.849],
        [0.021, 0.489, 0.024, 0.012, 0.952, 0.979],
        [0.023, 0.488, 0.025, 0.016, 0.965, 0.984],
        [0.005, 0.006, 0.001, 0.001, 0.99, 0.998],
        [0.117, 0.994, 0.339, 0.132, 0.875, 0.87],
        [0.026, 0.488, 0.025, 0.012, 0.96, 0.983],
        [0.029, 0.488, 0.026, 0.016, 0.971, 0.986],
        [0.006, 0.006, 0.001, 0.001, 0.991, 0.998],
        [0.027, 0.489, 0.024, 0.016, 0.965, 0.984],
        [0.006, 0.006, 0.001, 0.001, 0.99, 0.998],
        [0.006, 0.006, 0.001, 0.002, 0.992, 0.998],
        [0.001, 0.0, 0.0, 0.0, 0.998, 1.0],
    ],
    dtype=torch.float64,
)
"""Activations of 6 logistic units over 16 samples: Gedeon and Harris, 1991."""


def plan_pruning(statistics, criterion="pairs", **settings):
    """Plan by a registered criterion, whose own settings are given beside the others."""
    own = {name: settings.pop(name) for name in ("normalise", "order", "complementary") if name in settings}
    if own:
        criterion = CRITERIA[criterion](**own)
    return planning.plan_pruning(statistics, criterion=criterion, **settings)


def of(*columns, **settings):
    """Statistics of neurons, each given as its activation vector."""
    return ActivationStatistics.of(torch.tensor(columns, dtype=torch.float64).T, **settings)


def ray(degrees, length=1.0):
    """A neuron over four samples, of mean 0, in a direction of a plane; its spread is as its length."""
    x, y = length * math.cos(math.radians(degrees)), length * math.sin(math.radians(degrees))
    return [x, y, -x, -y]


def layer(num_neurons=24, *, seed=0, num_samples=400, rank=6, noise=0.3):
    """Neurons that share a few directions, more or less, with spreads of their own."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    shared = normal(num_samples, rank) @ normal(rank, num_neurons)
    own = normal(num_samples, num_neurons) * normal(num_neurons).abs() * noise
    return (shared + own) * normal(num_neurons).exp() + normal(num_neurons)


def summary(plan):
    return [(removal.neuron, removal.reason, removal.into) for removal in plan.removals]


SIMILAR, COMPLEMENTARY = "similar", "complementary"


@pytest.mark.parametrize(
    ("neurons", "settings", "expected"),
    [
        pytest.param([ray(0), ray(90)], {}, [], id="distinct"),
        pytest.param([ray(0), ray(10, 2), ray(90)], {}, [(0, SIMILAR, 1)], id="the smaller goes"),
        pytest.param([ray(0), ray(0), ray(90)], {}, [(1, SIMILAR, 0)], id="of equal ones the later goes"),
        pytest.param(
            [ray(0), ray(10, 2), ray(90)],
            {"outgoing": torch.tensor([[3.0], [1], [1]])},
            [(1, SIMILAR, 0)],
            id="what the consumer makes of it counts",
        ),
        pytest.param([ray(0, 2), ray(170)], {}, [(1, COMPLEMENTARY, 0)], id="turned round"),
        pytest.param(
            [ray(0, 2), ray(170), ray(80)],
            {"complementary": "remove_both"},
            [(1, COMPLEMENTARY, None), (0, COMPLEMENTARY, None)],
            id="both go",
        ),
        pytest.param(
            [ray(0), ray(15.001), ray(179.9)], {"complementary_above": 180}, [], id="at the thresholds"
        ),
        pytest.param(
            [ray(0, 3), ray(5), ray(-5.5), ray(2, 2)],
            {},
            [(3, SIMILAR, 0), (1, SIMILAR, 0), (2, SIMILAR, 0)],
            id="one stands for three",
        ),
        pytest.param(
            [ray(0, 1), ray(9, 2), ray(19, 3)],
            {},
            [(0, SIMILAR, 1)],
            id="who stands for another stays where that one may not follow",
        ),
        pytest.param(
            [ray(0, 3), ray(4), ray(10, 2), ray(14.5)],
            {},
            [(1, SIMILAR, 0), (3, SIMILAR, 0), (2, SIMILAR, 0)],
            id="two who stand for others become one",
        ),
        pytest.param(
            [ray(0, 3), ray(185), ray(10, 2), ray(10.5)],
            {},
            [(3, SIMILAR, 0), (1, COMPLEMENTARY, 0), (2, SIMILAR, 0)],
            id="four of a kind, one of them turned round",
        ),
        pytest.param(
            [ray(0), ray(2, 2), ray(190)],
            {"order": "closest"},
            [(0, SIMILAR, 1), (2, COMPLEMENTARY, 1)],
            id="closest first",
        ),
        pytest.param(
            [ray(0), ray(2, 2), ray(190)],
            {"order": "complementary_first"},
            [(2, COMPLEMENTARY, 1), (0, SIMILAR, 1)],
            id="complementary first",
        ),
        pytest.param(
            [ray(0, 3), ray(10, 2), ray(188)],
            {"order": "similar_first"},
            [(1, SIMILAR, 0), (2, COMPLEMENTARY, 0)],
            id="similar first",
        ),
        pytest.param(
            [ray(0), [5, 5, 5, 5], [0, 0, 0, 0], ray(3, 2), [-1, -1, -1, -1]],
            {},
            [(2, "dead", None), (1, "constant", None), (4, "constant", None), (0, SIMILAR, 3)],
            id="the silent first",
        ),
        pytest.param(
            [ray(0), ray(10, 2), ray(90), [0, 0, 0, 0]],
            {"protected": (0, 3)},
            [(1, SIMILAR, 0)],
            id="the protected stay, and stand for others",
        ),
        pytest.param([ray(0), ray(10)], {"protected": {0, 1}}, [], id="both protected"),
        pytest.param(
            [ray(0), ray(170), ray(90)],
            {"protected": [1], "complementary": "remove_both"},
            [],
            id="of two that go only together one is protected",
        ),
        pytest.param(
            [ray(0, 2), ray(40), ray(90)],
            {"num_removed": 1},
            [(1, SIMILAR, 0)],
            id="so many, whatever the thresholds",
        ),
        pytest.param(
            [ray(0, 2), ray(170), ray(90), [1, 1, 1, 1]],
            {"num_removed": 2, "complementary": "remove_both"},
            [(3, "constant", None), (1, COMPLEMENTARY, None)],
            id="so many, and not one more",
        ),
        pytest.param([ray(0), ray(0)], {"num_removed": 0}, [], id="none"),
        pytest.param(
            [[0, 0], [0, 0], [1, 1], [2, 2]],
            {},
            [(0, "dead", None), (1, "dead", None), (2, "constant", None)],
            id="one stays of a silent layer",
        ),
        pytest.param(
            [ray(0, 2), ray(180)],
            {"complementary": "remove_both"},
            [(1, COMPLEMENTARY, None)],
            id="one stays of two that cancel",
        ),
        pytest.param([ray(0)], {"criterion": "span"}, [], id="one stays of one"),
        pytest.param(
            [ray(0), ray(50), ray(120, 2)],
            {"criterion": "span", "num_removed": 1, "outgoing": torch.tensor([[3.0], [3.0], [1.0]])},
            [(2, "span", None)],
            id="in a plane each of three is spanned by the others; the least of them goes",
        ),
    ],
)
def test_by_hand(neurons, settings, expected, caplog):
    plan = plan_pruning(of(*neurons), **settings)
    assert summary(plan) == expected
    assert plan.num_neurons == len(neurons)


def test_what_a_plan_says():
    plan = plan_pruning(of(ray(0), [0, 0, 0, 0], ray(10, 2), ray(-156), ray(90)))
    assert plan.kept == (2, 4)
    removed = {reason: num for reason, num in plan.counts.items() if num}
    assert removed == {"dead": 1, "similar": 1, "complementary": 1}
    assert list(plan.counts) == list(REMOVAL_REASONS)
    angle = {removal.neuron: removal.degrees for removal in plan.removals}
    assert angle == {1: None, 0: pytest.approx(10), 3: pytest.approx(166)}


LAYERS = pytest.mark.parametrize("seed", range(4))
WAYS = pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="pairs"),
        pytest.param({"complementary": "remove_both"}, id="both go"),
        pytest.param({"order": "complementary_first"}, id="complementary first"),
        pytest.param({"order": "similar_first"}, id="similar first"),
        pytest.param({"criterion": "span"}, id="span"),
        pytest.param({"num_removed": 9}, id="so many"),
        pytest.param({"num_removed": 9, "criterion": "span"}, id="so many by span"),
    ],
)


@LAYERS
@WAYS
def test_every_merge_is_allowed_by_its_angle(seed, settings):
    statistics = ActivationStatistics.of(layer(seed=seed))
    degrees = angles(statistics, "centre")
    plan = plan_pruning(statistics, similar_below=40, complementary_above=140, **settings)
    for removal in plan.removals:
        if removal.into is not None:
            assert removal.degrees == float(degrees[removal.neuron, removal.into])
        if "num_removed" not in settings:
            assert removal.degrees < 40 or removal.degrees > 140
    if "num_removed" in settings:
        assert len(plan.removals) == 9


@LAYERS
@WAYS
def test_the_order_of_neurons_does_not_matter(seed, settings):
    values, outgoing = layer(seed=seed), torch.rand(24, 3, generator=torch.Generator().manual_seed(seed))
    mixed = torch.randperm(24, generator=torch.Generator().manual_seed(seed))
    settings = {"similar_below": 40, "complementary_above": 140, **settings}
    plan = plan_pruning(ActivationStatistics.of(values), outgoing=outgoing, **settings)
    other = plan_pruning(ActivationStatistics.of(values[:, mixed]), outgoing=outgoing[mixed], **settings)
    assert plan.removals
    names = {None: None, **dict(enumerate(mixed.tolist()))}
    assert [(names[one], reason, names[into]) for one, reason, into in summary(other)] == summary(plan)


@LAYERS
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="pairs"),
        pytest.param({"complementary": "remove_both"}, id="both go"),
        pytest.param({"criterion": "span"}, id="span"),
    ],
)
def test_wider_thresholds_leave_fewer_neurons_and_go_on_from_narrower_ones(seed, settings):
    statistics = ActivationStatistics.of(layer(seed=seed))
    plans = [
        plan_pruning(statistics, similar_below=wide, complementary_above=180 - wide, **settings)
        for wide in range(0, 91, 5)
    ]
    gone = [[removal.neuron for removal in plan.removals] for plan in plans]
    for narrow, wide in pairwise(gone):
        assert wide[: len(narrow)] == narrow
    assert plans[0].removals == ()
    assert len(plans[-1].kept) < 12


def test_scale_and_sign_of_neurons_do_not_change_who_is_spanned():
    values = layer(seed=3)
    factors = torch.linspace(-3, 4, 24, dtype=torch.float64)
    plan = plan_pruning(ActivationStatistics.of(values), criterion="span", similar_below=20)
    other = plan_pruning(ActivationStatistics.of(values * factors + 7), criterion="span", similar_below=20)
    assert summary(other) == summary(plan) != []


def test_span_finds_a_combination_of_three_that_pairs_do_not():
    values = layer(12, rank=12, seed=5)
    values[:, 7] = 2 * values[:, 1] - 3 * values[:, 4] + values[:, 9] * 0.7 + 4
    statistics = ActivationStatistics.of(values)
    assert plan_pruning(statistics).removals == ()
    plan = plan_pruning(statistics, criterion="span", similar_below=0.01)
    (removal,) = plan.removals
    assert removal.neuron in {1, 4, 7, 9}
    assert removal.reason == "span"
    assert removal.into is None
    assert removal.degrees < 1e-3


def unexplained(values, kept, neuron):
    """The part of a neuron's sum of squares that others do not explain, by NumPy."""
    centred = (values - values.mean(0)).numpy()
    others = centred[:, [other for other in kept if other != neuron]]
    found = np.linalg.lstsq(others, centred[:, neuron], rcond=None)[0]
    return float(((centred[:, neuron] - others @ found) ** 2).sum()), float((centred[:, neuron] ** 2).sum())


@pytest.mark.parametrize("seed", range(5))
def test_spans_agree_with_least_squares(seed):
    """Under thresholds the nearest goes."""
    values, kept = layer(10, seed=seed), list(range(10))
    for removal in plan_pruning(ActivationStatistics.of(values), criterion="span", similar_below=90).removals:
        parts = {neuron: unexplained(values, kept, neuron) for neuron in kept}
        shares = {neuron: left / whole for neuron, (left, whole) in parts.items()}
        assert shares[removal.neuron] == pytest.approx(min(shares.values()), rel=1e-6)
        angle = math.degrees(math.asin(shares[removal.neuron] ** 0.5))
        assert removal.degrees == pytest.approx(angle, abs=1e-3)
        kept.remove(removal.neuron)
    assert len(kept) == 1


@pytest.mark.parametrize("normalise", ["centre", "none", "half"])
@pytest.mark.parametrize("seed", range(5))
def test_of_so_many_by_span_the_next_is_the_one_without_which_readers_err_least(seed, normalise):
    """Consumers that are refitted to those that are left, by NumPy, after each."""
    values, kept = layer(10, seed=seed), list(range(10))
    outgoing = torch.rand(10, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.4
    settings = {"criterion": "span", "normalise": normalise, "num_removed": 9}
    origin = {"centre": values.mean(0), "none": 0.0, "half": 0.5}[normalise]
    samples = (values - origin).numpy()
    sums = samples @ outgoing.numpy()

    def error(of):
        return float(((sums - samples[:, of] @ np.linalg.lstsq(samples[:, of], sums)[0]) ** 2).sum())

    for removal in plan_pruning(ActivationStatistics.of(values), outgoing=outgoing, **settings).removals:
        errors = {neuron: error([other for other in kept if other != neuron]) for neuron in kept}
        assert errors[removal.neuron] == pytest.approx(min(errors.values()), rel=1e-6)
        added = (errors[removal.neuron] - error(kept)) / len(values)
        assert removal.cost == pytest.approx(added, rel=1e-5, abs=1e-9)
        kept.remove(removal.neuron)
    assert len(kept) == 1


def test_more_neurons_than_patterns_are_spanned_but_for_as_many_as_patterns_less_one(caplog):
    statistics = ActivationStatistics.of(layer(40, num_samples=15, rank=20))
    plan = plan_pruning(statistics, criterion="span", similar_below=0.1)
    assert len(plan.kept) == 14
    assert "40 neurons is measured on 15 values of each" in caplog.text
    assert "give 26.7 times as many samples" in caplog.text


def test_for_spans_auto_means_with_a_constant_also_for_logistic_units():
    values = layer(8, rank=3, noise=0.05).sigmoid()
    statistics = ActivationStatistics.of(values, unit="logistic")
    plans = {
        name: plan_pruning(statistics, criterion="span", normalise=name, similar_below=30)
        for name in ("auto", "centre", "half")
    }
    assert plans["auto"] == plans["centre"] != plans["half"]


@pytest.mark.parametrize("criterion", ["pairs", "span"])
def test_fewer_than_wished_for_are_said(criterion, caplog):
    statistics = ActivationStatistics.of(layer(8))
    assert plan_pruning(statistics, num_removed=7, criterion=criterion, protected=[5]).kept == (5,)
    assert caplog.text == ""
    assert plan_pruning(statistics, num_removed=7, criterion=criterion, protected=[5, 2]).kept == (2, 5)
    assert "6 of 8 neurons are removed, not 7" in caplog.text


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("num_copies", [2, 3, 4, 7])
def test_of_exact_copies_one_stays(num_copies, seed):
    """In whatever order rounding puts their angles, and whatever sign and size they have."""
    values = layer(4, rank=4, noise=1, seed=seed)
    factors = torch.linspace(-2, 3.1, num_copies, dtype=torch.float64)
    copies = values[:, :1] * factors + torch.arange(num_copies)
    plan = plan_pruning(ActivationStatistics.of(torch.cat([values[:, 1:], copies], 1)))
    assert plan.kept == (0, 1, 2, 2 + num_copies)


def test_a_neuron_that_is_not_finite_stays_and_stands_for_none():
    values = torch.tensor([ray(0), ray(0), ray(0), ray(90)], dtype=torch.float64).T.repeat(20, 1)
    values[3, 1] = torch.nan
    statistics = ActivationStatistics.of(values)
    assert summary(plan_pruning(statistics)) == [(2, "similar", 0)]
    assert summary(plan_pruning(statistics, criterion="span")) in ([(0, "span", None)], [(2, "span", None)])
    assert plan_pruning(statistics, criterion="span", num_removed=3).kept == (1,)


def test_float32_statistics_and_outgoing_weights_of_a_network_will_do():
    consumer = torch.nn.Linear(24, 3)
    statistics = ActivationStatistics.of(layer().float())
    plan = plan_pruning(statistics, outgoing=consumer.weight.T, criterion="span", num_removed=20)
    assert len(plan.kept) == 4


class TestRules:
    def test_gedeon_and_harris_on_their_own_table(self):
        """As printed: (4, 6) are 177.5 degrees apart, (1, 5) 176.5; nearer to 180 than any pair is to 0."""
        statistics = ActivationStatistics.of(PRINTED, unit="logistic")
        plan = plan_pruning(statistics, RULES["gedeon_harris"].criterion)
        assert {tuple(sorted(pair)) for pair in self.pairs(plan)} == {(3, 5), (0, 4)}
        assert plan.kept == (1, 2)

    def test_our_rule_keeps_one_of_the_four_there(self):
        plan = plan_pruning(ActivationStatistics.of(PRINTED, unit="logistic"))
        assert len(plan.kept) == 3
        assert plan.kept[:2] == (1, 2)

    def test_jain_takes_complementary_pairs_first(self):
        """Similar are 0 and 1, nearer than the complementary 1 and 2 are to 180 degrees."""
        statistics = of(ray(0), ray(2), ray(190), pattern_minmax=False)
        assert summary(plan_pruning(statistics, RULES["jain"].criterion)) == [
            (2, "complementary", None),
            (1, "complementary", None),
        ]

    @pytest.mark.parametrize("name", RULES)
    def test_settings_fit_the_functions_and_leave_the_thresholds_open(self, name):
        rule = RULES[name]
        statistics = ActivationStatistics.of(layer().sigmoid(), unit="logistic", **rule.measure)
        plan = plan_pruning(statistics, rule.criterion, similar_below=8, complementary_above=172)
        assert plan.counts["complementary"] % 2 == 0

    @staticmethod
    def pairs(plan):
        neurons = [removal.neuron for removal in plan.removals if removal.reason == "complementary"]
        return zip(neurons[::2], neurons[1::2], strict=True)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        pytest.param({"similar_below": 170}, "must be 0 to 180 degrees in this order", id="out of order"),
        pytest.param({"similar_below": -1}, "must be 0 to 180 degrees", id="below 0"),
        pytest.param({"complementary_above": 181}, "must be 0 to 180 degrees", id="above 180"),
        pytest.param(
            {"criterion": "triples"}, "criterion is 'triples': it must be one of pairs, span", id="criterion"
        ),
        pytest.param({"order": "index"}, "order is 'index': it must be one of closest", id="order"),
        pytest.param({"complementary": "keep"}, "it must be one of merge, remove_both", id="complementary"),
        pytest.param({"normalise": "max"}, "normalise is 'max'", id="normalise"),
        pytest.param({"num_removed": 3}, "num_removed is 3: of 3 neurons 0 to 2 can be removed", id="all"),
        pytest.param({"num_removed": -1}, "num_removed is -1", id="fewer than none"),
        pytest.param(
            {"protected": [3]}, "protected names neuron 3: the layer has neurons 0 to 2", id="protected"
        ),
        pytest.param({"outgoing": torch.ones(4)}, r"shape \(4,\) do not fit a layer of 3", id="outgoing"),
    ],
)
def test_what_cannot_be_done_is_said(settings, reason):
    with pytest.raises(InputError, match=reason):
        plan_pruning(of(ray(0), ray(30), ray(60)), **settings)


def test_no_patterns_no_plan():
    with pytest.raises(InputError, match="the analysis set is empty"):
        plan_pruning(ActivationStatistics.of(torch.empty(0, 3)))


@LAYERS
@WAYS
def test_a_plan_is_text_and_comes_back(seed, settings):
    plan = plan_pruning(
        ActivationStatistics.of(layer(seed=seed)), similar_below=40, complementary_above=140, **settings
    )
    assert PrunePlan.from_json(plan.to_json()) == plan


def test_the_text_of_a_plan():
    plan = PrunePlan(
        4, (Removal(2, "dead"), Removal(0, "similar", 1, 7.5), Removal(3, "span", None, 80, 0.5))
    )
    assert json.loads(plan.to_json()) == {
        "num_neurons": 4,
        "removals": [
            {"neuron": 2, "reason": "dead", "into": None, "degrees": None, "cost": None},
            {"neuron": 0, "reason": "similar", "into": 1, "degrees": 7.5, "cost": None},
            {"neuron": 3, "reason": "span", "into": None, "degrees": 80, "cost": 0.5},
        ],
    }
    assert PrunePlan.from_json('{"num_neurons": 2, "removals": []}') == PrunePlan(2)


def text(**changes):
    removal = {"neuron": 0, "reason": "similar", "into": 1, "degrees": 7.5, "cost": None} | changes
    return json.dumps({"num_neurons": 3, "removals": [removal]})


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        pytest.param("", "the plan is not JSON", id="empty"),
        pytest.param('{"num_neurons": 3, "removals": [', "the plan is not JSON", id="cut off"),
        pytest.param("[1, 2]", "the plan must have num_neurons, removals and nothing else", id="a list"),
        pytest.param('{"num_neurons": 3}', "must have num_neurons, removals", id="a part is missing"),
        pytest.param('{"num_neurons": 3, "removals": [], "x": 1}', "and nothing else", id="unknown part"),
        pytest.param('{"num_neurons": 3.0, "removals": []}', "num_neurons of the plan is 3.0", id="float"),
        pytest.param('{"num_neurons": true, "removals": []}', "num_neurons of the plan is true", id="bool"),
        pytest.param('{"num_neurons": 0, "removals": []}', "removes all 0 neurons", id="no neurons"),
        pytest.param('{"num_neurons": 3, "removals": [1]}', "removal 1 of the plan must have", id="a number"),
        pytest.param(text(neuron=None), "neuron of removal 1 of the plan is null: it must be int", id="null"),
        pytest.param(text(into="1"), "into of removal 1 .* it must be int or null", id="text for a number"),
        pytest.param(text(degrees=math.nan), "degrees of removal 1 of the plan is .NaN", id="not a number"),
        pytest.param(text(cost=True), "cost of removal 1 of the plan is true", id="a cost that is none"),
        pytest.param(text(reason="ugly"), "reason is 'ugly': it must be one of dead, constant", id="reason"),
        pytest.param(text(neuron=3), "the plan names neuron 3, but the layer has 3", id="beyond the layer"),
        pytest.param(text(neuron=-1), "names neuron -1", id="below 0"),
        pytest.param(text(into=5), "names neuron 5", id="survivor beyond the layer"),
        pytest.param(
            text(into=0), "neuron 0 is merged into neuron 0, which is removed, too", id="into itself"
        ),
    ],
)
def test_broken_text_is_refused_in_words(broken, reason):
    with pytest.raises(InputError, match=reason):
        PrunePlan.from_json(broken)


@pytest.mark.parametrize(
    ("removals", "reason"),
    [
        pytest.param([(0, None), (0, 1)], "removes neuron 0 twice", id="twice"),
        pytest.param(
            [(0, 1), (1, 2)], "neuron 0 is merged into neuron 1, which is removed, too", id="a chain"
        ),
        pytest.param(
            [(1, 2), (0, 1)], "neuron 0 is merged into neuron 1, which is removed, too", id="backwards"
        ),
        pytest.param([(0, None), (1, None), (2, None)], "removes all 3 neurons", id="nothing left"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(removals, reason):
    with pytest.raises(InputError, match=reason):
        PrunePlan(3, tuple(Removal(neuron, "similar", into) for neuron, into in removals))


def test_a_new_removal_reason_is_counted_everywhere(monkeypatch):
    monkeypatch.setattr("fer.neurons.plan.REMOVAL_REASONS", {**REMOVAL_REASONS, "tired": "tired"})
    counts = count_removed({"fc1": PrunePlan(3, (Removal(1, "tired"),))}, {"fc2": 4})
    assert counts["fc1"]["tired"] == 1
    assert list(counts["fc1"]) == list(counts["fc2"]) == ["before", "after", *REMOVAL_REASONS, "tired"]
    assert (counts["fc2"]["after"], counts["fc2"]["block"]) == (0, 4)


def test_dead_neurons_that_are_protected_are_kept_by_span():
    statistics = of(*[[0, 0, 0, 0]] * 4)
    plan = plan_pruning(statistics, criterion="span", num_removed=3, protected=[1, 3])
    assert plan.kept == (1, 3)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        pytest.param('{"num_neurons": ' + "9" * 5000 + "}", "not JSON: Exceeds the limit", id="5,000 digits"),
        pytest.param("[" * 100_000, "the plan is not JSON", id="nested"),
        pytest.param(
            text(degrees=777).replace("777", "1e999"), "degrees .* is Infinity, which is too large", id="inf"
        ),
        pytest.param(
            text(neuron=10**300), "neuron of removal 1 of the plan is 1000.*too large", id="far away"
        ),
        pytest.param('{"num_neurons": 99999999999, "removals": []}', "too large", id="a layer of no network"),
    ],
)
def test_numbers_that_no_plan_has_are_refused(broken, reason):
    with pytest.raises(InputError, match=reason) as error:
        PrunePlan.from_json(broken)
    assert len(str(error.value)) < 300
