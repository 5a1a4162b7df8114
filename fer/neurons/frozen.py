"""The frozen part of a network: it comes first and does not train, so that its outputs are computed once."""

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
    """A network that names the part of it that does not train.

    The attribute is the dotted name of a module that takes the network's inputs, and whose outputs, one
    tensor, are all that the rest of the network takes; None: no part is frozen. The network's ``forward``
    takes these outputs, too, in the place of inputs.
    """

    @property
    def frozen_part(self) -> str | None:
        """Name of the module."""


def why_not_frozen(network: nn.Module, name: str) -> str:
    """Return why a part of a network is not frozen; empty if it is.

    Args:
        network: The network; its modes stay as they are.
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
    """Return whether a name that :func:`fer.neurons.record` takes lies in a part of the network.

    >>> is_within("backbone.conv1:input", "backbone"), is_within("head.fc:input", "backbone")
    (True, False)
    """
    layer = place.partition(INPUT)[0]
    return layer == part or layer.startswith(f"{part}.")


def identify(part: nn.Module, more: Iterable[str] = ()) -> str:
    """Return a name that changes with a part's weights, architecture, source code or anything else given.

    Args:
        part: A module.
        more: What the outputs depend on besides, such as the precision.

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
        with suppress(OSError, TypeError):  # the class was made in a session without a file
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
    """Return what is the same for two tensors of one type only if their values are."""
    return hashlib.blake2b(bytes_of(tensor), digest_size=16).digest()


def check_declared(network: nn.Module, name: str, given: Tensor | Inputs, features: Tensor | Inputs) -> None:
    """Refuse a declaration that does not hold: the network must give the same for its frozen part's outputs.

    Args:
        network: The network.
        name: Of its frozen part.
        given: A batch of the network's inputs.
        features: What the part returns for it.

    Raises:
        InputError: The network does not take the outputs, or gives others for them.
    """
    declared = f"{type(network).__name__}.frozen_part is {name!r}"
    way_out = f"let forward leave out {name}, and nothing else, for them, or remove frozen_part"
    try:
        with eval_state(network), torch.compiler.set_stance("force_eager"):
            whole, rest = call(network, given), call(network, features)
            is_same = torch.allclose(
                whole, rest, rtol=1e-2, atol=1e-3 * float(whole.abs().max()), equal_nan=True
            )
    except FOREIGN_ERRORS as error:
        msg = (
            f"{declared}, but its outputs are not taken in the place of inputs: {one_line(error)}; {way_out}"
        )
        raise InputError(msg) from error
    if not is_same:
        msg = (
            f"{declared}, but the network returns other values for its outputs than for the inputs: {way_out}"
        )
        raise InputError(msg)
