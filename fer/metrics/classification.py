"""Classification metrics computed from a confusion matrix.

Only the matrix is accumulated over batches and processes. Accuracy, recall, specificity and all other metrics
are computed from it at the end, so they are consistent: none is a mean of batch means, and none comes from
another epoch than the others.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from fer.labels import NUM_EXPRESSIONS, default_class_names

CONFIDENCE: Final = math.erf(1.959964 / math.sqrt(2))
"""Confidence level of all intervals, 0.95; exactly that of the normal quantile 1.959964."""

NO_CLASS: Final = -1
"""Predicted class of a sample whose logits are not all finite."""


def predicted_classes(logits: Tensor) -> Tensor:
    """Return the class with the largest logit of each sample.

    A sample with NaN or infinite logits has no class. (``argmax`` alone treats NaN as the largest value,
    which would give a broken network an accuracy.)

    Args:
        logits: Logits or probabilities, shape ``(N, K)``.

    Returns:
        Classes, int64, shape ``(N,)``; :data:`NO_CLASS` if a logit is NaN or infinite.

    >>> predicted_classes(torch.tensor([[0.1, 0.9], [math.nan, math.nan], [math.inf, 0.0]])).tolist()
    [1, -1, -1]
    """
    return torch.where(logits.isfinite().all(dim=1), logits.argmax(dim=1), NO_CLASS)


class ClassificationReport(NamedTuple):
    """Metrics of a confusion matrix of K classes; fractions are 0 to 1, tensors float64 on the CPU.

    A metric that is 0/0 (such as the precision of a class that was never predicted) is NaN. Macro means are
    over the classes for which the metric is defined; ``undefined`` counts the classes that were left out.

    Samples whose logits are not finite have no predicted class. They are in ``non_finite`` instead of the
    matrix and count as wrong: they are included in ``n``, in the support, and in the metrics of each class.
    If no sample has a predicted class, every fraction is NaN.

    This is a named tuple because torchmetrics copies the result of ``compute`` field by field, which fails
    for a frozen dataclass.

    Attributes:
        class_names: K names, in the order of the labels.
        confusion: Counts, rows = truth, columns = predicted, int64, shape ``(K, K)``.
        non_finite: Number of samples of each class whose logits are not finite, int64, shape ``(K,)``.
        n: Number of samples, including those with logits that are not finite.
        accuracy: Share of correct predictions, ``trace / n``; NaN if no sample has a predicted class.
        interval: Wilson's 95 % interval of the accuracy, low and high.
        support: Number of samples of each class, int64, shape ``(K,)``.
        precision: ``tp / (tp + fp)``, shape ``(K,)``.
        recall: ``tp / (tp + fn)``, shape ``(K,)``.
        specificity: ``tn / (n - support)``, shape ``(K,)``.
        f1: ``2 tp / (2 tp + fp + fn)``, shape ``(K,)``; NaN only if the class neither occurs nor is
            predicted.
        ovr_accuracy: One-versus-rest accuracy ``(tp + tn) / n``, shape ``(K,)``. It is much higher than the
            accuracy, since true negatives count: even a random guess among K classes scores high.
        macro_precision: Mean precision over the classes where it is defined.
        macro_recall: Mean recall over the classes where it is defined.
        macro_specificity: Mean specificity over the classes where it is defined.
        macro_f1: Mean F1 over the classes where it is defined.
        macro_ovr_accuracy: Mean one-versus-rest accuracy, ``1 - 2 (1 - accuracy) / K`` where all logits are
            finite.
        undefined: For precision, recall, specificity and f1, the number of classes that are NaN.
        repeats: Number of networks whose predictions are pooled; intervals count each sample once.

    Source: Dhall, Goecke, Lucey and Gedeon, "Static Facial Expression Analysis in Tough Conditions",
    2011, whose Eq. 3, there called accuracy, is ``ovr_accuracy``.
    """

    class_names: tuple[str, ...]
    confusion: Tensor
    non_finite: Tensor
    n: int
    accuracy: float
    interval: tuple[float, float]
    support: Tensor
    precision: Tensor
    recall: Tensor
    specificity: Tensor
    f1: Tensor
    ovr_accuracy: Tensor
    macro_precision: float
    macro_recall: float
    macro_specificity: float
    macro_f1: float
    macro_ovr_accuracy: float
    undefined: Mapping[str, int]
    repeats: int = 1

    @property
    def num_non_finite(self) -> int:
        """Number of samples whose logits are not finite."""
        return int(self.non_finite.sum())

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that occur: the accuracy if all of them were equally frequent."""
        return self.macro_recall

    def scalars(self) -> dict[str, float]:
        """Return the report as a flat dict for logging; keys lack the name of the split.

        Returns:
            ``acc``, ``acc_low``, ``acc_high``, ``n``, ``num_non_finite``, ``balanced_acc``; the macro means
            ``ovr_acc``, ``precision``, ``recall``, ``specificity``, ``f1``; ``undefined``, the total number
            of class metrics that are NaN; and ``recall/<class>`` and so on for each class.
        """
        by_class = {
            "ovr_acc": self.ovr_accuracy,
            "precision": self.precision,
            "recall": self.recall,
            "specificity": self.specificity,
            "f1": self.f1,
        }
        return {
            "acc": self.accuracy,
            "acc_low": self.interval[0],
            "acc_high": self.interval[1],
            "n": float(self.n),
            "num_non_finite": float(self.num_non_finite),
            "balanced_acc": self.balanced_accuracy,
            "ovr_acc": self.macro_ovr_accuracy,
            "precision": self.macro_precision,
            "recall": self.macro_recall,
            "specificity": self.macro_specificity,
            "f1": self.macro_f1,
            "undefined": float(sum(self.undefined.values())),
            **{
                f"{key}/{name}": float(value)
                for key, values in by_class.items()
                for name, value in zip(self.class_names, values, strict=True)
            },
        }

    def table(self) -> str:
        """Return the report as an aligned text table in percent, with a dash for an undefined metric.

        Returns:
            A line for each class with its number of samples, precision P, recall R, specificity and F1; a
            line with their macro means; a line with the accuracy, its interval and ``n``; and, if there are
            any, a line with the number of samples whose logits are not finite.
        """
        macro = (self.macro_precision, self.macro_recall, self.macro_specificity, self.macro_f1)
        columns = torch.stack([self.precision, self.recall, self.specificity, self.f1], dim=1)
        rows = [
            *zip(self.class_names, self.support.tolist(), columns.tolist(), strict=True),
            ("macro mean", self.n, macro),
        ]
        width = max(len(name) for name, _, _ in rows)
        lines = [f"{'':<{width}}  {'n':>7}  {'P %':>6}  {'R %':>6}  {'spec %':>6}  {'F1 %':>6}"]
        for name, support, figures in rows:
            cells = "".join(f"  {_percent(figure):>6}" for figure in figures)
            lines.append(f"{name:<{width}}  {support:>7,}{cells}")
        low, high = self.interval
        lines.append(
            f"accuracy {_percent(self.accuracy)} % [{_percent(low)}, {_percent(high)}] of n = {self.n:,}"
        )
        if self.num_non_finite:
            lines.append(
                f"logits not finite: {self.num_non_finite:,} of {self.n:,} samples, counted as wrong"
            )
        return "\n".join(lines)


def report(
    confusion: Tensor,
    class_names: Sequence[str] | None = None,
    non_finite: Tensor | Sequence[int] | None = None,
    *,
    repeats: int = 1,
) -> ClassificationReport:
    """Compute all metrics of a confusion matrix.

    Args:
        confusion: Counts, rows = truth, columns = predicted, integers, shape ``(K, K)``.
        class_names: K names; None: the seven expressions if K is 7, else ``class_0`` and so on.
        non_finite: Number of samples of each class whose logits are not finite, shape ``(K,)``; None: none.
        repeats: Number of networks whose confusion matrices, for the same samples, are summed in
            ``confusion``.

    Returns:
        The report; see :class:`ClassificationReport`.

    Raises:
        ValueError: The matrix is not square, has fewer than 2 classes, contains anything but counts, or does
            not match the number of names.

    >>> report(torch.tensor([[3, 1], [2, 4]])).accuracy
    0.7
    """
    _check_counts(confusion)
    num_classes = len(confusion)
    names = _names(num_classes, class_names)
    counts = confusion.detach().to(device="cpu", dtype=torch.int64)
    unanswered = torch.zeros(num_classes) if non_finite is None else torch.as_tensor(non_finite)
    unanswered = unanswered.to(device="cpu", dtype=torch.int64)
    answered = counts.sum(dim=1)
    num_answered = int(answered.sum())
    support = answered + unanswered
    n = int(support.sum())

    tp = counts.diagonal().double() if num_answered else torch.full((num_classes,), math.nan).double()
    fn = support.double() - tp
    fp = counts.sum(dim=0).double() - tp
    tn = num_answered - answered - fp  # a sample without a predicted class is right about no class
    precision = tp / (tp + fp)
    recall = tp / (tp + fn)
    specificity = tn / (n - support)
    f1 = 2 * tp / (2 * tp + fp + fn)
    ovr_accuracy = (tp + tn) / n

    correct = int(counts.trace())
    undefined = {"precision": precision, "recall": recall, "specificity": specificity, "f1": f1}
    return ClassificationReport(
        class_names=names,
        confusion=counts,
        non_finite=unanswered,
        n=n,
        accuracy=correct / n if num_answered else math.nan,
        interval=wilson_interval(round(correct / repeats), round(n / repeats) if num_answered else 0),
        support=support,
        precision=precision,
        recall=recall,
        specificity=specificity,
        f1=f1,
        ovr_accuracy=ovr_accuracy,
        macro_precision=float(precision.nanmean()),
        macro_recall=float(recall.nanmean()),
        macro_specificity=float(specificity.nanmean()),
        macro_f1=float(f1.nanmean()),
        macro_ovr_accuracy=float(ovr_accuracy.nanmean()),
        undefined={name: int(values.isnan().sum()) for name, values in undefined.items()},
        repeats=repeats,
    )


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a proportion, which is valid for few samples and near 0 and 1, too.

    Args:
        correct: Number of correct predictions, 0 to ``n``.
        n: Number of predictions; if it is 0, the interval is 0 to 1.

    Returns:
        Lower and upper end, 0 to 1.

    Raises:
        ValueError: ``correct`` is not between 0 and ``n``.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of
    the American Statistical Association 22, 1927.

    >>> low, high = wilson_interval(27, 55)
    >>> f"{low:.3f} {high:.3f}"
    '0.364 0.619'
    """
    if not 0 <= correct <= n:
        msg = f"{correct} right answers of {n} are impossible"
        raise ValueError(msg)
    if n == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest  # not at the top: it is slow to import

    low, high = binomtest(correct, n).proportion_ci(CONFIDENCE, method="wilson")
    # SciPy's ends at 0 and 1 have rounding errors.
    return (0.0 if correct == 0 else float(low)), (1.0 if correct == n else float(high))


class ClassificationMetrics(Metric):
    """Accumulates a confusion matrix over batches and processes, and computes all metrics from it.

    Args:
        num_classes: Number of classes K, 2 or more.
        class_names: K names; None: the seven expressions if K is 7, else ``class_0`` and so on.

    Raises:
        ValueError: There are fewer than 2 classes, or the number of names differs.

    >>> metrics = ClassificationMetrics(num_classes=2)
    >>> metrics.update(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0]))
    >>> metrics.compute().confusion.tolist()
    [[1, 1], [0, 1]]
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    confusion: Tensor
    non_finite: Tensor
    outside: Tensor

    def __init__(self, num_classes: int = NUM_EXPRESSIONS, class_names: Sequence[str] | None = None) -> None:
        """Start without samples."""
        super().__init__()
        self.num_classes = num_classes
        self.class_names = _names(num_classes, class_names)
        zeros = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.add_state("confusion", default=zeros, dist_reduce_fx="sum")
        self.add_state("non_finite", default=zeros[0].clone(), dist_reduce_fx="sum")
        self.add_state("outside", default=zeros[0, 0].clone(), dist_reduce_fx="sum")

    def update(self, logits_or_predictions: Tensor, labels: Tensor) -> None:
        """Add a batch, without synchronising with the device.

        Args:
            logits_or_predictions: Logits or probabilities, shape ``(N, K)``; or the classes that
                :func:`predicted_classes` returns for them, integers, shape ``(N,)``.
            labels: True labels, integers 0 to K - 1, shape ``(N,)``.

        Raises:
            ValueError: The shapes do not match each other or the number of classes, or a label is not
                between 0 and K - 1. If the labels are not on the CPU, :meth:`compute` raises the latter.
        """
        predictions = self._predictions(logits_or_predictions)
        if labels.ndim != 1 or predictions.shape != labels.shape:
            msg = (
                f"predictions of shape {tuple(logits_or_predictions.shape)} do not fit "
                f"labels of shape {tuple(labels.shape)}"
            )
            raise ValueError(msg)
        # A label out of range would not fail below, but be counted in another cell.
        is_outside = (labels < 0) | (labels >= self.num_classes)
        is_outside |= (predictions < NO_CLASS) | (predictions >= self.num_classes)
        if labels.device.type == "cpu" and bool(is_outside.any()):
            raise ValueError(self._outside)
        # One row per label, one column per prediction (the first for NO_CLASS), and a last cell for labels or
        # predictions out of range.
        num_cells = self.num_classes * (self.num_classes + 1)
        cells = labels.long() * (self.num_classes + 1) + predictions.long() - NO_CLASS
        cells = torch.where(is_outside, num_cells, cells)
        counts = cells.new_zeros(num_cells + 1).index_add_(0, cells, torch.ones_like(cells))
        table = counts[:-1].view(self.num_classes, -1)
        # Not in place: after a validation outside of a fit, the state is an inference tensor, which cannot be
        # changed in place.
        self.confusion = self.confusion + table[:, 1:]
        self.non_finite = self.non_finite + table[:, 0]
        self.outside = self.outside + counts[-1]

    def compute(self) -> ClassificationReport:
        """Return the report on the samples of all processes since the last reset.

        Raises:
            ValueError: A label was not between 0 and K - 1.
        """
        if self.outside:
            raise ValueError(self._outside)
        return report(self.confusion, self.class_names, self.non_finite)

    @property
    def _outside(self) -> str:
        return f"a label is outside 0 to {self.num_classes - 1}"

    def _predictions(self, logits_or_predictions: Tensor) -> Tensor:
        """Return predicted classes, shape ``(N,)``, given as they are or as logits."""
        if logits_or_predictions.ndim == 2 and logits_or_predictions.shape[1] == self.num_classes:
            return predicted_classes(logits_or_predictions)
        if logits_or_predictions.ndim == 1 and not logits_or_predictions.is_floating_point():
            return logits_or_predictions
        msg = (
            f"expected logits of shape (N, {self.num_classes}) or integer predictions of shape (N,), "
            f"not {logits_or_predictions.dtype} of shape {tuple(logits_or_predictions.shape)}"
        )
        raise ValueError(msg)


def _check_counts(confusion: Tensor) -> None:
    """Raise ``ValueError`` unless this is a square matrix of counts for 2 or more classes."""
    if confusion.ndim != 2 or len(confusion) != confusion.shape[1] or len(confusion) < 2:
        msg = f"a confusion matrix must have shape (K, K) with K of 2 or more, not {tuple(confusion.shape)}"
        raise ValueError(msg)
    if confusion.is_floating_point() or confusion.is_complex() or bool((confusion < 0).any()):
        msg = "a confusion matrix must contain counts: integers of 0 or more"
        raise ValueError(msg)


def _names(num_classes: int, class_names: Sequence[str] | None) -> tuple[str, ...]:
    """Return one name for each class, or raise ``ValueError``."""
    if num_classes < 2:
        msg = f"a classifier needs 2 classes or more, not {num_classes}"
        raise ValueError(msg)
    if class_names is None:
        return default_class_names(num_classes)
    if len(class_names) != num_classes:
        msg = f"{len(class_names)} class names for {num_classes} classes"
        raise ValueError(msg)
    return tuple(class_names)


def _percent(fraction: float) -> str:
    """Return a fraction as a percentage with two decimals, or a dash if it is NaN."""
    return "-" if math.isnan(fraction) else f"{100 * fraction:.2f}"
