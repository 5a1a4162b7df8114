"""Hidden layers of a network: declared by the network, or found in it."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import nn

from fer.neurons.hidden import HiddenLayers, find_hidden_layers
from fer.neurons.text import join_reasons


@runtime_checkable
class DeclaresNeurons(Protocol):
    """A network that names its hidden layers.

    The attribute maps each hidden layer to the name under which :func:`fer.neurons.record` records its
    outputs as the next layer takes them: ``{"conv1": "pool1", "fc1": "fc1_relu"}``.
    """

    @property
    def neuron_layers(self) -> Mapping[str, str]:
        """Name under which the outputs are recorded, by layer."""


def hidden_layers(network: nn.Module, example: Any) -> HiddenLayers:
    """Return the hidden layers that a network declares; if it declares none, find them.

    Args:
        network: Any network.
        example: A batch that it takes; see :func:`fer.neurons.inputs.inputs_of`.
    """
    if isinstance(network, DeclaresNeurons):
        return HiddenLayers(dict(network.neuron_layers), {})
    return find_hidden_layers(network, example)


def describe_layers(hidden: HiddenLayers, network: nn.Module) -> str:
    """Describe the hidden layers of a network in one line, or say why there are none.

    >>> describe_layers(HiddenLayers({"conv1": "pool1", "fc1": "relu"}, {}), nn.Identity())
    'conv1, fc1 (2 layers)'
    >>> describe_layers(HiddenLayers({}, {"lstm": "not supported"}), nn.Identity())
    'none (lstm: not supported)'
    >>> describe_layers(HiddenLayers({}, {}), nn.Identity())
    'none (Identity has no hidden layer that learns)'
    """
    if names := list(hidden.layers):
        shown = ", ".join(names) if len(names) < 3 else f"{names[0]} … {names[-1]}"
        return f"{shown} ({len(names)} layer{'s' if len(names) > 1 else ''})"
    reasons = join_reasons(hidden.refused) or f"{type(network).__name__} has no hidden layer that learns"
    return f"none ({reasons})"
