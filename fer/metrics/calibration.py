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
"""Number of equal-width bins of the predicted class's probability, as in Guo et al."""

TEMPERATURES: Final = (0.05, 20.0)
"""Bounds of the search for the temperature."""


class Reliability(NamedTuple):
    """Reliability diagram: accuracy by the probability of the predicted class.

    Attributes:
        counts: Number of samples in each of B equal-width bins from 0 to 1, int64, shape ``(B,)``.
        confidence: Mean probability of the predicted class in each bin, NaN for an empty bin, float64.
        accuracy: Accuracy in each bin, NaN for an empty bin, float64.
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
        """Expected calibration error: mean difference of confidence and accuracy over the samples, 0 to 1.

        NaN without samples.

        Source: Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian
        Binning", AAAI 2015.
        """
        gaps = (self.confidence - self.accuracy).abs() * self.counts
        return float(gaps.nansum()) / self.n if self.n else math.nan


class Calibration(NamedTuple):
    """Calibration of a classifier on one split, before and after temperature scaling.

    Attributes:
        temperature: Temperature that divides the logits before the softmax.
        before: Reliability with temperature 1.
        after: Reliability with the temperature.
        nll_before: Mean negative log-likelihood of the true class with temperature 1, in nats.
        nll_after: Mean negative log-likelihood with the temperature, in nats.
        num_right: Number of correct predictions with temperature 1, by the highest mean probability.
        num_non_finite: Number of samples that are left out, since a logit is not finite.
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
        """Number of samples with finite logits."""
        return self.before.n

    @property
    def accuracy(self) -> float:
        """Accuracy over all samples; those with logits that are not finite count as wrong."""
        num = self.n + self.num_non_finite
        return self.num_right / num if num else math.nan


def mean_probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the class probabilities of each sample, averaged over its views.

    Args:
        logits: Logits of V views of each sample, shape ``(N, V, K)``.
        temperature: Temperature that divides the logits of each view.

    Returns:
        Probabilities, shape ``(N, K)``.
    """
    return (logits / temperature).softmax(dim=-1).mean(dim=1)


def nll(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> float:
    """Return the mean negative log-likelihood of the true classes, in nats; NaN without samples.

    Args:
        logits: Logits of V views of each sample, shape ``(N, V, K)``.
        labels: True classes, shape ``(N,)``.
        temperature: Temperature that divides the logits of each view.
    """
    num_views = logits.shape[1]
    views = (logits / temperature).log_softmax(dim=-1)
    logs = views.gather(-1, labels[:, None, None].expand(-1, num_views, 1)).squeeze(-1)
    return float((math.log(num_views) - logs.logsumexp(dim=1)).mean())


def reliability(probabilities: Tensor, labels: Tensor, num_bins: int = NUM_BINS) -> Reliability:
    """Return the accuracy of the predicted class, binned by its probability.

    Args:
        probabilities: Class probabilities, shape ``(N, K)``.
        labels: True classes, shape ``(N,)``.
        num_bins: Number of equal-width bins; a probability on an edge belongs to the lower bin.

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
    """Fit the temperature that minimises the negative log-likelihood, within :data:`TEMPERATURES`.

    With a single view, the negative log-likelihood is convex in the inverse temperature, so a bounded
    one-dimensional search finds its minimum.

    Args:
        logits: Finite logits of V views of each sample, shape ``(N, V, K)``.
        labels: True classes, shape ``(N,)``.

    Returns:
        The temperature. It is 1 if the samples do not determine it: if there are none, if all predictions are
        right (the lowest temperature would always win), or if the logits of each sample are all equal.

    Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.
    """
    logits = logits.double()
    is_right = bool((logits.argmax(dim=-1) == labels[:, None]).all())
    is_flat = bool((logits == logits[..., :1]).all())
    if is_right or is_flat:  # also without samples
        return 1.0
    from scipy.optimize import minimize_scalar  # not at the top: it is slow to import

    low, high = map(math.log, TEMPERATURES)
    found = minimize_scalar(
        lambda log: nll(logits, labels, math.exp(log)),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-7},
    )
    return math.exp(float(found.x))


def calibration(logits: Tensor, labels: Tensor, temperature: float | None = None) -> Calibration:
    """Measure the calibration of a classifier on one split.

    Samples with logits that are not finite are left out: they have no probabilities.

    Args:
        logits: Logits of V views of each sample, shape ``(N, V, K)``.
        labels: True classes, shape ``(N,)``.
        temperature: Temperature that divides the logits; None: fit it on these samples.
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
    """Pool the calibration of several classifiers on one split.

    Args:
        contents: Calibration of each classifier in its ``results.json``, all with the same bins.

    Returns:
        Sums over the classifiers; temperature and likelihoods are means weighted by the number of samples.
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
    """Pool reliabilities stored as plain data, in which NaN is None."""
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
    """Return the calibration of a split as a flat dict for logging; keys lack the name of the split.

    Args:
        found: Calibration for each kind of views, including ``none``; or an empty mapping.

    Returns:
        :data:`fer.metrics.keys.CALIBRATION` without test-time augmentation, and the accuracy with it.
    """
    if not found:
        return {}
    plain = found["none"]
    values = (plain.nll_before, plain.nll_after, plain.before.ece, plain.after.ece, plain.temperature)
    views = {acc_key(tta): each.accuracy for tta, each in found.items() if tta != "none"}
    return dict(zip(CALIBRATION, values, strict=True)) | views


class LogitsMetric(Metric):
    """Collects the logits and labels of a split from all processes.

    Batches stay on their device until :meth:`compute`: N x V x K numbers.
    """

    is_differentiable = False
    full_state_update = False

    logits: list[Tensor]
    labels: list[Tensor]

    def __init__(self) -> None:
        """Start without samples."""
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
