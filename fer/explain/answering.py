"""Which of the most distinct neurons of each layer answer to an image, and with which maps."""

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
"""Share of a layer's neurons, the most distinct ones, among which those that answer are looked for."""

NUM_SHOWN: Final = 6
"""Neurons of a layer that are shown."""

MOST_LAYERS: Final = 6
"""Layers that are shown: of a deeper network so many, evenly spread, with the first and the last."""

Distinctness = Mapping[str, NDArray[np.floating]]
"""By layer how far each of its C neurons is from its nearest relative, shape ``(C,)``; see
:func:`fer.neurons.distinctness`."""


@dataclass(frozen=True, eq=False)
class AnsweringNeuron:
    """A neuron that answers to an image.

    Attributes:
        layer: Its layer.
        index: Its number in the layer.
        degrees: How far it is from its nearest relative, in degrees; NaN: not known.
        strength: Mean of its activation over the positions.
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
    """Return the neurons that answer most strongly among the most distinct ones, the strongest first.

    Neurons that do not answer (activation 0) or have no angle are left out.

    Args:
        strengths: Mean activation of each of C neurons, shape ``(C,)``.
        apart: Their :func:`fer.neurons.distinctness`, shape ``(C,)``; None: all neurons count as distinct.
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
    """Return for layers with feature maps the distinct neurons that answer most strongly to an image.

    Of more than :data:`MOST_LAYERS` layers so many are taken, evenly spread.

    Args:
        network: Any network for images.
        image: Shape ``(1, C, H, W)``, on the network's device.
        distinct: What was measured; a layer without it, or with that of another number of neurons, counts
            all its neurons as distinct.

    Returns:
        The neurons by layer, in forward order, and the layers of which it is not known who is distinct.
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
