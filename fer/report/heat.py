"""Angles between neurons over the epochs, compressed for the page."""

import base64
import math
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer.errors import InputError
from fer.figures.angles import cluster_order
from fer.runs import WAY_OUT, Run

BUDGET: Final = 3_000_000
"""Largest size of all angles in bytes, before compression.

Base64 adds a third at most, so that a page with its images stays below :data:`fer.report.page.BUDGET`."""

STEP: Final = 0.75
"""Resolution in degrees: angles are rounded down to multiples of it, which include 15 and 165."""

NO_ANGLE: Final = 255
"""Code for no angle; the other codes are 0 to 240."""

MOST_NEURONS: Final = (256, 192, 128, 96, 64, 48, 32)
"""Limits on the neurons shown per layer; the largest that leaves room for :data:`LEAST_EPOCHS` is used."""

LEAST_EPOCHS: Final = 24
"""Epochs to show before neurons are left out: enough for a slider to show how the angles change."""


def heat_maps(run_dir: Path, budget: int = BUDGET) -> dict[str, Any] | None:
    """Return the angles between every two neurons over the epochs, for the page.

    All epochs have the neurons in the same order, that of the last epoch's clusters. A large layer is thinned
    to every second, third, … neuron. If there are too many epochs, evenly spaced ones are taken, with the
    first and the last.

    Args:
        run_dir: The run's folder.
        budget: Bytes before compression.

    Returns:
        ``step``; ``epochs``; the number of ``measured`` epochs; and ``layers``, each with its ``name``, its
        number of ``neurons``, the number of those ``without`` an angle, the indices of those ``shown``, and
        ``data``. The data has one byte per epoch and pair above the diagonal, row by row, as the difference
        from the epoch before (modulo 256), compressed by zlib, in base64. None if no angles were measured.

    Raises:
        InputError: A file of angles is damaged, or its layers differ from those of the last epoch.
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
            if degrees.get(layer, last[layer][:0]).shape != last[layer].shape:
                msg = f"{run.angles_path(epoch)} is damaged: {layer} is not as in the last epoch; {WAY_OUT}"
                raise InputError(msg)
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
        degrees: Angles of C neurons, shape ``(C, C)``, NaN for no angle.
        neurons: Indices of N of them, in order.

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
    """Return the largest number of neurons per layer, and of epochs, that fit into the budget.

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
    """Return the neurons of a layer that are shown, similar ones side by side."""
    some = there[:: max(1, math.ceil(len(there) / most))]
    return some[cluster_order(degrees[np.ix_(some, some)])] if len(some) else some


def _pack(frames: NDArray[np.uint8]) -> str:
    """Return the differences between frames of shape ``(epochs, pairs)``, compressed, in base64."""
    steps = np.diff(frames, axis=0, prepend=np.zeros_like(frames[:1]))  # bytes wrap around
    return base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode()
