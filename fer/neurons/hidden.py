"""The hidden layers of a network: declared by the network, or found in it."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable


@runtime_checkable
class DeclaresNeurons(Protocol):
    """A network that names its hidden layers itself.

    The attribute maps the name of each hidden layer to the name under which :func:`fer.neurons.record` finds
    its outputs as the next layer takes them: ``{"conv1": "pool1", "fc1": "fc1_relu"}``.
    """

    @property
    def neuron_layers(self) -> Mapping[str, str]:
        """By layer, where its outputs are recorded."""
