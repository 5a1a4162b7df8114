"""Copy any network, and run it without changing it."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from fer.errors import InputError
from fer.neurons.functions import bind_functions
from fer.neurons.nested import tensors_in

FOREIGN_ERRORS: Final = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError),
    *(TypeError, ValueError),
)
"""Exceptions that a network's own code, or a library that traces it, may raise."""


def one_line(error: BaseException) -> str:
    """Return the message of an exception on one line."""
    return " ".join(str(error).split())


def class_path(network_class: type[nn.Module]) -> str:
    """Return the import path of a class.

    >>> class_path(nn.Linear)
    'torch.nn.modules.linear.Linear'
    """
    return f"{network_class.__module__}.{network_class.__qualname__}"


def check_network(network: nn.Module) -> None:
    """Check that a network can be hooked, traced and copied.

    Raises:
        InputError: The network is scripted or quantized, or has parameters without values (lazy, or on the
            meta device).
    """
    kind = type(network).__name__
    for name, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            msg = f"{kind}: {name or 'the network'} is scripted: give the module it was scripted from"
            raise InputError(msg)
        if ".quantized." in type(module).__module__:
            msg = f"{kind}: {name or 'the network'} is quantized: give the network before quantization"
            raise InputError(msg)
    for name, parameter in network.named_parameters():
        if is_lazy(parameter):
            msg = f"{kind}: parameter {name} has no shape yet: call the network on a batch first"
            raise InputError(msg)
        if parameter.is_meta:
            msg = f"{kind}: parameter {name} is on the meta device: load its weights first"
            raise InputError(msg)


def copy_network(network: nn.Module) -> nn.Module:
    """Return a deep copy of a network that computes with its own weights, uncompiled.

    Tensors that a module computes and keeps as plain attributes are detached in the copy, such as the weights
    of ``torch.nn.utils.weight_norm``, ``spectral_norm`` and ``torch.nn.utils.prune``, which hooks recompute
    before each call, and accumulated losses. A LightningModule is copied without its trainer.

    Args:
        network: Any network.

    Raises:
        InputError: The network cannot be copied; a function that it holds would go on computing with the
            original's weights; or as raised by :func:`check_network`.
    """
    check_network(network)
    held = (tensor for module in network.modules() for tensor in tensors_in(vars(module)))
    computed = [tensor for tensor in held if not tensor.is_leaf]
    memo = {id(tensor): tensor.detach().clone() for tensor in computed}
    try:
        twin = copy.deepcopy(network, memo)
    except FOREIGN_ERRORS as error:
        msg = (
            f"{type(network).__name__} cannot be copied ({one_line(error)}): remove attributes other than "
            "modules, parameters, buffers and plain values"
        )
        raise InputError(msg) from error
    bind_functions(network, twin)
    return twin


def copy_to_trace(network: nn.Module) -> nn.Module:
    """Return a copy in eval mode whose parameters require gradients, to trace its operations by autograd.

    Raises:
        InputError: As raised by :func:`copy_network`.
    """
    twin = copy_network(network).eval()
    for parameter in twin.parameters():
        if parameter.is_floating_point() or parameter.is_complex():
            parameter.requires_grad_()
    return twin


@contextmanager
def eval_state(network: nn.Module) -> Iterator[None]:
    """Run a network in eval mode without gradients, then restore its state and the random state.

    The mode of each module is restored, and so is torch's random state on the CPU and on the network's GPUs.
    Gradients and batch norm statistics do not change. A data loader draws from the random state even if it
    does not shuffle, so iterate over it inside the context.

    Args:
        network: Any network.
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


def device_of(network: nn.Module) -> torch.device:
    """Return the device of a network's first parameter; the CPU if it has none."""
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
