"""Every text of a figure is large enough on a report page, within the figure, and apart from other texts."""

import io
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

from fer.figures import (
    confusion_figure,
    curve_figure,
    curves_figure,
    fan_figure,
    feature_maps_figure,
    gradient_figure,
    gradient_histograms,
    histogram_figure,
    matrix_figure,
    pairs_figure,
    predictions_figure,
    speed_figure,
)
from fer.figures.collapse import collapse_figure
from fer.figures.intervals import intervals_figure
from fer.figures.members import members_figure
from fer.figures.reliability import reliability_figure
from fer.figures.style import PAGE_WIDTH
from fer.labels import EXPRESSIONS
from fer.metrics import report
from fer.metrics.calibration import calibration
from fer.neurons import Stage
from fer.neurons.stages import StageLabel

pytestmark = pytest.mark.drawn

COLUMN = 800
"""Pixels of a report page for a figure, in a window of 1280."""

LAYERS = {"conv1": 16, "conv2": 32, "conv3": 64, "conv4": 128, "conv5": 256}
LONG_LAYERS = {f"layer{number}.2.conv{number}": 16 for number in range(9, 13)}

CLASSES = ("bacterial_leaf_blight", "mosaic", "healthy", "leaf_scorch_of_apricots")


def angles(layers: dict[str, int]) -> dict[str, NDArray[np.float64]]:
    found = {}
    for layer, width in layers.items():
        vectors = np.random.default_rng(width).normal(size=(width, 20))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        found[layer] = np.degrees(np.arccos(np.clip(vectors @ vectors.T, -1, 1)))
    return found


def of_time(width: int) -> dict[str, list[float]]:
    """Columns of a layer over eight epochs, five measurements each."""
    times = [number / 5 for number in range(1, 41)]
    quantiles = dict(
        zip(("min", "q05", "q25", "median", "q75", "q95", "max"), range(10, 175, 25), strict=False)
    )
    columns = {name: [float(degrees)] * 40 for name, degrees in quantiles.items()}
    return {
        "epoch": times,
        "effective": [width / 2] * 40,
        "speed": [90 / (1 + time) for time in times],
        **columns,
    }


LOSSES = {"epoch": of_time(1)["epoch"]} | {
    f"{split}/loss": [2 / (1 + time) for time in of_time(1)["epoch"]] for split in ("train", "val")
}
LABELS = [(StageLabel(Stage.INITIAL, "warm_up"), 3), (StageLabel(Stage.INTERMEDIATE, "moving"), 29)]
LABELS += [(StageLabel(Stage.SOLUTION, "settled"), 8)]
CONFIRMED = {3: ("rank",), 32: ()}


def of_stages(draw: Any, layers: dict[str, int], **more: Any) -> Figure:
    stages = [label for label, num in LABELS for _ in range(num)]
    names = [*layers, "network"]
    columns = {layer: of_time(width) for layer, width in layers.items()}
    confirmed = dict.fromkeys(names, CONFIRMED)
    return draw(columns, LOSSES, dict.fromkeys(names, stages), confirmed=confirmed, **more)


def predictions(names: tuple[str, ...]) -> Figure:
    images = np.zeros((5, 8, 8), np.uint8)
    shares = torch.eye(len(names))[[0, 1, 0, 3, 0]]
    return predictions_figure(images, [0, 3, 1, 3, 3], shares, names, "Sample predictions, test")


def reliability(scale: float) -> Figure:
    labels = torch.arange(700) % 7
    logits = scale * torch.randn(700, 7, generator=torch.Generator().manual_seed(0))
    logits[torch.arange(700), labels] += 2
    return reliability_figure(
        calibration(logits[:, None], labels, 0.5), "Calibration, test (synthetic faces)"
    )


def feature_maps(layers: dict[str, int]) -> Figure:
    maps = {layer: np.random.default_rng(0).random((width, 3, 3)) for layer, width in layers.items()}
    return feature_maps_figure(np.zeros((8, 8), np.uint8), maps, "Feature maps after 8 epochs")


def gradients() -> Figure:
    edges = np.concatenate([-np.logspace(1, -5, 20), [0], np.logspace(-5, 1, 20)])
    counts = np.random.default_rng(0).integers(1, 9, size=(8, len(edges) - 1))
    return gradient_histograms(dict.fromkeys(LONG_LAYERS, (counts, edges)), range(1, 9))


def history() -> dict[str, list[float]]:
    accuracies = [0.1 + number / 10 for number in range(8)]
    return {
        "epoch": [float(number) for number in range(8)],
        "train/loss": [2 - each for each in accuracies],
        "val/loss": [2.1 - each for each in accuracies],
        "train/acc": accuracies,
        "val/acc": [each - 0.05 for each in accuracies],
        "lr": [1e-4, 1e-3, 2e-3, 3e-3, 2e-3, 1e-3, 5e-4, 1e-4],
    }


FIGURES = {
    "confusion": lambda: confusion_figure(torch.full((7, 7), 1234), title="Confusion matrix, test"),
    "curves": lambda: curves_figure(history(), chance=1 / 7),
    "predictions": lambda: predictions(EXPRESSIONS),
    "predictions of long names": lambda: predictions(CLASSES),
    "reliability": lambda: reliability(1.0),
    "feature maps": lambda: feature_maps(LAYERS),
    "feature maps of long names": lambda: feature_maps(LONG_LAYERS),
    "matrix": lambda: matrix_figure(angles(LAYERS)),
    "matrix of long names": lambda: matrix_figure(angles(LONG_LAYERS)),
    "histogram": lambda: histogram_figure(angles(LAYERS)),
    "histogram of long names": lambda: histogram_figure(angles(LONG_LAYERS)),
    "pairs": lambda: pairs_figure(angles(LAYERS)),
    "pairs of long names": lambda: pairs_figure(angles(LONG_LAYERS)),
    "fan": lambda: of_stages(fan_figure, LAYERS, widths=LAYERS),
    "fan of long names": lambda: of_stages(fan_figure, LONG_LAYERS, widths=LONG_LAYERS),
    "speed": lambda: of_stages(speed_figure, LAYERS),
    "collapse": lambda: collapse_figure(
        {"epoch": [1, 2], "nc1": [1.7, 0.2], "nc2_spread": [12, 3], "nc4": [0.6, 0.9]}, 7
    ),
    "gradient norms": lambda: gradient_figure({layer: [0.1, 10] for layer in LAYERS}, [1, 2]),
    "gradient histograms": gradients,
}


@pytest.fixture
def drawn(monkeypatch):
    """Draw a figure and return the texts that are seen on it."""

    def draw(figure: Figure) -> list[Text]:
        texts = []

        def note(self: Text, *args: Any, **kwargs: Any) -> None:
            if self.get_visible() and self.get_text().strip() and self not in texts:
                texts.append(self)
            original(self, *args, **kwargs)

        original = Text.draw
        monkeypatch.setattr(Text, "draw", note)
        figure.savefig(io.BytesIO(), format="png")
        return texts

    return draw


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.slow
def test_texts_are_large_enough_apart_and_within_the_figure(name: str, drawn: Any) -> None:
    figure = FIGURES[name]()

    texts = drawn(figure)

    assert len(texts) > 3
    pixels = min(COLUMN / figure.get_figwidth(), figure.dpi) / 72
    assert {
        each.get_text(): pixels * each.get_fontsize() for each in texts if pixels * each.get_fontsize() < 10
    } == {}
    boxes = [(each.get_text(), each.get_window_extent()) for each in texts]
    edge = figure.bbox.padded(1)
    assert [text for text, box in boxes if box.x0 < edge.x0 or box.x1 > edge.x1] == []
    assert [text for text, box in boxes if box.y0 < edge.y0 or box.y1 > edge.y1] == []
    meet = [
        (one, other) for (one, a), (other, b) in combinations(boxes, 2) if a.padded(-1).overlaps(b.padded(-1))
    ]
    assert meet == []


@pytest.mark.slow
def test_ticks_of_neighbouring_panels_of_a_reliability_diagram_are_apart(drawn: Any) -> None:
    """Between two ticks beside each other is a letter's width at least."""
    texts = drawn(reliability(1.0))

    ticks = sorted(
        (each.get_window_extent() for each in texts if each.get_text().endswith("0 %")), key=lambda b: b.x0
    )
    low = [box for box in ticks if abs(box.y0 - min(each.y0 for each in ticks)) < 2]
    assert len(low) >= 6
    letter = 150 / 72 * 4
    assert all(right.x0 - left.x1 > letter for left, right in pairwise(low))


def test_the_page_width_is_what_the_smallest_type_needs() -> None:
    assert 6 * COLUMN / PAGE_WIDTH / 72 >= 10


@pytest.mark.parametrize("name", ["confusion", "members", "intervals", "pruning curve"])
def test_figures_fit_the_page(name: str) -> None:
    curve = {key: [0.0, 0.5] for key in ("threshold", "acc", "acc_low", "acc_high", "neurons", "macs")}
    figures = {
        "confusion": FIGURES["confusion"],
        "members": lambda: members_figure({0: report(torch.full((7, 7), 9), EXPRESSIONS)}, [history()]),
        "intervals": lambda: intervals_figure({"conv6": (0.6, 0.5, 0.7)}),
        "pruning curve": lambda: curve_figure({"span": curve}),
    }
    assert figures[name]().get_figwidth() <= PAGE_WIDTH
