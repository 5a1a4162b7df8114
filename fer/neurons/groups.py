"""Neuron groups: which rows, columns and vector entries of a network belong to each neuron.

A neuron is one output of a linear layer or one channel (feature map) of a convolution. Neurons whose outputs
are added, as in the stages of a residual network, can only be removed together: they are one group.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from fer.neurons.record import INPUT
from fer.neurons.text import listed

Entries = tuple[tuple[int, ...], ...]
"""For each neuron, its rows or columns of a weight, or its indices in a vector."""

Key = tuple[str, str]
"""Name of a group and name of a next layer (consumer) that takes its neurons."""

SIZES: Final[Mapping[type[nn.Module], tuple[str, ...]]] = {
    nn.Conv2d: ("out_channels", "in_channels", "groups"),
    nn.Linear: ("out_features", "in_features"),
    _NormBase: ("num_features",),
    nn.PReLU: ("num_parameters",),
}
"""Types of layers that neurons can be removed from, with the attributes that hold their sizes."""


@dataclass(frozen=True)
class Consumer:
    """A next layer, which multiplies the neurons by its weights.

    Attributes:
        layer: Name of the ``nn.Linear`` or ``nn.Conv2d``.
        columns: Its input columns for each neuron: one, or H x W behind a flatten.
        padded: Whether it pads maps with zeros, so that a constant neuron is not constant at the border.
        shift: Name of the layer that can add a constant to the output: the layer itself if it has a bias, or
            the batch norm directly behind it; None if there is none.
    """

    layer: str
    columns: Entries
    padded: bool
    shift: str | None

    def __repr__(self) -> str:
        """Return its name and the number of neurons that it takes."""
        return f"Consumer({self.layer!r}, {len(self.columns)} neurons)"

    @property
    def input(self) -> str:
        """Name of the layer's input, for :func:`fer.neurons.record`."""
        return self.layer + INPUT


@dataclass(frozen=True)
class NeuronGroup:
    """Neurons that can only be removed together: of one layer, or of all layers whose outputs are added.

    Attributes:
        name: Name of the first layer that computes them.
        num_neurons: Number of neurons, C.
        rows: Rows of the layers that compute the neurons, by name.
        attached: Indices in the layers that treat each neuron separately (norms, depthwise convolutions), by
            name.
        consumers: The next layers, in forward order.
        means: Columns of convolutions that take the mean over the neurons, as spatial attention does.
        maxima: Columns of convolutions that take the maximum over them.
        num_blocks: Number of equal blocks of neurons: each group of a grouped convolution takes one block,
            and the same number of neurons must be removed from each.
    """

    name: str
    num_neurons: int
    rows: Mapping[str, Entries]
    attached: Mapping[str, Entries]
    consumers: tuple[Consumer, ...]
    means: tuple[tuple[str, int], ...] = ()
    maxima: tuple[tuple[str, int], ...] = ()
    num_blocks: int = 1

    def __repr__(self) -> str:
        """Return the number of neurons, and the layers that compute and consume them."""
        takes = listed(consumer.layer for consumer in self.consumers)
        return f"NeuronGroup({self.num_neurons} neurons of {listed(self.rows)}, taken by {takes})"

    @property
    def producers(self) -> tuple[str, ...]:
        """Names of the layers that compute the neurons, in forward order."""
        return tuple(self.rows)

    @property
    def layers(self) -> set[str]:
        """Names of all layers that lose rows, columns or entries when a neuron is removed."""
        others = (layer for layer, _ in (*self.means, *self.maxima))
        return {*self.rows, *self.attached, *(consumer.layer for consumer in self.consumers), *others}

    @property
    def blocks(self) -> list[slice]:
        """Neurons of each block, as slices."""
        size = self.num_neurons // self.num_blocks
        return [slice(start, start + size) for start in range(0, self.num_neurons, size)]

    @property
    def takes_constants(self) -> bool:
        """Whether a constant can be added to the output of each next layer."""
        return all(consumer.shift is not None for consumer in self.consumers)


@dataclass(frozen=True)
class PrunableLayers:
    """Groups of neurons that can be pruned, and layers that cannot.

    Attributes:
        groups: Groups of hidden neurons that can be pruned, in forward order.
        refused: Reason why the neurons of a layer cannot be removed, by the name of the layer.
    """

    groups: tuple[NeuronGroup, ...]
    refused: Mapping[str, str]

    def __repr__(self) -> str:
        """Return the name and number of neurons of each group."""
        sizes = listed(f"{group.name}: {group.num_neurons}" for group in self.groups)
        return f"PrunableLayers({sizes}; refused: {listed(self.refused)})"


def can_shrink(module: nn.Module) -> bool:
    """Return whether neurons can be removed from a layer of this type."""
    return isinstance(module, tuple(SIZES))


def has_other_weights(module: nn.Module) -> bool:
    """Return whether a layer, such as a recurrent one, computes neurons but cannot shrink."""
    is_leaf = next(module.children(), None) is None
    return is_leaf and not can_shrink(module) and any(one.ndim > 1 for one in module.parameters())


def has_rows(module: nn.Module) -> bool:
    """Return whether a layer computes new neurons from others, as all but depthwise convolutions do."""
    return isinstance(module, nn.Conv2d | nn.Linear) and not is_depthwise(module)


def is_depthwise(module: nn.Module) -> bool:
    """Return whether a layer is a convolution that treats each map separately."""
    return isinstance(module, nn.Conv2d) and module.groups == module.out_channels > 1
