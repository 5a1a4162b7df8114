"""How a training went: losses, metrics and learning rate over the epochs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from fer.figures.style import (
    BLUE,
    GREY,
    INK,
    NORMAL,
    SMALL,
    VERMILLION,
    array,
    mark_chance,
    new_figure,
    percent,
    scale_epochs,
    tidy,
    write_title,
)
from fer.metrics.keys import COUNTERS, LoggedKey, is_learning_rate, is_of_neurons, parse_key

LOSS = ("train/loss", "val/loss")
ACCURACY = ("train/acc", "val/acc")

ACCURACY_NAME: Final = "accuracy"
RATE: Final = "learning\nrate"
MOST_PANELS: Final = 8
"""Most quantities that are drawn unless they are named; more would not fit a page."""

MOST_NAMED: Final = 4
"""Epochs with the same best accuracy that are named."""

LINES: dict[str, dict[str, Any]] = {
    "train": {"color": BLUE, "linestyle": (0, (4, 1.5)), "linewidth": 1.3},
    "val": {"color": VERMILLION, "linestyle": "solid", "linewidth": 1.6},
}
"""Training dashed, validation solid, so that they differ in a black-and-white print too."""


class Curve(NamedTuple):
    """The finite values of a column, one an epoch, and the epochs they belong to."""

    epochs: NDArray[np.float64]
    values: NDArray[np.float64]


class Panel(NamedTuple):
    """One quantity: its name, its curve for each split or loader, and the share of the figure's height."""

    name: str
    curves: dict[str, Curve]
    height: float


def curves_figure(
    history: Mapping[str, Sequence[float]],
    title: str = "Training curves",
    quantities: Sequence[str] | None = None,
    *,
    chance: float | None = None,
) -> Figure:
    """Draw losses, metrics and learning rate over the epochs, train and val of one quantity in one panel.

    Losses come first, then the accuracy, with its best epochs on val marked, then what was logged for both
    splits, then the rest; a thin panel of the learning rate is last.

    Args:
        history: Columns over the epochs, as in Lightning's ``metrics.csv``: ``train/loss``, ``val_loss``,
            ``train_acc``, ``lr`` (or ``lr-…``) and so on, see :func:`fer.metrics.keys.parse_key`; and
            ``epoch``, without which rows are epochs 0, 1 and so on. NaN is skipped; of several rows of an
            epoch the mean is drawn; what is logged of neurons, of the samples that they are measured on, or
            of a test is left out.
        title: Above the figure.
        quantities: The quantities to draw, such as ``loss`` and ``acc``, in this order; None: all, at most 8.
        chance: Chance accuracy, 0 to 1, drawn as a dashed line; None: no line.

    Raises:
        ValueError: None of the columns has a value.
    """
    panels = curve_panels(history, quantities)
    if not panels:
        msg = f"no loss, metric or learning rate has a value: the columns are {list(history)}"
        raise ValueError(msg)

    figure = new_figure(5.6, 0.7 + 0.62 * sum(panel.height for panel in panels))
    grid = figure.subplots(
        len(panels), 1, sharex=True, squeeze=False, height_ratios=[panel.height for panel in panels]
    )
    rows: list[Axes] = list(grid[:, 0])
    for axes, panel in zip(rows, panels, strict=True):
        axes.set_ylabel(panel.name)
        tidy(axes)
        if panel.name == RATE:
            _draw_rates(axes, panel.curves)
            continue
        for label, curve in panel.curves.items():
            _draw_line(axes, label, curve)
        if _is_share(panel):
            axes.yaxis.set_major_formatter(percent())

    for row, panel in enumerate(panels):
        if chance is not None and panel.name == ACCURACY_NAME and _is_share(panel):
            is_late = "val" in panel.curves and _is_late(panel.curves["val"])
            mark_chance(rows[row], chance, side="left" if is_late else "right")
        if panel.name == ACCURACY_NAME and "val" in panel.curves:
            _mark_best(rows, row, panel)
        if panel.name != RATE:
            rows[row].legend(fontsize=SMALL, frameon=False, loc="best", handlelength=2.6)
    rows[-1].set_xlabel("epoch", fontsize=NORMAL)
    scale_epochs(
        rows[-1], np.concatenate([curve.epochs for panel in panels for curve in panel.curves.values()])
    )
    figure.align_ylabels(rows)
    write_title(figure, title)
    return figure


def read_curves(
    history: Mapping[str, Sequence[float]], keys: Iterable[str] | None = None
) -> dict[str, Curve]:
    """Return the columns that have a finite value, over the epochs as people count them, from 1.

    Args:
        history: Columns over the epochs, and ``epoch``, from 0. A row without an epoch belongs to that of the
            next row that has one, rows of measurements of neurons aside, which lie within an epoch; of
            several rows of an epoch the mean is taken.
        keys: Names of columns; None: loss and accuracy as fer's own tasks log them, and learning rates.

    Raises:
        ValueError: A column is longer or shorter than ``epoch``.
    """
    chosen = {*LOSS, *ACCURACY, *filter(is_learning_rate, history)} if keys is None else {*keys}
    known = _epochs_of_rows(history) if "epoch" in history else None
    curves = {}
    for key, column in history.items():
        if key not in chosen:
            continue
        values = array(column).astype(np.float64)
        epochs = np.arange(len(values), dtype=np.float64) if known is None else known
        if epochs.shape != values.shape:
            msg = f"{key} has {len(values)} rows and epoch has {len(epochs)}"
            raise ValueError(msg)
        is_finite = np.isfinite(values)
        if is_finite.any():
            curves[key] = _by_epoch(epochs[is_finite] + 1, values[is_finite])
    return curves


def finite(epochs: Sequence[float] | NDArray[Any], values: Sequence[float]) -> Curve:
    """Return the finite values and their epochs."""
    xs, ys = array(epochs).astype(np.float64), array(values).astype(np.float64)
    return Curve(xs[np.isfinite(ys)], ys[np.isfinite(ys)])


def curve_panels(
    history: Mapping[str, Sequence[float]], quantities: Sequence[str] | None = None
) -> list[Panel]:
    """Return the panels of a history, in the order in which they are drawn; see :func:`curves_figure`."""
    keys = {key: parsed for key in history if (parsed := parse_key(key)) is not None}
    curves = read_curves(history, [*keys, *filter(is_learning_rate, history)])
    found: dict[str, dict[str, LoggedKey]] = {}
    for key, parsed in keys.items():
        if key in curves:
            found.setdefault(parsed.quantity, {})[key] = parsed
    if quantities is None:
        chosen = sorted(found, key=lambda name: _rank(name, found[name].values()))[:MOST_PANELS]
    else:
        named = [parsed.quantity for name in quantities if (parsed := parse_key(name)) is not None]
        chosen = [name for name in dict.fromkeys(named) if name in found]
    panels = []
    for name in chosen:
        labels = {key: _label(key, parsed, found[name].values()) for key, parsed in found[name].items()}
        lines = {labels[key]: curves[key] for key in sorted(labels, key=lambda key: found[name][key].split)}
        panels.append(Panel(ACCURACY_NAME if name == "acc" else name, lines, 3.0))
    rates = {key: curve for key, curve in curves.items() if is_learning_rate(key)}
    return [*panels, Panel(RATE, rates, 1.1)] if rates else panels


def _rank(name: str, keys: Iterable[LoggedKey]) -> tuple[bool, bool, bool, bool]:
    """Return what quantities are sorted by: losses, accuracy, what both splits have, the rest."""
    of_both = {"train", "val"} <= {key.split or "train" for key in keys}
    return name != "loss", "loss" not in name, name != "acc", not of_both


def _label(key: str, parsed: LoggedKey, of_quantity: Iterable[LoggedKey]) -> str:
    """Return what a curve is called: its split, with the number of its loader if there are several.

    A key that names no split is of train where val has the same quantity; else it is its own label.
    """
    is_known = parsed.split or any(other.split for other in of_quantity)
    split = (parsed.split or "train") if is_known else key
    return f"{split} {parsed.loader}" if parsed.loader else split


def measured_times(history: Mapping[str, Sequence[float]]) -> NDArray[np.float64]:
    """Return the time of what each row says of neurons, in epochs trained; NaN in a row without an epoch.

    A row of measurements alone has their time. One in which an epoch's losses are, too, as in runs of older
    versions, has the number of the epoch, from 0, at whose end they were made.

    Args:
        history: Columns as in ``metrics.csv``, with ``epoch``.
    """
    return array(history["epoch"]).astype(np.float64) + ~_are_of_neurons(history)


def num_labelled(history: Mapping[str, Sequence[float]]) -> int:
    """Return the number of measurements at which the stage of the network was labelled.

    Args:
        history: Columns as in ``metrics.csv``.

    >>> num_labelled({"epoch": [0.5, 0.0, 1.0], "stage/network": [0.0, float("nan"), 1.0]})
    2
    """
    return sum(map(math.isfinite, history.get("stage/network", ())))


def _epochs_of_rows(history: Mapping[str, Sequence[float]]) -> NDArray[np.float64]:
    """Return the rows' epochs, each NaN replaced by the next epoch, at the end by the last one.

    A row of measurements of neurons alone says nothing of the rows before it: it lies within an epoch.
    """
    epochs = array(history["epoch"]).astype(np.float64)
    known = np.flatnonzero(np.isfinite(epochs) & ~_are_of_neurons(history))
    if not known.size:
        return np.nan_to_num(epochs)
    following = np.searchsorted(known, np.arange(len(epochs))).clip(max=len(known) - 1)
    return np.where(np.isfinite(epochs), epochs, epochs[known[following]])


def _are_of_neurons(history: Mapping[str, Sequence[float]]) -> NDArray[np.bool_]:
    """Return which rows hold measurements of neurons and nothing else."""
    num_rows = len(history["epoch"])
    of_neurons, of_others = (np.zeros(num_rows, dtype=bool) for _ in range(2))
    for key, column in history.items():
        if len(column) == num_rows and key not in COUNTERS:
            there = np.isfinite(array(column).astype(np.float64))
            (of_neurons if is_of_neurons(key) else of_others)[there] = True
    return of_neurons & ~of_others


def _by_epoch(epochs: NDArray[np.float64], values: NDArray[np.float64]) -> Curve:
    """Return the mean of the values of each epoch."""
    found = np.unique(epochs)
    return Curve(found, np.array([values[epochs == epoch].mean() for epoch in found]))


def _is_share(panel: Panel) -> bool:
    """Return whether a panel shows accuracies from 0 to 1, not percentages."""
    return panel.name == ACCURACY_NAME and all(curve.values.max() <= 1 for curve in panel.curves.values())


def _draw_line(axes: Axes, label: str, curve: Curve) -> None:
    """Draw a curve; a single epoch, which has no line, as a point."""
    marker = "o" if len(curve.values) == 1 else None
    split, _, loader = label.partition(" ")
    look = LINES.get(split, {"color": INK, "linewidth": 1.3})
    if split in LINES and loader.isdecimal():  # else a key that is its own label
        look = look | {"alpha": 1 / (1 + 0.5 * int(loader))}
    axes.plot(curve.epochs, curve.values, label=label, marker=marker, markersize=4, **look)


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
        decades = np.log10(values.max() / values.min())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3) if decades < 2.5 else (1,), numticks=4))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
        return
    axes.set_ylim(0, 1.15 * values.max() if values.max() > 0 else 1)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    axes.yaxis.get_offset_text().set_fontsize(SMALL)


def _mark_best(rows: Sequence[Axes], accuracy_row: int, panel: Panel) -> None:
    """Mark each epoch with the highest validation accuracy, by a star and a line through every panel."""
    curve = panel.curves["val"]
    value = float(curve.values.max())
    epochs = curve.epochs[curve.values == value]
    for axes in rows:
        for epoch in epochs:
            axes.axvline(epoch, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
    axes = rows[accuracy_row]
    look: dict[str, Any] = {"color": VERMILLION, "markeredgecolor": "white", "markersize": 10, "zorder": 5}
    shown = ", ".join(f"{epoch:g}" for epoch in epochs[:MOST_NAMED]) + ", …" * (len(epochs) > MOST_NAMED)
    best = f"{100 * value if _is_share(panel) else value:.2f} %"
    name = f"best {best} at epoch{'s' * (len(epochs) > 1)} {shown}"
    axes.plot(epochs, [value] * len(epochs), marker="*", linestyle="none", label=name, **look)


def _is_late(curve: Curve) -> bool:
    """Return whether the first epoch with the highest value is in the second half."""
    return bool(curve.epochs[curve.values.argmax()] > (curve.epochs[0] + curve.epochs[-1]) / 2)
