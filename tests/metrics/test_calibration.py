"""Calibration: closed cases, invariants, and torchmetrics and scikit-learn as independent oracles."""

import math

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from fer.metrics.calibration import (
    NUM_BINS,
    TEMPERATURES,
    LogitsMetric,
    calibration,
    calibration_scalars,
    fit_temperature,
    mean_probabilities,
    nll,
    reliability,
)


def drawn(temperature: float, num: int = 4000, num_classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits of one view whose labels were drawn from their softmax at a temperature."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(num, 1, num_classes, generator=generator, dtype=torch.float64)
    chances = mean_probabilities(logits, temperature)
    return logits, torch.multinomial(chances, 1, generator=generator).squeeze(1)


@pytest.mark.parametrize(
    ("margin", "num_right", "expected"),
    [
        pytest.param(2.0, 75, 2 / math.log(3), id="overconfident"),
        pytest.param(0.5, 90, 0.5 / math.log(9), id="underconfident"),
        pytest.param(math.log(3), 75, 1.0, id="calibrated"),
        pytest.param(1.0, 40, TEMPERATURES[1], id="worse than chance: the highest"),
        pytest.param(1.0, 100, 1.0, id="all right: nothing tells"),
        pytest.param(0.0, 50, 1.0, id="flat: nothing tells"),
    ],
)
def test_the_temperature_of_two_classes_is_known(margin, num_right, expected):
    """Each sample has the margin m for the class 0: sigmoid(m / T) is the share of right answers."""
    logits = torch.tensor([[[margin, 0.0]]]).repeat(100, 1, 1)
    labels = (torch.arange(100) >= num_right).long()
    assert fit_temperature(logits, labels) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_labels_were_drawn_with_is_found(temperature):
    assert fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.06)


def test_no_temperature_nearby_is_likelier():
    logits, labels = drawn(1.7, num=300)
    for few in (logits, torch.cat([logits, logits.roll(1, dims=2) / 4], dim=1)):  # one view, and two
        found = fit_temperature(few, labels)
        best = nll(few, labels, found)
        assert all(nll(few, labels, found * factor) > best for factor in (0.98, 1.02, 0.5, 2.0))


def test_error_and_likelihood_are_those_of_other_libraries():
    logits, labels = drawn(2.0, num=500)
    probabilities = mean_probabilities(logits)
    found = reliability(probabilities, labels)
    oracle = multiclass_calibration_error(probabilities, labels, num_classes=5, n_bins=NUM_BINS, norm="l1")
    assert found.ece == pytest.approx(float(oracle), abs=1e-6)
    assert nll(logits, labels) == pytest.approx(log_loss(labels, probabilities), abs=1e-9)
    is_right = (probabilities.argmax(dim=1) == labels).numpy()
    accuracy, confidence = calibration_curve(is_right, probabilities.max(dim=1).values, n_bins=NUM_BINS)
    filled = found.counts > 0
    np.testing.assert_allclose(found.accuracy[filled], accuracy)
    np.testing.assert_allclose(found.confidence[filled], confidence)
    assert found.n == 500


def test_the_mean_of_views_is_a_mean_of_probabilities():
    logits = torch.tensor([[[0.0, 0.0], [math.log(3), 0.0]]])
    assert mean_probabilities(logits).tolist()[0] == pytest.approx([0.625, 0.375])
    assert nll(logits, torch.tensor([1])) == pytest.approx(-math.log(0.375))


def test_a_temperature_changes_no_answer_of_one_view():
    logits, labels = drawn(0.3, num=200)
    found = calibration(logits, labels)
    after = mean_probabilities(logits, found.temperature).argmax(dim=1)
    assert found.num_right == int((after == labels).sum())
    assert found.after.ece < found.before.ece
    assert found.nll_after < found.nll_before


def test_samples_without_finite_logits_are_left_out_and_count_as_wrong():
    logits, labels = drawn(1.0, num=20)
    broken = torch.cat([logits, torch.full_like(logits[:5], math.nan)])
    found = calibration(broken, torch.cat([labels, labels[:5]]), temperature=1.3)
    whole = calibration(logits, labels, temperature=1.3)
    assert (found.n, found.num_non_finite) == (20, 5)
    assert found.after.ece == whole.after.ece
    assert found.accuracy == pytest.approx(whole.accuracy * 20 / 25)


def test_without_a_sample_nothing_is_claimed():
    found = calibration(torch.empty(0, 1, 3), torch.empty(0, dtype=torch.int64))
    assert (found.n, found.temperature) == (0, 1.0)
    assert math.isnan(found.before.ece)
    assert math.isnan(found.accuracy)
    assert calibration_scalars({}) == {}


def test_logits_of_all_batches_are_kept_in_order():
    metric = LogitsMetric()
    logits, labels = drawn(1.0, num=7)
    metric.update(logits[:4, 0], labels[:4])
    metric.update(logits[4:], labels[4:])
    kept, known = metric.compute()
    torch.testing.assert_close(kept, logits.float())
    assert known.tolist() == labels.tolist()
