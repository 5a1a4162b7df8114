"""How good a classifier is: one confusion matrix, and everything that follows from it."""

from fer.metrics.classification import ClassificationMetrics, ClassificationReport, report, wilson_interval
from fer.metrics.comparison import Comparison, mcnemar

__all__ = [
    "ClassificationMetrics",
    "ClassificationReport",
    "Comparison",
    "mcnemar",
    "report",
    "wilson_interval",
]
