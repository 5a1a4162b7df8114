"""Classification metrics: confusion-matrix reports, comparisons, and confidence intervals."""

from fer.metrics.classification import (
    NO_CLASS,
    ClassificationMetrics,
    ClassificationReport,
    predicted_classes,
    report,
    wilson_interval,
)
from fer.metrics.comparison import Comparison, mcnemar
from fer.metrics.repeats import mean_interval, normal_interval

__all__ = [
    "NO_CLASS",
    "ClassificationMetrics",
    "ClassificationReport",
    "Comparison",
    "mcnemar",
    "mean_interval",
    "normal_interval",
    "predicted_classes",
    "report",
    "wilson_interval",
]
