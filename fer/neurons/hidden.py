"""Find the hidden layers of any network."""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class HiddenLayers:
    """The hidden layers of a network.

    Attributes:
        layers: By layer, the name under which :func:`fer.neurons.record` hands over its neurons.
        refused: Why other layers with weights are not among them, by their name.
    """

    layers: dict[str, str]
    refused: dict[str, str]


def find_hidden_layers(network: nn.Module, example: Tensor) -> HiddenLayers:
    """Return the hidden layers of a network whose neurons can be recorded.

    Args:
        network: Any network with one input.
        example: Samples that it takes, shape ``(N, ...)``.
    """
    del network, example
    return HiddenLayers({}, {})
