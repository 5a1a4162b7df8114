"""Find the sums that layers contribute to, as at the end of a residual block."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fer.neurons.frozen import digest_of
from fer.neurons.inputs import Inputs
from fer.neurons.resume import Reached, Runs, received
from fer.neurons.trace import Float64

NAMES: Final = ("add", "add_", "__add__", "__radd__", "__iadd__")
"""Names of torch's functions that add two tensors."""

TOLERANCE: Final = 1e-6
"""Relative tolerance, in float64, between a change and a multiple of the change of the layer's output."""

Terms = tuple[Tensor, Tensor]
"""The two terms of an addition."""


class Place(NamedTuple):
    """Where a layer's output, times a factor per channel, is added to a term that does not depend on it.

    Attributes:
        number: Index of the addition within a run, from 0.
        other: Index of the other term, 0 or 1.
        factors: Factor that multiplies each channel of the output, shape ``(out,)``.
    """

    number: int
    other: int
    factors: Tensor


class Additions(TorchFunctionMode):
    """Hand over the terms of each addition of two tensors of equal shape, before they are added.

    Args:
        receive: Called with the index of the addition and its terms, which may be overwritten afterwards.
    """

    def __init__(self, receive: Callable[[int, Terms], None]) -> None:
        super().__init__()
        self.receive, self.count = receive, 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch."""
        del types
        terms = args[:2]
        # With the keyword alpha, torch computes a different sum.
        is_addition = getattr(func, "__name__", "") in NAMES and len(terms) == 2 and not kwargs
        if is_addition and all(isinstance(one, Tensor) for one in terms) and terms[0].shape == terms[1].shape:
            self.receive(self.count, terms)
            self.count += 1
        return func(*args, **(kwargs or {}))


class _Found(Reached):
    """Signal that the addition was found; ends the run."""

    def __init__(self, number: int, terms: Terms) -> None:
        super().__init__(number)
        self.number, self.terms = number, terms


def find_addition(
    runs: Runs,
    layer: str,
    inputs: Inputs,
    terms: Sequence[tuple[bytes, ...]],
    taken: Mapping[str, Sequence[bytes]],
    later: Sequence[str] = (),
) -> Place | None:
    """Return where a layer's output is added to another term.

    The layer's output is changed at random, and the first addition with a changed term is examined. Modules
    that multiply each channel by a factor (batch norm, layer scale) may lie between the layer and the
    addition. The result is None if the other term depends on the output as well, or if another layer consumes
    something that depends on the output before the addition.

    Args:
        runs: Runs of a copy in float64 and eval mode.
        layer: Name of the layer, which is called once.
        inputs: Arguments of the network for a few samples.
        terms: Digests of the terms of all additions.
        taken: Digests of the inputs of other layers, by name, one per call.
        later: This layer and those that are examined after it, in the order of their calls.
    """
    module = runs.network.get_submodule(layer)
    channels = 1 if isinstance(module, nn.Conv2d) else -1
    steps: list[Tensor] = []
    generator = torch.Generator().manual_seed(0)
    num_calls: Counter[str] = Counter()

    def change(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        del module, args
        steps.append(torch.randn(output.shape, generator=generator, dtype=output.dtype).to(output.device))
        return output - steps[-1].neg()  # an addition would be intercepted

    def check(name: str, given: Tensor, output: Tensor) -> None:
        del output
        number, num_calls[name] = num_calls[name], num_calls[name] + 1
        if steps and name != layer and digest_of(given) not in taken[name][number : number + 1]:
            raise Reached

    def compare(number: int, found: Terms) -> None:
        if steps and tuple(map(digest_of, found)) not in terms[number : number + 1]:
            raise _Found(number, found)

    def run(receive: Callable[[int, Terms], None]) -> _Found | None:
        try:
            with torch.no_grad(), Float64():
                runs.run(0, inputs, later, Additions(receive))
        except _Found as found:
            return found
        except Reached:
            pass
        return None

    def stop(number: int, found: Terms) -> None:
        if after is not None and number == after.number:
            raise _Found(number, found)

    hook = module.register_forward_hook(change)
    try:
        with received(runs.network, taken, check):
            after = run(compare)
    finally:
        hook.remove()
    before = None if after is None else run(stop)
    if after is None or before is None:
        return None
    changes = [one - two for one, two in zip(after.terms, before.terms, strict=True)]
    other = 1 if changes[0].any() else 0
    if changes[other].any() or len(steps) != 1 or changes[0].shape != steps[0].shape:
        return None
    change_of, step = (each.movedim(channels, 0).flatten(1) for each in (changes[1 - other], steps[0]))
    factors = (change_of * step).sum(1) / step.square().sum(1)
    deviation = (change_of - factors[:, None] * step).abs().amax(1)
    if (deviation > TOLERANCE * factors.abs() + 1e-12 * factors.abs().max()).any():
        return None
    return Place(after.number, other, factors)
