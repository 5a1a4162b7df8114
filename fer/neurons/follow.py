"""Follow neurons through Torch-Pruning's dependency graph, as ranges of indices.

Torch-Pruning's own search makes an object for each index at each visit of a node: 61 million in a network
whose channels are flattened and weighted by a ``Conv1d``. Here a visit costs one start for each neuron.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch_pruning.dependency import DependencyGraph, Node

Integers = NDArray[np.int64]

MAX_INDICES: Final = 2**24
"""Indices in one place: no layer has as many, so that reshapes were followed in circles."""


@dataclass(frozen=True, eq=False)
class Ranges:
    """Indices in a layer or an operation, and the neurons that they belong to.

    Attributes:
        starts: First index of each range, shape ``(R,)``.
        neurons: Neuron that each range belongs to, shape ``(R,)``.
        length: Number of indices in each range.
    """

    starts: Integers
    neurons: Integers
    length: int = 1

    @property
    def key(self) -> tuple[int, bytes, bytes]:
        """What two equal objects have in common."""
        return self.length, self.starts.tobytes(), self.neurons.tobytes()

    def single(self) -> Self:
        """Return the same indices in ranges of length 1.

        >>> Ranges(np.array([4, 0]), np.array([7, 8]), 2).single().starts.tolist()
        [4, 5, 0, 1]
        """
        starts = (self.starts[:, None] + np.arange(self.length)).ravel()
        return type(self)(starts, self.neurons.repeat(self.length))

    def shifted(self, by: int) -> Self:
        """Return the indices that these become behind ``by`` others."""
        return type(self)(self.starts + by, self.neurons, self.length)

    def within(self, first: int, end: int) -> Self:
        """Return the indices from ``first`` to ``end``, counted from ``first``.

        >>> Ranges(np.array([0, 2, 4]), np.array([0, 1, 2]), 2).within(2, 5).starts.tolist()
        [0, 1, 2]
        """
        starts = self.starts.clip(first, end)
        ends = (self.starts + self.length).clip(first, end)
        left = starts < ends
        starts, ends, neurons = starts[left] - first, ends[left] - first, self.neurons[left]
        lengths = ends - starts
        if len(set(lengths.tolist())) <= 1:
            return type(self)(starts, neurons, int(lengths.max(initial=1)))
        parts = [np.arange(*span) for span in zip(starts, ends, strict=True)]
        return type(self)(np.concatenate(parts), neurons.repeat(lengths))

    def flattened(self, size: int) -> Self:
        """Return the indices of the values of maps of a size, in a flat vector of them.

        Raises:
            OverflowError: There are more than :data:`MAX_INDICES`.
        """
        if len(self.starts) * self.length * size > MAX_INDICES:
            raise OverflowError
        return type(self)(self.starts * size, self.neurons, self.length * size)

    def unflattened(self, size: int) -> Self:
        """Return the indices of the maps of a size that hold these values of a flat vector.

        >>> Ranges(np.array([0, 4]), np.array([0, 1]), 4).unflattened(2).single().starts.tolist()
        [0, 1, 2, 3]
        """
        if not (self.starts % size).any() and not self.length % size:
            return type(self)(self.starts // size, self.neurons, self.length // size)
        one = self.single()
        pairs = dict.fromkeys(zip((one.starts // size).tolist(), one.neurons.tolist(), strict=True))
        return type(self)(*np.array(list(pairs)).reshape(-1, 2).T)


class Item(NamedTuple):
    """A node of the graph that neurons reach.

    Attributes:
        node: The node.
        as_outputs: Whether they are its outputs, if it has outputs other than its inputs.
        ranges: Its indices, for each time that they were reached.
    """

    node: "Node"
    as_outputs: bool
    ranges: list[Ranges]

    @property
    def module(self) -> Any:
        """The layer, operation or parameter."""
        return self.node.module

    def indices(self) -> Iterator[tuple[int, int]]:
        """Yield each index with its neuron; with the first one only, where it was reached several times."""
        parts = [each.single() for each in dict.fromkeys(self.ranges)]
        indices = [index for one in parts for index in one.starts.tolist()]
        neurons = [neuron for one in parts for neuron in one.neurons.tolist()]
        pairs = list(zip(indices, neurons, strict=True))
        yield from pairs if len(self.ranges) == 1 else dict(reversed(pairs)).items()


def follow(graph: "DependencyGraph", layer: Any) -> list[Item]:
    """Return the nodes that the outputs of a layer reach, in the order of Torch-Pruning's own search.

    Args:
        graph: The graph, with its index mappings.
        layer: A linear layer or convolution, not depthwise.

    Raises:
        IndexError: An index is mapped that an operation lacks, as behind a recurrent layer.
        OverflowError: There are more than :data:`MAX_INDICES` indices.
    """
    first = np.arange(len(layer.weight))
    known: dict[Any, Ranges] = {}
    made: dict[tuple[int, int], Ranges] = {}

    def mapped(ranges: Ranges, mapping: Any) -> Ranges:
        """Return each result once, so that it is known again by its identity."""
        step = id(mapping), id(ranges)
        if step not in made:
            new = _mapped(ranges, mapping)
            made[step] = known.setdefault(new.key, new)
        return made[step]

    root, prune = graph.module2node[layer], graph.get_pruner_of_module(layer).prune_out_channels
    start = Ranges(first, first)
    known[start.key] = start
    found = {(root, prune): [start]}
    visited: set[Node] = set()
    stack = [(root, prune, start)]
    while stack:
        node, handler, ranges = stack.pop()
        visited.add(node)
        for dependency in node.dependencies:
            if not dependency.is_triggered_by(handler):
                continue
            new = ranges
            for mapping in dependency.index_mapping:
                if mapping is not None:
                    new = mapped(new, mapping)
            if not len(new.starts):
                continue
            target, triggered = dependency.target, dependency.handler
            earlier = found.setdefault((target, triggered), [])
            if target not in visited or all(new is not one for one in earlier):
                earlier.append(new)
                stack.append((target, triggered, new))
    return [
        Item(node, handler.__name__ == "prune_out_channels", ranges)
        for (node, handler), ranges in found.items()
    ]


class _Index(NamedTuple):
    """An index in the form that Torch-Pruning's mappings take."""

    idx: int
    root_idx: int


def _mapped(ranges: Ranges, mapping: Any) -> Ranges:
    """Return the indices that one of Torch-Pruning's mappings makes of others."""
    kind = type(mapping).__name__
    if kind == "_FlattenIndexMapping":
        return (ranges.unflattened if mapping.reverse else ranges.flattened)(mapping._stride)
    if kind in {"_ConcatIndexMapping", "_SplitIndexMapping"}:
        is_behind = (kind == "_ConcatIndexMapping") != mapping.reverse
        first = mapping.offset[0]
        return ranges.shifted(first) if is_behind else ranges.within(first, mapping.offset[1])
    one = ranges.single()
    made = mapping([_Index(*pair) for pair in zip(one.starts.tolist(), one.neurons.tolist(), strict=True)])
    return Ranges(*np.array([tuple(each) for each in made], dtype=np.int64).reshape(-1, 2).T)
