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
from fer.neurons.record import find_layers, measure, record, untouched
from fer.neurons.stages import Stage, StageLabel, label_stages, live_stages
from fer.neurons.statistics import MAX_NEURONS, ActivationStatistics, MapPattern, Unit, pattern_minmax

__all__ = [
    "COMPLEMENTARY_ABOVE",
    "MAX_NEURONS",
    "SIMILAR_BELOW",
    "ActivationStatistics",
    "MapPattern",
    "NeuronClasses",
    "Normalise",
    "Stage",
    "StageLabel",
    "Unit",
    "angles",
    "angular_speed",
    "classify",
    "find_layers",
    "label_stages",
    "live_stages",
    "measure",
    "pair_angles",
    "pattern_minmax",
    "record",
    "summarise",
    "untouched",
]
