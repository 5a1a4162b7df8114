"""Measured and printed curves side by side: the pictures of replayed papers."""

from collections.abc import Sequence
from itertools import cycle
from typing import Final, Protocol

from matplotlib.figure import Figure

from fer.figures.gradients import DASHES
from fer.figures.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    SMALL,
    VERMILLION,
    new_figure,
    tidy,
    write_title,
)

COLOURS: Final = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, INK)
MARKERS: Final = "osD^vP*"
"""Drawn open, so that points at the same place are all seen."""


class Series(Protocol):
    """A curve with N points; bars or a band where ``low`` and ``high`` are given."""

    @property
    def label(self) -> str:
        """Its name."""

    @property
    def x(self) -> Sequence[float]:
        """Horizontal values."""

    @property
    def y(self) -> Sequence[float]:
        """Vertical values."""

    @property
    def low(self) -> Sequence[float]:
        """Low ends, N or none."""

    @property
    def high(self) -> Sequence[float]:
        """High ends, N or none."""

    @property
    def is_points(self) -> bool:
        """Whether points are drawn instead of a line."""


class Axes(Protocol):
    """What one panel shows."""

    @property
    def x(self) -> str:
        """Name of the horizontal axis, with its unit."""

    @property
    def y(self) -> str:
        """Name of the vertical axis, with its unit."""

    @property
    def lines(self) -> Sequence[Series]:
        """The curves."""


def series_figure(panels: Sequence[Axes], title: str = "") -> Figure:
    """Draw panels side by side, each with its curves and their bands.

    Args:
        panels: One or more.
        title: Title of the figure.

    Raises:
        ValueError: There is no panel.
    """
    if not panels:
        msg = "there is no panel to draw"
        raise ValueError(msg)
    figure = new_figure(1.2 + 3.6 * len(panels), 3.3)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        looks = zip(cycle(COLOURS), cycle(DASHES), cycle(MARKERS), strict=False)
        for line, (colour, dashes, marker) in zip(panel.lines, looks, strict=False):
            if len(line.low):
                axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.15, linewidth=0)
            look = (
                {"linestyle": "none", "marker": marker, "markersize": 5, "fillstyle": "none"}
                if line.is_points
                else {"linestyle": dashes}
            )
            axes.plot(line.x, line.y, color=colour, label=line.label, linewidth=1.3, **look)
        axes.set_xlabel(panel.x)
        axes.set_ylabel(panel.y)
        tidy(axes)
        if len(panel.lines) > 1 or panel.lines[0].label:
            axes.legend(fontsize=SMALL, frameon=False, handlelength=2.6)
    write_title(figure, title)
    return figure
