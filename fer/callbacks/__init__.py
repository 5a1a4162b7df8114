"""Lightning callbacks: evaluation, neuron angles, training stages, gradients, pruning."""

from fer.callbacks.best import BestCallback
from fer.callbacks.distinctiveness import DistinctivenessCallback
from fer.callbacks.evaluation import EvaluationCallback
from fer.callbacks.gradients import GradientCallback
from fer.callbacks.progress import EpochLineCallback
from fer.callbacks.prune import PruneCallback
from fer.callbacks.stages import StageCallback
from fer.callbacks.stop import StopCallback

__all__ = [
    "BestCallback",
    "DistinctivenessCallback",
    "EpochLineCallback",
    "EvaluationCallback",
    "GradientCallback",
    "PruneCallback",
    "StageCallback",
    "StopCallback",
]
