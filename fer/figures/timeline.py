"""Class probabilities of tracked faces over time: a panel for each face, a band for each class."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fer.figures.bands import text_width
from fer.figures.style import (
    GREY,
    INK,
    NORMAL,
    PAGE_WIDTH,
    PALE,
    SMALL,
    TINY,
    new_figure,
    percent,
    shorten,
    tidy,
    write_title,
)

PANEL_HEIGHT: Final = 1.25
"""Of one face's panel, in inches."""

LEGEND_COLUMNS: Final = 5

MOST_CHARACTERS: Final = 18
"""Of a class's name in the legend."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One face.

    Attributes:
        name: Such as ``face 1``.
        times: Seconds, ascending, shape ``(T,)``.
        probabilities: Of each band, shape ``(T, K)``; a row of NaN where the face was away.
    """

    name: str
    times: NDArray[Any]
    probabilities: NDArray[Any]


def timeline_figure(
    panels: Sequence[Panel],
    bands: Sequence[tuple[str, str]],
    end: float,
    *,
    frame: float = 0.04,
    title: str = "",
    note: str = "",
) -> Figure:
    """Draw the probabilities of each face over time, stacked: one band for each class.

    A band is named inside, where its class is the most probable one for long enough.

    Args:
        panels: One or more faces.
        bands: Name and colour of each class, from the bottom up.
        end: Of the video, in seconds.
        frame: Seconds that a frame is shown: what the last point before a gap takes.
        title: Above the panels.
        note: Below them.

    Raises:
        ValueError: There are no panels.
    """
    if not panels:
        msg = "a timeline needs one face or more"
        raise ValueError(msg)
    num_rows = -(-len(bands) // LEGEND_COLUMNS)
    height = 0.95 + 0.2 * num_rows + (0.3 if title else 0) + (0.2 if note else 0) + PANEL_HEIGHT * len(panels)
    figure = new_figure(PAGE_WIDTH, height)
    write_title(figure, title)
    axes: NDArray[Any] = figure.subplots(len(panels), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    last = max(end, frame)
    for panel, each in zip(panels, axes, strict=True):
        each.set_xlim(0, last)
        each.set_ylim(0, 1)
        _draw(each, panel, bands, frame)
    axes[-1].set_xlabel("time in the video (s)")
    axes[-1].xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 3, 5, 6, 10]))
    patches = [Patch(facecolor=colour, label=shorten(name, MOST_CHARACTERS)) for name, colour in bands]
    figure.legend(
        handles=patches,
        loc="outside lower center",
        ncols=min(len(bands), LEGEND_COLUMNS),
        frameon=False,
        fontsize=SMALL,
        title=note or None,
        title_fontsize=SMALL,
        handlelength=1.2,
    )
    return figure


def spans(probabilities: NDArray[Any]) -> list[slice]:
    """Return the parts of a curve between rows of NaN.

    >>> spans(np.array([[1.0], [np.nan], [1.0], [1.0]]))
    [slice(0, 1, None), slice(2, 4, None)]
    """
    known = np.flatnonzero(~np.isnan(probabilities).any(axis=1))
    parts = np.split(known, np.flatnonzero(np.diff(known) > 1) + 1)
    return [slice(int(part[0]), int(part[-1]) + 1) for part in parts if len(part)]


def _draw(axes: Axes, panel: Panel, bands: Sequence[tuple[str, str]], frame: float) -> None:
    """Draw one face."""
    tidy(axes)
    axes.grid(visible=False)
    axes.set_facecolor(PALE)
    axes.yaxis.set_major_formatter(percent())
    axes.set_yticks([0, 0.5, 1])
    axes.set_title(panel.name, fontsize=NORMAL, loc="left", color=INK, pad=3)
    longest: dict[int, tuple[float, float, float]] = {}
    for part in spans(panel.probabilities):
        times = np.append(panel.times[part], panel.times[part.stop - 1] + frame)
        values = np.concatenate([panel.probabilities[part], panel.probabilities[part.stop - 1 : part.stop]])
        tops = np.cumsum(values, axis=1)
        bottoms = tops - values
        for index, (_, colour) in enumerate(bands):
            axes.fill_between(times, bottoms[:, index], tops[:, index], color=colour, linewidth=0)
            if index:
                axes.plot(times, bottoms[:, index], color="white", linewidth=0.5)
        for index, begin, stop in _runs(values.argmax(axis=1)):
            middle = (times[begin] + times[stop]) / 2
            if times[stop] - times[begin] > longest.get(index, (0.0,))[0]:
                at = int(np.abs(times - middle).argmin())
                y = (bottoms[at, index] + tops[at, index]) / 2
                longest[index] = (float(times[stop] - times[begin]), float(middle), float(y))
    low, high = axes.get_xlim()
    for index, (length, x, y) in longest.items():
        name = shorten(bands[index][0], MOST_CHARACTERS)
        if length / (high - low) * (PAGE_WIDTH - 0.9) >= text_width(name, TINY) + 0.12:
            look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": TINY, "color": INK}
            pale = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
            axes.text(x, min(max(y, 0.12), 0.88), name, bbox=pale, **look)
    if not longest:
        axes.text(0.5, 0.5, "not seen", transform=axes.transAxes, color=GREY, fontsize=SMALL, ha="center")


def _runs(labels: NDArray[Any]) -> list[tuple[int, int, int]]:
    """Return the runs of equal labels: label, first index, last index."""
    starts = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    return [(int(labels[begin]), begin, min(end, len(labels) - 1)) for begin, end in pairwise(starts)]
