"""Prune a network once: measure, plan, compensate, cut, recalibrate batch norm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import nn

from fer.errors import InputError
from fer.neurons import Measurement, Pruned, PrunePlan, measure_groups
from fer.neurons import prune as prune_neurons
from fer.neurons.batches import InputBatches
from fer.neurons.blocks import drop_idle_blocks
from fer.neurons.inputs import Batches
from fer.neurons.plan import count_removed
from fer.neurons.prunable import neurons_within
from fer.neurons.prune import warn_if_unchanged
from fer.neurons.recalibrate import recalibrated
from fer.neurons.text import listed
from fer.neurons.warn import joined_warnings
from fer.pruning.limits import Limit, Meter, Target, find_target, limit_of
from fer.pruning.settings import PruneSettings
from fer.pruning.size_request import SizeRequest
from fer.pruning.targets import settings_at_size
from fer.pruning.tuning import Tuning


class Recalibration(NamedTuple):
    """Networks with the opposite batch norm recalibration, to compare a pruning with.

    Attributes:
        before: Unpruned network, recalibrated.
        after: Smaller network, not recalibrated; None if earlier rounds were.
    """

    before: nn.Module
    after: nn.Module | None


@dataclass(frozen=True, eq=False)
class Pruning:
    """Result of one pruning: the smaller network and the neurons that were removed.

    Attributes:
        network: Smaller copy of the network; its batch norm is recalibrated unless the settings forbid it,
            and then it is fine-tuned if requested.
        widths: Layer sizes, for :func:`fer.neurons.resize`.
        plans: Plan of each group of neurons.
        measurement: The measurement that the plans are based on.
        layers: Neurons ``before`` and ``after`` and the number removed for each reason, by layer; see
            :func:`fer.neurons.plan.count_removed`.
        blocks: Residual blocks that were removed as a whole, with the relative change of their input.
        refused: Layers that cannot be pruned, with the reason.
        together: Other layers that compute the neurons of a layer, since their outputs are added, by layer.
        settings: Settings, with the ``num_removed`` or thresholds that a size limit has led to.
        recalibration: Two other networks to compare with, so that no gain from recalibration is credited to
            pruning: ``before``, the unpruned network recalibrated, and ``after``, the smaller one not
            recalibrated. None without batch norm, without recalibration, or if nothing was removed.
        target: Size limit and the size that was reached; None without a limit.
        size_request: Size that was asked for, and what the thresholds would remove; None if they decided.
        tuning: Fine-tuning of the smaller network; None if there was none.
    """

    network: nn.Module
    widths: Mapping[str, int]
    plans: Mapping[str, PrunePlan]
    measurement: Measurement
    layers: Mapping[str, Mapping[str, int]]
    blocks: Mapping[str, float]
    refused: Mapping[str, str]
    together: Mapping[str, Sequence[str]]
    settings: PruneSettings
    recalibration: Recalibration | None = None
    target: Target | None = None
    size_request: SizeRequest | None = None
    tuning: Tuning | None = None

    @property
    def untuned(self) -> nn.Module:
        """Smaller network before fine-tuning."""
        return self.network if self.tuning is None else self.tuning.before

    def tuned(self, tuning: Tuning) -> "Pruning":
        """Return the same pruning with the fine-tuned network."""
        return replace(self, network=tuning.network, tuning=tuning)

    def __repr__(self) -> str:
        """Return the number of neurons in each layer before and after, and the removed blocks."""
        kind = type(self.network).__name__
        counts = self.layers.items()
        neurons = listed(f"{name}: {layer['after']} of {layer['before']}" for name, layer in counts)
        return f"Pruning({kind}; neurons left: {neurons}; removed blocks: {listed(self.blocks)})"


def prune_once(
    network: nn.Module,
    batches: Batches,
    settings: PruneSettings | None = None,
    *,
    max_macs: float | None = None,
    max_params: float | None = None,
    max_latency: float | None = None,
    target_macs: float | None = None,
    target_params: float | None = None,
    target_latency: float | None = None,
) -> Pruning:
    """Prune a network once, without any training.

    A size limit replaces the thresholds; see :func:`fer.pruning.targets.settings_at_size`.

    >>> import torch
    >>> network = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> pruning = prune_once(network, torch.rand(100, 2), PruneSettings(criterion="span"), target_params=0.5)
    >>> pruning.network[0].out_features
    3

    Args:
        network: Any network of linear layers and two-dimensional convolutions; it does not change.
        batches: Training samples to measure on, without augmentation, with labels if the criterion needs
            them; see :func:`fer.neurons.prune`.
        settings: Settings; None: the defaults.
        max_macs: Largest number of multiply-adds per sample.
        max_params: Largest number of parameters.
        max_latency: Longest time for a batch of one sample, in milliseconds, on the network's device.
        target_macs: Share of the network's own multiply-adds to keep, 0 to 1.
        target_params: Share of its parameters to keep, 0 to 1.
        target_latency: Share of its time to keep, 0 to 1.

    Raises:
        InputError: Nothing can be pruned, a layer is unknown, several limits are set, the limit is out of
            reach, or a limit is combined with numbers of neurons.
    """
    limit = Limit.one_of(max_macs=max_macs, max_params=max_params, max_latency=max_latency)
    target = find_target({"macs": target_macs, "params": target_params, "latency": target_latency})
    if limit is not None and target:
        msg = f"max_{limit.kind} and target_{next(iter(target))} both set the size: leave out one of them"
        raise InputError(msg)
    return prune_to(network, batches, settings, limit or limit_of(target, network))


@joined_warnings()
def prune_to(
    network: nn.Module, batches: Batches, settings: PruneSettings | None = None, limit: Limit | None = None
) -> Pruning:
    """Prune a network as :func:`prune_once` does; the limit may be a share of another network's size.

    Raises:
        InputError: As raised by :func:`prune_once`, or the limit is no :class:`fer.pruning.Limit`.
    """
    if not (limit is None or isinstance(limit, Limit)):
        msg = (
            f"limit is {limit!r}: give a Limit, such as Limit('macs', 0.5, of=network), or call "
            "prune_once(…, target_macs=0.5)"
        )
        raise InputError(msg)
    settings = given = settings or PruneSettings()
    if limit is not None and settings.sizes:
        msg = "num_removed and share_removed set the size: leave them out, or the limit (max_…, --target_…)"
        raise InputError(msg)
    batches = InputBatches.of(batches, network)
    example = batches.first()
    meter = None if limit is None else Meter(limit, network, example)
    smaller, blocks = drop_idle_blocks(
        network, batches.titled("looking for idle blocks"), settings.idle_share
    )
    measurement = measure_for(smaller, batches, settings)
    if meter is not None:
        titled = batches.titled("trying smaller widths of each layer")
        settings = settings_at_size(settings, smaller, measurement, titled, meter)
    pruned = prune_measured(smaller, batches, measurement, settings)
    warn_if_unchanged(pruned.plans, blocks)
    is_smaller = bool(blocks) or any(plan.removals for plan in pruned.plans.values())
    target = None if meter is None else meter.target(pruned.network)
    recalibrates = settings.recalibrate and is_smaller  # a network that loses nothing is not recalibrated
    titled = batches.titled("recalibrating batch norm")
    before = recalibrated(network, titled) if recalibrates else None
    after = recalibrated(pruned.network, titled) if recalibrates else None
    return Pruning(
        network=pruned.network if after is None else after,
        widths=dict(pruned.widths),
        plans=pruned.plans,
        measurement=measurement,
        layers=count_removed(pruned.plans, neurons_within(network, example, blocks)),
        blocks=blocks,
        refused=dict(pruned.report["refused"]),
        together={one.name: one.producers[1:] for one in measurement.groups if len(one.producers) > 1},
        settings=settings,
        recalibration=None if before is None or after is None else Recalibration(before, pruned.network),
        target=target,
        size_request=SizeRequest.of(given, smaller, measurement, target),
    )


def measure_for(network: nn.Module, batches: Batches, settings: PruneSettings) -> Measurement:
    """Measure the neurons of a network as the settings require."""
    method = settings.method
    return measure_groups(
        network,
        batches,
        layers=settings.layers,
        criterion=method.criterion,
        pattern_minmax=method.pattern_minmax,
    )


def prune_measured(
    network: nn.Module, batches: Batches, measurement: Measurement, settings: PruneSettings
) -> Pruned:
    """Prune a network that :func:`measure_for` has measured on these batches."""
    return prune_neurons(
        network,
        batches,
        measurement=measurement,
        similar_below=settings.similar_below,
        complementary_above=settings.complementary_above,
        criterion=settings.criterion,
        merge=settings.merge,
        refit=settings.refit,
        rule=settings.rule,
        num_removed=settings.num_removed,
        share_removed=settings.share_removed,
    )
