"""Trace a network: the dependency graph of its neurons, from Torch-Pruning, and the order of the calls.

All uses of Torch-Pruning and of its private parts are in this file and in :mod:`fer.neurons.follow`.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode

from fer.errors import InputError
from fer.neurons.follow import EndlessError, Item, follow
from fer.neurons.groups import (
    SIZES,
    Consumer,
    Entries,
    NeuronGroup,
    can_shrink,
    has_other_weights,
    has_rows,
    is_depthwise,
)
from fer.neurons.inputs import Inputs, call
from fer.neurons.nested import tensors_in
from fer.neurons.networks import FOREIGN_ERRORS, one_line

if TYPE_CHECKING:
    from torch_pruning.dependency import DependencyGraph, Node

OUTPUTS = "these are the network's outputs"

MEAN = "Mean"
MAXIMA = ("AmaxBackward", "MaxBackward")
"""Prefixes of autograd's names for a mean and for a maximum over a dimension."""


class Float64(TorchFunctionMode):
    """Keep tensors in float64 while the context lasts, even where a network casts them.

    ``x.float()`` in a network would otherwise not fit its weights in float64.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a torch function, and cast its result to float64."""
        del types
        result = func(*args, **(kwargs or {}))
        is_cast = isinstance(result, Tensor) and result.is_floating_point() and result.dtype != torch.float64
        return result.double() if is_cast else result


def trace_groups(network: nn.Module, inputs: Inputs) -> tuple[list[NeuronGroup], dict[str, str]]:
    """Return the groups of neurons in a network, and why the neurons of other layers cannot be removed.

    Args:
        network: A copy in float64 and eval mode, whose parameters require gradients; it may change.
        inputs: Arguments of the network; floating-point tensors in float64.

    Raises:
        InputError: The network does not take the inputs, returns no tensor, or cannot be traced.
    """
    for name, slope in list(network.named_modules()):
        # Torch-Pruning takes this module for a layer of one channel.
        if name and type(slope) is nn.PReLU and slope.num_parameters == 1:
            network.set_submodule(name, nn.LeakyReLU(slope.weight.item()))
    calls = _Calls(network, inputs)
    graph, reduced = _trace(network, inputs)
    names = {module: name for name, module in network.named_modules()}
    shared = _shared_weights(network)
    groups: list[NeuronGroup] = []
    refused: dict[str, str] = {}
    visited: set[str] = set()
    for layer in calls.layers:
        module: Any = network.get_submodule(layer)
        if layer in visited or module not in graph.module2node or not has_rows(module):
            continue
        if len(module.weight) == 1:
            continue
        try:
            items = follow(graph, module)
        except EndlessError as error:
            rows = [names[item.module] for item in error.items if _computes_neurons(item)]
            visited.update(rows)
            refused |= dict.fromkeys(rows, "the operations that follow lead in circles, and cannot be traced")
            continue
        except FOREIGN_ERRORS:  # an index that a recurrent layer lacks, or too many indices
            refused[layer] = _reason_untraced(network)
            continue
        rows = [names[item.module] for item in items if _computes_neurons(item)]
        visited.update(rows)
        name = min(rows, key=calls.layers.index)
        try:
            group = _describe(name, items, network, graph, reduced, calls, shared)
        except _RefusedError as reason:
            refused[name] = str(reason)
        else:
            if group.num_neurons > group.num_blocks:
                groups.append(group)
    groups.sort(key=lambda group: calls.layers.index(group.name))
    return groups, refused | {
        name: f"it is of type {type(module).__name__}, which cannot lose neurons"
        for name, module in network.named_modules()
        if name not in refused and has_other_weights(module)
    }


class _RefusedError(Exception):
    """Reason why the neurons of a group cannot be removed."""


class _Calls:
    """Order in which layers are called, and which layer takes whose output."""

    def __init__(self, network: nn.Module, inputs: Inputs) -> None:
        self.layers: list[str] = []
        self._sources: dict[str, list[str | None]] = defaultdict(list)
        made_by: dict[tuple[int, int], tuple[str, Tensor]] = {}

        def version(tensor: Tensor) -> tuple[int, int]:
            return id(tensor), tensor._version  # every in-place operation raises the version

        def note(
            name: str, module: nn.Module, args: tuple[Any, ...], named: Mapping[str, Any], output: Any
        ) -> None:
            del module
            if name not in self.layers:
                self.layers.append(name)
            if (taken := next(tensors_in((args, named)), None)) is not None:
                self._sources[name].append(made_by.get(version(taken), (None,))[0])
            if isinstance(output, Tensor):
                made_by[version(output)] = name, output  # the reference keeps the id from being reused

        modules = [(name, module) for name, module in network.named_modules() if can_shrink(module)]
        with ExitStack() as stack:
            for name, module in modules:
                hook = module.register_forward_hook(partial(note, name), with_kwargs=True)
                stack.callback(hook.remove)
            for context in (torch.no_grad(), torch.compiler.set_stance("force_eager"), Float64()):
                stack.enter_context(context)
            call(network, inputs)

    def norm_after(self, layer: str, network: nn.Module) -> str | None:
        """Return the batch norm that is the only consumer of a layer's output; None if there is none."""
        for name in (name for name, sources in self._sources.items() if sources == [layer]):
            module = network.get_submodule(name)
            if isinstance(module, _NormBase) and module.running_mean is not None:
                return name
        return None


def _shared_weights(network: nn.Module) -> dict[str, str]:
    """Return the parameters that a layer shares with other layers, by the name of the layer."""
    names = defaultdict(list)
    for name, parameter in network.named_parameters(remove_duplicate=False):
        names[id(parameter)].append(name)
    shared = [several for several in names.values() if len(several) > 1]
    return {name.rpartition(".")[0]: " and ".join(several) for several in shared for name in several}


def _reason_untraced(network: nn.Module) -> str:
    recurrent = [name for name, module in network.named_modules() if isinstance(module, nn.RNNBase)]
    if recurrent:
        return f"they are traced into {', '.join(recurrent)}, a recurrent layer, which cannot lose neurons"
    return "the operations that follow cannot be traced"


def _trace(network: nn.Module, inputs: Inputs) -> tuple["DependencyGraph", dict["Node", "Node"]]:
    """Return the dependency graph, and each mean or maximum over neurons by the node that takes it."""
    # Importing Torch-Pruning imports timm, which takes seconds.
    from torch_pruning.dependency import DependencyGraph
    from torch_pruning.ops import _ConcatOp, _ElementWiseOp

    reduced: dict[Node, Node] = {}

    def as_outputs(output: Any) -> list[Tensor]:
        """Return the outputs, each from an operation of its own.

        Torch-Pruning recognises an output only if no layer returned it and no other output depends on it.
        """
        return [tensor * 1 for tensor in traced_outputs(network, output) if tensor.requires_grad]

    class Graph(DependencyGraph):  # type: ignore[misc]  # it has no types
        """Dependency graph without the edges behind which the second dimension is not the neurons."""

        def _build_dependency(self, module2node: Mapping[nn.Module, "Node"]) -> None:
            for node in module2node.values():
                if isinstance(node.module, _ConcatOp):
                    # Torch-Pruning would guess them from the layers before it.
                    node.module.concat_sizes = [
                        (*shape_of(before.grad_fn), 0, 0)[1] for before in node.inputs
                    ]
                if not isinstance(node.module, _ElementWiseOp):
                    continue
                for before in list(node.inputs):
                    if not keeps_neurons(shape_of(before.grad_fn), shape_of(node.grad_fn)):
                        node.inputs.remove(before)
                        before.outputs.remove(node)
                        if node.grad_fn.name().startswith((MEAN, *MAXIMA)):
                            reduced[node] = before
            super()._build_dependency(module2node)

    try:
        with torch.enable_grad(), torch.compiler.set_stance("force_eager"), Float64():
            graph = Graph().build_dependency(network, inputs, call, as_outputs, verbose=False)
    except FOREIGN_ERRORS as error:
        if isinstance(error, InputError) and error.__cause__ is None:
            raise
        cause = error.__cause__ or error
        msg = f"{type(network).__name__} cannot be traced: {type(cause).__name__}: {one_line(cause)}"
        raise InputError(msg) from error
    return graph, reduced


def traced_outputs(network: nn.Module, output: Any) -> list[Tensor]:
    """Return the tensors in a network's output: a tensor, or sequences, mappings or dataclasses of tensors.

    Raises:
        InputError: There are none, or they do not depend on the parameters, which require gradients.
    """
    tensors, kind = list(tensors_in(output)), type(network).__name__
    if not tensors:
        msg = (
            f"{kind} returns a {type(output).__name__} without tensors: give the network inside it, or wrap "
            "it in one that returns tensors"
        )
        raise InputError(msg)
    if next(network.parameters(), None) is not None and not any(one.requires_grad for one in tensors):
        msg = (
            f"{kind} cannot be traced, because its outputs have no gradients: remove torch.no_grad, detach "
            "and the like from its forward, or give the network inside it"
        )
        raise InputError(msg)
    return tensors


def shape_of(grad_fn: Any) -> tuple[int, ...]:
    """Return the shape of the output of an operation; empty if it is unknown."""
    outputs = getattr(grad_fn, "_input_metadata", ())
    return tuple(outputs[0].shape) if outputs else ()


def keeps_neurons(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Return whether the second dimension of maps means the same neurons before and after an operation.

    >>> keeps_neurons((2, 8, 5, 5), (2, 8, 5, 5)), keeps_neurons((2, 8, 5, 5), (2, 1, 5, 5))
    (True, False)
    """
    if len(before) != 4:
        return True
    num, width, *size = before
    is_reduced = width > 1 and after in ((num, 1, *size), (num, *size))
    is_broadcast = width == 1 and len(after) == 4 and after[1] > 1
    return not (is_reduced or is_broadcast)


def _computes_neurons(item: Item) -> bool:
    """Return whether an item of a traced group is a layer that computes the neurons."""
    return item.as_outputs and has_rows(item.module)


def _describe(
    name: str,
    items: Sequence[Item],
    network: nn.Module,
    graph: "DependencyGraph",
    reduced: Mapping["Node", "Node"],
    calls: _Calls,
    shared: Mapping[str, str],
) -> NeuronGroup:
    """Convert a traced group into a :class:`NeuronGroup`.

    Raises:
        _RefusedError: It cannot be pruned.
    """
    names = {module: layer for layer, module in network.named_modules()}
    width = len(items[0].module.weight)
    rows: dict[str, Entries] = {}
    attached: dict[str, Entries] = {}
    columns: dict[str, Entries] = {}
    for item in items:
        module = item.module
        if isinstance(module, nn.Parameter):
            msg = f"{graph._param_to_name[module]} is a parameter outside of the layers that can be pruned"
            raise _RefusedError(msg)
        if module not in names:
            if type(module).__name__ == "_OutputOp":
                raise _RefusedError(OUTPUTS)
            continue
        layer = names[module]
        _check_layer(layer, module, shared)
        entries = _entries(layer, item, width)
        if _computes_neurons(item):
            rows[layer] = entries
        elif has_rows(module):
            columns[layer] = entries
        else:
            attached[layer] = entries
    if not columns:
        raise _RefusedError(OUTPUTS)
    in_order = calls.layers.index
    consumers = tuple(
        _consumer(layer, columns[layer], network, graph, calls) for layer in sorted(columns, key=in_order)
    )
    for entries_of, axis in ((rows, 0), (attached, 0), (columns, 1)):
        for layer, entries in entries_of.items():
            _check_size(layer, entries, network.get_submodule(layer), axis)
    nodes = {item.node for item in items}
    over = [node for node, before in reduced.items() if before in nodes]
    return NeuronGroup(
        name=name,
        num_neurons=width,
        rows={layer: rows[layer] for layer in sorted(rows, key=in_order)},
        attached={layer: attached[layer] for layer in sorted(attached, key=in_order)},
        consumers=consumers,
        means=tuple(_consumer_of(node, names) for node in over if _is_mean(node)),
        maxima=tuple(_consumer_of(node, names) for node in over if not _is_mean(node)),
        num_blocks=_count_blocks(width, [*rows, *columns], columns, network),
    )


def _check_layer(layer: str, module: nn.Module, shared: Mapping[str, str]) -> None:
    if not can_shrink(module):
        msg = f"{layer} is a {type(module).__name__}, which cannot lose neurons"
        raise _RefusedError(msg)
    if layer in shared:
        msg = f"{shared[layer]} are the same weights"
        raise _RefusedError(msg)
    if isinstance(module, nn.Conv2d | nn.Linear) and "weight" not in module._parameters:
        msg = f"the weights of {layer} are computed from other parameters"
        raise _RefusedError(msg)
    if is_depthwise(module) and module.in_channels != module.out_channels:
        msg = f"{layer} computes several maps from each"
        raise _RefusedError(msg)


def _check_size(layer: str, entries: Entries, module: nn.Module, axis: int) -> None:
    """Check that a layer has the outputs (axis 0) or inputs (axis 1) to which neurons were traced."""
    names = next(names for kind, names in SIZES.items() if isinstance(module, kind))
    size, last = getattr(module, names[axis]), max(map(max, entries))
    if last >= size:
        msg = (
            f"the operations that follow cannot be traced: they would lead to {last + 1} channels of "
            f"{layer}, which has {size}"
        )
        raise _RefusedError(msg)


def _entries(layer: str, item: Item, width: int) -> Entries:
    """Return the entries of each neuron in a layer."""
    by_neuron: list[list[int]] = [[] for _ in range(width)]
    for index, neuron in item.indices():
        by_neuron[neuron].append(index)
    if len({len(entries) for entries in by_neuron}) != 1:
        msg = f"{layer} takes only some of them, or some more often than others"
        raise _RefusedError(msg)
    return tuple(tuple(sorted(entries)) for entries in by_neuron)


def _consumer(
    layer: str, columns: Entries, network: nn.Module, graph: "DependencyGraph", calls: _Calls
) -> Consumer:
    module = network.get_submodule(layer)
    padded = isinstance(module, nn.Conv2d) and _is_padded(module)
    if module.bias is not None:
        return Consumer(layer, columns, padded, shift=layer)
    has_one_output = len(graph.module2node[module].outputs) == 1
    return Consumer(layer, columns, padded, calls.norm_after(layer, network) if has_one_output else None)


def _is_padded(module: nn.Conv2d) -> bool:
    """Return whether a convolution pads maps with zeros; a subclass may do so in its own code."""
    is_point = module.kernel_size == (1, 1)
    is_known = is_point or type(module) is nn.Conv2d
    has_none = module.padding in ("valid", (0, 0)) or (is_point and module.padding == "same")
    return module.padding_mode == "zeros" and not (is_known and has_none)


def _is_mean(node: "Node") -> bool:
    return bool(node.grad_fn.name().startswith(MEAN))


def _consumer_of(node: "Node", names: Mapping[nn.Module, str]) -> tuple[str, int]:
    """Return the convolution that takes a mean or a maximum over neurons, and its column."""
    consumer, column = (node.outputs or [None])[0], 0
    if consumer is not None and type(consumer.module).__name__ == "_ConcatOp":
        column, num_inputs = consumer.inputs.index(node), len(consumer.inputs)
        consumer = consumer.outputs[0]
        if getattr(consumer.module, "in_channels", None) != num_inputs:
            consumer = None
    if len(node.outputs) != 1 or consumer is None or not isinstance(consumer.module, nn.Conv2d):
        what = "mean" if _is_mean(node) else "maximum"
        msg = f"the {what} over them is not taken by a convolution alone"
        raise _RefusedError(msg)
    return names[consumer.module], column


def _count_blocks(
    width: int, layers: Iterable[str], columns: Mapping[str, Entries], network: nn.Module
) -> int:
    num_blocks = 1
    for layer in layers:
        groups = getattr(network.get_submodule(layer), "groups", 1)
        if groups > 1 and layer in columns and columns[layer] != tuple((i,) for i in range(width)):
            msg = f"{layer}, a grouped convolution, takes other neurons as well"
            raise _RefusedError(msg)
        num_blocks = math.lcm(num_blocks, groups)
    if width % num_blocks:
        msg = f"grouped convolutions divide {width} neurons into {num_blocks} blocks"
        raise _RefusedError(msg)
    return num_blocks
