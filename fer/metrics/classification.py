"""Every figure of a classification report, from one confusion matrix.

The matrix is the only thing that is added up, over batches and over processes. Accuracy, recall,
specificity and the rest are computed from it at the end, so that they always belong together: no
mean of batch means, and no class figures that come from another epoch than the accuracy.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from fer.labels import NUM_EXPRESSIONS, default_class_names

CONFIDENCE: Final = math.erf(1.959964 / math.sqrt(2))
"""Confidence of intervals, 0.95: the quantile of the normal distribution is taken as 1.959964."""

NO_CLASS: Final = -1
"""Predicted class of a sample whose logits are not all finite."""


def predicted_classes(logits: Tensor) -> Tensor:
    """Return the class with the largest logit of each sample.

    ``argmax`` takes NaN for the largest value, so that a broken network would get an accuracy.

    Args:
        logits: Logits or probabilities, shape ``(N, K)``.

    Returns:
        Classes, int64, shape ``(N,)``; :data:`NO_CLASS` where a logit is NaN or infinite.

    >>> predicted_classes(torch.tensor([[0.1, 0.9], [math.nan, math.nan], [math.inf, 0.0]])).tolist()
    [1, -1, -1]
    """
    return torch.where(logits.isfinite().all(dim=1), logits.argmax(dim=1), NO_CLASS)


class ClassificationReport(NamedTuple):
    """What a confusion matrix of K classes says; fractions are 0 to 1, tensors float64 on the CPU.

    A figure that would be 0/0 (the precision of a class that was never predicted) is NaN. A macro mean
    is over the classes where the figure is defined; ``undefined`` says how many were left out.

    Samples whose logits are not finite have no predicted class. They are in ``non_finite`` instead of the
    matrix, and count as wrong: in ``n``, in the support, and in each fraction of a class. If no sample has a
    predicted class, every fraction is NaN.

    It is a named tuple, not a dataclass, because torchmetrics copies what ``compute`` returns field by
    field and refuses a frozen dataclass.

    Attributes:
        class_names: K names, in the order of the labels.
        confusion: Counts, rows = truth, columns = predicted, int64, shape ``(K, K)``.
        non_finite: Samples of each class whose logits are not finite, int64, shape ``(K,)``.
        n: Number of samples, those with logits that are not finite included.
        accuracy: Right answers among all, ``trace / n``; NaN if no sample has a predicted class.
        interval: Wilson's 95 % interval of the accuracy, low and high.
        support: Samples of each class, int64, shape ``(K,)``.
        precision: ``tp / (tp + fp)``, shape ``(K,)``.
        recall: ``tp / (tp + fn)``, shape ``(K,)``.
        specificity: ``tn / (n - support)``, shape ``(K,)``.
        f1: ``2 tp / (2 tp + fp + fn)``, shape ``(K,)``; NaN only if the class neither occurs nor is
            predicted.
        ovr_accuracy: One-versus-rest accuracy ``(tp + tn) / n``, shape ``(K,)``. It is not the
            accuracy: true negatives count, so that a K-class guess scores high.
        macro_precision: Mean precision over the classes where it is defined.
        macro_recall: Mean recall over the classes where it is defined.
        macro_specificity: Mean specificity over the classes where it is defined.
        macro_f1: Mean F1 over the classes where it is defined.
        macro_ovr_accuracy: Mean one-versus-rest accuracy, ``1 - 2 (1 - accuracy) / K`` where all logits are
            finite.
        undefined: For precision, recall, specificity and f1, the number of classes that are NaN.
        repeats: How often each sample was classified, by as many networks; intervals count it once.

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
        """Mean recall over the classes that occur: what accuracy would be were they equally frequent."""
        return self.macro_recall

    def scalars(self) -> dict[str, float]:
        """Return the report as flat numbers to be logged, keys without the name of the split.

        Returns:
            ``acc``, ``acc_low``, ``acc_high``, ``n``, ``num_non_finite``, ``balanced_acc``; the macro means
            ``ovr_acc``, ``precision``, ``recall``, ``specificity``, ``f1``; ``undefined``, how many class
            figures are NaN in all; and for each class ``recall/<class>`` and so on.
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
        """Return the report as an aligned text, percentages; a dash stands where a figure is undefined.

        Returns:
            A line for each class with its number of samples, precision P, recall R, specificity and
            F1, then their macro means, then the accuracy with its interval and ``n``, and the number of
            samples whose logits are not finite, if there are any.
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
    """Return everything that a confusion matrix says.

    Args:
        confusion: Counts, rows = truth, columns = predicted, integers, shape ``(K, K)``.
        class_names: K names; left out, the seven expressions if K is 7, else ``class_0`` and so on.
        non_finite: Samples of each class whose logits are not finite, shape ``(K,)``; None: none.
        repeats: How often each sample was classified: the matrix is the sum over as many networks.

    Returns:
        The report; see :class:`ClassificationReport`.

    Raises:
        ValueError: The matrix is not square, has fewer than 2 classes, holds something else than
            counts, or the names are not as many.

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
    """Return Wilson's 95 % interval of a proportion, which also holds for few samples and near 0 and 1.

    Args:
        correct: Right answers, 0 to ``n``.
        n: Answers; if there are none, the interval is 0 to 1.

    Returns:
        Low and high end, 0 to 1.

    Raises:
        ValueError: ``correct`` is not within 0 and ``n``.

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
    from scipy.stats import binomtest  # not above: it is slow to import

    low, high = binomtest(correct, n).proportion_ci(CONFIDENCE, method="wilson")
    # Exactly, where SciPy is off by rounding.
    return (0.0 if correct == 0 else float(low)), (1.0 if correct == n else float(high))


class ClassificationMetrics(Metric):
    """Add up a confusion matrix over batches and processes, and report on it.

    Args:
        num_classes: Number of classes K, 2 or more.
        class_names: K names; left out, the seven expressions if K is 7, else ``class_0`` and so on.

    Raises:
        ValueError: Fewer than 2 classes, or the names are not as many.

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
        """Start with no sample seen."""
        super().__init__()
        self.num_classes = num_classes
        self.class_names = _names(num_classes, class_names)
        zeros = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.add_state("confusion", default=zeros, dist_reduce_fx="sum")
        self.add_state("non_finite", default=zeros[0].clone(), dist_reduce_fx="sum")
        self.add_state("outside", default=zeros[0, 0].clone(), dist_reduce_fx="sum")

    def update(self, logits_or_predictions: Tensor, labels: Tensor) -> None:
        """Add a batch, without waiting for the device.

        Args:
            logits_or_predictions: Logits or probabilities, shape ``(N, K)``; or what
                :func:`predicted_classes` returns for them, integers, shape ``(N,)``.
            labels: True labels, integers 0 to K - 1, shape ``(N,)``.

        Raises:
            ValueError: The shapes do not fit each other or the number of classes, or a label is not
                within 0 and K - 1; of labels that are not on the CPU, :meth:`compute` says so.
        """
        predictions = self._predictions(logits_or_predictions)
        if labels.ndim != 1 or predictions.shape != labels.shape:
            msg = (
                f"predictions of shape {tuple(logits_or_predictions.shape)} do not fit "
                f"labels of shape {tuple(labels.shape)}"
            )
            raise ValueError(msg)
        # Out of range, a label would not fail below: it would be counted in another cell.
        is_outside = (labels < 0) | (labels >= self.num_classes)
        is_outside |= (predictions < NO_CLASS) | (predictions >= self.num_classes)
        if labels.device.type == "cpu" and bool(is_outside.any()):
            raise ValueError(self._outside)
        # A row for each label, a column for each answer, the first for none; a last cell for what is outside.
        num_cells = self.num_classes * (self.num_classes + 1)
        cells = labels.long() * (self.num_classes + 1) + predictions.long() - NO_CLASS
        cells = torch.where(is_outside, num_cells, cells)
        counts = cells.new_zeros(num_cells + 1).index_add_(0, cells, torch.ones_like(cells))
        table = counts[:-1].view(self.num_classes, -1)
        # Not in place: a validation outside of a fit leaves a tensor of inference mode, which refuses that.
        self.confusion = self.confusion + table[:, 1:]
        self.non_finite = self.non_finite + table[:, 0]
        self.outside = self.outside + counts[-1]

    def compute(self) -> ClassificationReport:
        """Return the report on all samples seen since the last reset, by all processes together.

        Raises:
            ValueError: A label was not within 0 and K - 1.
        """
        if self.outside:
            raise ValueError(self._outside)
        return report(self.confusion, self.class_names, self.non_finite)

    @property
    def _outside(self) -> str:
        return f"a label is outside 0 to {self.num_classes - 1}"

    def _predictions(self, logits_or_predictions: Tensor) -> Tensor:
        """Return predicted labels, shape ``(N,)``, from themselves or from logits."""
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
        msg = f"a confusion matrix has shape (K, K) with K of 2 or more, not {tuple(confusion.shape)}"
        raise ValueError(msg)
    if confusion.is_floating_point() or confusion.is_complex() or bool((confusion < 0).any()):
        msg = "a confusion matrix holds counts: integers, none of them negative"
        raise ValueError(msg)


def _names(num_classes: int, class_names: Sequence[str] | None) -> tuple[str, ...]:
    """Return one name for each class, or raise ``ValueError``."""
    if num_classes < 2:
        msg = f"a classifier has 2 classes or more, not {num_classes}"
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
