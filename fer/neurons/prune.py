"""Prune a network: measure, plan, compensate, cut and check, once each."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from fer.neurons.angles import COMPLEMENTARY_ABOVE, SIMILAR_BELOW
from fer.neurons.batches import InputBatches
from fer.neurons.blocks import IDLE_BELOW, drop_idle_blocks
from fer.neurons.compensation import compensate
from fer.neurons.criteria import Criterion, CriterionName
from fer.neurons.evidence import Limits
from fer.neurons.inputs import Batches, InputsOf
from fer.neurons.measure import Measurement, measure_groups
from fer.neurons.merge import MergeRule
from fer.neurons.plan import PrunePlan, count_removed
from fer.neurons.planning import check_request, plan_groups
from fer.neurons.prunable import neurons_within
from fer.neurons.rules import RefitMode, make_rule
from fer.neurons.surgery import cut, widths
from fer.neurons.text import listed
from fer.neurons.verify import check_pruned
from fer.neurons.warn import joined_warnings

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Pruned:
    """A smaller network, with the neurons that were removed.

    Attributes:
        network: A smaller copy, on the same device and in the same mode.
        plans: Plans by the name of a group of neurons; see :class:`fer.neurons.groups.NeuronGroup`.
        widths: Layer sizes for :func:`fer.neurons.resize`, so that the state dict can be loaded again.
        report: Plain values: ``parameters`` ``before`` and ``after``; ``groups``, counted by
            :func:`fer.neurons.plan.count_removed`, by name; ``refused``, the reason why the neurons of a
            layer were kept, by the name of the layer; ``blocks``, the relative change of its input by each
            removed block, by name.
    """

    network: nn.Module
    plans: Mapping[str, PrunePlan]
    widths: Mapping[str, int]
    report: Mapping[str, Any]

    def __repr__(self) -> str:
        """Return the numbers of parameters, and of neurons in each group."""
        sizes, kind = self.report["parameters"], type(self.network).__name__
        groups = self.report["groups"].items()
        neurons = listed(f"{name}: {counts['after']} of {counts['before']}" for name, counts in groups)
        return (
            f"Pruned({kind}, {sizes['after']:,} of {sizes['before']:,} parameters; neurons left: {neurons})"
        )


@joined_warnings()
def prune(
    network: nn.Module,
    batches: Batches,
    *,
    similar_below: float = SIMILAR_BELOW,
    complementary_above: float = COMPLEMENTARY_ABOVE,
    criterion: CriterionName | Criterion = "pairs",
    merge: MergeRule = "refit",
    refit: RefitMode = "sequential",
    rule: str | None = None,
    layers: str | Sequence[str] | None = None,
    num_removed: Mapping[str, int] | None = None,
    share_removed: float | None = None,
    plans: Mapping[str, PrunePlan] | None = None,
    measurement: Measurement | None = None,
    idle_below: float = IDLE_BELOW,
    inputs: InputsOf | None = None,
    progress: bool = False,
) -> Pruned:
    """Prune a network: return a smaller copy without the neurons that the others can approximate.

    >>> import torch
    >>> network = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 2))
    >>> weight = torch.tensor([[1.0, 0], [2, 0], [0, 1]])  # the second neuron is twice the first
    >>> network[0].weight = nn.Parameter(weight)
    >>> inputs = torch.rand(100, 2)
    >>> smaller = prune(network, inputs)
    >>> smaller
    Pruned(Sequential, 10 of 14 parameters; neurons left: 0: 2 of 3)
    >>> bool(torch.allclose(smaller.network(inputs), network(inputs), atol=1e-5))
    True

    A neuron with several next layers, as in a residual stage, is evaluated by its activations at the inputs
    of all of them; each next layer is corrected by the activations at its own input. For a zero-padded
    convolution, a fit with and a fit without constants are compared, and its output is corrected by the mean
    error. For these layers one constant neuron is kept, into which all others are merged without error.

    With ``refit``, and at least ten samples per coefficient, a convolution or a layer behind a flatten is
    fitted per kernel position. On FER2013, a ``conv6`` with 65.1 % had 61.8 % after the removal of 30 % of
    all maps by the linear span of the other neurons, and 60.5 % with one fit for all positions.

    Args:
        network: Any network of linear layers and two-dimensional convolutions; it does not change.
        batches: Samples to measure on, in a list or a loader that does not shuffle; see
            :func:`fer.neurons.measure`. Use unaugmented training samples, at least ten per neuron of the
            widest layer. If the criterion needs labels, they follow the inputs, or are called ``labels`` in a
            mapping.
        similar_below: Angle below which two neurons are similar, in degrees; for the criterion ``span``,
            angle to the linear span of the other neurons below which a neuron is removed.
        complementary_above: Angle above which two neurons are complementary, in degrees.
        criterion: Criterion that decides which neurons are removed: a name in
            :data:`fer.neurons.criteria.CRITERIA`, the path of a class, or an instance.
        merge: How the next layers are corrected; see :data:`fer.neurons.merge.MergeRule`.
        refit: What the merge ``refit`` fits; see :data:`fer.neurons.rules.RefitMode`.
        rule: Name of a paper's rule in :data:`fer.neurons.RULES`, or of a rival in
            :data:`fer.neurons.rules.RIVALS`, instead of ``criterion``, ``merge`` and ``refit``.
        layers: Names of the layers whose neurons may be removed; default: all. If the outputs of layers are
            added, as in a residual stage, naming one of them selects all.
        num_removed: Number of neurons to remove regardless of the thresholds, by the name of a group; each
            block of a group loses the same number.
        share_removed: Share of the neurons to remove from each group, 0 to 1, instead of ``num_removed``.
        plans: Plans by the name of a group, instead of a criterion's plans.
        measurement: Result of :func:`fer.neurons.measure_groups` for this network and these batches.
        idle_below: Relative change of its input below which a block is removed; see
            :func:`fer.neurons.blocks.drop_idle_blocks`. Blocks are kept if a rule, layers, numbers, plans or
            a measurement are given.
        inputs: Function from a batch to the network's arguments; see :func:`fer.neurons.measure`.
        progress: Whether to show a progress bar for each pass over the batches.

    Raises:
        InputError: As raised by :func:`fer.neurons.measure_groups`, :func:`fer.neurons.plan_groups`,
            :func:`fer.neurons.cut` and :func:`fer.neurons.verify.check_pruned`.
    """
    settings, whole = make_rule(rule, criterion, merge, refit), network
    if plans is None:
        check_request(settings, Limits(similar_below, complementary_above), num_removed, share_removed)
    tries_others = measurement is not None  # whoever has measured may try several settings
    batches = InputBatches.of(batches, network, inputs, progress=progress)
    idle: dict[str, float] = {}
    gone: dict[str, int] = {}
    if measurement is None:
        if all(one is None for one in (rule, layers, plans, num_removed, share_removed)):
            network, idle = drop_idle_blocks(network, batches.titled("looking for idle blocks"), idle_below)
            if idle:
                gone = neurons_within(whole, batches.first(), idle)
        measurement = measure_groups(
            network,
            batches,
            layers=layers,
            criterion="pairs" if plans is not None else settings.criterion,
            pattern_minmax=settings.pattern_minmax,
        )
    if plans is None:
        plans = plan_groups(
            network,
            measurement,
            similar_below=similar_below,
            complementary_above=complementary_above,
            criterion=settings.criterion,
            merge=merge,
            rule=rule,
            num_removed=num_removed,
            share_removed=share_removed,
        )
        if not tries_others:
            warn_if_unchanged(plans, idle)
    compensated = compensate(
        network, batches.titled("correcting the next layers"), measurement, plans, settings
    )
    small = cut(compensated, measurement.groups, plans)
    check_pruned(network, compensated, small, measurement.groups, plans, batches)
    report = {
        "parameters": {"before": _count_parameters(whole), "after": _count_parameters(small)},
        "groups": count_removed(plans, gone),
        "refused": dict(measurement.prunable.refused),
        "blocks": dict(idle),
    }
    return Pruned(small, plans, widths(small), report)


def warn_if_unchanged(plans: Mapping[str, PrunePlan], blocks: Mapping[str, float]) -> None:
    """Warn if a pruning removes neither a neuron nor a block.

    Args:
        plans: Plan of each group of neurons.
        blocks: Removed blocks.
    """
    if not (blocks or any(plan.removals for plan in plans.values())):
        log.warning(
            "nothing was removed: no neurons are similar enough; raise similar_below, or set the size, "
            'such as criterion="span", share_removed=0.3'
        )


def _count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
