"""Follow neurons through Torch-Pruning's dependency graph, as ranges of indices.

Torch-Pruning's own search creates an object for each index at each visit of a node: 61 million in a network
whose channels are flattened and weighted by a ``Conv1d``. This search stores one start per neuron and visit.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch_pruning.dependency import DependencyGraph, Node

Integers = NDArray[np.int64]

MAX_INDICES: Final = 2**24
"""Largest number of indices in one place; no layer has more, so more mean an endless loop of reshapes."""

MAX_VISITS: Final = 1_000
"""Most different ranges at one node; 20 networks of timm had 36 at most. With more, the search has no end."""


@dataclass(frozen=True, eq=False)
class Ranges:
    """Ranges of indices in a layer or an operation, with the neurons that they belong to.

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
        """Hashable key that is equal for equal objects."""
        return self.length, self.starts.tobytes(), self.neurons.tobytes()

    def single(self) -> Self:
        """Return the same indices in ranges of length 1.

        >>> Ranges(np.array([4, 0]), np.array([7, 8]), 2).single().starts.tolist()
        [4, 5, 0, 1]
        """
        starts = (self.starts[:, None] + np.arange(self.length)).ravel()
        return type(self)(starts, self.neurons.repeat(self.length))

    def shifted(self, by: int) -> Self:
        """Return the ranges shifted by an offset, as behind ``by`` other indices of a concatenation."""
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
        """Return the indices that maps of ``size`` values have in a flat vector.

        Raises:
            OverflowError: There are more than :data:`MAX_INDICES` indices.
        """
        if len(self.starts) * self.length * size > MAX_INDICES:
            raise OverflowError
        return type(self)(self.starts * size, self.neurons, self.length * size)

    def unflattened(self, size: int) -> Self:
        """Return the indices of the maps, of ``size`` values each, that hold these entries of a flat vector.

        >>> Ranges(np.array([0, 4]), np.array([0, 1]), 4).unflattened(2).single().starts.tolist()
        [0, 1, 2, 3]
        """
        if not (self.starts % size).any() and not self.length % size:
            return type(self)(self.starts // size, self.neurons, self.length // size)
        one = self.single()
        starts = one.starts // size
        _, first = np.unique(starts * (one.neurons.max(initial=0) + 1) + one.neurons, return_index=True)
        first.sort()  # in the order in which they appear
        return type(self)(starts[first], one.neurons[first])


class Item(NamedTuple):
    """A node of the graph that the neurons reach.

    Attributes:
        node: The node.
        as_outputs: Whether the neurons are outputs of the node, if its outputs differ from its inputs.
        ranges: Indices in the node, one entry for each time it was reached.
    """

    node: "Node"
    as_outputs: bool
    ranges: list[Ranges]

    @property
    def module(self) -> Any:
        """The layer, operation or parameter."""
        return self.node.module

    def indices(self) -> Iterator[tuple[int, int]]:
        """Yield each index with its neuron; an index that was reached several times, with the first only."""
        parts = [each.single() for each in dict.fromkeys(self.ranges)]
        indices = np.concatenate([one.starts for one in parts])
        neurons = np.concatenate([one.neurons for one in parts])
        if len(self.ranges) > 1:
            by_index = np.full(indices.max(initial=-1) + 1, -1)
            by_index[indices[::-1]] = neurons[::-1]  # the last one that is written stays
            indices = np.flatnonzero(by_index >= 0)
            neurons = by_index[indices]
        yield from zip(indices.tolist(), neurons.tolist(), strict=True)


class EndlessError(Exception):
    """Reshapes and splits lead in circles, to ever more ranges of indices.

    Attributes:
        items: The nodes that were reached so far.
    """

    def __init__(self, items: list[Item]) -> None:
        super().__init__("the search has no end")
        self.items = items


def follow(graph: "DependencyGraph", layer: Any) -> list[Item]:
    """Return the nodes that the outputs of a layer reach, in the order of Torch-Pruning's search.

    Args:
        graph: The dependency graph, with its index mappings.
        layer: A linear layer or a convolution that is not depthwise.

    Raises:
        IndexError: A mapping leads to an index that an operation lacks, as behind a recurrent layer.
        OverflowError: There are more than :data:`MAX_INDICES` indices.
        EndlessError: A node is reached with more than :data:`MAX_VISITS` different ranges.
    """
    first = np.arange(len(layer.weight))
    known: dict[Any, Ranges] = {}
    made: dict[tuple[int, int], Ranges] = {}

    def mapped(ranges: Ranges, mapping: Any) -> Ranges:
        """Map ranges; equal results are returned as the same object, so that ``is`` finds repetitions."""
        step = id(mapping), id(ranges)
        if step not in made:
            new = _mapped(ranges, mapping)
            made[step] = known.setdefault(new.key, new)
        return made[step]

    root, prune = graph.module2node[layer], graph.get_pruner_of_module(layer).prune_out_channels
    start = Ranges(first, first)
    known[start.key] = start
    found = {(root, prune): [start]}
    reached = {(root, prune, id(start))}
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
            if target not in visited or (target, triggered, id(new)) not in reached:
                reached.add((target, triggered, id(new)))
                ranges_of_target = found.setdefault((target, triggered), [])
                ranges_of_target.append(new)
                if len(ranges_of_target) > MAX_VISITS:
                    raise EndlessError(_items(found))
                stack.append((target, triggered, new))
    return _items(found)


def _items(found: Mapping[tuple["Node", Any], list[Ranges]]) -> list[Item]:
    return [
        Item(node, handler.__name__ == "prune_out_channels", ranges)
        for (node, handler), ranges in found.items()
    ]


class _Index(NamedTuple):
    """An index in the form that Torch-Pruning's mappings expect."""

    idx: int
    root_idx: int


def _mapped(ranges: Ranges, mapping: Any) -> Ranges:
    """Apply one of Torch-Pruning's index mappings to ranges."""
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
