"""Draw an explanation: faces with maps over them and feature maps, each alone or all on one sheet."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fer.explain.answering import AnsweringNeuron
from fer.explain.photo import ExplainedFace, Explanation
from fer.figures.style import BLUE, GREY, INK, LARGE, NORMAL, SMALL, VERMILLION, inch_canvas, show_image

CELL = 1.5
"""Side of a face on the sheet, in inches."""

MAP = 0.62
"""Side of a feature map on the sheet, in inches."""


def tint(crop: NDArray[np.uint8], values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return a face in grey with a map over it: vermillion above 0, blue below, more opaque farther from 0.

    Args:
        crop: RGB, uint8, shape ``(S, S, 3)``.
        values: Shape ``(S, S)``; scaled by the largest absolute value.
    """
    most = float(np.abs(values).max()) or 1.0
    opacity = 0.75 * np.abs(values)[..., np.newaxis] / most
    colours = np.where((values > 0)[..., np.newaxis], to_rgb(VERMILLION), to_rgb(BLUE))
    grey = np.repeat(crop.mean(axis=2, keepdims=True) / 255, 3, axis=2)
    return np.asarray(np.round(255 * (grey * (1 - opacity) + colours * opacity)), np.uint8)


def map_image(neuron: AnsweringNeuron) -> NDArray[np.uint8]:
    """Return a feature map from black, its smallest value, to white, its largest."""
    low, high = float(neuron.values.min()), float(neuron.values.max())
    return np.asarray(np.round(255 * (neuron.values - low) / ((high - low) or 1.0)), np.uint8)


def answer_of(explained: ExplainedFace) -> str:
    """Return a face's class with its probability."""
    face = explained.face
    return f"{face.label} {100 * face.probabilities[face.label]:.0f} %"


def describe(neuron: AnsweringNeuron) -> str:
    """Return a neuron's index and its distinctness in degrees, if known."""
    return f"{neuron.index}" if np.isnan(neuron.degrees) else f"{neuron.index}, {neuron.degrees:.0f}°"


def sheet(explanation: Explanation, title: str) -> Figure:
    """Draw all faces with their maps, one block per face.

    Args:
        explanation: The explanation of at least one face.
        title: Title above the blocks.
    """
    heights = [CELL + 0.6 + (MAP + 0.3) * len(each.neurons) for each in explanation.faces]
    figure, axes = inch_canvas(6.4, 0.75 + sum(heights))
    axes.text(0.15, 0.12, title, fontsize=LARGE, fontweight="bold", color=INK, va="top")
    top = 0.5
    for each, height in zip(explanation.faces, heights, strict=True):
        drop = float(each.occlusion.max())
        pictures = {
            "network input": each.crop,
            f"Grad-CAM for {each.face.label}": tint(each.crop, each.relevance),
            f"occlusion: up to {100 * drop:.0f} points less": tint(each.crop, each.occlusion),
        }
        for place, (name, picture) in enumerate(pictures.items()):
            left = 0.15 + place * (CELL + 0.15)
            axes.text(left, top, name, fontsize=SMALL, color=INK, va="top")
            show_image(axes, picture, left, top + 0.16, CELL)
        _draw_probabilities(figure, each, top + 0.16)
        y = top + 0.16 + CELL + 0.12
        for layer, neurons in each.neurons.items():
            axes.text(0.15, y + 0.05, layer, fontsize=SMALL, fontweight="bold", color=INK, va="top")
            for place, neuron in enumerate(neurons):
                left = 1.1 + place * (MAP + 0.2)
                show_image(axes, map_image(neuron), left, y, MAP)
                axes.text(left, y + MAP + 0.03, describe(neuron), fontsize=SMALL, color=GREY, va="top")
            y += MAP + 0.3
        top += height
    note = "vermillion: evidence for the class, blue: against it; neurons: index, degrees to the nearest one"
    axes.text(0.15, top, note, fontsize=SMALL, color=GREY, va="top")
    return figure


def _draw_probabilities(figure: Figure, explained: ExplainedFace, top: float) -> None:
    """Draw the probabilities of a face as bars, at the right of its maps."""
    width, height = figure.get_size_inches()
    place = (5.72 / width, 1 - (top + CELL) / height, 0.5 / width, CELL / height)
    axes = figure.add_axes(place)
    names = list(explained.face.probabilities)
    values = list(explained.face.probabilities.values())
    colours = [VERMILLION if name == explained.face.label else GREY for name in names]
    axes.barh(range(len(names)), values, color=colours)
    axes.set(yticks=range(len(names)), xlim=(0, 1), ylim=(len(names) - 0.5, -0.5), xticks=[])
    axes.set_yticklabels(names, fontsize=SMALL if len(names) < 12 else SMALL / 2, color=INK)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_title(answer_of(explained), fontsize=NORMAL, color=INK, loc="right")
