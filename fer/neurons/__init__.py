"""Hidden neurons of any PyTorch network: statistics, angles, training stages and pruning.

Pure functions: tensors in, numbers and decisions out. See the ``README.md`` beside this file.
"""

from fer.neurons.angles import angles, angular_speed, classify, distinctness
from fer.neurons.criteria import Criterion
from fer.neurons.hidden import HiddenLayers, find_hidden_layers
from fer.neurons.measure import Measurement, measure, measure_groups
from fer.neurons.networks import eval_state
from fer.neurons.plan import REMOVAL_REASONS, PrunePlan, Removal
from fer.neurons.planning import plan_groups
from fer.neurons.prunable import find_prunable
from fer.neurons.prune import Pruned, prune
from fer.neurons.record import record
from fer.neurons.rules import RULES
from fer.neurons.stages import Stage, label_stages, live_stages
from fer.neurons.statistics import ActivationStatistics
from fer.neurons.surgery import cut, resize

__all__ = [
    "REMOVAL_REASONS",
    "RULES",
    "ActivationStatistics",
    "Criterion",
    "HiddenLayers",
    "Measurement",
    "PrunePlan",
    "Pruned",
    "Removal",
    "Stage",
    "angles",
    "angular_speed",
    "classify",
    "cut",
    "distinctness",
    "eval_state",
    "find_hidden_layers",
    "find_prunable",
    "label_stages",
    "live_stages",
    "measure",
    "measure_groups",
    "plan_groups",
    "prune",
    "record",
    "resize",
]
