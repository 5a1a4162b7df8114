"""Load a pruned network: give a module the sizes and the weights of a pruned one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn

from fer.checkpoints import read_any_checkpoint
from fer.errors import InputError, did_you_mean
from fer.neurons.networks import FOREIGN_ERRORS, copy_network, one_line
from fer.neurons.surgery import resize

M = TypeVar("M", bound=nn.Module)


@runtime_checkable
class Shrinks(Protocol):
    """A module with its own method for taking the sizes of a pruned network."""

    def shrink(self, widths: dict[str, int]) -> None:
        """Resize the network to the sizes of a pruned one."""


def load_pruned(module: M, path: str | Path) -> M:
    """Return a copy of a module with the sizes and the weights of a pruned one.

    Args:
        module: Module with the class and settings that the pruned one had before pruning, such as
            ``MyModule()``; it does not change.
        path: ``pruned.ckpt`` from :class:`fer.callbacks.PruneCallback` or ``fer prune``.

    Returns:
        A smaller copy in eval mode. Nothing in it is compiled: compile it again.

    Raises:
        InputError: The file holds no pruned network, or the pruned network of another module, or the module
            is none.
    """
    if not isinstance(module, nn.Module):
        given = f"the class {module.__name__}" if isinstance(module, type) else repr(module)
        msg = f"load_pruned takes a module, here {given}, then a path: load_pruned(MyModule(), 'pruned.ckpt')"
        raise InputError(msg)
    content = read_any_checkpoint(path)
    if not {"widths", "state_dict"} <= content.keys():
        msg = f"{path} holds no pruned network: give the pruned.ckpt that PruneCallback or fer prune wrote"
        raise InputError(msg)
    attribute = content.get("pruned_network", getattr(module, "network_name", ""))
    try:
        return rebuild(module, attribute, content["widths"], content["state_dict"])
    except InputError as e:
        msg = f"{path} does not fit: {e}"
        raise InputError(msg) from e


def rebuild(module: M, attribute: str, widths: Mapping[str, int], state: Mapping[str, Any]) -> M:
    """Return a smaller copy of a module, in eval mode and not compiled.

    Args:
        module: Module at full size.
        attribute: Dotted name of the pruned network in the module; empty: the module itself.
        widths: Sizes of the pruned network's layers; see :func:`fer.neurons.surgery.widths`.
        state: State dict of the smaller module.

    Raises:
        InputError: The module has no such network, or one that does not fit; the message names the first key.
    """
    small = uncompiled_copy(module)
    if isinstance(small, Shrinks):
        small.shrink(dict(widths))
    else:
        network = submodule(small, attribute)
        small = replace_network(small, network, resize(network, widths))
    small = uncompile(small)
    if problem := _misfit(small.state_dict(), state):
        msg = f"{type(module).__name__} is not the module that was pruned: {problem}"
        raise InputError(msg)
    load_state(small, state)
    return small.eval()


def load_state(module: nn.Module, state: Mapping[str, Any], *, is_strict: bool = True) -> None:
    """Load a state dict.

    Raises:
        InputError: The state dict does not fit.
    """
    try:
        module.load_state_dict(state, strict=is_strict)
    except FOREIGN_ERRORS as e:
        msg = f"the weights do not fit {type(module).__name__}: {one_line(e)}"
        raise InputError(msg) from e


def check_finite(module: nn.Module, origin: str | Path) -> None:
    """Refuse a network with weights that are not numbers, between whose neurons there are no angles.

    Args:
        module: The network.
        origin: What it was loaded from, for the message.

    Raises:
        InputError: A parameter is NaN or infinite, or a buffer, which may hold infinite numbers, is NaN; the
            message names the first.
    """
    broken = {
        **{name: ~value.isfinite() for name, value in module.named_parameters()},
        **{name: value.isnan() for name, value in module.named_buffers()},
    }
    counts = {name: int(each.sum()) for name, each in broken.items() if each.any()}
    if counts:
        name, num = next(iter(counts.items()))
        others = f", and so are values of {len(counts) - 1} more" if len(counts) > 1 else ""
        msg = (
            f"{origin}: {num:,} of {broken[name].numel():,} values of {name} are NaN or infinite{others}; "
            "give an earlier checkpoint, or train again with a lower --model.lr"
        )
        raise InputError(msg)


def submodule(module: nn.Module, name: str) -> nn.Module:
    """Return a module by its dotted name; the module itself if the name is empty.

    Raises:
        InputError: There is no such module.
    """
    try:
        return module.get_submodule(name)
    except AttributeError as e:
        names = [each for each, _ in module.named_modules() if each]
        msg = (
            f"{type(module).__name__} has no module {name!r}, which was pruned; {did_you_mean(name, names)}"
            "build the module as it was for the training"
        )
        raise InputError(msg) from e


def replace_network(module: M, old: nn.Module, new: nn.Module) -> M:
    """Replace a network wherever the module holds it, and return the module."""
    if module is old:
        return new  # type: ignore[return-value]
    for parent in list(module.modules()):
        for name, child in list(parent._modules.items()):
            if child is old:
                setattr(parent, name, new)
    return module


def uncompiled_copy(module: M) -> M:
    """Return a deep copy of a module in which nothing is compiled.

    Compiled parts of a copy may still compute with the weights of the original.
    """
    return uncompile(copy_network(module))  # type: ignore[return-value]


def uncompile(module: M) -> M:
    """Replace the compiled parts of a module by the originals, and return the module."""
    for each in list(module.modules()):
        each._compiled_call_impl = None
        if isinstance(original := getattr(each, "_orig_mod", None), nn.Module):
            module = replace_network(module, each, original)
    return module


def _misfit(expected: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """Return how two state dicts first differ; empty if they do not."""
    for name in {**expected, **state}:
        if name not in state:
            return f"{name} is not in the checkpoint"
        if name not in expected:
            return f"the module has no {name}"
        sizes = [tuple(each[name].shape) for each in (expected, state) if isinstance(each[name], Tensor)]
        if len(set(sizes)) > 1:
            return f"{name} has shape {sizes[0]}, but {sizes[1]} in the checkpoint"
    return ""
