"""A trained network made smaller: measure, plan, merge and cut."""

import copy
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any, Final, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer.errors import InputError, did_you_mean
from fer.neurons.angles import COMPLEMENTARY_ABOVE, SIMILAR_BELOW, Origin, root_mean_squares
from fer.neurons.blocks import IDLE_BELOW, drop_idle_blocks
from fer.neurons.groups import PrunableLayers, find_prunable, neurons_within
from fer.neurons.merge import MergeRule, add_incoming, coefficients
from fer.neurons.plan import (
    RULES,
    SAMPLES_PER_NEURON,
    CriterionName,
    PrunePlan,
    Removal,
    Rule,
    count_removed,
    plan_pruning,
)
from fer.neurons.record import eval_state, record
from fer.neurons.statistics import ActivationStatistics
from fer.neurons.surgery import (
    Compensation,
    Consumer,
    NeuronGroup,
    cut,
    mask_,
    outgoing_weight,
    planned,
    widths,
)

Batches = Iterable[Tensor | Sequence[Tensor]]
"""What a network takes, more than once: tensors, or sequences that begin with one, as loaders give them."""

FITTED: Final = ("refit", "affine", "scale")
"""Merges that measure how much of another neuron a survivor stands for."""

MAX_ENTRIES: Final = 5000
"""Neurons times places of a kernel, up to which a refit looks at each place by itself: 200 MB a matrix."""

MOST_WINDOWS: Final = 20
"""Windows for each coefficient of such a fit; of more, some are drawn."""

Key = tuple[str, str]
"""Names of a group of neurons, and of a layer that reads them."""


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was seen of a network's neurons, from which it can be pruned in several ways.

    Attributes:
        find_prunable: What can be pruned, and what cannot.
        statistics: Of each group of neurons that may go, as each of its consumers sees it.
        pattern_minmax: Whether each sample was rescaled; see :func:`fer.neurons.pattern_minmax`.
    """

    prunable: PrunableLayers
    statistics: Mapping[Key, ActivationStatistics]
    pattern_minmax: bool

    @property
    def groups(self) -> list[NeuronGroup]:
        """The groups that were measured, in forward order."""
        measured = {name for name, _ in self.statistics}
        return [group for group in self.prunable.groups if group.name in measured]

    def seen(self, group: NeuronGroup) -> ActivationStatistics:
        """Return what all consumers of a group see of its neurons."""
        return reduce(add, [self.statistics[group.name, consumer.layer] for consumer in group.consumers])


@dataclass(frozen=True, eq=False)
class Pruned:
    """A smaller network, and what became of the neurons.

    Attributes:
        network: A copy, really smaller, on the same device and in the same mode.
        plans: By the name of a group of neurons; see :func:`fer.neurons.find_groups`.
        widths: For :func:`fer.neurons.resize`, so that the state dict loads again.
        report: Plain values: ``parameters`` ``before`` and ``after``; ``groups`` by name, as
            :func:`fer.neurons.count_removed` counts them; ``refused``, by the name of a layer, why its
            neurons had to stay; ``blocks``, by the name of a block that went, the share it changed.
    """

    network: nn.Module
    plans: Mapping[str, PrunePlan]
    widths: Mapping[str, int]
    report: Mapping[str, Any]


def prune(
    network: nn.Module,
    batches: Batches,
    *,
    similar_below: float = SIMILAR_BELOW,
    complementary_above: float = COMPLEMENTARY_ABOVE,
    criterion: CriterionName = "pairs",
    merge: MergeRule = "refit",
    rule: str | None = None,
    layers: Sequence[str] | None = None,
    num_removed: Mapping[str, int] | None = None,
    plans: Mapping[str, PrunePlan] | None = None,
    measurement: Measurement | None = None,
    idle_below: float = IDLE_BELOW,
) -> Pruned:
    """Return a smaller network, without the neurons that others can stand for.

    All groups are measured in the network as it is. To measure each in what is left of the network before it
    took four times as long and was no better: without half of all maps of a ``conv6`` with 65.3 % on FER2013,
    and without training on, it had 43.1 %, and 47.0 % this way.

    A neuron of several consumers, as in a residual stage, is evaluated by what all of them see; each consumer
    is compensated by what it sees itself. A zero-padded convolution is given the constant that its outputs
    lack on average; of a fit with and one without constants it takes the one that errs less. One constant
    neuron is protected for such consumers, by which all others are replaced without error.

    With ``refit``, and ten samples or more for each coefficient, what a convolution or a layer behind a
    flatten reads at each place of its kernel is fitted by itself. Of a ``conv6`` with 65.1 % on FER2013 and
    without 30 % of all maps, by span, 61.8 % were left, and 60.5 % by a fit that is the same at all places.

    Args:
        network: Any network of linear layers and two-dimensional convolutions, ours or timm's; eval_state.
        batches: The samples to measure on: a list, or a loader that does not shuffle. Those of the training
            without augmentation, ten for each neuron of the widest layer, or more.
        similar_below: See :func:`fer.neurons.plan_pruning`; degrees.
        complementary_above: The same.
        criterion: The same.
        merge: What consumers are given for the neurons that go; see :func:`fer.neurons.coefficients`.
        rule: Name of a paper's rule in :data:`fer.neurons.RULES`, instead of ``criterion`` and ``merge``.
        layers: Names of layers whose neurons may go; all if left out. A layer whose outputs are added to
            those of others, as in a residual stage, stands for all of them.
        num_removed: How many go, by the name of a group, whatever the thresholds; of a group with blocks,
            as many from each.
        plans: What shall go, by the name of a group, instead of what the thresholds say; to compare.
        measurement: What :func:`measure_groups` saw of this network on these batches, if it was called.
        idle_below: Whole blocks go that change what they are given by a smaller share; see
            :func:`fer.neurons.drop_idle_blocks`. They stay where a rule, layers, numbers, plans or a
            measurement is given.

    Raises:
        InputError: As of :func:`measure_groups`, :func:`plan_groups` and :func:`fer.neurons.cut`.
    """
    settings, whole = _rule(rule, criterion, merge), network
    idle: dict[str, float] = {}
    gone: dict[str, int] = {}
    if measurement is None:
        if rule is None and layers is None and plans is None and num_removed is None:
            network, idle = drop_idle_blocks(network, batches, idle_below)
            if idle:
                gone = neurons_within(whole, _inputs(next(iter(batches))), idle)
        measurement = measure_groups(network, batches, layers=layers, **settings.measure)
    if plans is None:
        plans = plan_groups(
            network,
            measurement,
            similar_below=similar_below,
            complementary_above=complementary_above,
            criterion=criterion,
            merge=merge,
            rule=rule,
            num_removed=num_removed,
        )
    groups, statistics = measurement.groups, measurement.statistics
    concerned = [group for group, _ in planned(groups, plans)]
    compensations = _compensate(network, concerned, plans, statistics, settings, batches)
    masked = copy.deepcopy(network)
    for group in concerned:
        if settings.incoming:
            _add_incoming(masked, group, plans[group.name])
        mask_(masked, group, plans[group.name], compensations)
        if settings.merge["merge"] in FITTED:
            _scale_means(masked, group, plans[group.name], statistics)
    small = cut(masked, groups, plans)
    return Pruned(small, plans, widths(small), _report(whole, small, plans, measurement.prunable, idle, gone))


def plan_groups(
    network: nn.Module,
    measurement: Measurement,
    *,
    similar_below: float = SIMILAR_BELOW,
    complementary_above: float = COMPLEMENTARY_ABOVE,
    criterion: CriterionName = "pairs",
    merge: MergeRule = "refit",
    rule: str | None = None,
    num_removed: Mapping[str, int] | None = None,
) -> dict[str, PrunePlan]:
    """Return, by the name of a group, which neurons :func:`prune` would take out; the arguments are its own.

    Raises:
        InputError: As of :func:`fer.neurons.plan_pruning`; or a rule is unknown, or the measurement is not
            for it; or ``num_removed`` names no group, or a number that is not as many for each of its blocks.
    """
    settings = _rule(rule, criterion, merge)
    if measurement.pattern_minmax != settings.measure.get("pattern_minmax", False):
        wanted = "as they are" if measurement.pattern_minmax else "rescaled"
        msg = f"the measurement is not for this rule, which takes samples {wanted}"
        raise InputError(msg)
    thresholds = {"similar_below": similar_below, "complementary_above": complementary_above}
    settings = replace(settings, plan={**settings.plan, **thresholds})
    nums = num_removed or {}
    known = [group.name for group in measurement.groups]
    for name in nums:
        if name not in known:
            near = did_you_mean(name, known)
            msg = f"num_removed: there is no group {name!r}: {near}there are {', '.join(known)}"
            raise InputError(msg)
    return {
        group.name: _plan(network, group, measurement, settings, nums.get(group.name))
        for group in measurement.groups
    }


def span_costs(network: nn.Module, measurement: Measurement) -> dict[str, list[float]]:
    """Return what it costs a network's consumers, group by group, if one neuron after the other goes by span.

    Args:
        network: That was measured.
        measurement: Of it, of samples that were not rescaled.

    Returns:
        By the name of a group, in the order in which its neurons go, all but one of each block: the squared
        error that the loss of each adds, see :class:`fer.neurons.Removal`, as a share of what all neurons by
        themselves give the consumers, squared. Later ones are not below earlier ones.
    """
    most = {group.name: group.num_neurons - group.num_blocks for group in measurement.groups}
    plans = plan_groups(network, measurement, criterion="span", num_removed=most)
    costs: dict[str, list[float]] = {}
    for group in measurement.groups:
        lengths = root_mean_squares(_seen_by_each(measurement, group), _span_origin(group))
        given = lengths[:, None] * _outgoing(network, group)
        total = float(given.square().nansum()) or 1.0  # of what is not finite, nothing is known
        in_turn = [(removal.cost or 0.0) / total for removal in plans[group.name].removals]
        costs[group.name] = list(itertools.accumulate(in_turn, max))
    return costs


def _rule(name: str | None, criterion: CriterionName, merge: MergeRule) -> Rule:
    """Return a paper's rule, or ours."""
    if name is None:
        return Rule(plan={"criterion": criterion}, merge={"merge": merge})
    if name not in RULES:
        msg = f"rule is {name!r}: {did_you_mean(name, RULES)}the papers' rules are {', '.join(RULES)}"
        raise InputError(msg)
    return RULES[name]


def measure_groups(
    network: nn.Module,
    batches: Batches,
    *,
    layers: Sequence[str] | None = None,
    pattern_minmax: bool = False,
) -> Measurement:
    """Return what is seen of a network's neurons, to prune it in several ways with :func:`prune`.

    Args:
        network: See :func:`prune`.
        batches: The same.
        layers: The same.
        pattern_minmax: Whether each sample is rescaled, as the rule of Jain has it.

    Raises:
        InputError: As of :func:`fer.neurons.prunable`; or the batches come only once, no neurons can go, or a
            layer is unknown.
    """
    if iter(batches) is iter(batches):
        msg = "the batches come only once, but are needed again: give a list or a loader"
        raise InputError(msg)
    example = next((_inputs(batch) for batch in batches), None)
    if example is None or len(example) == 0:
        msg = "there are no samples to measure layers on: the analysis set is empty"
        raise InputError(msg)
    found = find_prunable(network, example)
    groups = _choose(network, found, layers)
    statistics = _measure(network, groups, batches, pattern_minmax=pattern_minmax)
    return Measurement(found, statistics, pattern_minmax)


def _inputs(batch: Tensor | Sequence[Tensor]) -> Tensor:
    return batch if isinstance(batch, Tensor) else batch[0]


def _choose(network: nn.Module, found: PrunableLayers, layers: Sequence[str] | None) -> list[NeuronGroup]:
    """Return the groups of the layers that were named."""
    by_layer = {layer: group for group in found.groups for layer in group.producers}
    if not by_layer:
        reasons = "; ".join(f"{layer}: {reason}" for layer, reason in found.refused.items())
        msg = f"{type(network).__name__} has no hidden neurons that can go ({reasons or 'it has no layers'})"
        raise InputError(msg)
    if layers is not None and not layers:
        msg = f"layers is empty: name some of {', '.join(by_layer)}, or leave it out for all of them"
        raise InputError(msg)
    for layer in layers or ():
        if layer in found.refused:
            msg = f"the neurons of layer {layer!r} cannot go: {found.refused[layer]}"
            raise InputError(msg)
        if layer not in by_layer:
            msg = (
                f"{type(network).__name__} has no layer {layer!r} with neurons that can go: "
                f"{did_you_mean(layer, by_layer)}there are {', '.join(by_layer)}"
            )
            raise InputError(msg)
    return [group for group in found.groups if layers is None or {*layers} & {*group.producers}]


def _run(
    network: nn.Module, batches: Batches, places: Iterable[str], receive: Callable[[str, Tensor], None]
) -> None:
    """Call the network on all batches, and hand over what is seen at places."""
    device = next(network.parameters()).device
    with eval_state(network), record(network, places, receive):
        for batch in batches:
            network(_inputs(batch).to(device))


def _measure(
    network: nn.Module, groups: Iterable[NeuronGroup], batches: Batches, *, pattern_minmax: bool
) -> dict[Key, ActivationStatistics]:
    """Return the statistics of each group as each of its consumers sees it."""
    seen = defaultdict(list)
    for group in groups:
        for consumer in group.consumers:
            seen[consumer.place].append((group.name, consumer))
    statistics: dict[Key, ActivationStatistics] = {}

    def receive(place: str, given: Tensor) -> None:
        for name, consumer in seen[place]:
            neurons, key = _neurons(network, consumer, given).flatten(2, -2), (name, consumer.layer)
            if key in statistics:  # attention reads means and maxima one after the other
                statistics[key].update(neurons)
            else:
                statistics[key] = ActivationStatistics.of(neurons, pattern_minmax=pattern_minmax)

    _run(network, batches, seen, receive)
    return statistics


def _neurons(network: nn.Module, consumer: Consumer, given: Tensor) -> Tensor:
    """Return the neurons among a consumer's inputs, shape ``(N, C, columns, H, W)``; H = W = 1 of no maps."""
    if isinstance(network.get_submodule(consumer.layer), nn.Linear):
        given = given.flatten(0, -2)[..., None, None]
    return given[:, torch.tensor(consumer.columns)]


def _plan(
    network: nn.Module,
    group: NeuronGroup,
    measurement: Measurement,
    settings: Rule,
    num_removed: int | None,
) -> PrunePlan:
    """Plan by what all consumers see, for each block of neurons by itself, and as many in each."""
    is_fitted = settings.merge["merge"] in FITTED
    pooled = _seen_by_each(measurement, group) if is_fitted else measurement.seen(group)
    outgoing = _outgoing(network, group)
    chosen = dict(settings.plan)
    if chosen.get("criterion") == "span":
        chosen["normalise"] = _span_origin(group)
    takes_constants = all(consumer.shift is not None and not consumer.padded for consumer in group.consumers)
    if num_removed is not None:
        if num_removed % group.num_blocks:
            msg = (
                f"num_removed of {group.name!r} is {num_removed}: as many must go from each of its "
                f"{group.num_blocks} blocks, so give a multiple of {group.num_blocks}"
            )
            raise InputError(msg)
        chosen["num_removed"] = num_removed // group.num_blocks
    blocks = []
    for block in _blocks(group):
        part = _part(pooled, block)
        protected = _largest(part.mean.abs(), part.constant) if is_fitted and not takes_constants else []
        plan = plan_pruning(part, outgoing=outgoing[block], protected=protected, **chosen)
        into = protected[0] if protected else None
        removals = [replace(one, into=into) if one.reason == "constant" else one for one in plan.removals]
        blocks.append([_moved(removal, block.start) for removal in removals])
    in_turn = zip(*blocks, strict=False)  # as many from each
    return PrunePlan(group.num_neurons, tuple(itertools.chain.from_iterable(in_turn)))


def _seen_by_each(measurement: Measurement, group: NeuronGroup) -> ActivationStatistics:
    """Return what all consumers of a group see, around what each sees on average: its own constant."""
    uppers = [measurement.statistics[group.name, consumer.layer].upper for consumer in group.consumers]
    return replace(measurement.seen(group), upper=reduce(torch.add, uppers))


def _span_origin(group: NeuronGroup) -> Origin:
    """Return where spans start from: consumers that take no constant need what explains the means, too."""
    return "none" if any(consumer.shift is None for consumer in group.consumers) else "centre"


def _outgoing(network: nn.Module, group: NeuronGroup) -> Tensor:
    """Return each neuron's outgoing weights, those of all consumers side by side, shape ``(C, M)``."""
    weights = [outgoing_weight(network, consumer).double() for consumer in group.consumers]
    return torch.cat([each.transpose(0, 1).flatten(1) for each in weights], dim=1)


def _blocks(group: NeuronGroup) -> list[slice]:
    size = group.num_neurons // group.num_blocks
    return [slice(start, start + size) for start in range(0, group.num_neurons, size)]


def _part(statistics: ActivationStatistics, block: slice) -> ActivationStatistics:
    """Return the statistics of some neurons."""
    vectors = {name: getattr(statistics, name)[block] for name in ("mean", "minimum", "maximum")}
    return replace(statistics, upper=statistics.upper[block, block], **vectors)


def _moved(removal: Removal, step: int) -> Removal:
    into = None if removal.into is None else removal.into + step
    return replace(removal, neuron=removal.neuron + step, into=into)


def _largest(values: Tensor, among: Tensor) -> list[int]:
    """Return the index of the largest value, if there is one to choose from."""
    return [int(values.where(among, -1).argmax())] if among.any() else []


def _compensate(
    network: nn.Module,
    groups: Iterable[NeuronGroup],
    plans: Mapping[str, PrunePlan],
    statistics: Mapping[Key, ActivationStatistics],
    settings: Rule,
    batches: Batches,
) -> dict[Key, Compensation]:
    """Return what consumers are given for the neurons that go."""
    merge, has_constants = settings.merge["merge"], settings.merge.get("constants", True)
    compensations: dict[Key, Compensation] = {}
    trials: dict[Key, _Trial | _Windows] = {}
    for group in groups:
        plan = plans[group.name]
        for consumer in group.consumers:
            key = group.name, consumer.layer
            takes_constants = has_constants and consumer.shift is not None
            if merge == "refit" and (windows := _Windows.of(network, group, consumer, plan, statistics[key])):
                trials[key] = windows
                continue
            if takes_constants and not consumer.padded:
                matrix, constant = _coefficients(group, plan, statistics[key], merge, constants=True)
                weight = outgoing_weight(network, consumer).to(constant)
                compensations[key] = Compensation(matrix, torch.einsum("oc...,c->o", weight, constant))
                continue
            matrix, _ = _coefficients(group, plan, statistics[key], merge, constants=False)
            compensations[key] = Compensation(matrix)
            if takes_constants and merge in ("refit", "affine"):
                other, _ = _coefficients(group, plan, statistics[key], merge, constants=True)
                trials[key] = _Trial(network, consumer, plan, (matrix, other))
    if trials:
        _try(network, trials, batches)
    return compensations | {key: trial.best() for key, trial in trials.items()}


def _coefficients(
    group: NeuronGroup,
    plan: PrunePlan,
    statistics: ActivationStatistics,
    merge: MergeRule,
    *,
    constants: bool,
) -> tuple[Tensor, Tensor]:
    """Return M and c of :func:`fer.neurons.coefficients`, where no block stands for another."""
    matrices, vectors = [], []
    for block in _blocks(group):
        own = [removal for removal in plan.removals if block.start <= removal.neuron < block.stop]
        part = PrunePlan(block.stop - block.start, tuple(_moved(one, -block.start) for one in own))
        matrix, vector = coefficients(part, _part(statistics, block), merge, constants=constants)
        matrices.append(matrix)
        vectors.append(vector)
    return torch.block_diag(*matrices), torch.cat(vectors)  # type: ignore[no-untyped-call]


class _Trial:
    """Ways to compensation a zero-padded convolution, and what its outputs then lack."""

    def __init__(
        self, network: nn.Module, consumer: Consumer, plan: PrunePlan, matrices: Sequence[Tensor]
    ) -> None:
        self.consumer = consumer
        self.matrices = matrices
        self.kept = list(plan.kept)
        self.columns = torch.tensor(consumer.columns)
        self.layer = copy.deepcopy(network.get_submodule(consumer.layer))
        self.layer.register_parameter("bias", None)
        self.count = 0
        self.sums = [torch.zeros(()) for _ in matrices]
        self.squares = [torch.zeros(()) for _ in matrices]

    def receive(self, given: Tensor) -> None:
        """Add what the outputs for a batch lack."""
        neurons = given[:, self.columns]
        for number, matrix in enumerate(self.matrices):
            lacking = torch.zeros_like(given)
            explained = torch.einsum("nk...,kc->nc...", neurons[:, self.kept], matrix.to(neurons))
            lacking[:, self.columns] = neurons - explained
            outputs = self.layer(lacking).transpose(0, 1).flatten(1).double()
            self.sums[number] = self.sums[number] + outputs.sum(1)
            self.squares[number] = self.squares[number] + outputs.square().sum(1)
        self.count += outputs.shape[1]

    def best(self) -> Compensation:
        """Return the way that errs least once the mean is made good, and with it that mean."""
        means = [total / self.count for total in self.sums]
        errors = [
            float((square - self.count * mean.square()).sum())
            for square, mean in zip(self.squares, means, strict=True)
        ]
        best = errors.index(min(errors))
        return Compensation(self.matrices[best], means[best])


class _Windows:
    """What a consumer multiplies by its weights: a neuron at each place of the kernel is an entry of its own.

    Survivors then stand for a neuron by what they are beside it, too, and zeros around a map are seen as they
    are. A fit of so many more coefficients needs as many more samples.
    """

    def __init__(
        self, network: nn.Module, group: NeuronGroup, consumer: Consumer, plan: PrunePlan, count: int
    ) -> None:
        self.network, self.consumer = network, consumer
        self.weight = outgoing_weight(network, consumer).flatten(2)
        self.size = size = self.weight.shape[2]
        self.plan = PrunePlan(
            plan.num_neurons * size,
            tuple(
                replace(
                    one, neuron=one.neuron * size + k, into=None if one.into is None else one.into * size + k
                )
                for one in plan.removals
                for k in range(size)
            ),
        )
        self.share = min(1.0, MOST_WINDOWS * len(plan.kept) * size / count)
        self.generator = torch.Generator().manual_seed(0)
        self.statistics: ActivationStatistics | None = None

    @classmethod
    def of(
        cls,
        network: nn.Module,
        group: NeuronGroup,
        consumer: Consumer,
        plan: PrunePlan,
        statistics: ActivationStatistics,
    ) -> Self | None:
        """Return it for a consumer, or None where there are too few samples, or a neuron is one number."""
        layer: Any = network.get_submodule(consumer.layer)
        size = outgoing_weight(network, consumer)[0, 0].numel()
        if isinstance(layer, nn.Linear):
            count = statistics.count // size  # measured column by column
        elif (
            type(layer) is nn.Conv2d  # others may pad by themselves, as timm's do
            and layer.groups == 1
            and isinstance(layer.padding, tuple)
            and layer.padding_mode == "zeros"
        ):
            count = statistics.count // math.prod(layer.stride)
            size = 1 if len(consumer.columns[0]) > 1 else size
        else:
            return None
        is_enough = count >= SAMPLES_PER_NEURON * size * len(plan.kept)
        if size == 1 or group.num_blocks > 1 or plan.num_neurons * size > MAX_ENTRIES or not is_enough:
            return None
        return cls(network, group, consumer, plan, count)

    def receive(self, given: Tensor) -> None:
        """Add some of a batch's windows."""
        layer: Any = self.network.get_submodule(self.consumer.layer)
        neurons = _neurons(self.network, self.consumer, given)
        if isinstance(layer, nn.Linear):
            windows = neurons.flatten(1)
        else:
            form = {name: getattr(layer, name) for name in ("kernel_size", "dilation", "padding", "stride")}
            windows = F.unfold(neurons.squeeze(2), **form).transpose(1, 2).flatten(0, 1)
        if self.share < 1:
            num = max(1, math.ceil(self.share * len(windows)))
            windows = windows[torch.randperm(len(windows), generator=self.generator)[:num]]
        if self.statistics is None:
            self.statistics = ActivationStatistics.of(windows)
        else:
            self.statistics.update(windows)

    def best(self) -> Compensation:
        """Return the fit, and the mean that it lacks."""
        if self.statistics is None:
            msg = f"{self.consumer.layer} was given nothing"
            raise ValueError(msg)
        takes_constants = self.consumer.shift is not None
        matrix, constant = coefficients(self.plan, self.statistics, constants=takes_constants)
        return Compensation(
            matrix, self.weight.flatten(1).to(constant) @ constant if takes_constants else None
        )


def _try(network: nn.Module, trials: Mapping[Key, _Trial | _Windows], batches: Batches) -> None:
    by_place: dict[str, list[_Trial | _Windows]] = defaultdict(list)
    for trial in trials.values():
        by_place[trial.consumer.place].append(trial)

    def receive(place: str, given: Tensor) -> None:
        for trial in by_place[place]:
            trial.receive(given)

    _run(network, batches, by_place, receive)


def _scale_means(
    network: nn.Module, group: NeuronGroup, plan: PrunePlan, statistics: Mapping[Key, ActivationStatistics]
) -> None:
    """Let the sum over the survivors stand for the sum over all, where a mean is read, in place.

    One factor for all survivors is what the mean allows: it is fitted by least squares.
    """
    gram = reduce(torch.add, [statistics[group.name, consumer.layer].gram for consumer in group.consumers])
    kept = list(plan.kept)
    products, squares = float(gram[kept].sum()), float(gram[kept][:, kept].sum())
    for layer, column in group.means:
        if squares > 0:
            network.get_parameter(f"{layer}.weight").data[:, column] *= products / squares


def _add_incoming(network: nn.Module, group: NeuronGroup, plan: PrunePlan) -> None:
    """Let survivors be made as those that go into them, too, in place."""
    with torch.no_grad():
        for layer, entries in group.rows.items():
            module: Any = network.get_submodule(layer)
            rows = torch.tensor(entries).flatten()
            kept = rows[list(plan.kept)]
            bias = None if module.bias is None else module.bias[rows]
            weight, bias = add_incoming(plan, module.weight[rows], bias)
            module.weight[kept] = weight
            if bias is not None:
                module.bias[kept] = bias


def _report(
    network: nn.Module,
    small: nn.Module,
    plans: Mapping[str, PrunePlan],
    found: PrunableLayers,
    idle: Mapping[str, float],
    gone: Mapping[str, int],
) -> dict[str, Any]:
    return {
        "parameters": {"before": _count_parameters(network), "after": _count_parameters(small)},
        "groups": count_removed(plans, gone),
        "refused": dict(found.refused),
        "blocks": dict(idle),
    }


def _count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
