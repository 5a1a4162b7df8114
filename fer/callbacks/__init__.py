"""What happens beside the training: a condition, a call, a log."""

from fer.callbacks.evaluation import EvaluationCallback
from fer.callbacks.gradients import GradientCallback
from fer.callbacks.progress import EpochLineCallback

__all__ = ["EpochLineCallback", "EvaluationCallback", "GradientCallback"]
