"""How the neurons' angles move during a training, in which stages."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer.figures.angles import DEGREE, DEGREES, check_layers, say
from fer.figures.bands import (
    CONFIRMED_NOTE,
    RIBBON,
    Confirmed,
    boundary_lines,
    draw_bands,
    read_bands,
    stage_patches,
    stages_of,
    text_width,
)
from fer.figures.curves import LINES, LOSS, Curve, finite
from fer.figures.gradients import DASHES
from fer.figures.style import (
    BLUE,
    GREY,
    INK,
    NORMAL,
    PAGE_WIDTH,
    SMALL,
    TINY,
    array,
    log_scale,
    new_figure,
    round_up,
    scale_time,
    tidy,
    write_title,
)
from fer.neurons.angles import COMPLEMENTARY_ABOVE, SIMILAR_BELOW
from fer.neurons.stages import Stage, StageLabel

NETWORK: Final = "network"
"""Among the layers' stages, those of the network as a whole."""

DARK: Final = "#00304D"
"""Of the median and the extremes of a fan."""

GAP: Final = 0.1
"""Between a panel and the next one's ribbon, in inches."""

STRIP: Final = 0.2
"""Height of the strip below a fan that shows the effective rank, in inches."""

STRIP_GAP: Final = 0.14
"""Between a fan and its strip, in inches."""

MOST_LINES: Final = 12
"""Layers whose lines can still be told apart."""


_RANK_TINT: Final = "#BBDCF0"


class _Rank(NamedTuple):
    """Effective ranks of a layer, and its number of neurons, which they cannot exceed."""

    curve: Curve
    width: int

    @property
    def text(self) -> str:
        """The last one in words."""
        return f"{self.curve.values[-1]:,.0f} of {self.width:,}"


def fan_figure(
    layers: Mapping[str, Mapping[str, Sequence[float]]],
    losses: Mapping[str, Sequence[float]],
    stages: Mapping[str, Sequence[StageLabel]],
    title: str = "Angles between neurons, stages and loss",
    *,
    widths: Mapping[str, int] | None = None,
    confirmed: Confirmed | None = None,
) -> Figure:
    """Draw how the angles between each layer's neurons spread during a training, its stages, and the loss.

    Time is in epochs trained: 0 before the first step, 1 after the first epoch. A stage begins at the
    measurement before the first one that has its label. A stage too short for its name has its hatch, which
    the legend explains. Boundaries that nothing confirms are grey and dashed.

    Args:
        layers: By layer the columns ``epoch`` (the time of each measurement), and in degrees ``min``,
            ``q05``, ``q25``, ``median``, ``q75``, ``q95`` and ``max``; measurements with a NaN are skipped.
            With ``effective``, the effective rank, a strip below the fan shows it up to a round number.
            Other columns are ignored.
        losses: ``epoch``, ``train/loss`` and ``val/loss``; either loss may be missing, NaN is skipped.
        stages: By layer, and under ``network``, a label for each measurement of ``losses``. What is missing
            has no stages drawn.
        title: Above the figure.
        widths: By layer its number of neurons; a layer that is missing has no strip.
        confirmed: What confirms each boundary; None: nothing is known, and no boundary is called weak.

    Returns:
        The figure with a panel for each layer, and below them one of the losses, with the network's stages.

    Raises:
        ValueError: No layer, no measurement, or labels that are not as many as the measurements.

    Source: after Markou, "Insights of the Hidden Neuron Functionality using Deep Learning Techniques for
    Facial Emotion Recognition", figures 2 to 10.
    """
    check_layers(layers)
    names = (*layers, NETWORK)
    bands = {name: read_bands(name, losses, stages, confirmed) for name in names}
    ranks = _read_ranks(layers, widths or {})
    drawn = stages_of(bands.values())
    lines = [*boundary_lines(bands.values(), confirmed)]
    hatched: set[Stage] = set()
    heights = [max(0.56, min(1.3, 5.0 / len(layers)))] * len(layers) + [1.0]
    # Names stand left of the ribbons, above the ticks; the rank at the end stands right of its strip.
    left = max(0.62, *(text_width(name, SMALL, "bold") + 0.14 for name in layers))
    right = max(0.3, *(text_width(rank.text, TINY) + 0.1 for rank in ranks.values()), 0)
    places: list[tuple[float, float]] = []
    for name, height in zip(names, heights, strict=True):
        places.append((RIBBON + GAP * bool(places), height))
        places += [(STRIP_GAP, STRIP)] * (name in ranks)
    num_signs = 4 + bool(ranks) + len(drawn) + len(lines)
    below = 0.46 + 0.16 * (-(-num_signs // 4) + bool(lines))
    figure, rows = _stacked(places, (left, right), below, title)
    scale_time(rows[-1], [time for each in (losses, *layers.values()) for time in each["epoch"]])
    panels = iter(rows)
    signs: list[Any] = []
    for name, height in zip(names, heights, strict=True):
        axes, inches = next(panels), (PAGE_WIDTH - left - right, height)
        if name in layers:
            _draw_fan(axes, layers[name])
            signs = signs or axes.get_legend_handles_labels()[0]
        else:
            _draw_losses(axes, losses)
        hatched |= draw_bands(axes, bands[name], inches)
        look: dict[str, Any] = {"fontsize": SMALL, "fontweight": "bold", "color": INK}
        place = (-0.05 / inches[0], 1 + RIBBON / height)
        axes.text(*place, name, ha="right", va="top", transform=axes.transAxes, **look)
        if name in ranks:
            strip = next(panels)
            _draw_rank(strip, ranks[name])
            draw_bands(strip, bands[name], (inches[0], STRIP), has_ribbon=False)
            signs += strip.get_legend_handles_labels()[0] if len(signs) == 4 else []
    figure.legend(
        handles=[*signs, *stage_patches(drawn, hatched), *lines],
        title=CONFIRMED_NOTE if lines else None,
        title_fontproperties={"size": TINY},
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
    title: str = "Speed of the angles, stages and loss",
    *,
    confirmed: Confirmed | None = None,
) -> Figure:
    """Draw how fast each layer's angles change, and below it, over the same time, the loss.

    They are two panels, since where curves of two scales cross says nothing. A speed of exactly zero, which
    a logarithmic axis cannot show, is a triangle at the bottom. Of more than :data:`MOST_LINES` layers only
    the median stands out.

    Args:
        speeds: By layer the columns ``epoch`` (the time of each measurement) and ``speed``, degrees an epoch;
            NaN is skipped, other columns are ignored.
        losses: As in :func:`fan_figure`.
        stages: As in :func:`fan_figure`; those under ``network`` are drawn.
        title: Above the figure.
        confirmed: As in :func:`fan_figure`.

    Raises:
        ValueError: No layer, no measurement, or labels that are not as many as the measurements.
    """
    check_layers(speeds)
    bands = read_bands(NETWORK, losses, stages, confirmed)
    curves = {name: finite(columns["epoch"], columns["speed"]) for name, columns in speeds.items()}
    names = list(curves) if len(curves) <= MOST_LINES else [f"each of {len(curves)} layers"]
    lines = [*boundary_lines([bands], confirmed)]
    signs = [*stages_of([bands]), *(str(sign.get_label()) for sign in lines)]
    right = 0.6 + max(text_width(name, SMALL) for name in (*names, *signs))
    heights = (2.3, 1.2)
    places = [(RIBBON, heights[0]), (RIBBON + GAP, heights[1])]
    figure, rows = _stacked(places, (0.72, right), 0.45, title)
    scale_time(rows[-1], [time for each in (losses, *speeds.values()) for time in each["epoch"]])

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
        log_scale(rows[0])
    else:
        rows[0].set_yticks([])
        say(rows[0], "no angular speed above zero was measured")
    tidy(rows[0])
    _draw_losses(rows[1], losses)
    hatched: set[Stage] = set()
    for axes, height in zip(rows, heights, strict=True):
        hatched |= draw_bands(axes, bands, (PAGE_WIDTH - 0.72 - right, height))
    stages_drawn = stage_patches(stages_of([bands]), hatched)
    rows[0].legend(
        handles=[*rows[0].get_legend_handles_labels()[0], *stages_drawn, *lines],
        loc="upper left",
        bbox_to_anchor=(1.0, 1.06),
        fontsize=SMALL,
        frameon=False,
        handlelength=2.6,
    )
    if lines:
        note = textwrap.fill(CONFIRMED_NOTE, int((right - 0.2) * 72 / (0.6 * TINY)))
        look: dict[str, Any] = {"fontsize": TINY, "color": GREY, "va": "bottom"}
        rows[1].text(1.02, 0, note, transform=rows[1].transAxes, **look)
    return figure


def _stacked(
    places: Sequence[tuple[float, float]], sides: tuple[float, float], bottom: float, title: str
) -> tuple[Figure, list[Axes]]:
    """Return a figure of panels above each other, which share their time.

    It is laid out in inches, so that it is known which stage is wide enough for its name.

    Args:
        places: Of each panel the room above it, and its height.
        sides: Left and right of them.
        bottom: Below them.
        title: Above them.
    """
    top = 0.32 if title else 0.08
    total = top + sum(map(sum, places)) + bottom
    figure = new_figure(PAGE_WIDTH, total)
    figure.set_layout_engine("none")
    rows: list[Axes] = []
    y = total - top
    for above, height in places:
        y -= above + height
        place = (sides[0] / PAGE_WIDTH, y / total, (PAGE_WIDTH - sum(sides)) / PAGE_WIDTH, height / total)
        rows.append(figure.add_axes(place, sharex=rows[0] if rows else None))
    for axes in rows[:-1]:
        axes.tick_params(labelbottom=False)
    rows[-1].set_xlabel("epochs trained", fontsize=NORMAL)
    figure.align_ylabels(rows)
    write_title(figure, title, y=1 - 0.08 / total, va="top")
    return figure, rows


def _read_ranks(
    layers: Mapping[str, Mapping[str, Sequence[float]]], widths: Mapping[str, int]
) -> dict[str, _Rank]:
    """Return the effective rank of the layers of which it was measured and the width is known."""
    ranks = {}
    for name, columns in layers.items():
        if name not in widths or "effective" not in columns:
            continue
        times, values = finite(columns["epoch"], columns["effective"])
        if len(values):
            ranks[name] = _Rank(Curve(times, values), widths[name])
    return ranks


def _draw_rank(axes: Axes, rank: _Rank) -> None:
    """Draw an effective rank on a scale from 0, and write the last one beside it."""
    times, values = rank.curve
    axes.fill_between(times, values, color=_RANK_TINT, linewidth=0, zorder=2)
    marker = "o" if len(times) == 1 else None
    axes.plot(
        times, values, label="effective rank", color=DARK, linewidth=1, marker=marker, markersize=3, zorder=3
    )
    look: dict[str, Any] = {"va": "center", "fontsize": TINY, "color": INK}
    axes.text(1.005, 0.5, rank.text, transform=axes.transAxes, **look)
    most = min(round_up(max(values)), rank.width)
    axes.set_ylim(0, 1.08 * most)
    axes.set_yticks([0, most], ["0", f"{most:,}"])
    axes.set_ylabel("rank", rotation=0, ha="right", va="center", labelpad=2)
    tidy(axes)
    axes.tick_params(axis="y", labelsize=TINY)
    axes.yaxis.label.set_fontsize(TINY)


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
    curves = {key: finite(losses["epoch"], losses[key]) for key in LOSS if key in losses}
    curves = {key: curve for key, curve in curves.items() if len(curve.values)}
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
