"""What hidden neurons do, pure: tensors in, numbers and decisions out."""

from fer.neurons.angles import (
    COMPLEMENTARY_ABOVE,
    SIMILAR_BELOW,
    NeuronClasses,
    Normalise,
    angles,
    angular_speed,
    classify,
    pair_angles,
    summarise,
)
from fer.neurons.blocks import IDLE_BELOW, Bypass, bypass, drop_idle_blocks, measure_blocks
from fer.neurons.groups import Survey, find_groups, neurons_within, survey
from fer.neurons.merge import Merge, add_incoming, coefficients, merge_weights
from fer.neurons.plan import RULES, By, Cause, Complementary, Order, PrunePlan, Removal, Rule, plan_pruning
from fer.neurons.prune import Measurement, Pruned, measure_groups, plan_groups, prune, span_costs
from fer.neurons.record import find_layers, measure, record, untouched
from fer.neurons.stages import Stage, StageLabel, label_stages, live_stages
from fer.neurons.statistics import MAX_NEURONS, ActivationStatistics, MapPattern, Unit, pattern_minmax
from fer.neurons.surgery import NeuronGroup, Reader, Repair, cut, mask, resize, widths

__all__ = [
    "COMPLEMENTARY_ABOVE",
    "IDLE_BELOW",
    "MAX_NEURONS",
    "RULES",
    "SIMILAR_BELOW",
    "ActivationStatistics",
    "By",
    "Bypass",
    "Cause",
    "Complementary",
    "MapPattern",
    "Measurement",
    "Merge",
    "NeuronClasses",
    "NeuronGroup",
    "Normalise",
    "Order",
    "PrunePlan",
    "Pruned",
    "Reader",
    "Removal",
    "Repair",
    "Rule",
    "Stage",
    "StageLabel",
    "Survey",
    "Unit",
    "add_incoming",
    "angles",
    "angular_speed",
    "bypass",
    "classify",
    "coefficients",
    "cut",
    "drop_idle_blocks",
    "find_groups",
    "find_layers",
    "label_stages",
    "live_stages",
    "mask",
    "measure",
    "measure_blocks",
    "measure_groups",
    "merge_weights",
    "neurons_within",
    "pair_angles",
    "pattern_minmax",
    "plan_groups",
    "plan_pruning",
    "prune",
    "record",
    "resize",
    "span_costs",
    "summarise",
    "survey",
    "untouched",
    "widths",
]
