"""Copy any network, run it without changing it, and take its inputs out of a batch."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fer.errors import InputError

Batches = Iterable[Any]
"""Batches that can be iterated over more than once; see :func:`inputs_of` for what a batch may be."""

FOREIGN_ERRORS: Final = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError),
    *(TypeError, ValueError),
)
"""Exceptions that a network's own code, or a library that traces it, may raise."""


def one_line(error: BaseException) -> str:
    """Return the message of an exception without line breaks."""
    return " ".join(str(error).split())


def check_network(network: nn.Module) -> None:
    """Check that a network can be hooked, traced and copied.

    Raises:
        InputError: It is scripted, or has parameters without values (lazy, or on the meta device).
    """
    kind = type(network).__name__
    for name, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            msg = f"{kind}: {name or 'the network'} is scripted: give the module it was scripted from"
            raise InputError(msg)
    for name, parameter in network.named_parameters():
        if is_lazy(parameter):
            msg = f"{kind}: parameter {name} has no shape yet: call the network on a batch first"
            raise InputError(msg)
        if parameter.is_meta:
            msg = f"{kind}: parameter {name} is on the meta device: load its weights first"
            raise InputError(msg)


def copy_network(network: nn.Module) -> nn.Module:
    """Return a deep copy of a network.

    Tensors that a module computes and keeps as plain attributes are detached in the copy: the weights of
    ``torch.nn.utils.weight_norm``, ``spectral_norm`` and ``torch.nn.utils.prune``, which hooks compute again
    before each call.

    Raises:
        InputError: The network cannot be copied, or as of :func:`check_network`.
    """
    check_network(network)
    computed = [
        value
        for module in network.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    ]
    try:
        return copy.deepcopy(network, {id(tensor): tensor.detach().clone() for tensor in computed})
    except FOREIGN_ERRORS as error:
        msg = (
            f"{type(network).__name__} cannot be copied ({one_line(error)}): remove what it holds besides "
            "modules, parameters, buffers and plain values"
        )
        raise InputError(msg) from error


@contextmanager
def eval_state(network: nn.Module) -> Iterator[None]:
    """Run a network in eval mode without gradients, then restore its state and the random state.

    The mode of each module and torch's random state, of the CPU and of the network's GPUs, are restored.
    Gradients and batch norm statistics do not change. A data loader draws from the random state even where
    it does not shuffle: iterate over it inside the context.
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


def call(network: nn.Module, inputs: Tensor) -> Any:
    """Return a network's output for a batch.

    Raises:
        InputError: The network does not take the batch.
    """
    try:
        return network(inputs)
    except InputError:
        raise
    except FOREIGN_ERRORS as error:
        msg = (
            f"{type(network).__name__} does not take a batch of shape {tuple(inputs.shape)}: "
            f"{one_line(error)}"
        )
        raise InputError(msg) from error


def device_of(network: nn.Module) -> torch.device:
    """Return the device of a network's first parameter; the CPU if it has none."""
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))


def inputs_of(batch: object) -> Tensor:
    """Return a network's input: the first tensor of a batch, which may be nested sequences or mappings.

    Raises:
        InputError: The batch has no tensor.

    >>> inputs_of({"image": (torch.zeros(2, 3), "a.png"), "label": torch.ones(2)}).shape
    torch.Size([2, 3])
    """
    for tensor in _tensors(batch):
        return tensor
    msg = (
        f"a batch is a {type(batch).__name__} without tensors: give tensors, or sequences or mappings whose "
        "first tensor is the network's input"
    )
    raise InputError(msg)


def labels_of(batch: object) -> Tensor:
    """Return the labels of a batch: its second tensor.

    Raises:
        InputError: The batch has fewer than two tensors.
    """
    tensors = list(_tensors(batch))
    if len(tensors) < 2:
        msg = "the criterion needs labels, but a batch has none: give batches (inputs, labels)"
        raise InputError(msg)
    return tensors[1]


def _tensors(batch: object) -> Iterator[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from _tensors(value)
    elif isinstance(batch, list | tuple):
        for value in batch:
            yield from _tensors(value)
