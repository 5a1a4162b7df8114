"""Direct test of independence: change some neurons, and see which inputs of the next layers move.

All layers that compute neurons return what they returned in a first run, except for the changed neurons, so
only the operations between them and the next layers are tested. If an input moves that is not a column of a
changed neuron, it depends on neurons that it does not belong to, as after a division by a sum over channels.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations, count, islice
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fer.neurons.culprits import Fault, culprits
from fer.neurons.groups import NeuronGroup, has_rows
from fer.neurons.inputs import Inputs, call
from fer.neurons.nested import tensors_in
from fer.neurons.trace import Float64

TOLERANCE: Final = 1e-9
"""Share of the largest value by which a value has to change to count as moved; float64."""


class DirectTest:
    """A network whose layers return their outputs of a first run, except for the changed neurons.

    Args:
        network: A copy in float64 and in the mode to test; it cannot be used afterwards.
        inputs: Arguments of the network.

    Attributes:
        inputs: Arguments of the network.
        outputs: Tensors that the network returned.
        called: Outputs of the layers with rows that it called, by name.
        used: Names of the parameters that it used.

    Raises:
        InputError: The network does not take the inputs.
    """

    def __init__(self, network: nn.Module, inputs: Inputs) -> None:
        self._network, self.inputs = network, inputs
        self.called: dict[str, list[Tensor]] = defaultdict(list)
        self._taken: dict[str, list[Tensor]] = defaultdict(list)
        self._counts: Counter[str] = Counter()
        self._changed: dict[str, Tensor] = {}
        self._allowed: dict[str, Tensor] = {}
        layers: dict[str, Any] = {name: each for name, each in network.named_modules() if has_rows(each)}
        for name, layer in layers.items():
            layer.forward = partial(self._record, name, layer.forward)
        with _UsedParameters() as used:
            self.outputs = run_seeded(network, inputs)
        self.used = {
            name for name, each in network.named_parameters(remove_duplicate=False) if id(each) in used.ids
        }
        for name, layer in layers.items():
            layer.forward = partial(self._replay, name)

    @property
    def is_repeatable(self) -> bool:
        """Whether a second run gives the same result: no other random numbers, no state that is kept."""
        return self._moved_in_run() is None

    def dependent(self, groups: Sequence[NeuronGroup], *, every_pair: bool = True) -> dict[str, str]:
        """Return the groups whose neurons move more than their own columns, with the layer whose input moves.

        Args:
            groups: Groups of the network's neurons.
            every_pair: Whether to test for each pair of neurons whether one moves the other's columns. If
                not, two runs test the even and the odd neurons.

        Returns:
            Name of the layer, or empty text for the network's outputs, by the name of the group.
        """
        choose = _every_pair if every_pair else _every_second
        together = self._moved_by(groups, choose)
        if together is None:
            return {}
        found = culprits(groups, partial(self._fault, choose))
        return found or dict.fromkeys((group.name for group in groups), together)

    def _fault(self, choose: Callable[[int], Tensor], groups: Sequence[NeuronGroup]) -> Fault | None:
        layer = self._moved_by(groups, choose)
        return None if layer is None else Fault(layer, layer)

    def _moved_by(self, groups: Sequence[NeuronGroup], choose: Callable[[int], Tensor]) -> str | None:
        """Return the first layer whose input moves where it should not; None if there is none."""
        sizes = [group.num_neurons for group in groups]
        for chosen in choose(sum(sizes)):
            self._changed, self._allowed = {}, {}
            for group, of_group in zip(groups, chosen.split(sizes), strict=True):
                self._change(group, of_group)
            if (moved := self._moved_in_run()) is not None:
                return moved
        return None

    def _change(self, group: NeuronGroup, chosen: Tensor) -> None:
        """Make the next run change the chosen neurons of a group, a mask of shape ``(C,)``."""
        for layer, rows in group.rows.items():
            changed = self._changed.setdefault(layer, self._none(self.called, layer))
            changed[torch.tensor(rows)[chosen].flatten()] = True
        for consumer in group.consumers:
            allowed = self._allowed.setdefault(consumer.layer, self._none(self._taken, consumer.layer))
            allowed[torch.tensor(consumer.columns)[chosen].flatten()] = True
        for layer, column in (*group.means, *group.maxima):
            self._allowed.setdefault(layer, self._none(self._taken, layer))[column] = True

    def _none(self, tensors: Mapping[str, Sequence[Tensor]], layer: str) -> Tensor:
        """Return an all-false mask over a layer's inputs or outputs."""
        first = next(iter(tensors.get(layer, ())), None)
        size = 0 if first is None else first.shape[self._axis(layer)]
        return torch.zeros(size, dtype=torch.bool)

    def _axis(self, layer: str) -> int:
        return -1 if isinstance(self._network.get_submodule(layer), nn.Linear) else -3

    def _record(self, name: str, forward: Any, *args: Any, **named: Any) -> Any:
        """Keep the inputs and outputs of a layer."""
        taken = next(tensors_in((args, named))).detach().clone()
        output = forward(*args, **named)
        self._taken[name].append(taken)
        self.called[name].append(output.detach().clone())
        return output

    def _replay(self, name: str, *args: Any, **named: Any) -> Tensor:
        """Return a layer's recorded output with the neurons changed, after checking its input."""
        number = self._counts[name]
        self._counts[name] += 1
        if number >= len(self.called[name]):
            raise _MovedError(name)
        self._compare(name, next(tensors_in((args, named))), self._taken[name][number])
        output = self.called[name][number].clone()
        if name in self._changed:
            rows = output.movedim(self._axis(name), 0)
            chosen = rows[self._changed[name]]
            size = output.abs().max() if output.any() else 1.0
            rows[self._changed[name]] = chosen + chosen.abs() + size  # dropout draws the same mask as before
        return output

    def _compare(self, name: str, taken: Tensor, before: Tensor) -> None:
        """Check that a layer's input moves only in the allowed columns."""
        axis, allowed = self._axis(name), self._allowed.get(name)
        if taken.shape == before.shape and allowed is not None:
            fixed = (~allowed).nonzero().flatten().to(before.device)
            taken, before = taken.index_select(axis, fixed), before.index_select(axis, fixed)
        if not torch.equal(taken, before) and differs(taken, before).any():
            raise _MovedError(name)

    def _moved_in_run(self) -> str | None:
        """Run the network; return the first layer whose input moves where it should not."""
        self._counts.clear()
        try:
            outputs = run_seeded(self._network, self.inputs)
        except _MovedError as moved:
            return moved.layer
        is_equal = len(outputs) == len(self.outputs) and not any(
            differs(*pair).any() for pair in zip(outputs, self.outputs, strict=True)
        )
        return None if is_equal else ""


class _MovedError(Exception):
    """An input moved that belongs to none of the changed neurons."""

    def __init__(self, layer: str) -> None:
        super().__init__(layer)
        self.layer = layer


class _UsedParameters(TorchFunctionMode):
    """Record the parameters that tensors are computed from, while the context lasts."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[int] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a torch function; reading a shape or a type does not count as use."""
        del types
        result = func(*args, **(kwargs or {}))
        if next(tensors_in(result), None) is not None:
            self.ids.update(id(one) for one in tensors_in((args, kwargs)) if isinstance(one, nn.Parameter))
        return result


def _every_pair(num: int) -> Tensor:
    """Return masks of neurons, shape ``(R, num)``; for any ordered pair, one has only the first of them.

    Each neuron is in half of the masks, and no two neurons are in the same ones.

    >>> _every_pair(3).int().tolist()
    [[1, 1, 0], [1, 0, 1], [0, 1, 1]]
    """
    runs = next(runs for runs in count(2) if math.comb(runs, runs // 2) >= num)
    masks = torch.zeros(runs, num, dtype=torch.bool)
    for neuron, chosen in enumerate(islice(combinations(range(runs), runs - runs // 2), num)):
        masks[list(chosen), neuron] = True
    return masks


def _every_second(num: int) -> Tensor:
    """Return one mask of the even neurons and one of the odd neurons.

    >>> _every_second(3).int().tolist()
    [[1, 0, 1], [0, 1, 0]]
    """
    return torch.arange(num) % 2 == torch.arange(2)[:, None]


def differs(one: Tensor, other: Tensor, tolerance: float = TOLERANCE) -> Tensor:
    """Return where tensors differ, relative to the largest value; everywhere if their shapes differ."""
    if one.shape != other.shape:
        return torch.ones_like(other, dtype=torch.bool)
    finite = other[other.isfinite()].abs()
    largest = float(finite.max()) if finite.numel() else 0.0
    return ~torch.isclose(one.to(other), other, rtol=0, atol=tolerance * largest, equal_nan=True)


def run_seeded(network: nn.Module, inputs: Inputs) -> list[Tensor]:
    """Return all tensors that a network returns, in float64, with the same random numbers in each run.

    Changes torch's random state, but not Python's.
    """
    state = random.getstate()
    torch.manual_seed(0)
    random.seed(0)
    try:
        with torch.no_grad(), Float64(), torch.compiler.set_stance("force_eager"):
            output = call(network, inputs)
    finally:
        random.setstate(state)
    return [tensor.double() for tensor in tensors_in(output) if tensor.numel()]
