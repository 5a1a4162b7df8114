"""Frozen part of a network: its first, untrained part, whose outputs need to be computed only once."""

import hashlib
import inspect
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from fer.errors import InputError
from fer.neurons.inputs import Inputs, call
from fer.neurons.networks import FOREIGN_ERRORS, class_path, eval_state, one_line
from fer.neurons.record import INPUT


@runtime_checkable
class DeclaresFrozenPart(Protocol):
    """A network that names its frozen part.

    The attribute is the dotted name of a module that takes the network's inputs and returns one tensor, which
    is all that the rest of the network depends on; None if no part is frozen. The network's ``forward`` must
    also accept this tensor in place of the inputs.
    """

    @property
    def frozen_part(self) -> str | None:
        """Name of the module."""


def why_not_frozen(network: nn.Module, name: str) -> str:
    """Return why a part of a network is not frozen; empty text if it is.

    Args:
        network: The network; its training modes do not change.
        name: Dotted name of the part.
    """
    try:
        part = network.get_submodule(name)
    except AttributeError:
        return f"{type(network).__name__} has no module {name!r}"
    if any(parameter.requires_grad for parameter in part.parameters()):
        return f"parameters of {name} require gradients"
    if any(module.training for module in part.modules()):  # Lightning leaves the modes as they are
        return f"{name} is in training mode: set {name}.eval() in the constructor"
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.train()
        if any(module.training for module in part.modules()):
            return f"train() sets {name} to training mode; override it so that {name} stays in eval mode"
    finally:
        for module, training in modes:
            module.training = training
    return ""


def is_within(place: str, part: str) -> bool:
    """Return whether a layer name of :func:`fer.neurons.record` lies in a part of the network.

    >>> is_within("backbone.conv1:input", "backbone"), is_within("head.fc:input", "backbone")
    (True, False)
    """
    layer = place.partition(INPUT)[0]
    return layer == part or layer.startswith(f"{part}.")


def identify(part: nn.Module, more: Iterable[str] = ()) -> str:
    """Return a hash of a part's weights, architecture, source code and anything else given.

    Args:
        part: A module.
        more: Other things that the outputs depend on, such as the precision.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=16)
    kinds = {type(module): None for module in part.modules()}
    texts = [
        torch.__version__,
        repr(part),
        *more,
        *map(class_path, kinds),
    ]
    for kind in kinds:
        with suppress(OSError, TypeError):  # a class defined in an interactive session has no source file
            texts.append(inspect.getsource(kind))
    for text in texts:
        digest.update(text.encode())
        digest.update(b"\0")
    for name, tensor in (*part.named_parameters(), *part.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(bytes_of(tensor))
    return digest.hexdigest()


def bytes_of(tensor: Tensor) -> memoryview:
    """Return a tensor's values as bytes, row by row."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def digest_of(tensor: Tensor) -> bytes:
    """Return a digest of a tensor's values."""
    return hashlib.blake2b(bytes_of(tensor), digest_size=16).digest()


def check_declared(network: nn.Module, name: str, given: Tensor | Inputs, features: Tensor | Inputs) -> None:
    """Check that a network returns the same for the outputs of its declared frozen part as for the inputs.

    Args:
        network: The network.
        name: Name of its frozen part.
        given: A batch of the network's inputs.
        features: Output of the frozen part for this batch.

    Raises:
        InputError: The network does not accept the features, or returns other values for them.
    """
    declared = f"{type(network).__name__}.frozen_part is {name!r}"
    way_out = f"let forward skip {name}, and nothing else, when it gets features, or remove frozen_part"
    try:
        with eval_state(network), torch.compiler.set_stance("force_eager"):
            whole, rest = call(network, given), call(network, features)
            is_same = torch.allclose(
                whole, rest, rtol=1e-2, atol=1e-3 * float(whole.abs().max()), equal_nan=True
            )
    except FOREIGN_ERRORS as error:
        msg = (
            f"{declared}, but forward does not accept the outputs of that part: {one_line(error)}; {way_out}"
        )
        raise InputError(msg) from error
    if not is_same:
        msg = f"{declared}, but the network returns other values for that part's outputs: {way_out}"
        raise InputError(msg)
