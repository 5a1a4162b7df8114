"""How good a classifier is: one confusion matrix, and everything that follows from it."""

from fer.metrics.classification import ClassificationMetrics, ClassificationReport, report, wilson_interval

__all__ = ["ClassificationMetrics", "ClassificationReport", "report", "wilson_interval"]
