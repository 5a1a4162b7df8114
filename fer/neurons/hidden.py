"""Find the hidden layers of any network, and where the next layer takes their neurons."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from fer.neurons.inputs import Inputs, call, inputs_of
from fer.neurons.nested import tensors_in
from fer.neurons.networks import copy_to_trace, eval_state
from fer.neurons.record import INPUT
from fer.neurons.text import listed
from fer.neurons.trace import OUTPUTS, keeps_neurons, shape_of, traced_outputs

RESHAPES: Final = frozenset({"View", "Reshape", "UnsafeView", "Squeeze", "Unsqueeze", "Alias"})
"""Autograd operations that only change the shape of a tensor."""

PRODUCTS: Final = frozenset(
    {"Addmm", "Mm", "Bmm", "Baddbmm", "Addbmm", "Mv", "Dot", "Convolution", "Embedding"}
    | {"MkldnnConvolution", "CudnnConvolution", "MkldnnRnnLayer", "CudnnRnn"}
)
"""Autograd operations after which the second dimension no longer means the same neurons."""

MIXES: Final = frozenset({"Cat", "Stack", "Split", "SplitWithSizes", "Slice", "Select", "Unbind", "Index"})
"""Autograd operations that join neurons with others, or select some of them."""


@dataclass(frozen=True)
class HiddenLayers:
    """The hidden layers of a network.

    Attributes:
        layers: Name under which :func:`fer.neurons.record` records the neurons as the next layer takes them,
            by the name of the layer that computes them; in forward order.
        refused: Reason why another layer with weights is not among them, by the name of the layer.
    """

    layers: dict[str, str]
    refused: dict[str, str]

    def __repr__(self) -> str:
        """Return the names of the layers."""
        return f"HiddenLayers({listed(self.layers)}; refused: {listed(self.refused)})"


class _Call(NamedTuple):
    """A call of a module, with the nodes of its input and output in the autograd graph."""

    name: str
    module: nn.Module
    source: Any
    input_shape: tuple[int, ...]
    output: Any
    output_shape: tuple[int, ...]


def find_hidden_layers(network: nn.Module, example: Any) -> HiddenLayers:
    """Find the hidden layers of a network whose neurons can be recorded.

    The neurons of a linear layer or a convolution are recorded at the output of the last module before the
    next layer with weights, such as a pooling layer or the activation; flatten and dropout are ignored. If
    the neurons are not the output of a module that is called once, they are recorded at the next layer's
    input: ``"conv2:input"``, or ``"fc1:input:8x4x4"`` if a function flattened 8 maps of 4 x 4 positions. If
    there are several next layers, the first of those with the largest maps is used. The network does not
    change: a copy is traced.

    Args:
        network: Any network.
        example: A batch that it takes; see :func:`fer.neurons.inputs.inputs_of`.

    Raises:
        InputError: The network cannot be copied, does not take the example, or returns no tensor.
    """
    twin = copy_to_trace(network)
    with eval_state(twin):
        inputs = inputs_of(example, twin).take(2).to(twin)
        calls, outputs = _calls(twin, inputs.map(_as_source))
    weighted = [one for one in calls if _has_weights(one.module)]
    num_calls = Counter(one.name for one in calls)
    sources = {number: _sources(one, weighted) for number, one in enumerate(weighted)}
    of_outputs = _reached(outputs, {id(one.output) for one in weighted})
    layers: dict[str, str] = {}
    refused = {
        name: "the network does not call it"
        for name, module in twin.named_modules()
        if _has_weights(module) and name not in num_calls
    }
    for one in weighted:
        if one.name in layers or one.name in refused:
            continue
        consumers = [weighted[number] for number, names in sources.items() if one.name in names]
        found, reason = _place(one, consumers, weighted, calls, num_calls)
        if not consumers and id(one.output) in of_outputs:
            refused[one.name] = OUTPUTS
        elif not found:
            refused[one.name] = reason
        elif found in layers.values():
            first = next(name for name, place in layers.items() if place == found)
            refused[one.name] = f"its outputs are combined with those of {first}, and recorded there"
        else:
            layers[one.name] = found
    return HiddenLayers(layers, refused)


def _as_source(tensor: Tensor) -> Tensor:
    """Return a copy of an input with a known gradient function."""
    return tensor.detach().clone().requires_grad_(tensor.is_floating_point())


def _calls(network: nn.Module, inputs: Inputs) -> tuple[list[_Call], list[Any]]:
    """Return the calls of modules that are leaves or have weights of their own, and the output's nodes."""
    calls: list[_Call] = []
    held: list[Any] = []  # keeps tensors alive, and with them their nodes

    def note(
        name: str, module: nn.Module, args: tuple[Any, ...], named: Mapping[str, Any], output: Any
    ) -> None:
        taken, made = next(tensors_in((args, named)), None), next(tensors_in(output), None)
        held.extend((taken, made))
        if made is not None:
            calls.append(_Call(name, module, taken_by[name], shapes[name], made.grad_fn, tuple(made.shape)))

    taken_by: dict[str, Any] = {}
    shapes: dict[str, tuple[int, ...]] = {}

    def note_input(name: str, module: nn.Module, args: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        """Record the input before the module can change it in place."""
        del module
        taken = next(tensors_in((args, named)), None)
        held.append(taken)
        taken_by[name] = None if taken is None else taken.grad_fn
        shapes[name] = () if taken is None else tuple(taken.shape)

    with ExitStack() as hooks:
        hooks.enter_context(torch.compiler.set_stance("force_eager"))
        hooks.enter_context(torch.enable_grad())
        for name, module in network.named_modules():
            if _has_weights(module) or not any(True for _ in module.children()):
                before = module.register_forward_pre_hook(partial(note_input, name), with_kwargs=True)
                after = module.register_forward_hook(partial(note, name), with_kwargs=True)
                hooks.callback(before.remove)
                hooks.callback(after.remove)
        output = call(network, inputs)
    return calls, [tensor.grad_fn for tensor in traced_outputs(network, output)]


def _has_weights(module: nn.Module) -> bool:
    """Return whether a module computes new neurons: it has a weight matrix and is not a norm."""
    own = [*module.parameters(recurse=False), *vars(module).get("parametrizations", ())]
    is_norm = isinstance(module, nn.LayerNorm | nn.PReLU)
    return not is_norm and (
        isinstance(module, nn.Linear | nn.Conv2d) or any(getattr(one, "ndim", 0) > 1 for one in own)
    )


def _reached(nodes: Iterable[Any], until: Set[int], stops: Set[str] = PRODUCTS) -> set[int]:
    """Return the ids in ``until`` of the nodes from which the given nodes are computed."""
    found: set[int] = set()
    visited: set[Any] = set()
    stack = [node for node in nodes if node is not None]
    while stack:
        node = stack.pop()
        if node in visited:
            continue
        visited.add(node)
        if id(node) in until:
            found.add(id(node))
        elif _operation(node) not in stops:
            stack += [
                before
                for before, _ in node.next_functions
                if before is not None and keeps_neurons(shape_of(before), shape_of(node))
            ]
    return found


def _operation(node: Any) -> str:
    """Return the name of a node's operation, such as ``Addmm``; empty if it joins only one tensor."""
    name: str = node.name().partition("Backward")[0]
    return "" if name in ("Cat", "Stack") and len(node.next_functions) == 1 else name


def _sources(consumer: _Call, weighted: Sequence[_Call]) -> set[str]:
    """Return the names of the layers whose neurons a layer takes."""
    ids = {id(one.output): one.name for one in weighted}
    return {ids[node] for node in _reached([consumer.source], set(ids))}


def _place(
    layer: _Call,
    consumers: Sequence[_Call],
    weighted: Sequence[_Call],
    calls: Sequence[_Call],
    num_calls: Counter[str],
) -> tuple[str, str]:
    """Return the name under which a layer's neurons are recorded; or an empty name and the reason."""
    kind = type(layer.module).__name__
    if not isinstance(layer.module, nn.Linear | nn.Conv2d):
        return "", f"{kind} is neither a linear layer nor a two-dimensional convolution"
    if num_calls[layer.name] > 1:
        return "", f"it is called {num_calls[layer.name]} times per batch"
    if len(layer.output_shape) not in (2, 4):
        return "", f"it returns a tensor of shape {layer.output_shape}, neither (N, C) nor (N, C, H, W)"
    if not consumers:
        return "", "no layer with weights takes its outputs unchanged"
    width, outputs = layer.output_shape[1], {id(one.output) for one in weighted}

    def has_neurons(node: Any) -> bool:
        """Return whether the neurons of the layer reach a node without being joined with others."""
        return id(layer.output) in _reached([node], outputs, PRODUCTS | MIXES)

    consumer = max(consumers, key=lambda one: prod(one.input_shape[2:]))  # the first of the largest
    if isinstance(consumer.module, nn.Linear) and len(consumer.input_shape) != 2:
        return "", f"the next layer, {consumer.name}, takes tensors of shape {consumer.input_shape}"
    node, shape = consumer.source, consumer.input_shape
    while node is not None:
        made = [
            one for one in calls if one.output is node and not isinstance(one.module, nn.Flatten | nn.Dropout)
        ]
        if made:
            is_whole = len(made[-1].output_shape) in (2, 4) and made[-1].output_shape[1] == width
            is_whole = is_whole and has_neurons(node)
            if is_whole and num_calls[made[-1].name] == 1:
                return made[-1].name, ""
            break
        before = node.next_functions[0][0] if node.next_functions else None
        if _operation(node) == "Cat":
            before = next((one for one, _ in node.next_functions if has_neurons(one)), None)
        elif _operation(node) not in RESHAPES:
            break
        if before is None:
            break
        if len(shape_of(before)) == 4:
            shape = shape_of(before)
        node = before
    if num_calls[consumer.name] > 1:
        return "", f"the next layer, {consumer.name}, is called {num_calls[consumer.name]} times per batch"
    if not has_neurons(consumer.source):
        return "", f"the next layer, {consumer.name}, takes them together with others, or only some of them"
    if len(consumer.input_shape) in (2, 4) and consumer.input_shape[1] == width:
        return consumer.name + INPUT, ""
    if len(shape) == 4 and shape[1] == width and consumer.input_shape[1:] == (prod(shape[1:]),):
        return f"{consumer.name}{INPUT}:{'x'.join(map(str, shape[1:]))}", ""
    return "", f"the next layer, {consumer.name}, takes them in another shape"
