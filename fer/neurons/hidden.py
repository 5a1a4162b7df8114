"""The hidden layers of a network: declared by the network, or found in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class DeclaresNeurons(Protocol):
    """A network that names its hidden layers itself.

    The attribute maps the name of each hidden layer to the name under which :func:`fer.neurons.record` finds
    its outputs as the next layer takes them: ``{"conv1": "pool1", "fc1": "fc1_relu"}``.
    """

    @property
    def neuron_layers(self) -> Mapping[str, str]:
        """By layer, where its outputs are recorded."""


@dataclass(frozen=True)
class HiddenLayers:
    """The hidden layers of a network.

    Attributes:
        layers: By layer, where its outputs are recorded; see :class:`DeclaresNeurons`.
        refused: By layer that has none, the reason.
    """

    layers: Mapping[str, str]
    refused: Mapping[str, str] = field(default_factory=dict)

    def describe(self, network: str) -> str:
        """Return the layers in one line, or why there are none.

        Args:
            network: Name of the network.

        >>> HiddenLayers({"conv1": "pool1", "fc1": "relu"}).describe("Net")
        'conv1 … fc1 (2 layers)'
        >>> HiddenLayers({}).describe("Net")
        'none: Net has no hidden layer that learns'
        """
        if names := list(self.layers):
            shown = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
            return f"{shown} ({len(names)} layer{'s' if len(names) > 1 else ''})"
        return f"none: {self.why_none(network)}"

    def why_none(self, network: str) -> str:
        """Return why a network has no hidden layers.

        Args:
            network: Name of the network.
        """
        if self.refused:
            return "; ".join(f"{layer}: {reason}" for layer, reason in self.refused.items())
        return f"{network} has no hidden layer that learns"


def hidden_layers(network: nn.Module, example: Tensor) -> HiddenLayers:
    """Return the hidden layers that a network declares, or else those that are found in it.

    Args:
        network: Any network.
        example: Inputs that it takes, N samples.
    """
    if isinstance(network, DeclaresNeurons):
        return HiddenLayers(dict(network.neuron_layers))
    return HiddenLayers({})
