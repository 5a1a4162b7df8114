"""Lightning callbacks: evaluation, neuron angles, training stages, gradients, pruning."""

import logging

from fer.callbacks.best import BestCallback
from fer.callbacks.distinctiveness import DistinctivenessCallback
from fer.callbacks.evaluation import EvaluationCallback
from fer.callbacks.gradients import GradientCallback
from fer.callbacks.plateau import ActionByReason
from fer.callbacks.progress import EpochLineCallback
from fer.callbacks.prune import PruneCallback
from fer.callbacks.stages import StageCallback
from fer.callbacks.stop import StopCallback
from fer.processes import process_rank

# Of several processes that train together, the first one speaks for all.
logging.getLogger("fer.callbacks").addFilter(lambda _: process_rank() == 0)

__all__ = [
    "ActionByReason",
    "BestCallback",
    "DistinctivenessCallback",
    "EpochLineCallback",
    "EvaluationCallback",
    "GradientCallback",
    "PruneCallback",
    "StageCallback",
    "StopCallback",
]
