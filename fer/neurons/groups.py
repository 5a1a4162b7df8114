"""Which neurons of a network can only go together, and which cannot go at all.

Which rows, batch-norm vectors and columns belong to a neuron is what Torch-Pruning's dependency graph finds
by tracing the network. What it finds is tried out before it is believed: without every other neuron the
network must compute the same whether they are cut out or zero.
"""

import copy
import logging
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from fer.errors import InputError
from fer.neurons.plan import PrunePlan, Removal
from fer.neurons.record import TRACING_ERRORS
from fer.neurons.surgery import SIZES, Consumer, Entries, NeuronGroup, cut, has_rows, is_depthwise, mask

if TYPE_CHECKING:
    from torch_pruning.dependency import DependencyGraph, Group, Node

TOLERANCE: Final = 1e-9
"""Of the largest output in float64, by which a network without neurons may differ from one where they are 0.

Sums of other length round otherwise: 1e-13 was seen. A dependency that was missed makes 1e-3 and more.
"""

MAX_EXAMPLES: Final = 2
"""Samples that a network is traced with."""

log = logging.getLogger("fer.neurons")


@dataclass(frozen=True)
class PrunableLayers:
    """What can be pruned in a network, and what cannot.

    Attributes:
        groups: Every hidden group, in forward order.
        refused: By the name of a layer, why its neurons have to stay.
    """

    groups: tuple[NeuronGroup, ...]
    refused: Mapping[str, str]


def find_groups(network: nn.Module, example: Tensor) -> list[NeuronGroup]:
    """Return every hidden group of neurons that can be pruned, in forward order; see :func:`find_prunable`.

    Raises:
        InputError: As of :func:`find_prunable`; or there is none.
    """
    found = find_prunable(network, example)
    if not found.groups:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in found.refused.items())
        msg = f"{type(network).__name__} has no hidden neurons that can go ({reasons or 'it has no layers'})"
        raise InputError(msg)
    return list(found.groups)


def find_prunable(network: nn.Module, example: Tensor) -> PrunableLayers:
    """Return what can be pruned in a network, and why the rest cannot.

    The network is not touched: a copy of it is traced, in float64 and eval mode, on noise.

    Args:
        network: Any network with one input and one output.
        example: Samples that it takes, shape ``(N, ...)``; only the shape counts.

    Raises:
        InputError: The network does not take the example, puts out no tensor, or cannot be traced.
    """
    twin = copy.deepcopy(network).double().eval().requires_grad_()
    noise = torch.Generator().manual_seed(0)
    for norm in twin.modules():
        if isinstance(norm, _NormBase) and norm.affine:  # blocks may begin as the identity
            norm.weight.data.copy_(torch.rand(norm.num_features, generator=noise) + 0.5)
    shape = (min(len(example), MAX_EXAMPLES), *example.shape[1:])
    inputs = torch.randn(shape, dtype=torch.float64, generator=noise)
    inputs = inputs.to(next((parameter.device for parameter in twin.parameters()), inputs.device))
    calls = _Calls(twin, inputs)
    graph, means = _trace(twin, inputs)

    names = {module: name for name, module in twin.named_modules()}
    groups: list[NeuronGroup] = []
    refused: dict[str, str] = {}
    seen: set[str] = set()
    shared = _shared_weights(twin)
    for layer in calls.layers:
        module: Any = twin.get_submodule(layer)
        if layer in seen or module not in graph.module2node or not has_rows(module):
            continue
        width = len(module.weight)
        if width == 1:
            continue
        cutter = graph.get_pruner_of_module(module).prune_out_channels
        traced = graph.get_pruning_group(module, cutter, list(range(width)))
        rows = [names[item.dep.target.module] for item in traced if _makes(item)]
        seen.update(rows)
        name = min(rows, key=calls.layers.index)
        try:
            group = _describe(name, traced, twin, graph, means, calls, shared)
        except _RefusedError as reason:
            refused[name] = str(reason)
        else:
            if group.num_neurons > group.num_blocks:
                groups.append(group)
    groups.sort(key=lambda group: calls.layers.index(group.name))
    return _try_out(twin, inputs, groups, refused)


def neurons_within(network: nn.Module, example: Tensor, blocks: Collection[str]) -> dict[str, int]:
    """Return how many neurons are made in blocks alone, and go where the blocks go, by the name of a group.

    Args:
        network: With the blocks.
        example: As for :func:`find_prunable`.
        blocks: Names of modules.

    Raises:
        InputError: As of :func:`find_prunable`.
    """
    if not blocks:
        return {}
    within = tuple(f"{block}." for block in blocks)
    return {
        group.name: group.num_neurons
        for group in find_prunable(network, example).groups
        if all(layer.startswith(within) for layer in group.producers)
    }


class _RefusedError(Exception):
    """Why the neurons of a group have to stay."""


class _Calls:
    """The order in which layers are called, and who reads whose output."""

    def __init__(self, network: nn.Module, inputs: Tensor) -> None:
        self.layers: list[str] = []
        self._givers: dict[str, list[str | None]] = defaultdict(list)
        makers: dict[tuple[int, int], tuple[str, Tensor]] = {}

        def value(tensor: Tensor) -> tuple[int, int]:
            return id(tensor), tensor._version  # which every operation in place raises

        def note(name: str, module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
            del module
            if name not in self.layers:
                self.layers.append(name)
            if given and isinstance(given[0], Tensor):
                self._givers[name].append(makers.get(value(given[0]), (None,))[0])
            if isinstance(output, Tensor):
                makers[value(output)] = name, output  # held, so that the id stays its own

        modules = [(name, module) for name, module in network.named_modules() if _can_shrink(module)]
        hooks = [module.register_forward_hook(partial(note, name)) for name, module in modules]
        try:
            with torch.no_grad(), torch.compiler.set_stance("force_eager"):
                output = network(inputs)
        except TRACING_ERRORS as error:
            msg = f"{type(network).__name__} does not take a batch of shape {tuple(inputs.shape)}: {error}"
            raise InputError(msg) from error
        finally:
            for hook in hooks:
                hook.remove()
        if not isinstance(output, Tensor):
            msg = (
                f"{type(network).__name__} puts out a {type(output).__name__}, not a tensor: wrap it in a "
                "network that returns the logits"
            )
            raise InputError(msg)

    def norm_behind(self, layer: str, network: nn.Module) -> str | None:
        """Return the batch norm that is given what a layer puts out, and nothing else."""
        for name, givers in self._givers.items():
            module = network.get_submodule(name)
            if givers == [layer] and isinstance(module, _NormBase) and module.running_mean is not None:
                return name
        return None


def _shared_weights(network: nn.Module) -> dict[str, str]:
    """Return, by the name of a layer, the parameters that it shares with another."""
    names = defaultdict(list)
    for name, parameter in network.named_parameters(remove_duplicate=False):
        names[id(parameter)].append(name)
    shared = [several for several in names.values() if len(several) > 1]
    return {name.rpartition(".")[0]: " and ".join(several) for several in shared for name in several}


def _trace(network: nn.Module, inputs: Tensor) -> tuple["DependencyGraph", dict["Node", "Node"]]:
    """Return the dependency graph, and the nodes whose mean over the neurons is taken, by the mean."""
    # It imports timm, which takes seconds.
    from torch_pruning.dependency import DependencyGraph
    from torch_pruning.ops import _ConcatOp, _ElementWiseOp

    means: dict[Node, Node] = {}

    class Graph(DependencyGraph):  # type: ignore[misc]  # it has no types
        """The graph without the edges along which what belongs to a neuron no longer does."""

        def _build_dependency(self, module2node: Mapping[nn.Module, "Node"]) -> None:
            for node in module2node.values():
                if isinstance(node.module, _ConcatOp):
                    # It would guess them from the layers before.
                    node.module.concat_sizes = [(*_shape(giver), 0, 0)[1] for giver in node.inputs]
                if not isinstance(node.module, _ElementWiseOp):
                    continue
                for giver in list(node.inputs):
                    if not _keeps_neurons(_shape(giver), _shape(node)):
                        node.inputs.remove(giver)
                        giver.outputs.remove(node)
                        if node.grad_fn.name().startswith("Mean"):
                            means[node] = giver
            super()._build_dependency(module2node)

    try:
        with torch.enable_grad(), torch.compiler.set_stance("force_eager"):
            return Graph().build_dependency(network, inputs, verbose=False), means
    except TRACING_ERRORS as error:
        msg = f"{type(network).__name__} cannot be traced: {type(error).__name__}: {error}"
        raise InputError(msg) from error


def _shape(node: "Node") -> tuple[int, ...]:
    """Return the shape of what an operation put out."""
    outputs = getattr(node.grad_fn, "_input_metadata", ())
    return tuple(outputs[0].shape) if outputs else ()


def _keeps_neurons(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Whether the second dimension of feature maps still means the same neurons after an operation.

    >>> _keeps_neurons((2, 8, 5, 5), (2, 8, 5, 5)), _keeps_neurons((2, 8, 5, 5), (2, 1, 5, 5))
    (True, False)
    """
    if len(before) != 4:
        return True
    num, width, *size = before
    is_reduced = width > 1 and after in ((num, 1, *size), (num, *size))
    is_broadcast = width == 1 and len(after) == 4 and after[1] > 1
    return not (is_reduced or is_broadcast)


def _can_shrink(module: nn.Module) -> bool:
    return isinstance(module, tuple(SIZES))


def _makes(item: Any) -> bool:
    """Whether an item of a traced group is a layer that makes the neurons."""
    module = item.dep.target.module
    return item.dep.handler.__name__ == "prune_out_channels" and has_rows(module)


def _describe(
    name: str,
    traced: "Group",
    network: nn.Module,
    graph: "DependencyGraph",
    means: Mapping["Node", "Node"],
    calls: _Calls,
    shared: Mapping[str, str],
) -> NeuronGroup:
    """Return a traced group in our terms.

    Raises:
        _RefusedError: It cannot be pruned.
    """
    names = {module: layer for layer, module in network.named_modules()}
    width = len(traced[0].idxs)
    rows: dict[str, Entries] = {}
    attached: dict[str, Entries] = {}
    columns: dict[str, Entries] = {}
    for item in traced:
        module = item.dep.target.module
        if isinstance(module, nn.Parameter):
            msg = f"{graph._param_to_name[module]} is a parameter of its own, in no layer that can be cut"
            raise _RefusedError(msg)
        if module not in names:
            if type(module).__name__ == "_OutputOp":
                msg = "the network puts them out"
                raise _RefusedError(msg)
            continue
        if isinstance(module, nn.PReLU) and module.num_parameters == 1:
            continue
        layer = names[module]
        _check_layer(layer, module, shared)
        entries = _entries(layer, item.idxs, item.root_idxs, width)
        if _makes(item):
            rows[layer] = entries
        elif has_rows(module):
            columns[layer] = entries
        else:
            attached[layer] = entries
    if not columns:
        msg = "the network puts them out"
        raise _RefusedError(msg)
    in_order = calls.layers.index
    consumers = tuple(
        _consumer(layer, columns[layer], network, graph, calls) for layer in sorted(columns, key=in_order)
    )
    nodes = {item.dep.target for item in traced}
    return NeuronGroup(
        name=name,
        num_neurons=width,
        rows={layer: rows[layer] for layer in sorted(rows, key=in_order)},
        attached={layer: attached[layer] for layer in sorted(attached, key=in_order)},
        consumers=consumers,
        means=tuple(_consumer_of_mean(mean, names) for mean, giver in means.items() if giver in nodes),
        num_blocks=_count_blocks(width, [*rows, *columns], columns, network),
    )


def _check_layer(layer: str, module: nn.Module, shared: Mapping[str, str]) -> None:
    if not _can_shrink(module):
        msg = f"{layer} is a {type(module).__name__}, which cannot lose neurons"
        raise _RefusedError(msg)
    if layer in shared:
        msg = f"{shared[layer]} are the same weights"
        raise _RefusedError(msg)
    if isinstance(module, nn.Conv2d | nn.Linear) and "weight" not in module._parameters:
        msg = f"the weights of {layer} are computed from others"
        raise _RefusedError(msg)
    if is_depthwise(module) and module.in_channels != module.out_channels:
        msg = f"{layer} makes several maps of each"
        raise _RefusedError(msg)


def _entries(layer: str, indices: Sequence[int], neurons: Sequence[int], width: int) -> Entries:
    """Return a layer's entries of each neuron."""
    by_neuron: list[list[int]] = [[] for _ in range(width)]
    for index, neuron in zip(indices, neurons, strict=True):
        by_neuron[neuron].append(index)
    if len({len(entries) for entries in by_neuron}) != 1:
        msg = f"{layer} takes some of them, or some more often than others"
        raise _RefusedError(msg)
    return tuple(tuple(sorted(entries)) for entries in by_neuron)


def _consumer(
    layer: str, columns: Entries, network: nn.Module, graph: "DependencyGraph", calls: _Calls
) -> Consumer:
    module = network.get_submodule(layer)
    padded = isinstance(module, nn.Conv2d) and _is_padded(module)
    if module.bias is not None:
        return Consumer(layer, columns, padded, shift=layer)
    is_read_once = len(graph.module2node[module].outputs) == 1
    shift = calls.norm_behind(layer, network) if is_read_once else None
    return Consumer(layer, columns, padded, shift)


def _is_padded(module: nn.Conv2d) -> bool:
    """Whether a convolution sees zeros around a map; one that is none of torch's may add them itself."""
    is_point = module.kernel_size == (1, 1)
    is_known = is_point or type(module) is nn.Conv2d
    has_none = module.padding in ("valid", (0, 0)) or (is_point and module.padding == "same")
    return module.padding_mode == "zeros" and not (is_known and has_none)


def _consumer_of_mean(mean: "Node", names: Mapping[nn.Module, str]) -> tuple[str, int]:
    """Return the convolution that reads a mean over neurons, and its column."""
    consumer, column = (mean.outputs or [None])[0], 0
    if consumer is not None and type(consumer.module).__name__ == "_ConcatOp":
        column, givers = consumer.inputs.index(mean), len(consumer.inputs)
        consumer = consumer.outputs[0]
        if getattr(consumer.module, "in_channels", None) != givers:
            consumer = None
    if len(mean.outputs) != 1 or consumer is None or not isinstance(consumer.module, nn.Conv2d):
        msg = "the mean over them goes elsewhere than to a convolution"
        raise _RefusedError(msg)
    return names[consumer.module], column


def _count_blocks(
    width: int, layers: Iterable[str], columns: Mapping[str, Entries], network: nn.Module
) -> int:
    num_blocks = 1
    for layer in layers:
        groups = getattr(network.get_submodule(layer), "groups", 1)
        if groups > 1 and layer in columns and columns[layer] != tuple((i,) for i in range(width)):
            msg = f"{layer}, a grouped convolution, reads more than them"
            raise _RefusedError(msg)
        num_blocks = math.lcm(num_blocks, groups)
    if width % num_blocks:
        msg = f"grouped convolutions divide {width} neurons into {num_blocks} blocks"
        raise _RefusedError(msg)
    return num_blocks


def _try_out(
    network: nn.Module, inputs: Tensor, groups: Sequence[NeuronGroup], refused: dict[str, str]
) -> PrunableLayers:
    """Leave out the groups without whose neurons the network is not what it is where they are 0."""
    if reason := _difference(network, inputs, groups):
        found = []
        for group in groups:
            if reason := _difference(network, inputs, [group]):
                refused[group.name] = reason
            else:
                found.append(group)
        groups = found
    for name, reason in refused.items():
        log.debug("the neurons of %s stay: %s", name, reason)
    return PrunableLayers(tuple(groups), refused)


def _difference(network: nn.Module, inputs: Tensor, groups: Sequence[NeuronGroup]) -> str:
    """Say what is wrong when every other neuron goes; empty if nothing is."""
    plans = {group.name: _every_other(group) for group in groups}
    try:
        with torch.no_grad():
            masked = mask(network, groups, plans)(inputs)
            small = cut(network, groups, plans)(inputs)
    except TRACING_ERRORS as error:
        return f"the network does not run without some of them: {' '.join(str(error).split())}"
    if small.shape != masked.shape or not masked.isfinite().all():
        return "without some of them the network puts out something else"
    if (small - masked).abs().max() > TOLERANCE * masked.abs().max():
        return "what the network makes of one of them depends on how many there are"
    return ""


def _every_other(group: NeuronGroup) -> PrunePlan:
    """Return a plan without the first, third, ... neuron of each block; one of each stays."""
    size = group.num_neurons // group.num_blocks
    gone = [
        neuron for neuron in range(group.num_neurons) if neuron % size % 2 == 0 and neuron % size != size - 1
    ]
    return PrunePlan(group.num_neurons, tuple(Removal(neuron, "span") for neuron in gone))
