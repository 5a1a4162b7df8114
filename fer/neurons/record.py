"""Hooks as a context manager: hand over what the layers of a network take and return.

Layers are named as in ``network.named_modules()``. The name alone means the layer's output; with
:data:`INPUT`, as in ``"conv2:input"``, it means the layer's input. The input is available even if no module
returns it, as behind an activation function or a module that the network calls twice. ``"fc1:input:8x4x4"``
means that the input is a flattened feature map of 8 channels and 4 x 4 positions, which is handed over
unflattened.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from fer.errors import InputError, did_you_mean
from fer.neurons.networks import check_network
from fer.neurons.text import listed

INPUT: Final = ":input"
"""Suffix of a layer's name that means its input instead of its output."""

MOST_MODULES: Final = 20
"""Number of layers that an error about an unknown name lists."""


@contextmanager
def record(
    network: nn.Module, names: str | Iterable[str], receive: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Hand over the outputs or inputs of layers each time they are called, while the context lasts.

    Meanwhile, a compiled network runs uncompiled, because compiled code ignores new hooks.

    Args:
        network: Any network; the caller runs it inside the context.
        names: Names of layers; with :data:`INPUT` for their inputs.
        receive: Called with a name and its detached tensor. The next layer may overwrite the tensor in
            place: clone it to keep it.

    Raises:
        InputError: A layer is unknown; or, when the network is called, a value is not a tensor.
    """
    check_network(network)
    with ExitStack() as hooks:
        hooks.enter_context(torch.compiler.set_stance("force_eager"))
        for name, module in find_layers(network, names).items():
            if INPUT in name:
                give = partial(_hand_over_input, name, receive)
                hook = module.register_forward_pre_hook(give, with_kwargs=True)
            else:
                hook = module.register_forward_hook(partial(_hand_over_output, name, receive))
            hooks.callback(hook.remove)
        yield


@contextmanager
def tap(network: nn.Module, names: Iterable[str], receive: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Hand over the inputs of layers as part of the autograd graph, while the context lasts.

    Each layer takes its own copy of its input, and that copy is handed over. Its gradient is therefore that
    of this layer alone.

    Args:
        network: See :func:`record`.
        names: Names of layers, with :data:`INPUT`.
        receive: Called with a name and its tensor, which has a gradient function.
    """

    def give_copy(
        name: str, module: nn.Module, inputs: tuple[object, ...], named: dict[str, object]
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        own = _only_tensor(name, module, inputs, named).clone()
        receive(name, own)
        return (
            tuple(own if isinstance(value, Tensor) else value for value in inputs),
            {key: own if isinstance(value, Tensor) else value for key, value in named.items()},
        )

    with ExitStack() as hooks:
        hooks.enter_context(torch.compiler.set_stance("force_eager"))
        for name, module in find_layers(network, names).items():
            hook = module.register_forward_pre_hook(partial(give_copy, name), with_kwargs=True)
            hooks.callback(hook.remove)
        yield


def find_layers(network: nn.Module, names: str | Iterable[str]) -> dict[str, nn.Module]:
    """Return layers by the names that :func:`record` takes; a string is one name.

    Raises:
        InputError: A layer is unknown.
    """
    modules = {name: module for name, module in network.named_modules() if name}
    found = {}
    for name in [names] if isinstance(names, str) else names:
        layer = name.partition(INPUT)[0]
        if layer not in modules:
            msg = (
                f"{type(network).__name__} has no layer {layer!r}: {did_you_mean(layer, modules)}"
                f"its layers are {listed(modules, MOST_MODULES)}"
            )
            raise InputError(msg)
        found[name] = modules[layer]
    return found


def _hand_over_output(
    name: str, receive: Callable[[str, Tensor], None], module: nn.Module, inputs: object, output: object
) -> None:
    del inputs
    if not isinstance(output, Tensor):
        msg = (
            f"layer {name!r} ({type(module).__name__}) returns a {type(output).__name__}, not a tensor: "
            "name a layer inside or after it"
        )
        raise InputError(msg)
    receive(name, output.detach())


def _hand_over_input(
    name: str,
    receive: Callable[[str, Tensor], None],
    module: nn.Module,
    inputs: tuple[object, ...],
    named: dict[str, object],
) -> None:
    tensor = _only_tensor(name, module, inputs, named).detach()
    if shape := name.partition(INPUT)[2]:
        tensor = tensor.reshape(len(tensor), *map(int, shape[1:].split("x")))
    receive(name, tensor)


def _only_tensor(
    name: str, module: nn.Module, inputs: tuple[object, ...], named: dict[str, object]
) -> Tensor:
    tensors = [value for value in (*inputs, *named.values()) if isinstance(value, Tensor)]
    if len(tensors) != 1:
        msg = (
            f"layer {name.partition(INPUT)[0]!r} ({type(module).__name__}) takes {len(tensors)} tensors, not "
            "one: name the layer before it"
        )
        raise InputError(msg)
    return tensors[0]
