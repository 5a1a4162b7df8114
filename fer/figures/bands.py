"""Stages of training as bands behind the data, and a ribbon above it that names them."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import Any, Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.textpath import TextPath

from fer.figures.style import GREEN, GREY, INK, PURPLE, TINY, VERMILLION, YELLOW, array
from fer.neurons import Stage
from fer.neurons.stages import StageLabel

STAGE_LOOKS: Final = {
    Stage.INITIAL: (PURPLE, "....."),
    Stage.INTERMEDIATE: (YELLOW, ""),
    Stage.PLATEAU: (VERMILLION, "xxxxx"),
    Stage.SOLUTION: (GREEN, "/////"),
}
"""Colour and hatch of each stage."""

RIBBON: Final = 0.17
"""Height of the strip above a panel that names the stages, in inches."""

FIRM: Final[Mapping[str, Any]] = {"color": INK, "linewidth": 0.6, "linestyle": "solid"}
"""The line of a boundary that something confirms, or where nothing is known."""

WEAK: Final[Mapping[str, Any]] = {"color": GREY, "linewidth": 0.6, "linestyle": (0, (2, 2))}
"""The line of a boundary that nothing confirms."""

CONFIRMED_NOTE: Final = (
    "A boundary is confirmed if angular speed, CKA or effective rank changes there, too; else it is weak."
)

Confirmed = Mapping[str, Mapping[int, Sequence[str]]]
"""By layer, and under ``network``: what confirms the boundary at the measurement with which a stage begins.

A boundary that nothing confirms is weak."""


class Band(NamedTuple):
    """One stage, from ``left`` to ``right``; a weak one begins at a boundary that nothing confirms."""

    label: StageLabel
    left: float
    right: float
    is_weak: bool = False

    @property
    def texts(self) -> tuple[str, ...]:
        """What may be written on it, the longest first."""
        stage = self.label.stage.value
        if self.label.stage != Stage.PLATEAU:
            return (stage,)
        return (f"{stage}: {self.label.reason.replace('_', ' ')}", stage)


def read_bands(
    name: str,
    losses: Mapping[str, Sequence[float]],
    stages: Mapping[str, Sequence[StageLabel]],
    confirmed: Confirmed | None = None,
) -> list[Band]:
    """Return the stages of a layer as bands that meet.

    A label speaks of the training since the measurement before, so that a stage begins there, the first at 0.

    Args:
        name: The layer, or ``network``.
        losses: ``epoch``, the time of each measurement.
        stages: By layer a label for each measurement.
        confirmed: What confirms the boundaries; None: it is not known, and none is weak.

    Raises:
        ValueError: No measurement, or labels that are not as many as the measurements.
    """
    times = array(losses["epoch"]).astype(float).tolist()
    if not times:
        msg = "there is no epoch to draw"
        raise ValueError(msg)
    if name not in stages:
        return []
    if len(stages[name]) != len(times):
        msg = f"{name} has {len(stages[name])} stages for {len(times)} measurements"
        raise ValueError(msg)
    edges = [0.0, *times]
    bands, begin = [], 0
    for label, same in groupby(stages[name]):
        end = begin + len(list(same))
        is_weak = confirmed is not None and not confirmed.get(name, {}).get(begin)
        bands.append(Band(label, edges[begin], edges[end], is_weak))
        begin = end
    return bands


def draw_bands(
    axes: Axes, bands: Sequence[Band], inches: tuple[float, float], *, has_ribbon: bool = True
) -> set[Stage]:
    """Draw stages as bands behind the data, and as a ribbon above them that names those that are wide enough.

    The others are hatched.

    Args:
        axes: Of the data, with the limits of its time set.
        bands: From left to right.
        inches: Width and height of the axes.
        has_ribbon: Whether there is room for a ribbon above them.

    Returns:
        The stages that are hatched somewhere, for :func:`stage_patches`.
    """
    hatched = set()
    low, high = axes.get_xlim()
    ribbon = RIBBON / inches[1] if has_ribbon else 0.0
    outside: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False}
    # As artists: patches and collections would take their part in the limits of the data, slowly.
    for band in bands:
        colour, hatch = STAGE_LOOKS[band.label.stage]
        width = band.right - band.left
        behind: dict[str, Any] = {"facecolor": _tint(colour, 0.16), "zorder": 0}
        axes.add_artist(Rectangle((band.left, 0), width, 1, linewidth=0, **behind, **outside))
        if not has_ribbon:
            continue
        room = width / (high - low) * inches[0] - 0.04
        text = next((text for text in band.texts if text_width(text, TINY) <= room), None)
        above: dict[str, Any] = {"facecolor": _tint(colour, 0.5), "hatch": None if text else hatch}
        axes.add_artist(
            Rectangle((band.left, 1), width, ribbon, edgecolor="white", linewidth=0, **above, **outside)
        )
        if not text:
            hatched.add(band.label.stage)
        else:
            x, y = band.left + width / 2, 1 + 0.45 * ribbon
            look: dict[str, Any] = {"ha": "center", "va": "center_baseline", "fontsize": TINY, "color": INK}
            axes.text(x, y, text, **look, **outside)
    for is_weak, line in ((False, FIRM), (True, WEAK)):
        borders = [[(each.left, 0), (each.left, 1 + ribbon)] for each in bands[1:] if each.is_weak == is_weak]
        axes.add_artist(LineCollection(borders, **line, zorder=2.5, **outside))
    return hatched


def stages_of(layers: Iterable[Sequence[Band]]) -> set[Stage]:
    """Return the stages of all bands."""
    return {band.label.stage for bands in layers for band in bands}


def stage_patches(drawn: Container[Stage], hatched: Container[Stage]) -> Iterator[Patch]:
    """Give a legend's patch for each stage that is drawn, hatched if it is so in the figure."""
    for stage, (colour, hatch) in STAGE_LOOKS.items():
        if stage in drawn:
            look: dict[str, Any] = {"facecolor": _tint(colour, 0.5), "edgecolor": "white", "linewidth": 0}
            yield Patch(hatch=hatch if stage in hatched else None, label=stage.value, **look)


def boundary_lines(layers: Iterable[Sequence[Band]], confirmed: Confirmed | None) -> Iterator[Line2D]:
    """Give a legend's line for weak boundaries and for others, where it is known which are weak."""
    found = {band.is_weak for bands in layers for band in bands[1:]} if confirmed is not None else set()
    for is_weak, line, label in ((False, FIRM, "confirmed boundary"), (True, WEAK, "weak boundary")):
        if is_weak in found:
            yield Line2D([], [], label=label, **line)


@cache
def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Return the inches that a text of a type of some points is wide."""
    font = FontProperties(weight=weight)
    return float(TextPath((0, 0), text, size=size, prop=font).get_extents().width) / 72


def _tint(colour: str, share: float) -> tuple[float, float, float]:
    """Return a colour mixed with white; unlike a transparent one, it is the same over anything."""
    red, green, blue = (1 - share * (1 - part) for part in to_rgb(colour))
    return red, green, blue
