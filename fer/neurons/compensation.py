"""Compensate: correct the weights of the next layers for the neurons that were removed.

Three fits of the survivors, from the simplest to the most accurate:

- one factor for each pair of removed neuron and survivor, and a constant, from the measured statistics;
- for a zero-padded convolution, where a constant is wrong at the border, a second pass over the batches
  (:class:`_Trial`) compares a fit with constants to one without, and measures the remaining constant;
- with enough samples, a per-position refit (im2col, :class:`_Windows`): each channel at each position of the
  kernel is its own regressor.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, Final, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer.neurons.groups import Consumer, Key, NeuronGroup
from fer.neurons.inputs import Batches, call
from fer.neurons.measure import Measurement, neurons_in
from fer.neurons.merge import FITTED, MergeRule, add_incoming, coefficients
from fer.neurons.networks import copy_network, eval_state
from fer.neurons.plan import PrunePlan
from fer.neurons.planning import moved, part_of
from fer.neurons.record import record
from fer.neurons.rules import Rule
from fer.neurons.sequential import refit_in_order_
from fer.neurons.statistics import SAMPLES_PER_NEURON, ActivationStatistics
from fer.neurons.surgery import Compensation, mask_, outgoing_weight, planned, vectors_of

MAX_ENTRIES: Final = 5000
"""Largest number of neurons times kernel positions for a per-position refit: 200 MB a matrix."""

MOST_WINDOWS: Final = 20
"""Windows per coefficient of a per-position refit; if there are more, a random sample is drawn."""


def compensate(
    network: nn.Module,
    batches: Batches,
    measurement: Measurement,
    plans: Mapping[str, PrunePlan],
    rule: Rule,
) -> nn.Module:
    """Return a copy of the network in which removed neurons are zero and the next layers are corrected.

    Args:
        network: The network that was measured.
        batches: The batches that it was measured on.
        measurement: Measurement of it.
        plans: By the name of a group.
        rule: How the next layers are corrected.

    Raises:
        InputError: A plan does not fit its group, or as raised by :func:`fer.neurons.merge.coefficients`.
    """
    pruned = planned(measurement.groups, plans)
    fits = fit_jointly(network, batches, pruned, measurement.statistics, rule)
    masked = corrected(network, pruned, fits, measurement.statistics, rule)
    if pruned and rule.merge == "refit" and rule.refit == "sequential":
        refit_in_order_(masked, network, batches, pruned)
    return masked


def corrected(
    network: nn.Module,
    pruned: Sequence[tuple[NeuronGroup, PrunePlan]],
    compensations: Mapping[Key, Compensation],
    statistics: Mapping[Key, ActivationStatistics],
    rule: Rule,
) -> nn.Module:
    """Return a copy in which the removed neurons of groups are zero and their next layers are corrected."""
    masked = copy_network(network)
    for group, plan in pruned:
        if rule.incoming == "add":
            _add_incoming(masked, group, plan)
        if rule.incoming == "mean":
            _fold_incoming(masked, group, plan)
        mask_(masked, group, plan, compensations)
        if rule.merge in FITTED:
            _scale_means(masked, group, plan, statistics)
    return masked


def fit_jointly(
    network: nn.Module,
    batches: Batches,
    pruned: Sequence[tuple[NeuronGroup, PrunePlan]],
    statistics: Mapping[Key, ActivationStatistics],
    rule: Rule,
) -> dict[Key, Compensation]:
    """Return the correction of each next layer, fitted on the unpruned network."""
    compensations: dict[Key, Compensation] = {}
    trials: dict[Key, _Trial | _Windows] = {}
    for group, plan in pruned:
        for consumer in group.consumers:
            key = group.name, consumer.layer
            takes_constants = rule.constants and consumer.shift is not None
            if rule.merge == "refit" and (
                windows := _Windows.of(network, group, consumer, plan, statistics[key])
            ):
                trials[key] = windows
                continue
            if takes_constants and not consumer.padded:
                matrix, constant = _coefficients(group, plan, statistics[key], rule.merge, constants=True)
                weight = outgoing_weight(network, consumer).to(constant)
                compensations[key] = Compensation(matrix, torch.einsum("oc...,c->o", weight, constant))
                continue
            matrix, _ = _coefficients(group, plan, statistics[key], rule.merge, constants=False)
            compensations[key] = Compensation(matrix)
            if takes_constants and rule.merge in ("refit", "affine"):
                other, _ = _coefficients(group, plan, statistics[key], rule.merge, constants=True)
                trials[key] = _Trial(network, consumer, plan, (matrix, other))
    if trials:
        _run(network, batches, trials)
    return compensations | {key: trial.best() for key, trial in trials.items()}


def _coefficients(
    group: NeuronGroup,
    plan: PrunePlan,
    statistics: ActivationStatistics,
    merge: MergeRule,
    *,
    constants: bool,
) -> tuple[Tensor, Tensor]:
    """Return M and c of :func:`fer.neurons.merge.coefficients`, each block fitted by itself."""
    matrices, vectors = [], []
    for block in group.blocks:
        own = [removal for removal in plan.removals if block.start <= removal.neuron < block.stop]
        part = PrunePlan(block.stop - block.start, tuple(moved(one, -block.start) for one in own))
        matrix, vector = coefficients(part, part_of(statistics, block), merge, constants=constants)
        matrices.append(matrix)
        vectors.append(vector)
    return torch.block_diag(*matrices), torch.cat(vectors)  # type: ignore[no-untyped-call]


class _Trial:
    """Candidate corrections of a zero-padded convolution, and the mean error of its output under each."""

    def __init__(
        self, network: nn.Module, consumer: Consumer, plan: PrunePlan, matrices: Sequence[Tensor]
    ) -> None:
        self.consumer = consumer
        self.matrices = matrices
        self.kept = list(plan.kept)
        self.columns = torch.tensor(consumer.columns)
        self.layer = copy_network(network.get_submodule(consumer.layer))
        self.layer.register_parameter("bias", None)
        self.count = 0
        self.sums = [torch.zeros(()) for _ in matrices]
        self.squares = [torch.zeros(()) for _ in matrices]

    def receive(self, inputs: Tensor) -> None:
        """Add the errors of the outputs for a batch."""
        neurons = inputs[:, self.columns]
        for number, matrix in enumerate(self.matrices):
            lacking = torch.zeros_like(inputs)
            explained = torch.einsum("nk...,kc->nc...", neurons[:, self.kept], matrix.to(neurons))
            lacking[:, self.columns] = neurons - explained
            outputs = self.layer(lacking).transpose(0, 1).flatten(1).double()
            self.sums[number] = self.sums[number] + outputs.sum(1)
            self.squares[number] = self.squares[number] + outputs.square().sum(1)
        self.count += outputs.shape[1]

    def best(self) -> Compensation:
        """Return the correction with the smallest error variance, and the mean error as its constant."""
        means = [total / self.count for total in self.sums]
        errors = [
            float((square - self.count * mean.square()).sum())
            for square, mean in zip(self.squares, means, strict=True)
        ]
        best = errors.index(min(errors))
        return Compensation(self.matrices[best], means[best])


class _Windows:
    """Per-position refit (im2col): each channel at each position of the kernel is its own regressor.

    A survivor can then approximate a neuron by its neighbouring positions, and zero padding is part of the
    samples. The fit has more coefficients and needs more samples.
    """

    def __init__(self, network: nn.Module, consumer: Consumer, plan: PrunePlan, count: int) -> None:
        self.network, self.consumer = network, consumer
        self.weight = outgoing_weight(network, consumer).flatten(2)
        self.size = size = self.weight.shape[2]
        removals = [
            replace(one, neuron=one.neuron * size + k, into=None if one.into is None else one.into * size + k)
            for one in plan.removals
            for k in range(size)
        ]
        self.plan = PrunePlan(plan.num_neurons * size, tuple(removals))
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
        """Return the refit of a next layer; None if samples are too few or a neuron is a single number."""
        layer: Any = network.get_submodule(consumer.layer)
        size = outgoing_weight(network, consumer)[0, 0].numel()
        if isinstance(layer, nn.Linear):
            count = statistics.count // size  # statistics count each flattened position as a sample
        elif (
            type(layer) is nn.Conv2d  # subclasses may pad in their own code, as timm's do
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
        return cls(network, consumer, plan, count)

    def receive(self, inputs: Tensor) -> None:
        """Add some windows of a batch."""
        layer: Any = self.network.get_submodule(self.consumer.layer)
        neurons = neurons_in(self.network, self.consumer, inputs)
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
        """Return the fitted correction."""
        if self.statistics is None:
            msg = f"{self.consumer.layer} was not called"
            raise ValueError(msg)
        takes_constants = self.consumer.shift is not None
        matrix, constant = coefficients(self.plan, self.statistics, constants=takes_constants)
        return Compensation(
            matrix, self.weight.flatten(1).to(constant) @ constant if takes_constants else None
        )


def _run(network: nn.Module, batches: Batches, trials: Mapping[Key, _Trial | _Windows]) -> None:
    """Run the network on all batches and pass each trial the inputs of its layer."""
    by_input: dict[str, list[_Trial | _Windows]] = defaultdict(list)
    for trial in trials.values():
        by_input[trial.consumer.input].append(trial)

    def receive(name: str, inputs: Tensor) -> None:
        for trial in by_input[name]:
            trial.receive(inputs)

    with eval_state(network), record(network, by_input, receive):
        for batch in batches:
            call(network, batch)


def _scale_means(
    network: nn.Module, group: NeuronGroup, plan: PrunePlan, statistics: Mapping[Key, ActivationStatistics]
) -> None:
    """Scale the weights of layers that take the mean over the neurons, in place.

    The sum over the survivors times one factor, fitted by least squares, approximates the sum over all
    neurons.
    """
    gram = reduce(torch.add, [statistics[group.name, consumer.layer].gram for consumer in group.consumers])
    kept = list(plan.kept)
    products, squares = float(gram[kept].sum()), float(gram[kept][:, kept].sum())
    for layer, column in group.means:
        if squares > 0:
            network.get_parameter(f"{layer}.weight").data[:, column] *= products / squares


def _add_incoming(network: nn.Module, group: NeuronGroup, plan: PrunePlan) -> None:
    """Add the incoming weights of merged neurons to those of their survivors, in place."""
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


def _fold_incoming(network: nn.Module, group: NeuronGroup, plan: PrunePlan) -> None:
    """Set each survivor's weights and batch norm to the mean over all neurons merged into it, in place."""
    members = {survivor: [survivor] for survivor in plan.kept}
    for removal in plan.removals:
        if removal.into is not None:
            members[removal.into].append(removal.neuron)
    with torch.no_grad():
        for layer, entries in (*group.rows.items(), *group.attached.items()):
            for tensor in vectors_of(network.get_submodule(layer)).values():
                old = tensor.clone()
                for survivor, others in members.items():
                    means = [
                        old[torch.tensor(each)] for each in zip(*(entries[k] for k in others), strict=True)
                    ]
                    tensor[list(entries[survivor])] = torch.stack([each.mean(0) for each in means])
