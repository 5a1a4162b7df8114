"""Figures of the last measured angles, of neural collapse, and of the feature maps of an image."""

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor, nn

from fer.callbacks.media import save_figure
from fer.callbacks.samples import aside
from fer.figures import (
    collapse_figure,
    feature_maps_figure,
    histogram_figure,
    matrix_figure,
    pairs_figure,
)
from fer.neurons import record
from fer.neurons.inputs import Inputs, call

NUM_DRAWN: Final = 12
"""Most layers in a figure, chosen evenly; more would be too small to read."""

FORMATS: Final = ("png", "svg")
"""File formats of the neuron figures: SVG as well, for papers."""

T = TypeVar("T")


def draw_feature_maps(
    trainer: Trainer,
    pl_module: LightningModule,
    network: nn.Module,
    example: Inputs,
    places: Mapping[str, str],
    *,
    epochs: int,
    name: str | None,
) -> None:
    """Draw each layer's feature maps of the first sample, if that is an image.

    Args:
        trainer: The trainer.
        pl_module: The LightningModule.
        network: The network in it.
        example: Samples that it takes.
        places: By layer the name under which its activations are recorded.
        epochs: Epochs trained.
        name: The network's name, if the user gave one.
    """
    image = _image_of(example.tensors[0])
    if image is None:
        return
    maps: dict[str, NDArray[np.float32]] = {}
    layers = {place: layer for layer, place in places.items()}

    def receive(place: str, output: Tensor) -> None:
        if output.ndim == 4:
            maps[layers[place]] = output[0].float().cpu().numpy()

    as_measured = trainer.precision_plugin.forward_context()
    with aside(trainer, pl_module), as_measured, record(network, layers, receive):
        call(network, example)
    if maps:
        drawn = {layer: maps[layer] for layer in evenly([each for each in places if each in maps])}
        save_figure(
            *(
                trainer,
                "feature-maps",
                lambda: feature_maps_figure(image, drawn, f"Feature maps {_after(epochs)}"),
            ),
            formats=FORMATS,
            network=name,
        )


def draw_angles(
    trainer: Trainer,
    degrees: Mapping[str, Tensor],
    *,
    epochs: int,
    similar_below: float,
    complementary_above: float,
    name: str | None,
) -> None:
    """Draw the angles of each layer, given in degrees: as a matrix, a histogram, and examples of pairs.

    Args:
        trainer: The trainer.
        degrees: By layer the angles between its C neurons, shape ``(C, C)``.
        epochs: Epochs trained.
        similar_below: Angle below which two neurons are similar, degrees.
        complementary_above: Angle above which two neurons are complementary, degrees.
        name: The network's name, if the user gave one.
    """
    arrays = {layer: degrees[layer].numpy() for layer in evenly(list(degrees))}
    thresholds = {"similar_below": similar_below, "complementary_above": complementary_above}
    figures = {
        "angle-matrix": lambda: matrix_figure(arrays, f"Angle between every two neurons {_after(epochs)}"),
        "angle-histogram": lambda: histogram_figure(
            arrays, f"Distribution of the angles {_after(epochs)}", **thresholds
        ),
        "angle-pairs": lambda: pairs_figure(arrays, f"Pairs of neurons nearest 0° and 180° {_after(epochs)}"),
    }
    for figure, draw in figures.items():
        save_figure(trainer, figure, draw, formats=FORMATS, network=name)


def draw_collapse(
    trainer: Trainer, columns: Mapping[str, Sequence[float]], num_classes: int, *, name: str | None
) -> None:
    """Draw the neural collapse of the last hidden layer, if the samples have two classes or more."""
    if num_classes > 1 and columns:
        save_figure(
            *(trainer, "collapse", lambda: collapse_figure(columns, num_classes)),
            formats=FORMATS,
            network=name,
        )


def _after(epochs: int) -> str:
    """Return when the angles were measured, for a title.

    >>> _after(1), _after(30)
    ('after 1 epoch', 'after 30 epochs')
    """
    return f"after {epochs} epoch{'s' * (epochs != 1)}"


def evenly(layers: Sequence[T], most: int = NUM_DRAWN) -> list[T]:
    """Return at most ``most`` layers, evenly chosen, including the first and the last.

    >>> evenly(["a", "b", "c", "d", "e"], most=3)
    ['a', 'c', 'e']
    """
    num = min(most, len(layers))
    return [layers[round(index * (len(layers) - 1) / max(num - 1, 1))] for index in range(num)]


def _image_of(inputs: Tensor) -> NDArray[np.uint8] | None:
    """Return the first of a batch of images, (H, W, C) from 0 to 255; None if they are no images."""
    if inputs.ndim != 4 or inputs.shape[1] not in (1, 3):
        return None
    image = inputs[0].double().movedim(0, 2)
    low, high = image.min(), image.max()
    scaled = 255 * (image - low) / (high - low).clamp(min=torch.finfo(image.dtype).tiny)
    return scaled.round().nan_to_num().byte().numpy()
