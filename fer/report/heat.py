"""The angles of all epochs, small enough to travel in a page."""

import base64
import math
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer.figures.angles import cluster_order
from fer.runs import Run

BUDGET: Final = 3_000_000
"""Bytes that the angles of all layers and epochs may take, before they are compressed.

In base64 they are four thirds of it at most, so that a page with its images stays below
:data:`fer.report.page.BUDGET`."""

STEP: Final = 0.75
"""Degrees that an angle is rounded down to a multiple of: 15 and 165, the usual lines, are among them."""

NO_ANGLE: Final = 255
"""Stands where a neuron has no angle. The others are 0 to 240."""

MOST_NEURONS: Final = (256, 192, 128, 96, 64, 48, 32)
"""Neurons of a layer that are shown: as many as leave room for :data:`LEAST_EPOCHS`."""

LEAST_EPOCHS: Final = 24
"""Epochs to be shown before neurons are left out: enough for a slider to show how the angles move."""


def heat_maps(run_dir: Path, budget: int = BUDGET) -> dict[str, Any] | None:
    """Return the angles between every two neurons over the epochs, as the page's script reads them.

    Neurons are in one order for all epochs, that of the last one's clusters. Of a large layer every second,
    third and so on is shown, and of many epochs as many as there is room for, the first and the last among
    them.

    Args:
        run_dir: The run's folder.
        budget: Bytes before compression.

    Returns:
        ``step``, ``epochs``, how many were ``measured``, and ``layers``: each with its ``name``, how many
        ``neurons`` it has, the indices of those ``shown``, and ``data``: for each epoch a byte for each pair
        above the diagonal, row by row, less that of the epoch before (modulo 256), compressed by zlib, in
        base64. None if no angles were measured.
    """
    run = Run(run_dir)
    measured = run.measured_epochs()
    if not measured:
        return None
    last = run.read_angles(measured[-1])
    with_angle = {layer: np.flatnonzero(~np.isnan(matrix.diagonal())) for layer, matrix in last.items()}
    most, num_epochs = _fit([len(there) for there in with_angle.values()], len(measured), budget)
    shown = {layer: _choose(last[layer], there, most) for layer, there in with_angle.items()}
    places = np.linspace(0, len(measured) - 1, num_epochs).round().astype(int)
    epochs = [measured[place] for place in places]
    frames: dict[str, list[NDArray[np.uint8]]] = {layer: [] for layer in shown}
    for epoch in epochs:
        degrees = run.read_angles(epoch)
        for layer, neurons in shown.items():
            frames[layer].append(quantise(degrees[layer], neurons))
    return {
        "step": STEP,
        "epochs": epochs,
        "measured": len(measured),
        "layers": [
            {
                "name": layer,
                "neurons": len(last[layer]),
                "without": len(last[layer]) - len(with_angle[layer]),
                "shown": neurons.tolist(),
                "data": _pack(np.array(frames[layer])),
            }
            for layer, neurons in shown.items()
            if len(neurons) >= 2
        ],
    }


def quantise(degrees: NDArray[np.floating], neurons: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Return the angles between neurons as bytes, in multiples of :data:`STEP`.

    Args:
        degrees: Angles of C neurons, shape ``(C, C)``, NaN where there is none.
        neurons: Their order; may be fewer than C, say N.

    Returns:
        The pairs above the diagonal, row by row, shape ``(N (N - 1) / 2,)``.

    >>> quantise(np.array([[0, 14.9, 15], [14.9, 0, np.nan], [15, np.nan, 0]]), np.arange(3))
    array([ 19,  20, 255], dtype=uint8)
    """
    rows, columns = np.triu_indices(len(neurons), 1)
    pairs = degrees[neurons[rows], neurons[columns]]
    steps = np.floor(np.nan_to_num(pairs) / STEP)
    return np.where(np.isnan(pairs), NO_ANGLE, steps).astype(np.uint8)


def _fit(sizes: list[int], num_epochs: int, budget: int) -> tuple[int, int]:
    """Return how many neurons of a layer and how many epochs can be shown.

    >>> _fit([16, 32, 64, 128, 256], 30, BUDGET)
    (256, 30)
    >>> _fit([64] * 7 + [128] * 9 + [256] * 13 + [512] * 7, 100, BUDGET)
    (64, 41)
    """
    for most in MOST_NEURONS:
        pairs = sum(math.comb(min(size, most), 2) for size in sizes)
        if pairs * min(num_epochs, LEAST_EPOCHS) <= budget:
            break
    return most, max(1, min(num_epochs, budget // max(pairs, 1)))


def _choose(degrees: NDArray[np.floating], there: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Return the neurons of a layer that are shown, alike ones side by side."""
    some = there[:: max(1, math.ceil(len(there) / most))]
    return some[cluster_order(degrees[np.ix_(some, some)])] if len(some) else some


def _pack(frames: NDArray[np.uint8]) -> str:
    """Return the frames, shape ``(epochs, pairs)``, each less the one before, compressed, as text."""
    steps = np.diff(frames, axis=0, prepend=np.zeros_like(frames[:1]))  # bytes wrap around
    return base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode()
