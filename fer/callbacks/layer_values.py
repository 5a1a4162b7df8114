"""The numbers that a measurement gives for a layer, and the keys under which they are logged."""

import logging
import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor

from fer.callbacks.measuring import Measured
from fer.metrics.keys import OVER_LAYERS
from fer.neurons import ActivationStatistics, angles, classify
from fer.neurons.angles import Origin, summarise
from fer.neurons.cka import linear_cka
from fer.neurons.collapse import MEASURES, Collapse
from fer.neurons.ranks import ranks
from fer.neurons.redundancy import cloned_share, dormant_share, redundant_share

OF_ANGLES: Final = (
    *summarise(torch.zeros(1, 1)),
    *("speed", "similar", "complementary", "dead", "constant", "non_finite"),
)
"""What is logged for a layer as ``angles/<layer>/…``."""

OTHERS: Final = {
    "effective": "rank/{}/effective",
    "participation": "rank/{}/participation",
    "cka": "cka/{}",
    "dormant": "neurons/{}/dormant",
    "cloned": "neurons/{}/cloned",
    "redundant": "neurons/{}/redundant",
}
"""What else is logged for a layer, and how it is called in logs."""

NUM_VALUES: Final = len(OF_ANGLES) + len(OTHERS) + 1
"""Values of a layer in a history, with the time."""

log = logging.getLogger("fer.callbacks")


class LayerValues(NamedTuple):
    """The numbers of a layer.

    Attributes:
        degrees: Angles of its C neurons, on the CPU, exact to float32, as a checkpoint keeps them.
        values: By name; without ``speed``.
        num_non_finite: Neurons that are NaN or infinite.
    """

    degrees: Tensor
    values: dict[str, float]
    num_non_finite: int


def keys_of(layer: str) -> dict[str, str]:
    """Return by name of a value the key under which it is logged for a layer."""
    of_angles = {name: f"angles/{layer}/{name}" for name in OF_ANGLES}
    return of_angles | {name: key.format(layer) for name, key in OTHERS.items()}


def layer_values(
    measured: Measured,
    layer: str,
    rows_before: Mapping[str, Tensor],
    *,
    normalise: Origin,
    similar_below: float,
    complementary_above: float,
    is_last: bool,
) -> LayerValues:
    """Return the numbers of a layer.

    Args:
        measured: The measurement.
        layer: The layer.
        rows_before: By layer one row an image, of the measurement before.
        normalise: Origin of the activation vectors.
        similar_below: Angle below which two neurons are similar, degrees.
        complementary_above: Angle above which two neurons are complementary, degrees.
        is_last: Whether this is the epoch's last measurement, which has the expensive numbers as well.
    """
    statistics = measured.statistics[layer]
    degrees = angles(statistics, normalise)
    classes = classify(
        statistics, degrees, similar_below=similar_below, complementary_above=complementary_above
    )
    rows, before = measured.rows[layer], rows_before.get(layer)
    is_same = before is not None and len(before) == len(rows)
    values = summarise(degrees) | classes.shares | ranks(statistics)._asdict()
    values |= {
        "cka": linear_cka(before, rows) if before is not None and is_same else math.nan,
        "dormant": dormant_share(statistics),
        "cloned": math.nan,
        "redundant": math.nan,
    }
    if is_last:
        around_mean = degrees if normalise == "centre" else angles(statistics, "centre")
        values["cloned"] = cloned_share(statistics, around_mean, similar_below=similar_below)
        values["redundant"] = redundant_share(statistics, around_mean, similar_below=similar_below)
    return LayerValues(degrees.float().double().cpu(), values, len(classes.non_finite))


def over_layers(rows: Mapping[str, Mapping[str, float]], widths: Mapping[str, int]) -> dict[str, float]:
    """Return by key the means over the layers, each with the same weight; NaN where no layer has a value.

    Args:
        rows: By layer its values by name.
        widths: By layer its number of neurons.
    """
    filled = {
        layer: {**row, "effective_share": row["effective"] / widths[layer]} for layer, row in rows.items()
    }
    found = {key: [row[name] for row in filled.values()] for key, name in OVER_LAYERS.items()}
    known = {key: [value for value in values if math.isfinite(value)] for key, values in found.items()}
    return {key: sum(values) / len(values) if values else math.nan for key, values in known.items()}


def warn_of_few_samples(measured: Mapping[str, ActivationStatistics]) -> None:
    """Warn once of the layers with fewer samples than neurons; each position of a feature map is a sample."""
    few = [
        f"{layer} ({statistics.count:,} for {statistics.num_neurons:,} neurons)"
        for layer, statistics in measured.items()
        if statistics.count < statistics.num_neurons
    ]
    if few:
        log.warning(
            "fewer samples than neurons, so that angles are rough: %s; give more samples, or raise "
            "num_samples",
            ", ".join(few),
        )


def describe_non_finite(values: Mapping[str, LayerValues]) -> str:
    """Return how many neurons of which layers are NaN or infinite, in one line; empty if none is."""
    return ", ".join(
        f"{each.num_non_finite} of {len(each.degrees)} neurons of {layer}"
        for layer, each in values.items()
        if each.num_non_finite
    )


def collapse_values(measured: Measured, layer: str) -> dict[str, float]:
    """Return the neural collapse of a layer; empty without classes."""
    rows = measured.rows[layer]
    if measured.labels is None or measured.predicted is None or len(rows) != len(measured.labels):
        return {}
    found = Collapse.of(rows, measured.labels, measured.predicted)
    return {name: float(getattr(found, name)) for name in MEASURES}
