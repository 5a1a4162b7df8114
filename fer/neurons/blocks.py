"""Remove whole blocks of a network whose output is nearly equal to their input."""

import math
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from fer.neurons.inputs import Batches, call
from fer.neurons.networks import check_network, copy_network, eval_state

IDLE_BELOW: Final = 1e-3
"""Relative change of its input below which a block is removed."""


class Bypass(nn.Identity):
    """Identity that replaces a removed block."""


def measure_blocks(network: nn.Module, batches: Batches) -> dict[str, float]:
    """Return how much each block of a network changes its input.

    A block is a module whose children have weights and that maps one tensor to a tensor of the same shape,
    such as a width-preserving residual block, its attention module, or a stage of such blocks. A single layer
    is not a block, even if it applies its activation by a child, as timm's batch norm does.

    Args:
        network: Any network; it does not change.
        batches: See :func:`fer.neurons.prune`.

    Returns:
        By name of the block, in forward order: ||output - input|| / ||input|| over all samples; infinite if
        the input is zero and the output is not.

    Raises:
        InputError: The network does not take the batches.

    Source: Narayan and Ge, "Emotion Detection through Static Images using Pruned Convolutional Neural
    Networks", leave the removal of whole layers to future work. Residual networks work without some of their
    blocks: Veit et al., "Residual Networks Behave Like Ensembles of Relatively Shallow Networks", 2016.
    """
    changes = _Changes()
    blocks = {
        name: module
        for name, module in network.named_modules()
        if name and any(True for child in module.children() for _ in child.parameters())
    }
    if not blocks:
        return {}
    check_network(network)
    with ExitStack() as stack:
        stack.enter_context(torch.compiler.set_stance("force_eager"))  # compiled code ignores new hooks
        stack.enter_context(eval_state(network))
        for name, module in blocks.items():
            hooks: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
                (module.register_forward_pre_hook, changes.before),
                (module.register_forward_hook, changes.after),
            ]
            for register, receive in hooks:
                stack.callback(register(partial(receive, name), with_kwargs=True).remove)
        for batch in batches:
            call(network, batch)
    return changes.shares()


class _Changes:
    """Sums of squares of the inputs of modules, and of the difference between output and input."""

    def __init__(self) -> None:
        self.inputs: dict[str, Tensor] = {}
        self.changed: dict[str, float] = {}
        self.whole: dict[str, float] = {}
        self.others: set[str] = set()

    def before(self, name: str, module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Keep a copy of a module's input, because the module may overwrite it."""
        del module
        if len(args) == 1 and isinstance(args[0], Tensor) and not named:
            self.inputs[name] = args[0].detach().clone()
        else:
            self.others.add(name)

    def after(
        self, name: str, module: nn.Module, args: tuple[Any, ...], named: dict[str, Any], output: object
    ) -> None:
        """Add a module's output to the sums."""
        del module, args, named
        before = self.inputs.pop(name, None)
        if before is None or not isinstance(output, Tensor) or output.shape != before.shape:
            self.others.add(name)
            return
        for sums, tensor in ((self.changed, output.detach() - before), (self.whole, before)):
            sums[name] = sums.get(name, 0.0) + float(tensor.double().square().sum())

    def shares(self) -> dict[str, float]:
        """Return the change of each block as a share."""
        return {
            name: math.sqrt(changed / whole) if whole else math.inf if changed else 0.0
            for name, whole in self.whole.items()
            if name not in self.others
            for changed in (self.changed[name],)
        }


def drop_idle_blocks(
    network: nn.Module, batches: Batches, below: float = IDLE_BELOW
) -> tuple[nn.Module, dict[str, float]]:
    """Return a network without the blocks that hardly change their input, and how much they changed it.

    Args:
        network: Any network; it does not change.
        batches: See :func:`measure_blocks`.
        below: Relative change of the input below which a block is removed; 0 keeps all blocks.

    Returns:
        A copy, or the network itself if no block is removed; and the relative change of each removed block,
        by name. If one removed block contains another, only the outer one is named.
    """
    if below <= 0:
        return network, {}
    shares = measure_blocks(network, batches)
    names = _outermost(name for name, share in shares.items() if share < below)
    if not names:
        return network, {}
    return bypass(network, names), {name: shares[name] for name in shares if name in names}


def _outermost(names: Iterable[str]) -> set[str]:
    """Return the names of modules that are not inside any of the others.

    >>> sorted(_outermost(["a.b", "a", "ab"]))
    ['a', 'ab']
    """
    every = set(names)
    return {name for name in every if not any(name.startswith(f"{other}.") for other in every)}


def bypass(network: nn.Module, names: Collection[str]) -> nn.Module:
    """Return a copy of a network in which each named block is replaced by a :class:`Bypass`.

    Args:
        network: Any network.
        names: Names of modules in it, none of which contains another.
    """
    small = copy_network(network)
    for name in names:
        mode = small.get_submodule(name).training
        small.set_submodule(name, Bypass().train(mode))
    return small
