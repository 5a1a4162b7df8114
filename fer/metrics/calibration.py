"""Calibration of a classifier: expected calibration error, reliability, and temperature scaling."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from fer.metrics.keys import CALIBRATION, acc_key
from fer.views import Tta

NUM_BINS: Final = 15
"""Bins of equal width that the probabilities of the predicted class are put in; Guo et al. use as many."""

TEMPERATURES: Final = (0.05, 20.0)
"""Lowest and highest temperature that is searched."""


class Reliability(NamedTuple):
    """How often the predicted class is right, by its probability.

    Attributes:
        counts: Samples of each of the B bins of equal width from 0 to 1, int64, shape ``(B,)``.
        confidence: Mean probability of the predicted class in each bin, NaN in an empty one, float64.
        accuracy: Share of right answers in each bin, NaN in an empty one, float64.
    """

    counts: Tensor
    confidence: Tensor
    accuracy: Tensor

    @property
    def n(self) -> int:
        """Number of samples."""
        return int(self.counts.sum())

    @property
    def ece(self) -> float:
        """Expected calibration error: mean distance of probability and accuracy over the samples, 0 to 1.

        NaN without a sample.

        Source: Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian
        Binning", AAAI 2015.
        """
        gaps = (self.confidence - self.accuracy).abs() * self.counts
        return float(gaps.nansum()) / self.n if self.n else math.nan


class Calibration(NamedTuple):
    """A classifier's probabilities on one split, with temperature 1 and with another.

    Attributes:
        temperature: What logits are divided by before the softmax.
        before: With temperature 1.
        after: With the temperature.
        nll_before: Mean negative log-likelihood of the true class with temperature 1, nats.
        nll_after: With the temperature.
        num_right: Right answers with temperature 1: the class of the highest mean probability.
        num_non_finite: Samples that are left out, since a logit is not finite.
    """

    temperature: float
    before: Reliability
    after: Reliability
    nll_before: float
    nll_after: float
    num_right: int
    num_non_finite: int

    @property
    def n(self) -> int:
        """Number of samples, without those whose logits are not finite."""
        return self.before.n

    @property
    def accuracy(self) -> float:
        """Right answers among all samples; those with logits that are not finite count as wrong."""
        num = self.n + self.num_non_finite
        return self.num_right / num if num else math.nan


def mean_probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the probability of each class: the mean over the views of a sample.

    Args:
        logits: Shape ``(N, V, K)``: of V views each.
        temperature: What the logits of each view are divided by.

    Returns:
        Shape ``(N, K)``.
    """
    return (logits / temperature).softmax(dim=-1).mean(dim=1)


def nll(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> float:
    """Return the mean negative log-likelihood of the true classes, nats; NaN without samples.

    Args:
        logits: Shape ``(N, V, K)``: of V views each.
        labels: True classes, shape ``(N,)``.
        temperature: What the logits of each view are divided by.
    """
    num_views = logits.shape[1]
    views = (logits / temperature).log_softmax(dim=-1)
    logs = views.gather(-1, labels[:, None, None].expand(-1, num_views, 1)).squeeze(-1)
    return float((math.log(num_views) - logs.logsumexp(dim=1)).mean())


def reliability(probabilities: Tensor, labels: Tensor, num_bins: int = NUM_BINS) -> Reliability:
    """Return how often the predicted class is right, by its probability.

    Args:
        probabilities: Of each class, shape ``(N, K)``.
        labels: True classes, shape ``(N,)``.
        num_bins: Bins of equal width; a probability on an edge belongs to the bin below.

    >>> found = reliability(torch.tensor([[0.8, 0.2], [0.6, 0.4]]), torch.tensor([0, 1]), num_bins=2)
    >>> found.counts.tolist(), [round(float(each[1]), 2) for each in found[1:]], round(found.ece, 2)
    ([0, 2], [0.7, 0.5], 0.2)
    """
    highest, predicted = probabilities.double().max(dim=1)
    bins = ((highest * num_bins).ceil().long() - 1).clamp(0, num_bins - 1)

    def per_bin(values: Tensor) -> Tensor:
        return torch.zeros(num_bins, dtype=torch.float64).index_add_(0, bins, values.double())

    counts = per_bin(torch.ones_like(highest))
    return Reliability(counts.long(), per_bin(highest) / counts, per_bin(predicted == labels) / counts)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature with which the true classes are most likely, within :data:`TEMPERATURES`.

    Of one view, the negative log-likelihood is convex in the inverse of the temperature, so that a bounded
    search in one dimension finds the lowest.

    Args:
        logits: Finite, shape ``(N, V, K)``: of V views each.
        labels: True classes, shape ``(N,)``.

    Returns:
        The temperature; 1 where nothing tells: without samples, if all answers are right, which the lowest
        temperature would make certain, or if all logits of each sample are the same.

    Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.
    """
    logits = logits.double()
    is_right = bool((logits.argmax(dim=-1) == labels[:, None]).all())
    is_flat = bool((logits == logits[..., :1]).all())
    if is_right or is_flat:  # also without samples
        return 1.0
    from scipy.optimize import minimize_scalar  # not above: it is slow to import

    low, high = map(math.log, TEMPERATURES)
    found = minimize_scalar(
        lambda log: nll(logits, labels, math.exp(log)),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-7},
    )
    return math.exp(float(found.x))


def calibration(logits: Tensor, labels: Tensor, temperature: float | None = None) -> Calibration:
    """Return how well a classifier's probabilities are calibrated on one split.

    Samples with logits that are not finite are left out: they have no probabilities.

    Args:
        logits: Shape ``(N, V, K)``: of V views each.
        labels: True classes, shape ``(N,)``.
        temperature: What logits are divided by; None: it is fitted on these samples.
    """
    is_finite = logits.isfinite().all(dim=-1).all(dim=-1)
    logits, labels = logits[is_finite].double().cpu(), labels[is_finite].cpu()
    found = fit_temperature(logits, labels) if temperature is None else temperature
    plain = mean_probabilities(logits)
    return Calibration(
        temperature=found,
        before=reliability(plain, labels),
        after=reliability(mean_probabilities(logits, found), labels),
        nll_before=nll(logits, labels),
        nll_after=nll(logits, labels, found),
        num_right=int((plain.argmax(dim=1) == labels).sum()),
        num_non_finite=int((~is_finite).sum()),
    )


def pooled_calibration(contents: Sequence[Mapping[str, Any]]) -> Calibration:
    """Return the calibration of several classifiers' probabilities together, from ``results.json``.

    Args:
        contents: Of each classifier what its ``results.json`` holds of one split, with the same bins.

    Returns:
        Sums over the classifiers; the temperature is their mean, as each has its own.
    """
    weights = torch.tensor([each["n"] for each in contents], dtype=torch.float64)
    share = weights / weights.sum()

    def mean_of(values: Sequence[float]) -> float:
        return float((share * torch.tensor(values, dtype=torch.float64)).nansum())

    before, after = (_pooled([each["bins"][when] for each in contents]) for when in ("before", "after"))
    return Calibration(
        temperature=mean_of([each["temperature"] for each in contents]),
        before=before,
        after=after,
        nll_before=mean_of([each["nll"]["before"] for each in contents]),
        nll_after=mean_of([each["nll"]["after"] for each in contents]),
        num_right=round(float((before.accuracy * before.counts).nansum())),
        num_non_finite=0,
    )


def _pooled(bins: Sequence[Mapping[str, Sequence[float | None]]]) -> Reliability:
    """Return the sum of reliabilities in plain data, None in the place of NaN."""
    counts, confidence, accuracy = (
        torch.tensor(
            [[math.nan if value is None else value for value in each[name]] for each in bins],
            dtype=torch.float64,
        )
        for name in Reliability._fields
    )
    total = counts.sum(dim=0)
    means = ((counts * each).nansum(dim=0) / total for each in (confidence, accuracy))
    return Reliability(total.long(), *means)


def calibration_scalars(found: Mapping[Tta, Calibration]) -> dict[str, float]:
    """Return the calibration of a split as flat numbers to be logged, keys without the name of the split.

    Args:
        found: By views, ``none`` among them; empty: nothing is known.

    Returns:
        :data:`fer.metrics.keys.CALIBRATION` of the plain images, and of views the accuracy.
    """
    if not found:
        return {}
    plain = found["none"]
    values = (plain.nll_before, plain.nll_after, plain.before.ece, plain.after.ece, plain.temperature)
    views = {acc_key(tta): each.accuracy for tta, each in found.items() if tta != "none"}
    return dict(zip(CALIBRATION, values, strict=True)) | views


class LogitsMetric(Metric):
    """Keep the logits and labels of a split, of all processes together.

    Batches stay on their device until :meth:`compute`: N x V x K numbers.
    """

    is_differentiable = False
    full_state_update = False

    logits: list[Tensor]
    labels: list[Tensor]

    def __init__(self) -> None:
        """Start with no sample seen."""
        super().__init__()
        self.add_state("logits", default=[], dist_reduce_fx="cat")
        self.add_state("labels", default=[], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            logits: Shape ``(N, K)``, or ``(N, V, K)`` of V views.
            labels: True classes, shape ``(N,)``.
        """
        self.logits.append(logits.detach().float() if logits.ndim == 3 else logits.detach().float()[:, None])
        self.labels.append(labels)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return logits, shape ``(N, V, K)``, and labels, shape ``(N,)``, on the CPU."""
        if len(self.labels) == 0:  # a list, or one tensor of all processes
            return torch.empty(0, 1, 2), torch.empty(0, dtype=torch.int64)
        return dim_zero_cat(self.logits).cpu(), dim_zero_cat(self.labels).cpu()
