"""Whole blocks taken out of a network: those that put out what they are given."""

import copy
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from fer.errors import InputError
from fer.neurons.record import TRACING_ERRORS, eval_state

IDLE_BELOW: Final = 1e-3
"""Share of what a block is given, below which what it adds is nothing."""


class Bypass(nn.Identity):
    """What stands in the place of a block that is gone."""


def measure_blocks(network: nn.Module, batches: Iterable[Tensor | Sequence[Tensor]]) -> dict[str, float]:
    """Return how much each block of a network adds to what it is given.

    A block is a module of several, with weights, that is given one tensor and puts out one of the same shape:
    the blocks of a residual network that do not change its width, their attention, or a stage of such blocks.

    Args:
        network: Any network; it is left :func:`fer.neurons.eval_state`.
        batches: What it takes, or sequences that begin with it, as loaders give them.

    Returns:
        By the name of a block, in forward order: the root of the summed squares of output minus input, as a
        share of the root of the summed squares of the input; infinite where the input is zero and the output
        is not.

    Raises:
        InputError: The network does not take the batches.

    Source: Narayan and Ge, "Emotion Detection through Static Images using Pruned Convolutional Neural
    Networks", who leave the removal of whole layers to future work. That residual networks do without some of
    their blocks: Veit et al., "Residual Networks Behave Like Ensembles of Relatively Shallow Networks", 2016.
    """
    found = _Changes()
    blocks = {
        name: module
        for name, module in network.named_modules()
        if name and any(True for _ in module.children()) and any(True for _ in module.parameters())
    }
    if not blocks:
        return {}
    device = next(network.parameters()).device
    with ExitStack() as stack:
        stack.enter_context(torch.compiler.set_stance("force_eager"))  # compiled code calls no later hooks
        stack.enter_context(eval_state(network))
        for name, module in blocks.items():
            hooks: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
                (module.register_forward_pre_hook, found.before),
                (module.register_forward_hook, found.after),
            ]
            for register, receive in hooks:
                stack.callback(register(partial(receive, name), with_kwargs=True).remove)
        for batch in batches:
            inputs = (batch if isinstance(batch, Tensor) else batch[0]).to(device)
            try:
                network(inputs)
            except TRACING_ERRORS as error:
                msg = (
                    f"{type(network).__name__} does not take a batch of shape {tuple(inputs.shape)}: {error}"
                )
                raise InputError(msg) from error
    return found.shares()


class _Changes:
    """What modules are given and put out, as squares that are summed up."""

    def __init__(self) -> None:
        self.given: dict[str, Tensor] = {}
        self.changed: dict[str, float] = {}
        self.whole: dict[str, float] = {}
        self.others: set[str] = set()

    def before(self, name: str, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Keep what a module is given: it may be overwritten."""
        del module
        if len(inputs) == 1 and isinstance(inputs[0], Tensor) and not named:
            self.given[name] = inputs[0].detach().clone()
        else:
            self.others.add(name)

    def after(
        self, name: str, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: object
    ) -> None:
        """Add what it puts out."""
        del module, inputs, named
        given = self.given.pop(name, None)
        if given is None or not isinstance(output, Tensor) or output.shape != given.shape:
            self.others.add(name)
            return
        for sums, tensor in ((self.changed, output.detach() - given), (self.whole, given)):
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
    network: nn.Module, batches: Iterable[Tensor | Sequence[Tensor]], below: float = IDLE_BELOW
) -> tuple[nn.Module, dict[str, float]]:
    """Return a network without the blocks that add next to nothing, and what they added.

    Args:
        network: Any network; it is left as it is.
        batches: As for :func:`measure_blocks`.
        below: Share of what a block is given that it must change to stay; 0: all stay.

    Returns:
        A copy, or the network itself where no block goes; and by the names of those that went, the share that
        they changed. Of blocks within each other only the outer one is named.
    """
    if below <= 0:
        return network, {}
    shares = measure_blocks(network, batches)
    names = _outermost(name for name, share in shares.items() if share < below)
    if not names:
        return network, {}
    return bypass(network, names), {name: shares[name] for name in shares if name in names}


def _outermost(names: Iterable[str]) -> set[str]:
    """Return the names that are in none of the others.

    >>> sorted(_outermost(["a.b", "a", "ab"]))
    ['a', 'ab']
    """
    every = set(names)
    return {name for name in every if not any(name.startswith(f"{other}.") for other in every)}


def bypass(network: nn.Module, names: Collection[str]) -> nn.Module:
    """Return a copy of a network in which a :class:`Bypass` stands for each of the blocks.

    Args:
        network: Any network.
        names: Of modules in it, none within another.
    """
    small = copy.deepcopy(network)
    for name in names:
        mode = small.get_submodule(name).training
        small.set_submodule(name, Bypass().train(mode))
    return small
