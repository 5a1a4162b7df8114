"""Remove whole blocks from a network: those whose output is nearly their input."""

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
    """Identity in the place of a removed block."""


def measure_blocks(network: nn.Module, batches: Batches) -> dict[str, float]:
    """Return how much each block of a network changes its input.

    A block is a module with children and weights that takes one tensor and returns one of the same shape: the
    blocks of a residual network that keep its width, their attention, or a stage of such blocks.

    Args:
        network: Any network; it does not change.
        batches: See :func:`fer.neurons.prune`.

    Returns:
        By the name of a block, in forward order: the root of the summed squares of output minus input, as a
        share of the root of the summed squares of the input; infinite where the input is zero and the output
        is not.

    Raises:
        InputError: The network does not take the batches.

    Source: Narayan and Ge, "Emotion Detection through Static Images using Pruned Convolutional Neural
    Networks", leave the removal of whole layers to future work. Residual networks do without some of their
    blocks: Veit et al., "Residual Networks Behave Like Ensembles of Relatively Shallow Networks", 2016.
    """
    changes = _Changes()
    blocks = {
        name: module
        for name, module in network.named_modules()
        if name and any(True for _ in module.children()) and any(True for _ in module.parameters())
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
    """Sums of squares of the inputs of modules, and of what the modules add to them."""

    def __init__(self) -> None:
        self.inputs: dict[str, Tensor] = {}
        self.changed: dict[str, float] = {}
        self.whole: dict[str, float] = {}
        self.others: set[str] = set()

    def before(self, name: str, module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Keep a copy of a module's input, which may be overwritten."""
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
    """Return a network without the blocks that change their input least, and how much they changed it.

    Args:
        network: Any network; it does not change.
        batches: As for :func:`measure_blocks`.
        below: Relative change of its input below which a block is removed; 0 keeps all blocks.

    Returns:
        A copy, or the network itself if no block is removed; and the relative change of each removed block,
        by its name. Where removed blocks contain each other, only the outer one is named.
    """
    if below <= 0:
        return network, {}
    shares = measure_blocks(network, batches)
    names = _outermost(name for name, share in shares.items() if share < below)
    if not names:
        return network, {}
    return bypass(network, names), {name: shares[name] for name in shares if name in names}


def _outermost(names: Iterable[str]) -> set[str]:
    """Return the names of modules that are in none of the others.

    >>> sorted(_outermost(["a.b", "a", "ab"]))
    ['a', 'ab']
    """
    every = set(names)
    return {name for name in every if not any(name.startswith(f"{other}.") for other in every)}


def bypass(network: nn.Module, names: Collection[str]) -> nn.Module:
    """Return a copy of a network with a :class:`Bypass` in the place of each of the named blocks.

    Args:
        network: Any network.
        names: Names of modules in it, none of which contains another.
    """
    small = copy_network(network)
    for name in names:
        mode = small.get_submodule(name).training
        small.set_submodule(name, Bypass().train(mode))
    return small
