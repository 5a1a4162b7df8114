"""Curves of accuracy and size over the threshold, for several methods."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from torch import nn

from fer.neurons import RULES, Measurement, measure_groups
from fer.neurons.batches import InputBatches
from fer.neurons.inputs import Batches
from fer.pruning.evaluate import evaluate
from fer.pruning.once import prune_measured
from fer.pruning.settings import PruneSettings
from fer.pruning.size import count_macs

METHODS: Final[Mapping[str, PruneSettings]] = {
    "pairs, refit": PruneSettings(criterion="pairs", merge="refit"),
    "pairs, affine": PruneSettings(criterion="pairs", merge="affine"),
    "span, refit": PruneSettings(criterion="span", merge="refit"),
    **{name: PruneSettings(rule=name) for name in RULES},  # type: ignore[arg-type]
}
"""Methods that a curve compares: this project's, and the papers' rules."""

THRESHOLDS: Final = (5.0, 8.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0)
"""Thresholds of a curve, in degrees from 0 and from 180: those of the papers, and wider ones."""

Measurements = Mapping[bool, Measurement]
"""Measurements of a network: on samples as they are (False) and on rescaled samples (True)."""


def measure_twice(
    network: nn.Module,
    batches: Batches,
    layers: Sequence[str] | None = None,
) -> Measurements:
    """Measure a network on samples as they are and on rescaled ones, for all :data:`METHODS`."""
    return {
        rescaled: measure_groups(network, batches, layers=layers, pattern_minmax=rescaled)
        for rescaled in (False, True)
    }


def measurement_for(settings: PruneSettings, measurements: Measurements) -> Measurement:
    """Return the measurement that a method needs."""
    return measurements[settings.method.pattern_minmax]


def threshold_curves(
    network: nn.Module,
    batches: Batches,
    val: Batches,
    *,
    layers: Sequence[str] | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    methods: Mapping[str, PruneSettings] = METHODS,
) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the accuracy and size of each method at each threshold, on the validation split, not fine-tuned.

    The network is measured once and does not change.

    Args:
        network: The trained network.
        batches: Training samples to measure on, without augmentation.
        val: Labelled batches of the validation split.
        layers: Names of the layers to prune; None: all hidden layers.
        thresholds: Degrees from 0 and from 180.
        methods: Settings by name.

    Yields:
        The method's name and a row: ``threshold`` in degrees (0: the network before pruning), ``acc`` with
        its Wilson 95 % interval ``acc_low`` and ``acc_high``, and the shares left of ``neurons`` and
        ``macs``.

    Source: after Narayan and Ge, "Emotion Detection through Static Images using Pruned Convolutional Neural
    Networks", figure 2.
    """
    batches, val = InputBatches.of(batches, network), list(val)
    example = batches.first()
    measurements = measure_twice(network, batches, layers)
    whole = count_macs(network, example)

    def row(threshold: float, network: nn.Module, neurons: float) -> dict[str, float]:
        report = evaluate(network, val).report
        low, high = report.interval
        macs = count_macs(network, example) / whole
        accuracy = {"acc": report.accuracy, "acc_low": low, "acc_high": high}
        return {"threshold": threshold, **accuracy, "neurons": neurons, "macs": macs}

    before = row(0.0, network, 1.0)
    for name, settings in methods.items():
        yield name, before
        measurement = measurement_for(settings, measurements)
        for threshold in thresholds:
            settings = replace(settings, similar_below=threshold, complementary_above=180 - threshold)
            pruned = prune_measured(network, batches, measurement, settings)
            plans = pruned.plans.values()
            left = sum(len(plan.kept) for plan in plans) / sum(plan.num_neurons for plan in plans)
            yield name, row(threshold, pruned.network, left)


def curve_table(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Return accuracy and share of neurons left as text: a line for each threshold, a column for each method.

    Args:
        curves: Columns of the rows of :func:`threshold_curves`, by method.
    """
    width = max(18, *map(len, curves))
    lines = ["threshold  " + "".join(f"{name:>{width}}" for name in curves)]
    for number, threshold in enumerate(next(iter(curves.values()))["threshold"]):
        cells = [
            f"{100 * columns['acc'][number]:.2f} % ({100 * columns['neurons'][number]:.0f} %)"
            for columns in curves.values()
        ]
        lines.append(f"{threshold:8g}°  " + "".join(f"{cell:>{width}}" for cell in cells))
    return "\n".join([*lines, "accuracy on val (neurons left)"])
