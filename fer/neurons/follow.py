"""Follow the neurons of a layer through Torch-Pruning's dependency graph, to all that has to go with them.

This is its ``get_pruning_group`` with arrays of indices. Torch-Pruning makes an object for each index: 61
million, in two minutes, for a network whose channels are reshaped and concatenated often.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch_pruning.dependency import Dependency, DependencyGraph

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Item:
    """Entries of a module that belong to neurons.

    Attributes:
        dep: Torch-Pruning's dependency: its ``target`` holds the module, its ``handler`` cuts it.
        indices: The entries.
        neurons: The neuron that each belongs to, as long as ``indices``.
    """

    dep: "Dependency"
    indices: Indices
    neurons: Indices

    def is_equal(self, other: "Item") -> bool:
        """Return whether both have the same entries for the same neurons, in the same order."""
        return np.array_equal(self.indices, other.indices) and np.array_equal(self.neurons, other.neurons)


def follow(graph: "DependencyGraph", layer: Any, width: int) -> list[Item]:
    """Return all that has to be cut with the neurons of a layer, the layer first.

    Args:
        graph: The dependency graph.
        layer: A module in it.
        width: Number of its neurons.

    Raises:
        KeyError: Torch-Pruning maps indices in a way that is not known here.
    """
    from torch_pruning.dependency import Dependency
    from torch_pruning.pruner.function import prune_depthwise_conv_out_channels

    groups = getattr(layer, "groups", 1)
    is_depthwise = groups > 1 and groups == getattr(layer, "out_channels", None)
    cutter = graph.get_pruner_of_module(layer).prune_out_channels
    cutter = prune_depthwise_conv_out_channels if is_depthwise else cutter
    node, every = graph.module2node[layer], np.arange(width)
    items = [Item(Dependency(cutter, cutter, source=node, target=node), every, every)]
    seen: dict[Any, list[Item]] = defaultdict(list)
    waiting, visited = [items[0]], set()
    while waiting:
        now = waiting.pop()
        visited.add(now.dep.target)
        for dep in now.dep.target.dependencies:
            if not dep.is_triggered_by(now.dep.handler):
                continue
            after = _mapped(dep, now)
            place = dep.target, dep.handler
            if len(after.indices) == 0:
                continue
            if dep.target in visited and any(after.is_equal(each) for each in seen[place]):
                continue
            seen[place].append(after)
            items.append(after)
            waiting.append(after)
    return _merged(items)


def _mapped(dep: "Dependency", item: Item) -> Item:
    """Return where a dependency leads."""
    indices, neurons = item.indices, item.neurons
    for mapping in dep.index_mapping:
        if mapping is not None:
            indices, neurons = MAPPINGS[type(mapping).__name__](mapping, indices, neurons)
    return Item(dep, indices, neurons)


def _merged(items: list[Item]) -> list[Item]:
    """Merge the entries of each module that are cut in the same way; the first neuron of each one counts."""
    by_place: dict[Any, list[Item]] = defaultdict(list)
    for item in items:
        by_place[item.dep.target, item.dep.handler].append(item)
    merged = []
    for several in by_place.values():
        indices, neurons = (
            np.concatenate([getattr(each, name) for each in several]) for name in ("indices", "neurons")
        )
        first = np.full(indices.max() + 1, -1)
        first[indices[::-1]] = np.arange(len(indices))[::-1]  # of several of them the last one counts
        first = first[first >= 0]
        merged.append(Item(several[0].dep, indices[first], neurons[first]))
    return merged


def _flattened(mapping: Any, indices: Indices, neurons: Indices) -> tuple[Indices, Indices]:
    stride = mapping._stride
    if not mapping.reverse:
        spread = indices[:, None] * stride + np.arange(stride)
        return spread.ravel(), neurons.repeat(stride)
    num = int(neurons.max(initial=0)) + 1
    pairs = np.unique(indices // stride * num + neurons)
    return pairs // num, pairs % num


def _concatenated(mapping: Any, indices: Indices, neurons: Indices) -> tuple[Indices, Indices]:
    return _moved(mapping.offset, indices, neurons, back=mapping.reverse)


def _split(mapping: Any, indices: Indices, neurons: Indices) -> tuple[Indices, Indices]:
    return _moved(mapping.offset, indices, neurons, back=not mapping.reverse)


def _moved(
    offset: tuple[int, int], indices: Indices, neurons: Indices, *, back: bool
) -> tuple[Indices, Indices]:
    """Return indices within a part as those in the whole, or ``back``, without those outside the part."""
    start, stop = offset
    if not back:
        return indices + start, neurons
    within = (indices >= start) & (indices < stop)
    return indices[within] - start, neurons[within]


def _sliced(mapping: Any, indices: Indices, neurons: Indices) -> tuple[Indices, Indices]:
    start, step, end = mapping.start, mapping.step, mapping.end
    if mapping.reverse:
        return indices * step + start, neurons
    within = (indices >= start) & (indices < end) & ((indices - start) % step == 0)
    return (indices[within] - start) // step, neurons[within]


MAPPINGS: Final[Mapping[str, Callable[[Any, Indices, Indices], tuple[Indices, Indices]]]] = {
    "_FlattenIndexMapping": _flattened,
    "_ConcatIndexMapping": _concatenated,
    "_SplitIndexMapping": _split,
    "_SliceIndexMapping": _sliced,
}
"""By the name of Torch-Pruning's mapping of indices the one of arrays. Its mapping for attention with fewer
keys than queries forgets which neuron an index belongs to, and is left out."""
