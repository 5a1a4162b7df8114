"""Find the most distinct neurons of each layer that respond to an image, and their feature maps."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fer.neurons import eval_state, record
from fer.neurons.declared import hidden_layers

DISTINCT_SHARE: Final = 0.5
"""Share of a layer's neurons that are candidates: the most distinct ones."""

NUM_SHOWN: Final = 6
"""Most neurons that are shown of a layer."""

MOST_LAYERS: Final = 6
"""Most layers that are shown; in a deeper network they are evenly spaced, with the first and the last."""

Distinctness = Mapping[str, NDArray[np.floating]]
"""For each layer, the angle of each of its C neurons to the nearest similar or opposite neuron, shape
``(C,)``; see :func:`fer.neurons.distinctness`."""


@dataclass(frozen=True, eq=False)
class AnsweringNeuron:
    """A neuron that responds to an image.

    Attributes:
        layer: Name of its layer.
        index: Its index in the layer.
        degrees: Its distinctness: the angle to the nearest similar or opposite neuron; NaN: not known.
        strength: Its mean activation over the positions.
        values: Its feature map for the image, shape ``(h, w)``.
    """

    layer: str
    index: int
    degrees: float
    strength: float
    values: NDArray[np.float32]


def choose_neurons(
    strengths: NDArray[np.floating], apart: NDArray[np.floating] | None, num: int = NUM_SHOWN
) -> list[int]:
    """Return the most active neurons among the most distinct ones, the most active first.

    Neurons without activation or without an angle are left out.

    Args:
        strengths: Mean activation of each of C neurons, shape ``(C,)``.
        apart: Their :func:`fer.neurons.distinctness`, shape ``(C,)``; None: all neurons are candidates.
        num: Largest number of neurons.
    """
    candidates = np.arange(len(strengths))
    if apart is not None:
        candidates = candidates[~np.isnan(apart)]
        kept = math.ceil(DISTINCT_SHARE * len(candidates))
        candidates = candidates[np.argsort(-apart[candidates], kind="stable")][:kept]
    answers = candidates[np.abs(strengths[candidates]) > 0]
    return [int(each) for each in answers[np.argsort(-np.abs(strengths[answers]), kind="stable")][:num]]


def answering_neurons(
    network: nn.Module, image: Tensor, distinct: Distinctness
) -> tuple[dict[str, list[AnsweringNeuron]], list[str]]:
    """Return the distinct neurons that respond most strongly to an image, for layers with feature maps.

    If there are more than :data:`MOST_LAYERS` layers, evenly spaced ones are taken.

    Args:
        network: Any network for images.
        image: Shape ``(1, C, H, W)``, on the network's device.
        distinct: Measured distinctness. In a layer without it, or with another number of neurons, all
            neurons are candidates.

    Returns:
        The neurons by layer, in forward order, and the layers whose distinctness is not known.
    """
    places = hidden_layers(network, image).layers
    maps: dict[str, NDArray[np.float32]] = {}

    def keep(place: str, output: Tensor) -> None:
        if output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            maps[place] = output[0].float().cpu().numpy().copy()

    with eval_state(network), record(network, places.values(), keep):
        network(image)
    found: dict[str, list[AnsweringNeuron]] = {}
    without = []
    with_maps = [(layer, place) for layer, place in places.items() if place in maps]
    shown = np.linspace(0, len(with_maps) - 1, min(MOST_LAYERS, len(with_maps))).round().astype(int)
    for layer, place in (with_maps[number] for number in shown.tolist()):
        values, apart = maps[place], distinct.get(layer)
        if apart is None or len(apart) != len(values):
            apart = None
            without.append(layer)
        strengths = values.mean(axis=(1, 2))
        degrees = np.full(len(values), np.nan) if apart is None else apart
        found[layer] = [
            AnsweringNeuron(layer, index, float(degrees[index]), float(strengths[index]), values[index])
            for index in choose_neurons(strengths, apart)
        ]
    return {layer: neurons for layer, neurons in found.items() if neurons}, without
