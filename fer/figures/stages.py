"""How the neurons' angles move over the epochs, in which stages of training."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch, Rectangle
from matplotlib.textpath import TextPath

from fer.figures.angles import DEGREE, DEGREES, check_layers, say
from fer.figures.curves import LINES, LOSS, Curve, read_curves
from fer.figures.gradients import DASHES
from fer.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LARGE,
    NORMAL,
    PURPLE,
    SMALL,
    TINY,
    VERMILLION,
    array,
    new_figure,
    scale_epochs,
    tidy,
)
from fer.neurons import Stage
from fer.neurons.angles import COMPLEMENTARY_ABOVE, SIMILAR_BELOW
from fer.neurons.stages import StageLabel

NETWORK: Final = "network"
"""Among the layers' stages, those of the network as a whole."""

STAGE_LOOKS: Final = {
    Stage.INITIAL: (PURPLE, "....."),
    Stage.INTERMEDIATE: ("#F0E442", ""),
    Stage.PLATEAU: (VERMILLION, "xxxxx"),
    Stage.SOLUTION: (GREEN, "/////"),
}
"""Colour and hatch of each stage; the yellow is Okabe and Ito's, too."""

DARK: Final = "#00304D"
"""Of the median and the extremes of a fan."""

RIBBON: Final = 0.14
"""Height of the strip above a panel that names the stages, in inches."""

GAP: Final = 0.1
"""Between a panel and the next one's ribbon, in inches."""

WIDTH: Final = 6.6
"""Of a figure, in inches."""

MOST_LINES: Final = 12
"""Layers whose lines can still be told apart."""


class _Band(NamedTuple):
    """Neighbouring epochs of one stage, from ``left`` to ``right``."""

    label: StageLabel
    left: float
    right: float

    @property
    def texts(self) -> tuple[str, ...]:
        """What may be written on it, the longest first."""
        stage = self.label.stage.value
        if self.label.stage != Stage.PLATEAU:
            return (stage,)
        return (f"{stage}: {self.label.reason.replace('_', ' ')}", stage)


def fan_figure(
    layers: Mapping[str, Mapping[str, Sequence[float]]],
    losses: Mapping[str, Sequence[float]],
    stages: Mapping[str, Sequence[StageLabel]],
    title: str = "",
) -> Figure:
    """Draw how the angles between each layer's neurons spread over the epochs, in which stages, and the loss.

    A stage too short for its name has its hatch, which the legend explains.

    Args:
        layers: By layer the columns ``epoch``, and in degrees ``min``, ``q05``, ``q25``, ``median``, ``q75``,
            ``q95`` and ``max``; epochs with a NaN are skipped, other columns are ignored.
        losses: ``epoch``, ``train/loss`` and ``val/loss``; either loss may be missing, NaN is skipped.
        stages: By layer, and under ``network``, a label for each epoch of ``losses``. What is missing has no
            stages drawn.
        title: Above the figure.

    Returns:
        The figure with a panel for each layer, and below them one of the losses, with the network's stages.

    Raises:
        ValueError: No layer, no epoch, or labels that are not as many as the epochs.

    Source: after Markou, "Insights of the Hidden Neuron Functionality using Deep Learning Techniques for
    Facial Emotion Recognition", figures 2 to 10.
    """
    check_layers(layers)
    bands = {name: _read_bands(name, losses, stages) for name in (*layers, NETWORK)}
    heights = [max(0.56, min(1.3, 5.0 / len(layers)))] * len(layers) + [1.0]
    # Names stand left of the ribbons, above the ticks.
    left = max(0.62, *(_text_width(name, SMALL, "bold") + 0.14 for name in layers))
    figure, rows = _stacked(heights, (left, 0.3), 0.78, title)
    _scale(rows, [losses, *layers.values()])
    for axes, columns in zip(rows, layers.values(), strict=False):
        _draw_fan(axes, columns)
    _draw_losses(rows[-1], losses)
    for axes, name, height in zip(rows, (*layers, NETWORK), heights, strict=True):
        _draw_bands(axes, bands[name], (WIDTH - left - 0.3, height))
        look: dict[str, Any] = {"fontsize": SMALL, "fontweight": "bold", "color": INK}
        place = (-0.05 / (WIDTH - left - 0.3), 1 + RIBBON / height)
        axes.text(*place, name, ha="right", va="top", transform=axes.transAxes, **look)
    figure.legend(
        handles=[*rows[0].get_legend_handles_labels()[0], *_stage_patches(bands.values())],
        loc="lower center",
        ncols=4,
        columnspacing=1.6,
        handlelength=1.8,
        fontsize=SMALL,
        frameon=False,
    )
    return figure


def speed_figure(
    speeds: Mapping[str, Mapping[str, Sequence[float]]],
    losses: Mapping[str, Sequence[float]],
    stages: Mapping[str, Sequence[StageLabel]],
    title: str = "",
) -> Figure:
    """Draw how fast each layer's angles change, and below it, over the same epochs, the loss.

    They are two panels, since where curves of two scales cross says nothing. A speed of exactly zero, which
    a logarithmic axis cannot show, is a triangle at the bottom. Of more than :data:`MOST_LINES` layers only
    the median stands out.

    Args:
        speeds: By layer the columns ``epoch`` and ``speed``, degrees an epoch; NaN is skipped, other columns
            are ignored.
        losses: As in :func:`fan_figure`.
        stages: Likewise; those under ``network`` are drawn.
        title: Above the figure.

    Raises:
        ValueError: No layer, no epoch, or labels that are not as many as the epochs.
    """
    check_layers(speeds)
    bands = _read_bands(NETWORK, losses, stages)
    curves = {name: _finite(columns["epoch"], columns["speed"]) for name, columns in speeds.items()}
    names = list(curves) if len(curves) <= MOST_LINES else [f"each of {len(curves)} layers"]
    right = 0.6 + max(_text_width(name, SMALL) for name in (*names, "intermediate"))
    heights = (2.3, 1.2)
    figure, rows = _stacked(heights, (0.72, right), 0.45, title)
    _scale(rows, [losses, *speeds.values()])

    if len(curves) <= MOST_LINES:
        colours = colormaps["viridis"](np.linspace(0, 0.88, len(curves)))
        for index, (name, curve) in enumerate(curves.items()):
            dashes = DASHES[index % len(DASHES)]
            _draw_speed(rows[0], curve, label=name, color=colours[index], linestyle=dashes, linewidth=1.2)
    else:
        for index, curve in enumerate(curves.values()):
            label = "" if index else names[0]
            _draw_speed(rows[0], curve, label=label, color="#A6A6A6", linewidth=0.5)
        _draw_speed(rows[0], _median(list(curves.values())), label="their median", color=BLUE, linewidth=1.8)
    rows[0].set_ylabel(f"angular speed ({DEGREE} an epoch)")
    if any((values > 0).any() for _, values in curves.values()):
        rows[0].set_yscale("log")
    else:
        rows[0].set_yticks([])
        say(rows[0], "no angular speed above zero was measured")
    tidy(rows[0])
    _draw_losses(rows[1], losses)
    for axes, height in zip(rows, heights, strict=True):
        _draw_bands(axes, bands, (WIDTH - 0.72 - right, height))
    rows[0].legend(
        handles=[*rows[0].get_legend_handles_labels()[0], *_stage_patches([bands])],
        loc="upper left",
        bbox_to_anchor=(1.0, 1.06),
        fontsize=SMALL,
        frameon=False,
        handlelength=2.6,
    )
    return figure


def _stacked(
    heights: Sequence[float], sides: tuple[float, float], bottom: float, title: str
) -> tuple[Figure, list[Axes]]:
    """Return a figure of panels above each other, which share their epochs, each with room for a ribbon.

    It is laid out in inches, so that it is known which stage is wide enough for its name.

    Args:
        heights: Of the panels.
        sides: Left and right of them.
        bottom: Below them.
        title: Above them.
    """
    top = 0.32 if title else 0.08
    total = top + sum(heights) + len(heights) * (RIBBON + GAP) + bottom
    figure = new_figure(WIDTH, total)
    figure.set_layout_engine("none")
    rows: list[Axes] = []
    y = total - top
    for height in heights:
        y -= RIBBON + height
        place = (sides[0] / WIDTH, y / total, (WIDTH - sum(sides)) / WIDTH, height / total)
        rows.append(figure.add_axes(place, sharex=rows[0] if rows else None))
        y -= GAP
    for axes in rows[:-1]:
        axes.tick_params(labelbottom=False)
    rows[-1].set_xlabel("epoch", fontsize=NORMAL)
    figure.align_ylabels(rows)
    if title:
        figure.suptitle(title, y=1 - 0.08 / total, va="top", fontsize=LARGE, fontweight="bold", color=INK)
    return figure, rows


def _scale(rows: Sequence[Axes], columns: Sequence[Mapping[str, Sequence[float]]]) -> None:
    """Scale the epochs that panels share to all that there are."""
    epochs = [epoch for each in columns for epoch in each["epoch"]]
    scale_epochs(rows[-1], epochs)
    rows[-1].set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)


def _read_bands(
    name: str, losses: Mapping[str, Sequence[float]], stages: Mapping[str, Sequence[StageLabel]]
) -> list[_Band]:
    """Return the epochs of one stage as bands, which meet halfway between two epochs."""
    epochs = array(losses["epoch"]).astype(np.float64)
    if len(epochs) == 0:
        msg = "there is no epoch to draw"
        raise ValueError(msg)
    if name not in stages:
        return []
    if len(stages[name]) != len(epochs):
        msg = f"{name} has {len(stages[name])} stages for {len(epochs)} epochs"
        raise ValueError(msg)
    edges = [epochs[0] - 0.5, *(epochs[1:] + epochs[:-1]) / 2, epochs[-1] + 0.5]
    bands, begin = [], 0
    for label, same in groupby(stages[name]):
        end = begin + len(list(same))
        bands.append(_Band(label, float(edges[begin]), float(edges[end])))
        begin = end
    return bands


def _draw_bands(axes: Axes, bands: Sequence[_Band], inches: tuple[float, float]) -> None:
    """Draw stages as bands behind the data, and as a ribbon above them that names those that are wide enough.

    Args:
        axes: Of the data, with the limits of its epochs set.
        bands: From left to right.
        inches: Width and height of the axes.
    """
    low, high = axes.get_xlim()
    ribbon = RIBBON / inches[1]
    outside: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False}
    # As artists: patches and collections would take their part in the limits of the data, slowly.
    for band in bands:
        colour, hatch = STAGE_LOOKS[band.label.stage]
        width = band.right - band.left
        room = width / (high - low) * inches[0] - 0.04
        text = next((text for text in band.texts if _text_width(text, TINY) <= room), None)
        behind: dict[str, Any] = {"facecolor": _tint(colour, 0.16), "zorder": 0}
        above: dict[str, Any] = {"facecolor": _tint(colour, 0.5), "hatch": None if text else hatch}
        axes.add_artist(Rectangle((band.left, 0), width, 1, linewidth=0, **behind, **outside))
        axes.add_artist(
            Rectangle((band.left, 1), width, ribbon, edgecolor="white", linewidth=0, **above, **outside)
        )
        if text:
            x, y = band.left + width / 2, 1 + 0.45 * ribbon
            look: dict[str, Any] = {"ha": "center", "va": "center_baseline", "fontsize": TINY, "color": INK}
            axes.text(x, y, text, **look, **outside)
    borders = [[(band.left, 0), (band.left, 1 + ribbon)] for band in bands[1:]]
    axes.add_artist(LineCollection(borders, colors=INK, linewidths=0.5, zorder=2.5, **outside))


def _draw_fan(axes: Axes, columns: Mapping[str, Sequence[float]]) -> None:
    """Draw the quantiles of a layer's angles; a single epoch, which has no area, as bars."""
    names = ("min", "q05", "q25", "median", "q75", "q95", "max")
    table = np.array([array(columns[name]) for name in ("epoch", *names)], dtype=np.float64)
    epochs, *rows = table[:, np.isfinite(table).all(axis=0)]
    value = dict(zip(names, rows, strict=True))
    is_single = len(epochs) == 1
    for low, high, colour, label in (
        ("q05", "q95", "#BBDCF0", "5 to 95 % of pairs"),
        ("q25", "q75", "#6FB3DC", "25 to 75 %"),
    ):
        axes.fill_between(epochs, value[low], value[high], color=colour, label=label, linewidth=0, zorder=2)
        if is_single:
            axes.vlines(epochs, value[low], value[high], color=colour, linewidth=8, zorder=2)
    solid: dict[str, Any] = {"color": DARK, "linewidth": 1.4, "marker": "o" if is_single else "none"}
    axes.plot(epochs, value["median"], label="median", zorder=4, **solid)
    dotted = solid | {"linewidth": 0.8, "linestyle": (0, (1, 1.5)), "marker": "_" if is_single else "none"}
    axes.plot(epochs, value["min"], label="smallest, largest", zorder=3, **dotted)
    axes.plot(epochs, value["max"], zorder=3, **dotted)
    if len(epochs) == 0:
        say(axes, "no angle was measured")
    for line in (SIMILAR_BELOW, COMPLEMENTARY_ABOVE):
        axes.axhline(line, color=GREY, linewidth=0.6, linestyle=(0, (6, 3)), zorder=1)
        look: dict[str, Any] = {"va": "center", "fontsize": TINY, "color": GREY}
        axes.text(1.005, line, f"{line:g}{DEGREE}", transform=axes.get_yaxis_transform(), **look)
    axes.set_ylim(0, 180)
    axes.set_yticks([0, 45, 90, 135, 180])
    axes.yaxis.set_major_formatter(DEGREES)
    axes.set_ylabel("angle")
    tidy(axes)
    axes.tick_params(axis="y", labelsize=TINY)


def _draw_losses(axes: Axes, losses: Mapping[str, Sequence[float]]) -> None:
    """Draw the train and val loss."""
    curves = read_curves({key: losses[key] for key in ("epoch", *LOSS) if key in losses})
    for key, (epochs, values) in curves.items():
        split = key.split("/")[0]
        marker = "o" if len(values) == 1 else None
        axes.plot(epochs, values, label=split, marker=marker, markersize=4, **LINES[split])
    axes.set_ylabel("loss")
    tidy(axes)
    if curves:
        axes.legend(fontsize=SMALL, frameon=False, loc="best", handlelength=2.6)
    else:
        axes.set_yticks([])
        say(axes, "no loss was measured")


def _draw_speed(axes: Axes, curve: Curve, **look: Any) -> None:
    """Draw speeds above zero as a line, a single one as a point, and zeros as triangles at the bottom."""
    epochs, speeds = curve
    is_shown = speeds > 0
    marker = "o" if is_shown.sum() == 1 else None
    axes.plot(epochs[is_shown], speeds[is_shown], marker=marker, markersize=4, **look)
    zeros = epochs[speeds == 0]
    place: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False, "linestyle": "none"}
    axes.plot(zeros, np.full(len(zeros), 0.02), marker="v", markersize=3, color=look["color"], **place)


def _median(curves: Sequence[Curve]) -> Curve:
    """Return at each epoch the median of the curves that have it."""
    epochs = np.concatenate([curve.epochs for curve in curves])
    values = np.concatenate([curve.values for curve in curves])
    found = np.unique(epochs)
    return Curve(found, np.array([np.median(values[epochs == epoch]) for epoch in found]))


def _finite(epochs: Sequence[float], values: Sequence[float]) -> Curve:
    """Return the finite values and their epochs."""
    xs, ys = array(epochs).astype(np.float64), array(values).astype(np.float64)
    return Curve(xs[np.isfinite(ys)], ys[np.isfinite(ys)])


def _stage_patches(layers: Iterable[Sequence[_Band]]) -> Iterator[Patch]:
    """Give a legend's patch for each stage that is drawn, in the order of the stages."""
    drawn = {band.label.stage for bands in layers for band in bands}
    for stage, (colour, hatch) in STAGE_LOOKS.items():
        if stage in drawn:
            tint = _tint(colour, 0.5)
            yield Patch(facecolor=tint, edgecolor="white", hatch=hatch, linewidth=0, label=stage.value)


@cache
def _text_width(text: str, size: float, weight: str = "normal") -> float:
    """Return the inches that a text of a type of some points is wide."""
    font = FontProperties(weight=weight)
    return float(TextPath((0, 0), text, size=size, prop=font).get_extents().width) / 72


def _tint(colour: str, share: float) -> tuple[float, float, float]:
    """Return a colour mixed with white; unlike a transparent one, it is the same over anything."""
    red, green, blue = (1 - share * (1 - part) for part in to_rgb(colour))
    return red, green, blue
