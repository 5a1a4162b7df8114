"""Merges: a case by hand, planted twins before each consumer, NumPy's least squares, trained units."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fer.errors import InputError
from fer.neurons import RULES, ActivationStatistics, PrunePlan, Removal
from fer.neurons.criteria import Pairs
from fer.neurons.merge import add_incoming, coefficients
from fer.neurons.planning import plan_pruning
from fer.neurons.rules import Rule

MERGES = ("refit", "affine", "scale", "add", "drop")
EXACT = {"rtol": 0, "atol": 1e-10}


def merge_weights(plan, statistics, weight, bias, *, constants=True, **settings):
    """Return a next layer's weights for the survivors, and its bias, by the coefficients of a merge."""
    matrix, constant = coefficients(plan, statistics, constants=constants, **settings)
    exact = weight.detach().to(matrix)
    merged = torch.einsum("oc...,kc->ok...", exact, matrix)
    correction = torch.einsum("oc...,c->o", exact, constant)
    if bias is not None:
        correction += bias.detach().to(matrix)
    return merged.to(weight), correction.to(weight)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def layer(num_neurons=24, *, seed=0, num_samples=400, rank=6):
    """Neurons that share a few directions, more or less."""
    shared = normal(num_samples, rank, seed=seed) @ normal(rank, num_neurons, seed=seed + 100)
    return shared + 0.3 * normal(num_samples, num_neurons, seed=seed + 200) + normal(num_neurons, seed=seed)


A, R = [0.0, 1, 2], [5.0, 7, 9]  # R = 2 A + 5; through the origin, 25 / 5 = 5 times A


@pytest.mark.parametrize(
    ("neurons", "removal", "merge", "factor", "constant"),
    [
        pytest.param([A, R], Removal(1, "similar", 0), "affine", 2, 5, id="affine"),
        pytest.param([A, R], Removal(1, "similar", 0), "refit", 2, 5, id="refit"),
        pytest.param([A, R], Removal(1, "similar", 0), "scale", 5, 0, id="scale"),
        pytest.param([A, R], Removal(1, "similar", 0), "add", 1, 0, id="add"),
        pytest.param([A, R], Removal(1, "similar", 0), "drop", 0, 0, id="drop"),
        pytest.param([A, R], Removal(1, "complementary", 0), "add", -1, 8, id="add, turned round"),
        pytest.param([A, R], Removal(1, "complementary"), "add", 0, 7, id="both go, and leave their mean"),
        pytest.param([A, R], Removal(1, "complementary"), "drop", 0, 0, id="both go"),
        pytest.param([A, R], Removal(1, "span"), "refit", 2, 5, id="spanned, refit"),
        pytest.param([A, R], Removal(1, "span"), "affine", 0, 7, id="spanned, affine: the mean"),
        pytest.param([A, [3, 3, 3]], Removal(1, "constant"), "refit", 0, 3, id="constant, refit"),
        pytest.param([A, [3, 3, 3]], Removal(1, "constant"), "affine", 0, 3, id="constant, affine"),
        pytest.param([A, [3, 3, 3]], Removal(1, "constant"), "scale", 0, 3, id="constant, scale"),
        pytest.param([A, [3, 3, 3]], Removal(1, "constant"), "add", 0, 3, id="constant, add"),
        pytest.param([A, [3, 3, 3]], Removal(1, "constant"), "drop", 0, 0, id="constant, drop"),
        pytest.param([[3, 3, 3], R], Removal(1, "similar", 0), "affine", 0, 7, id="into a constant"),
        pytest.param([[0, 0, 0], R], Removal(1, "similar", 0), "scale", 0, 0, id="into a dead one"),
    ],
)
def test_by_hand(neurons, removal, merge, factor, constant):
    """The consumer has weights 1 and 3 and a bias of 1."""
    statistics = ActivationStatistics.of(torch.tensor(neurons, dtype=torch.float64).T)
    plan = PrunePlan(2, (removal,))
    matrix, shift = coefficients(plan, statistics, merge)
    assert matrix.tolist() == [[1, pytest.approx(factor)]]
    assert shift.tolist() == [0, pytest.approx(constant)]
    weight, bias = torch.tensor([[1.0, 3.0]], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)
    merged, corrected = merge_weights(plan, statistics, weight, bias, merge=merge)
    assert merged.tolist() == [[pytest.approx(1 + 3 * factor)]]
    assert corrected.tolist() == [pytest.approx(1 + 3 * constant)]
    assert merge_weights(plan, statistics, weight, None, merge=merge)[1].tolist() == [
        pytest.approx(3 * constant)
    ]


@pytest.mark.parametrize("merge", MERGES)
def test_without_constants_the_bias_stays(merge):
    statistics = ActivationStatistics.of(torch.tensor([A, R, [3.0, 3, 3]], dtype=torch.float64).T)
    plan = PrunePlan(3, (Removal(2, "constant"), Removal(1, "similar", 0)))
    matrix, shift = coefficients(plan, statistics, merge, constants=False)
    assert shift.tolist() == [0, 0, 0]
    factor = {"add": 1, "drop": 0}.get(merge, 5)
    # The refit is left with the constant's best share of A, 9 / 5.
    assert matrix.tolist() == [
        [1, pytest.approx(factor), pytest.approx(9 / 5 if merge == "refit" else 0)],
    ]


READERS = {
    "linear": lambda weight, bias, maps: maps.mean((2, 3)) @ weight.T + bias,
    "convolution": lambda weight, bias, maps: F.conv2d(maps, weight, bias),
    "strided convolution": lambda weight, bias, maps: F.conv2d(maps, weight, bias, stride=2),
    "flatten": lambda weight, bias, maps: maps.flatten(1) @ weight.flatten(1).T + bias,
}
SHAPES = {
    "linear": (5, 12),
    "convolution": (5, 12, 3, 3),
    "strided convolution": (5, 12, 3, 3),
    "flatten": (5, 12, 30),
}


def planted(*, seed, num_samples=200, positive=False):
    """Maps of 12 neurons on 5 x 6 positions: 4 of their own, and 8 that tell a consumer nothing more."""
    maps = normal(num_samples, 12, 5, 6, seed=seed)
    maps = maps.relu() if positive else maps
    maps[:, 2] = 2.5 * maps[:, 0] + 0.7  # a copy
    maps[:, 3] = -0.4 * maps[:, 1] - 3  # a signed copy
    maps[:, 5] = 1 - maps[:, 4]  # a complement
    maps[:, 6] = 0.3 * maps[:, 0]  # another copy of the first
    maps[:, 7] = 4  # a constant
    maps[:, 8] = 0  # dead
    maps[:, 9] = -1e-3  # a small constant
    maps[:, 11] = 1e-4 * maps[:, 10] + 50  # a copy, small and far from 0
    return maps


@pytest.mark.parametrize("merge", ["refit", "affine"])
@pytest.mark.parametrize("consumer", READERS)
@pytest.mark.parametrize("seed", range(3))
def test_what_was_planted_goes_and_outputs_stay(consumer, merge, seed):
    weight, bias = normal(*SHAPES[consumer], seed=seed), normal(5, seed=seed + 1)
    statistics = ActivationStatistics.of(planted(seed=seed))
    plan = plan_pruning(statistics, outgoing=weight.transpose(0, 1).flatten(1))
    removed = {reason: num for reason, num in plan.counts.items() if num}
    assert removed == {"dead": 1, "constant": 2, "similar": 3, "complementary": 2}
    merged, corrected = merge_weights(plan, statistics, weight, bias, merge=merge)
    fresh = planted(seed=seed + 50)
    before = READERS[consumer](weight, bias, fresh)
    after = READERS[consumer](merged, corrected, fresh[:, plan.kept])
    torch.testing.assert_close(after, before, **EXACT)


@pytest.mark.parametrize("merge", ["refit", "affine"])
def test_in_float32_outputs_stay_to_its_precision(merge):
    weight, bias = normal(5, 12).float(), normal(5).float()
    maps = planted(seed=0).mean((2, 3)).float()
    statistics = ActivationStatistics.of(maps)
    plan = plan_pruning(statistics)
    assert len(plan.kept) == 4
    merged, corrected = merge_weights(plan, statistics, weight, bias, merge=merge)
    assert merged.dtype == corrected.dtype == torch.float32
    before, after = maps @ weight.T + bias, maps[:, plan.kept] @ merged.T + corrected
    torch.testing.assert_close(after / before.std(), before / before.std(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("merge", ["refit", "affine", "scale"])
def test_scaled_copies_are_exact_under_zero_padding_without_constants(merge):
    maps = planted(seed=1, positive=True)[:, [0, 1, 6, 8, 4, 10]]
    maps[:, 4] = 1.7 * maps[:, 1]
    weight, bias = normal(5, 6, 3, 3), normal(5)
    statistics = ActivationStatistics.of(maps)
    plan = plan_pruning(statistics)
    assert plan.counts["similar"] == 2
    assert plan.counts["dead"] == 1
    merged, corrected = merge_weights(plan, statistics, weight, bias, merge=merge, constants=False)
    assert corrected.equal(bias)
    before = F.conv2d(maps, weight, bias, padding=1)
    after = F.conv2d(maps[:, plan.kept], merged, corrected, padding=1)
    torch.testing.assert_close(after, before, **EXACT)


def test_batch_norm_takes_the_constant_of_a_reader_without_a_bias():
    maps, weight = planted(seed=2), normal(5, 12, 3, 3)
    norm = nn.BatchNorm2d(5, dtype=torch.float64).eval()
    norm.running_mean.copy_(normal(5, seed=4))
    statistics = ActivationStatistics.of(maps)
    plan = plan_pruning(statistics)
    before = norm(F.conv2d(maps, weight))
    merged, correction = merge_weights(plan, statistics, weight, None)
    norm.running_mean -= correction
    torch.testing.assert_close(norm(F.conv2d(maps[:, plan.kept], merged)), before, **EXACT)


def test_a_combination_of_three_goes_and_outputs_stay():
    values = layer(12, rank=12)
    values[:, 7] = 2 * values[:, 1] - 3 * values[:, 4] + values[:, 9] * 0.7 + 4
    statistics = ActivationStatistics.of(values)
    plan = plan_pruning(statistics, criterion="span", similar_below=0.01)
    assert len(plan.kept) == 11
    weight, bias = normal(5, 12), normal(5)
    merged, corrected = merge_weights(plan, statistics, weight, bias)
    fresh = layer(12, rank=12, seed=9)
    fresh[:, 7] = 2 * fresh[:, 1] - 3 * fresh[:, 4] + fresh[:, 9] * 0.7 + 4
    torch.testing.assert_close(fresh[:, plan.kept] @ merged.T + corrected, fresh @ weight.T + bias, **EXACT)


@pytest.mark.parametrize("constants", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_refit_agrees_with_least_squares(seed, constants):
    values = layer(seed=seed)
    statistics = ActivationStatistics.of(values)
    plan = plan_pruning(statistics, num_removed=10)
    matrix, shift = coefficients(plan, statistics, constants=constants)
    kept = values[:, plan.kept].numpy()
    columns = np.column_stack([kept, np.ones(len(kept))]) if constants else kept
    expected = np.linalg.lstsq(columns, values.numpy(), rcond=None)[0]
    np.testing.assert_allclose(matrix, expected[: len(plan.kept)], atol=1e-9)
    np.testing.assert_allclose(shift, expected[-1] if constants else 0, atol=1e-9)


def output_error(values, weight, plan, statistics, merge, **settings):
    matrix, shift = coefficients(plan, statistics, merge, **settings)
    rebuilt = values[:, plan.kept] @ matrix + shift
    return float(((rebuilt - values) @ weight.T).square().mean())


@pytest.mark.parametrize("constants", [True, False])
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"num_removed": 12}, id="pairs"),
        pytest.param({"num_removed": 12, "criterion": "span"}, id="span"),
        pytest.param({"num_removed": 12, "criterion": Pairs(complementary="remove_both")}, id="both go"),
    ],
)
@pytest.mark.parametrize(
    "values",
    [
        pytest.param(layer(), id="alike"),
        pytest.param(layer(rank=24).relu(), id="apart"),
        pytest.param(layer(num_samples=15), id="fewer samples than neurons"),
        pytest.param(layer(12).repeat(1, 2), id="each twice"),
        pytest.param(layer(12).repeat(1, 2) + 1e-7 * layer(seed=7), id="each nearly twice"),
        pytest.param(layer() * torch.logspace(-6, 6, 24, dtype=torch.float64), id="sizes far apart"),
        pytest.param(layer() + 1e6, id="far from 0"),
    ],
)
def test_no_merge_errs_less_than_refit_on_its_own_patterns(values, settings, constants):
    """For random consumers, to within rounding and what the ridge holds back."""
    statistics = ActivationStatistics.of(values)
    plan = plan_pruning(statistics, **settings)
    for seed in range(3):
        weight = normal(7, 24, seed=seed)
        errors = {
            merge: output_error(values, weight, plan, statistics, merge, constants=constants)
            for merge in MERGES
        }
        rounding = 1e-28 * float((values @ weight.T).square().mean())
        assert errors["refit"] <= min(errors.values()) * (1 + 1e-9) + rounding


@pytest.mark.parametrize("ridge", [1e-12, 1e-6, 1e-2, 1, 1e3])
def test_whatever_the_ridge_refit_is_not_worse_than_affine(ridge):
    values, weight = layer(), normal(7, 24)
    statistics = ActivationStatistics.of(values)
    plan = plan_pruning(statistics, num_removed=12)
    error = output_error(values, weight, plan, statistics, "refit", ridge=ridge)
    affine = output_error(values, weight, plan, statistics, "affine")
    assert error < affine
    if ridge == 1e3:
        assert error > 0.98 * affine


def test_neurons_that_were_not_finite_are_left_alone():
    values = layer(6)
    values[3, 1] = torch.nan
    statistics = ActivationStatistics.of(values)
    for merge in MERGES:
        matrix, shift = coefficients(PrunePlan(6, (Removal(4, "similar", 0),)), statistics, merge)
        assert matrix.isfinite().all()
        assert shift.isfinite().all()
        assert matrix[1].tolist() == [0, 1, 0, 0, 0, 0]
    with pytest.raises(InputError, match="neuron 1 was NaN or infinite"):
        coefficients(PrunePlan(6, (Removal(1, "span"),)), statistics)
    coefficients(PrunePlan(6, (Removal(1, "span"),)), statistics, "drop")


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("constants", [True, False])
def test_a_plan_that_removes_nothing_changes_nothing(merge, constants):
    weight, bias = normal(5, 24), normal(5)
    merged, corrected = merge_weights(
        PrunePlan(24), ActivationStatistics.of(layer()), weight, bias, merge=merge, constants=constants
    )
    assert merged.equal(weight)
    assert corrected.equal(bias)


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("constants", [True, False])
def test_a_layer_of_silent_neurons_is_merged_too(merge, constants):
    statistics = ActivationStatistics.of(torch.tensor([[0.0, 2, 3]] * 9, dtype=torch.float64))
    plan = plan_pruning(statistics)
    assert plan.kept == (2,)
    matrix, shift = coefficients(plan, statistics, merge, constants=constants)
    rebuilt = 3 * matrix[0] + shift
    silent_stay = merge == "refit" or (constants and merge != "drop")
    assert rebuilt.tolist() == [0, pytest.approx(2 if silent_stay else 0), 3]


def test_weights_of_a_network_are_left_as_they_were():
    consumer = nn.Linear(24, 5)
    before = consumer.weight.detach().clone()
    statistics = ActivationStatistics.of(layer())
    merged, corrected = merge_weights(
        plan_pruning(statistics, num_removed=3), statistics, consumer.weight, consumer.bias
    )
    assert not merged.requires_grad
    assert not corrected.requires_grad
    assert merged.dtype == torch.float32
    assert consumer.weight.equal(before)


def test_a_fit_on_few_patterns_is_warned_of_with_the_numbers(caplog):
    statistics = ActivationStatistics.of(layer(num_samples=100))
    plan = plan_pruning(statistics, num_removed=4)
    coefficients(plan, statistics, "affine")
    assert caplog.text == ""
    coefficients(plan, statistics)
    assert "20 survivors are fitted to 100 values of each" in caplog.text
    assert "give 2 times as many samples" in caplog.text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"merge": "mean"}, "merge is 'mean': it must be one of refit, affine", id="merge"),
        pytest.param({"ridge": 0.0}, "ridge is 0.0: it must be above 0", id="no ridge"),
        pytest.param(
            {"plan": PrunePlan(4), "weight": torch.ones(2, 4)},
            "the plan is for 4 neurons, but the statistics are of 3",
            id="other statistics",
        ),
        pytest.param(
            {"statistics": ActivationStatistics.of(torch.empty(0, 3))},
            "the analysis set is empty",
            id="no samples",
        ),
        pytest.param(
            {"statistics": ActivationStatistics.of(layer(3), pattern_minmax=True)},
            "rescaled samples lack the scale",
            id="rescaled samples",
        ),
    ],
)
def test_what_cannot_be_merged_is_said(change, reason):
    settings = {
        "plan": PrunePlan(3, (Removal(0, "similar", 1),)),
        "statistics": ActivationStatistics.of(layer(3)),
        "weight": torch.ones(2, 3),
        "bias": None,
    } | change
    with pytest.raises(InputError, match=reason):
        merge_weights(**settings)


def test_the_incoming_weights_of_jains_rule():
    plan = PrunePlan(5, (Removal(3, "complementary"), Removal(0, "similar", 2), Removal(4, "similar", 2)))
    weight = torch.tensor([[1.0, 0], [2, 0], [3, 0], [4, 0], [5, 1]])
    bias = torch.tensor([10.0, 20, 30, 40, 50])
    merged, corrected = add_incoming(plan, weight, bias)
    assert merged.tolist() == [[2, 0], [9, 1]]
    assert corrected.tolist() == [20, 90]
    assert add_incoming(plan, weight, None)[1] is None
    with pytest.raises(InputError, match=r"shape \(4, 2\) do not compute 5 neurons"):
        add_incoming(plan, weight[:4], bias)


@pytest.fixture(scope="module")
def trained():
    """Logistic units, as in the papers, trained on made-up samples of seven classes; inputs, labels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inputs = torch.randn(600, 10, dtype=torch.float64)
        seven = nn.Sequential(nn.Linear(10, 12), nn.Tanh(), nn.Linear(12, 7)).double()
        labels = (3 * seven(inputs)).argmax(1)
        network = nn.Sequential(nn.Linear(10, 60), nn.Sigmoid(), nn.Linear(60, 7)).double()
    # By the gradient's sign, as Rprop: torch's own optimizers take seconds to import.
    for lr in torch.linspace(0.06, 0, 150):
        loss = F.cross_entropy(network(inputs), labels)
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter -= lr * gradient.sign()
    return network.requires_grad_(requires_grad=False), inputs, labels


def pruned_accuracy(trained, rule, outgoing=None):
    """Return the accuracy with half the neurons gone, as a rule has them chosen and merged."""
    (first, unit, last), inputs, labels = trained
    hidden = unit(first(inputs))
    seen = ActivationStatistics.of(hidden, unit="logistic", **rule.measure)
    plan = plan_pruning(seen, num_removed=30, criterion=rule.criterion, outgoing=outgoing)
    assert len(plan.kept) == 30
    statistics = ActivationStatistics.of(hidden, unit="logistic")
    weight, bias = merge_weights(
        plan, statistics, last.weight, last.bias, merge=rule.merge, constants=rule.constants
    )
    survivors = hidden[:, plan.kept]
    if rule.incoming == "add":
        made, shift = add_incoming(plan, first.weight, first.bias)
        survivors = unit(inputs @ made.T + shift)
    return accuracy(survivors @ weight.T + bias, labels)


def accuracy(logits, labels):
    return float((logits.argmax(1) == labels).double().mean())


def test_the_papers_case_refit_keeps_what_their_rules_lose(trained):
    network, inputs, labels = trained
    before = accuracy(network(inputs), labels)
    outgoing = network[2].weight.T
    ours = {merge: pruned_accuracy(trained, Rule(merge=merge), outgoing) for merge in MERGES}
    theirs = {name: pruned_accuracy(trained, rule) for name, rule in RULES.items()}
    assert before > 0.97
    assert ours["refit"] > before - 0.03
    assert max(ours["affine"], ours["drop"], *theirs.values()) < before - 0.04
