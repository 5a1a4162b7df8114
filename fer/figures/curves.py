"""How a training went: loss, accuracy and learning rate over the epochs."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter
from numpy.typing import NDArray

from fer.figures.style import (
    BLUE,
    GREY,
    INK,
    LARGE,
    NORMAL,
    SMALL,
    VERMILLION,
    array,
    new_figure,
    scale_epochs,
    tidy,
)

LOSS = ("train/loss", "val/loss")
ACCURACY = ("train/acc", "val/acc")

LINES: dict[str, dict[str, Any]] = {
    "train": {"color": BLUE, "linestyle": (0, (4, 1.5)), "linewidth": 1.3},
    "val": {"color": VERMILLION, "linestyle": "solid", "linewidth": 1.6},
}
"""Training dashed, validation solid, so that they differ in a black-and-white print too."""


class Curve(NamedTuple):
    """The finite values of a column, and the epochs they belong to."""

    epochs: NDArray[np.float64]
    values: NDArray[np.float64]


def curves_figure(history: Mapping[str, Sequence[float]], title: str = "") -> Figure:
    """Draw loss above, accuracy below with its best epoch marked, and a thin panel of the learning rate.

    Args:
        history: Columns over the epochs, as in Lightning's ``metrics.csv``: any of ``train/loss``,
            ``val/loss``, ``train/acc``, ``val/acc`` and ``lr`` (or ``lr-…``), and ``epoch``, without
            which rows are epochs 0, 1 and so on. Accuracies are 0 to 1. NaN is skipped; other columns
            are ignored.
        title: Above the figure.

    Returns:
        The figure, with a panel for each of the three that has any value.

    Raises:
        ValueError: None of the columns has a value.
    """
    curves = read_curves(history)
    rates = [key for key in curves if key == "lr" or key.startswith("lr-")]
    panels = [
        (name, keys, ratio)
        for name, keys, ratio in (
            ("loss", [key for key in LOSS if key in curves], 3.0),
            ("accuracy", [key for key in ACCURACY if key in curves], 3.0),
            ("learning\nrate", rates, 1.1),
        )
        if keys
    ]
    if not panels:
        msg = f"no value in any of {', '.join((*LOSS, *ACCURACY, 'lr'))}: the columns are {list(history)}"
        raise ValueError(msg)

    figure = new_figure(5.6, 0.7 + 0.62 * sum(ratio for _, _, ratio in panels))
    grid = figure.subplots(
        len(panels), 1, sharex=True, squeeze=False, height_ratios=[ratio for _, _, ratio in panels]
    )
    rows: list[Axes] = list(grid[:, 0])
    for axes, (name, keys, _) in zip(rows, panels, strict=True):
        axes.set_ylabel(name)
        tidy(axes)
        if keys is rates:
            _draw_rates(axes, {key: curves[key] for key in keys})
            continue
        for key in keys:
            _draw_line(axes, curves[key], key.split("/")[0])
        axes.legend(fontsize=SMALL, frameon=False, loc="best", handlelength=2.6)
        if name == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=None, symbol=" %"))

    if "val/acc" in curves:
        _mark_best(rows, [name for name, _, _ in panels].index("accuracy"), curves["val/acc"])
    rows[-1].set_xlabel("epoch", fontsize=NORMAL)
    scale_epochs(rows[-1], np.concatenate([curve.epochs for curve in curves.values()]))
    figure.align_ylabels(rows)
    if title:
        figure.suptitle(title, fontsize=LARGE, fontweight="bold", color=INK)
    return figure


def read_curves(history: Mapping[str, Sequence[float]]) -> dict[str, Curve]:
    """Return the columns that have a finite value, without ``epoch``."""
    curves = {}
    for key, column in history.items():
        if key not in (*LOSS, *ACCURACY) and key != "lr" and not key.startswith("lr-"):
            continue
        values = array(column).astype(np.float64)
        epochs = array(history.get("epoch", range(len(values)))).astype(np.float64)
        if epochs.shape != values.shape:
            msg = f"{key} has {len(values)} rows and epoch has {len(epochs)}"
            raise ValueError(msg)
        is_finite = np.isfinite(values)
        if is_finite.any():
            curves[key] = Curve(epochs[is_finite], values[is_finite])
    return curves


def _draw_line(axes: Axes, curve: Curve, split: str) -> None:
    """Draw a curve; a single epoch, which has no line, as a point."""
    marker = "o" if len(curve.values) == 1 else None
    axes.plot(curve.epochs, curve.values, label=split, marker=marker, markersize=4, **LINES[split])


def _draw_rates(axes: Axes, curves: Mapping[str, Curve]) -> None:
    """Draw learning rates as steps, on a logarithmic axis where they span more than a factor of ten."""
    for curve in curves.values():
        marker = "o" if len(curve.values) == 1 else None
        axes.step(
            curve.epochs, curve.values, where="mid", color=GREY, linewidth=1.2, marker=marker, markersize=3
        )
    values = np.concatenate([curve.values for curve in curves.values()])
    if values.min() > 0 and values.max() > 10 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
        return
    axes.set_ylim(0, 1.15 * values.max() if values.max() > 0 else 1)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    axes.yaxis.get_offset_text().set_fontsize(SMALL)


def _mark_best(rows: Sequence[Axes], accuracy_row: int, curve: Curve) -> None:
    """Mark the first epoch with the highest validation accuracy, by a line through every panel."""
    best = int(curve.values.argmax())
    epoch, value = float(curve.epochs[best]), float(curve.values[best])
    for axes in rows:
        axes.axvline(epoch, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
    axes = rows[accuracy_row]
    axes.plot(epoch, value, marker="*", markersize=10, color=VERMILLION, markeredgecolor="white", zorder=5)
    is_late = epoch > (curve.epochs[0] + curve.epochs[-1]) / 2
    axes.annotate(
        f"best {100 * value:.2f} % at epoch {epoch:g}",
        (epoch, 0.05),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-5 if is_late else 5, 0),
        textcoords="offset points",
        ha="right" if is_late else "left",
        fontsize=SMALL,
        color=INK,
    )
