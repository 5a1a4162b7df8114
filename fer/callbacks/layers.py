"""Which layers of a network have neurons that can be measured."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from torch import nn

from fer.callbacks.network import FoundNetwork, plain_name
from fer.errors import InputError
from fer.neurons import HiddenLayers, measure
from fer.neurons.declared import describe_layers, hidden_layers
from fer.neurons.inputs import Inputs
from fer.neurons.trace import OUTPUTS

log = logging.getLogger("fer.callbacks")

SUMMED: Final = "recorded there"
"""How the reason ends why a layer is not listed whose outputs are added to those of one that is."""


def find_layers(network: nn.Module, example: Inputs, layers: Sequence[str] | None = None) -> HiddenLayers:
    """Return the layers whose neurons can be measured, each tried on an example.

    Args:
        network: Any network.
        example: Samples that it takes.
        layers: Names of layers, without ``_orig_mod`` where a part of the network is compiled; None: all
            hidden layers.

    Returns:
        The layers by such names, and the reasons why others are not among them.

    Raises:
        InputError: A layer that was named is unknown or cannot be measured, or the hidden layers of the
            network cannot be found.
    """
    try:
        hidden = hidden_layers(network, example)
    except InputError:
        if layers is None:
            raise
        hidden = HiddenLayers({}, {})  # the output of a layer can be measured all the same
    places = {plain_name(layer): place for layer, place in hidden.layers.items()}
    refused = {plain_name(layer): reason for layer, reason in hidden.refused.items()}
    if layers is not None:
        modules = {plain_name(name): name for name, _ in network.named_modules()}
        places = {layer: places.get(layer, modules.get(layer, layer)) for layer in layers}
        measure(network, [example], places.values())
        return HiddenLayers(places, {})
    if _problem(network, example, places.values()):  # of which layers?
        problems = {layer: _problem(network, example, [place]) for layer, place in places.items()}
        refused |= {layer: problem for layer, problem in problems.items() if problem}
        places = {layer: place for layer, place in places.items() if layer not in refused}
    return HiddenLayers(places, refused)


def find_places(found: FoundNetwork, example: Inputs, layers: Sequence[str] | None = None) -> dict[str, str]:
    """Return the layers that are measured, and say in warnings why others are not.

    Args:
        found: The network.
        example: Samples that it takes.
        layers: Names of layers that the user gave; None: all hidden layers.

    Returns:
        By layer, as it is called in logs, the name under which its activations are recorded; empty if there
        is none.

    Raises:
        InputError: A layer that was named is unknown or cannot be measured.
    """
    try:
        hidden = find_layers(found.module, example, layers)
    except InputError as error:
        if layers is not None:
            msg = f"distinctiveness.layers: {error}"
            raise InputError(msg) from error
        log.warning("no angles: %s; name layers with layers=[…]", error)
        return {}
    if not hidden.layers:
        described = describe_layers(hidden, found.module)
        log.warning("no angles: the hidden layers are %s; name others with layers=[…]", described)
        return {}
    if refused := describe_refused(hidden.refused):
        log.warning("layers without angles: %s", refused)
    return {found.layer_of(layer): place for layer, place in hidden.layers.items()}


def _problem(network: nn.Module, example: Inputs, places: Iterable[str]) -> str:
    """Return why layers cannot be measured, empty if they can."""
    try:
        measure(network, [example], places)
    except InputError as error:
        return str(error)
    return ""


def describe_refused(refused: Mapping[str, str]) -> str:
    """Return why layers are not measured, in one line.

    Not worth it are outputs of the network, and layers that are measured as a sum with another.

    >>> describe_refused({"lstm": "not supported", "rnn": "not supported", "embed": "it is wide"})
    'lstm, rnn (not supported); embed (it is wide)'
    """
    layers = defaultdict(list)
    for layer, reason in refused.items():
        if reason != OUTPUTS and not reason.endswith(SUMMED):
            layers[reason].append(layer)
    return "; ".join(f"{', '.join(names)} ({reason})" for reason, names in layers.items())
