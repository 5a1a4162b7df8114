"""Find what can be pruned in a network, and test it on a copy.

With every other neuron of a group removed, the network must compute the same whether the neurons are cut out
or set to zero, and a changed neuron may only change its own inputs of the next layers. Both tests run in eval
and in training mode.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from fer.errors import InputError
from fer.neurons.culprits import Fault, culprits
from fer.neurons.groups import NeuronGroup, PrunableLayers, can_shrink, has_other_weights, has_rows
from fer.neurons.independence import DirectTest, run_seeded
from fer.neurons.inputs import Inputs, call, inputs_of
from fer.neurons.networks import FOREIGN_ERRORS, copy_network, copy_to_trace, eval_state, one_line
from fer.neurons.plan import PrunePlan, Removal
from fer.neurons.surgery import cut_, mask_, planned, undone
from fer.neurons.trace import trace_groups
from fer.neurons.unreached import NOT_CALLED, may_be_taken, unreached_layers

TOLERANCE: Final = 1e-9
"""Largest relative difference, in float64, between a network without neurons and one where they are zero.

Sums of different lengths round differently: 1e-13 was observed. A missed dependency gives 1e-3 and more.
"""

MAX_EXAMPLES: Final = 2
"""Number of samples that a network is traced with."""

log = logging.getLogger("fer.neurons")


def find_prunable(network: nn.Module, example: Any) -> PrunableLayers:
    """Find the groups of neurons that can be pruned, and the reasons why other layers cannot.

    The network does not change: a copy is traced on noise, in float64 and eval mode.

    Args:
        network: Any network.
        example: A batch that it takes; see :func:`fer.neurons.inputs.inputs_of`. Only the shapes of
            floating-point tensors are used.

    Raises:
        InputError: The network cannot be copied or traced, does not take the example, or returns no tensor.
    """
    twin = copy_to_trace(network).double()
    try:
        with eval_state(network):
            call(network, inputs_of(example, network).take(MAX_EXAMPLES))
    except InputError as error:
        msg = f"{error}; give inputs=, a function from a batch to the network's arguments"
        raise InputError(msg) from error
    noise = torch.Generator().manual_seed(0)
    for norm in twin.modules():
        if isinstance(norm, _NormBase) and norm.affine:  # a zero weight would hide what the block computes
            norm.weight.data.copy_(torch.rand(norm.num_features, generator=noise) + 0.5)
    with eval_state(twin):
        inputs = inputs_of(example, network).take(MAX_EXAMPLES).map(partial(_noise_like, generator=noise))
        inputs = inputs.to(twin)
        groups, refused = trace_groups(twin, inputs)
        return _try(twin, inputs, groups, refused)


def _noise_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Replace a floating-point tensor by noise."""
    if not tensor.is_floating_point():
        return tensor
    return torch.randn(tensor.shape, dtype=torch.float64, generator=generator)


def neurons_within(network: nn.Module, example: Any, blocks: Collection[str]) -> dict[str, int]:
    """Return the number of neurons in groups that lie entirely in the given blocks, by the name of the group.

    Args:
        network: Network that has the blocks.
        example: See :func:`find_prunable`.
        blocks: Names of modules.

    Raises:
        InputError: As raised by :func:`find_prunable`.
    """
    if not blocks:
        return {}
    within = tuple(f"{block}." for block in blocks)
    return {
        group.name: group.num_neurons
        for group in find_prunable(network, example).groups
        if all(layer.startswith(within) for layer in group.producers)
    }


def _try(
    network: nn.Module, inputs: Inputs, groups: Sequence[NeuronGroup], refused: Mapping[str, str]
) -> PrunableLayers:
    """Refuse the groups whose removal changes what the network computes."""
    reasons = dict(refused)
    training = _run_in_training_mode(network, inputs)
    twin = _NotedCalls(copy_network(network))
    trained = None if training is None else _NotedCalls(copy_network(network).train())
    reasons |= culprits(groups, partial(_difference, twin, inputs, trained, training))
    groups = _without(groups, reasons)
    evaluation = DirectTest(network, inputs)
    for mode, test in (("", evaluation), ("in training mode ", training)):
        if test is not None:
            dependent = test.dependent(groups, every_pair=test is evaluation)
            reasons |= {
                group.name: mode + _reason(group, dependent[group.name], evaluation.called)
                for group in groups
                if group.name in dependent
            }
            groups = _without(groups, reasons)
    used = evaluation.used | (set() if training is None else training.used)
    reasons |= may_be_taken(network, used, groups, evaluation.called)
    groups = _without(groups, reasons)
    reasons |= {
        name: NOT_CALLED
        for name, module in unreached_layers(network, used).items()
        if name not in reasons and (has_rows(module) or has_other_weights(module))
    }
    for name, reason in reasons.items():
        log.debug("the neurons of %s are kept: %s", name, reason)
    return PrunableLayers(tuple(groups), reasons)


def _without(groups: Sequence[NeuronGroup], reasons: Mapping[str, str]) -> list[NeuronGroup]:
    return [group for group in groups if group.name not in reasons]


def _reason(group: NeuronGroup, layer: str, called: Collection[str]) -> str:
    """Return why neurons cannot be removed that change what does not belong to them."""
    if not layer:
        return "the network's outputs depend on them directly"
    if layer not in called:
        return f"{layer} takes them, but is not called in eval mode"
    if layer in {consumer.layer for consumer in group.consumers}:
        return f"inputs of {layer} depend on several of them, as after a division by their sum"
    return f"inputs of {layer} that belong to other neurons depend on them"


def _run_in_training_mode(network: nn.Module, inputs: Inputs) -> DirectTest | None:
    """Return a first run of a copy in training mode; None if it fails or is not repeatable."""
    if len(inputs) == 1:
        inputs = inputs.repeat(2)  # batch norm cannot normalise one sample
    try:
        test = DirectTest(copy_network(network).train(), inputs)
        return test if test.is_repeatable else None
    except (InputError, *FOREIGN_ERRORS) as error:
        log.debug("the network is not tried in training mode: %s", one_line(error))
    return None


def _difference(
    twin: "_NotedCalls",
    inputs: Inputs,
    trained: "_NotedCalls | None",
    training: DirectTest | None,
    groups: Sequence[NeuronGroup],
) -> Fault | None:
    """Return what fails when every other neuron is removed; None if nothing does.

    Args:
        twin: A copy in eval mode. In training mode, it could change how it computes.
        inputs: Arguments of the network.
        trained: A copy in training mode; None: it is not tried in that mode.
        training: First run in training mode.
        groups: Groups of the network's neurons.
    """
    plans = {group.name: _every_other(group) for group in groups}
    layers = {layer for group in groups for layer in group.layers}
    noted, mode = twin, ""
    try:
        with undone(twin.network, layers):
            cut_(twin.network, groups, plans)
            outputs = twin.run(inputs)
        with undone(twin.network, layers):
            for group, plan in planned(groups, plans):
                mask_(twin.network, group, plan)
            expected = twin.run(inputs)
        if trained is not None and training is not None:
            noted, mode = trained, "in training mode "
            with undone(trained.network, layers):
                cut_(trained.network, groups, plans)
                shapes = [each.shape for each in trained.run(training.inputs)]
    except FOREIGN_ERRORS as error:
        cause = one_line(error.__cause__ or error)
        return Fault(f"{mode}the network does not run without some of them: {cause}", noted.last)
    pairs = list(zip(expected, outputs, strict=True))
    if any(small.shape != masked.shape or not masked.isfinite().all() for masked, small in pairs):
        return Fault("without some of them the network returns another shape or values that are not finite")
    if not all((small - masked).abs().max() <= TOLERANCE * masked.abs().max() for masked, small in pairs):
        return Fault("a layer normalises or sums over them, so they cannot be removed one by one")
    if training is not None and shapes != [each.shape for each in training.outputs]:
        return Fault("without some of them the network returns another shape in training mode")
    return None


class _NotedCalls:
    """A network that notes which of its layers it called last.

    Attributes:
        network: The network.
        last: Name of the layer, in the last run; empty if it called none.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network, self.last = network, ""
        for name, module in network.named_modules():
            if can_shrink(module):
                module.register_forward_pre_hook(lambda *_, name=name: setattr(self, "last", name))

    def run(self, inputs: Inputs) -> list[Tensor]:
        """Run the network; see :func:`fer.neurons.independence.run_seeded`."""
        self.last = ""
        return run_seeded(self.network, inputs)


def _every_other(group: NeuronGroup) -> PrunePlan:
    """Return a plan that removes the first, third, ... neuron of each block and keeps at least one."""
    size = group.num_neurons // group.num_blocks
    removed = [
        neuron for neuron in range(group.num_neurons) if neuron % size % 2 == 0 and neuron % size != size - 1
    ]
    return PrunePlan(group.num_neurons, tuple(Removal(neuron, "criterion") for neuron in removed))
