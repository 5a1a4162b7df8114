"""What the layers of a network put out, by their names, without a trace left in the network.

A place in a network is a layer's name as ``network.named_modules()`` has it, which means what the layer puts
out, or the name and :data:`GIVEN`, ``"conv2:input"``, which means what it is given. What neurons tell the
layer that reads them is known by the second also where no module of its own makes it: where an activation
is a function, or a module that the network calls twice.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from fer.errors import InputError, did_you_mean
from fer.neurons.statistics import ActivationStatistics, MapSample, Unit

GIVEN: Final = ":input"
"""Ending of a place that means what a layer is given, not what it puts out."""

TRACING_ERRORS: Final = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError),
    *(TypeError, ValueError),
)
"""What foreign code raises where a network is of a kind that it did not think of."""


@contextmanager
def record(
    network: nn.Module, places: Iterable[str], receive: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Hand over what layers put out, or are given, as it comes, as long as the context lasts.

    A network that was compiled is run uncompiled meanwhile: compiled code would not call later hooks.

    Args:
        network: Any network; it is called by whoever opens the context.
        places: Names of layers, with :data:`GIVEN` for what they are given.
        receive: Called with a place and its tensor, detached, each time the layer is called. The next
            layer may overwrite the tensor in place: what shall stay is cloned.

    Raises:
        InputError: A layer is unknown; later, when the network is called, its output is not a tensor.
    """
    with ExitStack() as hooks:
        hooks.enter_context(torch.compiler.set_stance("force_eager"))
        for place, module in find_layers(network, places).items():
            if place.endswith(GIVEN):
                hook = module.register_forward_pre_hook(partial(_hand_over_input, place, receive))
            else:
                hook = module.register_forward_hook(partial(_hand_over_output, place, receive))
            hooks.callback(hook.remove)
        yield


def find_layers(network: nn.Module, places: Iterable[str]) -> dict[str, nn.Module]:
    """Return the layers by the places that name them.

    Raises:
        InputError: A layer is unknown.
    """
    modules = {name: module for name, module in network.named_modules() if name}
    found = {}
    for place in places:
        name = place.removesuffix(GIVEN)
        if name not in modules:
            msg = (
                f"{type(network).__name__} has no layer {name!r}: {did_you_mean(name, modules)}"
                f"its layers are {', '.join(modules) or 'none'}"
            )
            raise InputError(msg)
        found[place] = modules[name]
    return found


def _hand_over_output(
    place: str, receive: Callable[[str, Tensor], None], module: nn.Module, inputs: object, output: object
) -> None:
    del inputs
    if not isinstance(output, Tensor):
        msg = (
            f"layer {place!r} ({type(module).__name__}) puts out a {type(output).__name__}, not a tensor: "
            "name a layer inside or after it"
        )
        raise InputError(msg)
    receive(place, output.detach())


def _hand_over_input(
    place: str, receive: Callable[[str, Tensor], None], module: nn.Module, inputs: tuple[object, ...]
) -> None:
    tensors = [value for value in inputs if isinstance(value, Tensor)]
    if len(tensors) != 1:
        msg = (
            f"layer {place.removesuffix(GIVEN)!r} ({type(module).__name__}) is given {len(tensors)} tensors, "
            "not one: name the layer before it"
        )
        raise InputError(msg)
    receive(place, tensors[0].detach())


@contextmanager
def eval_state(network: nn.Module) -> Iterator[None]:
    """Let a network be called in eval mode and without gradients, and leave all as it was.

    The mode of each module and torch's random states, of the CPU and of the network's GPUs, are put back;
    gradients and batch-norm statistics are not touched. A loader draws from the random state even where it
    does not shuffle: it belongs into the context, too.
    """
    modes = [(module, module.training) for module in network.modules()]
    gpus = {tensor.device for tensor in network.parameters() if tensor.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(gpus, key=str)), torch.no_grad():
        network.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


def measure(
    network: nn.Module,
    batches: Iterable[Tensor | Sequence[Tensor]],
    layers: Iterable[str],
    *,
    maps: MapSample | Mapping[str, MapSample] = "positions",
    pattern_minmax: bool = False,
) -> dict[str, ActivationStatistics]:
    """Return the statistics of layers' outputs over batches; the network is left :func:`eval_state`.

    Args:
        network: Any network. The kind of unit is known where a layer is an ``nn.Sigmoid`` or ``nn.Tanh``.
        batches: What the network takes, N samples each, or sequences that begin with it, as loaders give
            them. They are moved to the device of the network's first parameter.
        layers: Names as ``network.named_modules()`` has them, with :data:`GIVEN` for what a layer is given.
        maps: What a sample of a feature map is, for all layers or by name (``positions`` where a name is
            left out).
        pattern_minmax: Rescale each sample over its neurons; see :func:`fer.neurons.pattern_minmax`.

    Returns:
        By layer, in the order in which they were given.

    Raises:
        InputError: A layer is unknown, puts out no tensor or one of another shape than a matrix or feature
            maps, is too wide, or is called never or twice for a batch; or there are no samples.
    """
    modules = find_layers(network, layers)
    by_layer = {name: maps if isinstance(maps, str) else maps.get(name, "positions") for name in modules}
    statistics: dict[str, ActivationStatistics] = {}
    called: set[str] = set()
    is_empty = True

    def receive(name: str, output: Tensor) -> None:
        if name in called:
            msg = f"layer {name!r} is called twice for a batch, as if it were two: name a layer around it"
            raise InputError(msg)
        called.add(name)
        try:
            if name in statistics:
                statistics[name].update(output)
            else:
                unit = _unit(name, modules[name])
                statistics[name] = ActivationStatistics.of(
                    output, maps=by_layer[name], pattern_minmax=pattern_minmax, unit=unit
                )
        except InputError as error:
            msg = f"layer {name!r}: {error}"
            raise InputError(msg) from error

    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    with eval_state(network), record(network, modules, receive):
        for batch in batches:
            is_empty = False
            called.clear()
            network((batch if isinstance(batch, Tensor) else batch[0]).to(device))
    if is_empty:
        msg = "there are no samples to measure layers on: the analysis set is empty"
        raise InputError(msg)
    if missed := [name for name in modules if name not in statistics]:
        msg = f"the network has but does not call {', '.join(missed)}: name layers that it calls"
        raise InputError(msg)
    return {name: statistics[name] for name in modules}


def _unit(place: str, module: nn.Module) -> Unit:
    if place.endswith(GIVEN):
        return "other"
    match module:
        case nn.Sigmoid():
            return "logistic"
        case nn.Tanh():
            return "tanh"
    return "other"
