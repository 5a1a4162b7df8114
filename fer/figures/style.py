"""Common style of all figures: colours, sizes, axes, and a figure that Jupyter shows without pyplot."""

import logging
import math
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter, MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from torch import Tensor

from fer.files import atomic_write
from fer.neurons import REMOVAL_REASONS
from fer.palette import BLUE as BLUE  # "as": also for those who import it from here
from fer.palette import GREEN as GREEN
from fer.palette import ORANGE as ORANGE
from fer.palette import PURPLE as PURPLE
from fer.palette import SKY as SKY
from fer.palette import VERMILLION as VERMILLION
from fer.palette import YELLOW as YELLOW
from fer.palette import class_colours as class_colours

log = logging.getLogger("fer.figures")

INK: Final = "#222222"
GREY: Final = "#767676"
PALE: Final = "#E6E6E6"
"""Of text, axes and grids; the colours of data are those of :mod:`fer.palette`."""

SHADES: Final = LinearSegmentedColormap.from_list(
    "shades", ["#FFFFFF", "#CFE6F5", "#7DBBE0", "#2E8BC0", BLUE, "#00456B", "#002338"]
)
"""White to dark blue, ever darker, so that the order is kept in a black-and-white print."""

TINY: Final = 6.0
SMALL: Final = 7.0
NORMAL: Final = 8.0
LARGE: Final = 10.0
"""Font sizes in points, for figures printed at their own size."""

PAGE_WIDTH: Final = 6.6
"""Greatest width of a figure, inches: on a report page of 800 pixels, the smallest type has 10 pixels."""

MOST_FRACTIONS: Final = 4
"""Longest time in epochs on an axis whose ticks may stand within an epoch."""

DPI: Final = 150
"""Default resolution in pixels an inch."""


_NUMBER: Final = r"-?(?:[\d.]*\\times ?)?(?:10\^\{-?\d+\}|[\d.]+)"
_POWER: Final = re.compile(rf"\$(?:\\mathdefault\{{{_NUMBER}\}}|{_NUMBER})\$")
"""What is written at the ticks of a log scale: the only formulas in a figure."""


class ReasonLook(NamedTuple):
    """Colour and hatch of neurons that were removed for one reason."""

    colour: str
    hatch: str


REASON_LOOKS: Final = {
    "dead": ReasonLook(GREY, "||||"),
    "constant": ReasonLook(PURPLE, "xxxx"),
    "similar": ReasonLook(SKY, "////"),
    "complementary": ReasonLook(ORANGE, "\\\\\\\\"),
    "span": ReasonLook(GREEN, "...."),
    "criterion": ReasonLook(YELLOW, "oooo"),
    "block": ReasonLook(VERMILLION, "----"),
}
"""The looks of :data:`fer.neurons.plan.REMOVAL_REASONS`."""

OTHER_REASON: Final = ReasonLook(BLUE, "++++")
"""The look of a removal reason without one of its own."""


def reason_look(reason: str) -> ReasonLook:
    """Return the colour and hatch of a removal reason."""
    return REASON_LOOKS.get(reason, OTHER_REASON)


def reason_looks() -> list[dict[str, str]]:
    """Return all removal reasons in display order: ``name``, ``label``, ``colour`` and ``hatch``."""
    return [
        {"name": reason, "label": label, **reason_look(reason)._asdict()}
        for reason, label in REMOVAL_REASONS.items()
    ]


class ShownFigure(Figure):
    """A figure that Jupyter shows although it is made without pyplot, and that shows names as they are."""

    def draw(self, renderer: RendererBase) -> None:
        """Draw the figure; a dollar sign in a name begins no formula."""
        for axes in filter(lambda axes: axes.axison, self.axes):
            for axis in (axes.xaxis, axes.yaxis):
                axis.get_ticklabels(which="both")  # brings the names at the ticks up to date
        for text in self.findobj(Text):
            if isinstance(text, Text):  # for mypy
                text.set_parse_math(_POWER.fullmatch(text.get_text()) is not None)
        super().draw(renderer)

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


DRAWING_ERRORS: Final = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, OSError),
    *(RuntimeError, TypeError, ValueError),
)
"""What matplotlib and the disk raise."""


@contextmanager
def drawing(name: str, missing: MutableMapping[str, str]) -> Iterator[None]:
    """Go on without a figure that cannot be drawn or written; the first one of them is logged.

    Args:
        name: The figure, or several that are drawn together.
        missing: By name the reasons why figures are missing; this one is added to them.
    """
    try:
        yield
    except DRAWING_ERRORS as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        if not missing:
            log.warning("the figure %s is left out (%s); all else goes on", name, reason)
        missing[name] = reason


def describe_missing(missing: Mapping[str, str]) -> list[str]:
    """Return a line that counts the figures that are missing; none if all are there.

    >>> describe_missing({"curves": "No space left on device", "angles": "No space left on device"})
    ['without      2 figures: curves, angles (No space left on device)']
    """
    if not missing:
        return []
    num = f"{len(missing)} figure{'s' if len(missing) > 1 else ''}"
    return [f"without      {num}: {', '.join(missing)} ({'; '.join(dict.fromkeys(missing.values()))})"]


def built(figure: Figure | Callable[[], Figure]) -> Figure:
    """Return a figure, or the one that a function builds."""
    return figure if isinstance(figure, Figure) else figure()


def write_figure(figure: Figure, path: Path, dpi: float | None = None) -> None:
    """Write a figure as PNG, or as SVG if the file's name ends in ``.svg``.

    Args:
        figure: The figure.
        path: The file; an existing one is replaced.
        dpi: Pixels an inch; None: the figure's own.

    Raises:
        OSError: The file cannot be written.
    """
    drawn = BytesIO()  # not the file: Pillow does not say why it cannot write there
    figure.savefig(drawn, format="svg" if path.suffix == ".svg" else "png", dpi=dpi or "figure")
    with atomic_write(path) as file:
        file.write(drawn.getvalue())


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure with constrained layout.

    Args:
        width: In inches.
        height: In inches.
    """
    return ShownFigure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")


def inch_canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure filled by one empty axes, whose coordinates are inches from the top left.

    For contact sheets: a layout of hundreds of axes would take many seconds.

    Args:
        width: In inches.
        height: In inches.
    """
    figure = ShownFigure(figsize=(width, height), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    _span_inches(axes, width, height)
    return figure, axes


def show_image(axes: Axes, image: NDArray[np.uint8], left: float, top: float, width: float) -> float:
    """Draw an image on an :func:`inch_canvas` and return its height in inches.

    Args:
        axes: The canvas.
        image: Grey or RGB, 0 to 255, shape ``(H, W)`` or ``(H, W, 3)``.
        left: Inches from the left.
        top: Inches from the top.
        width: In inches; the height follows from the image.
    """
    height: float = width * image.shape[0] / image.shape[1]
    right, bottom = axes.get_xlim()[1], axes.get_ylim()[0]
    extent = (left, left + width, top + height, top)
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=extent, aspect="auto")
    _span_inches(axes, right, bottom)  # imshow moves the limits
    return height


def tidy(axes: Axes) -> None:
    """Give an axes the common look: small type, no box, a faint horizontal grid behind the data."""
    axes.tick_params(labelsize=SMALL, color=GREY, labelcolor=INK, length=3, width=0.6)
    axes.tick_params(which="minor", labelsize=SMALL, color=GREY, labelcolor=INK, length=2, width=0.4)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=GREY, linewidth=0.6)
    axes.xaxis.label.set_fontsize(NORMAL)
    axes.yaxis.label.set_fontsize(NORMAL)
    axes.grid(visible=True, axis="y", color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)


def scale_epochs(axes: Axes, epochs: Sequence[float] | NDArray[Any]) -> None:
    """Give an axes whole epochs as ticks, and a margin if there is only one epoch.

    Args:
        axes: Whose horizontal axis is the epoch.
        epochs: The epochs shown, at least one.
    """
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    first, last = min(epochs), max(epochs)
    if first == last:
        axes.set_xlim(first - 1, last + 1)


def scale_time(axes: Axes, times: Sequence[float] | NDArray[Any]) -> None:
    """Scale the time that panels share: from 0 to the last measurement, with room behind a single one.

    Args:
        axes: Whose horizontal axis is the time in epochs.
        times: Of the measurements, at least one.
    """
    last = float(max(times)) or 1.0
    is_whole = last > MOST_FRACTIONS
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=is_whole))
    axes.set_xlim(0, last if len(set(times)) > 1 else 1.05 * last)


def round_up(value: float) -> int:
    """Return a round number to end an axis of counts with: the smallest that is not below a value.

    >>> [round_up(value) for value in (0.3, 3.2, 7, 16, 23.4, 50, 113, 1025)]
    [1, 4, 8, 20, 25, 50, 150, 1500]
    """
    power = 10 ** max(0, math.floor(math.log10(max(value, 1))))
    steps = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
    return next(int(step * power) for step in steps if step * power >= value and step * power % 1 == 0)


def log_scale(axes: Axes) -> None:
    """Give an axes a logarithmic vertical scale, with plain numbers at its ticks."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(_PlainLogs())
    axes.yaxis.set_minor_formatter(_PlainLogs())


class _PlainLogs(LogFormatter):
    """A logarithmic axis's numbers without powers of ten, at the ticks that have one."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the number of a tick."""
        return f"{x:g}" if super().__call__(x, pos) else ""


def array(values: Tensor | NDArray[Any] | Sequence[Any]) -> NDArray[Any]:
    """Return numbers as a numpy array, from a tensor on any device or anything like an array."""
    if not isinstance(values, Tensor):
        return np.asarray(values)
    values = values.detach().cpu()
    return np.asarray(values.float() if values.dtype in (torch.bfloat16, torch.float16) else values)


def images_array(images: Tensor | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images as grey ``(N, H, W)`` or RGB ``(N, H, W, 3)``, or raise ``ValueError``.

    Args:
        images: 0 to 255, uint8, shape ``(N, H, W)``, ``(N, H, W, 1)`` or ``(N, H, W, 3)``.
    """
    result: NDArray[Any] = array(images)
    is_shaped = result.ndim == 3 or (result.ndim == 4 and result.shape[3] in (1, 3))
    if not is_shaped or result.dtype != np.uint8 or len(result) == 0:
        msg = (
            "expected one image or more, uint8, of shape (N, H, W) or (N, H, W, C) with C of 1 or 3, "
            f"not {result.dtype} of shape {result.shape}"
        )
        raise ValueError(msg)
    return result[..., 0] if result.ndim == 4 and result.shape[3] == 1 else result


def _span_inches(axes: Axes, width: float, height: float) -> None:
    """Set the limits of a canvas: inches, from the top left."""
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)


class _Percent(PercentFormatter):
    """Shares in per cent, all ticks of an axis with the decimals that the finest of them needs."""

    def __init__(self) -> None:
        super().__init__(xmax=1, decimals=0, symbol=" %")

    def format_ticks(self, values: list[float]) -> list[str]:
        """Return the labels of all ticks."""
        texts = [f"{100 * value:.6f}".rstrip("0") for value in values]
        self.decimals = max((len(text.partition(".")[2]) for text in texts), default=0)
        return super().format_ticks(values)


def percent() -> PercentFormatter:
    """Return a new formatter for shares on an axis, with as many decimals as its ticks need."""
    return _Percent()


BOLD: Final = 0.66
"""Width of a bold letter, as a share of the font size."""

PLAIN: Final = 0.55
"""Width of a plain letter, as a share of the font size."""


def wrap_title(figure: Figure, title: str, letter: float = BOLD * LARGE) -> str:
    """Return a title wrapped to the figure's width: one long line would squeeze the panels.

    Lines are about equally long. A number stays with what it is: ``n = 3,589`` and ``60 %`` are not wrapped.

    Args:
        figure: The figure.
        title: The title, or another line of text.
        letter: Width of a letter, in points.
    """
    most = int(figure.get_figwidth() * 72 / letter)
    space = "\N{NO-BREAK SPACE}"
    unbroken = title.replace(" = ", f"{space}={space}").replace(" %", f"{space}%")
    lines = [_balanced(line, most) for line in unbroken.splitlines()]
    return "\n".join(lines).replace(space, " ")


def _balanced(line: str, most: int) -> str:
    """Return a text wrapped to the fewest lines, none of which is much shorter than the others.

    >>> _balanced("Pruning of a network, by span, refit", 30).splitlines()
    ['Pruning of a network,', 'by span, refit']
    """
    num_lines = len(textwrap.wrap(line, most))
    widths = range(max(1, len(line) // max(1, num_lines)), most + 1)
    fitting = (wrapped for width in widths if len(wrapped := textwrap.wrap(line, width)) == num_lines)
    return "\n".join(next(fitting, []))


def shorten(name: str, most: int) -> str:
    """Return a name, or its beginning with an ellipsis if it is longer than ``most`` characters.

    >>> shorten("surprise", 8), shorten("bacterial_blight", 8)
    ('surprise', 'bacteri…')
    """
    return name if len(name) <= most else f"{name[: most - 1]}…"


def write_title(figure: Figure, title: str, **place: Any) -> None:
    """Write the title of a figure, if it has one.

    Args:
        figure: The figure.
        title: Its title.
        **place: Where it stands, if not above all panels; see :meth:`matplotlib.figure.Figure.suptitle`.
    """
    if title:
        figure.suptitle(wrap_title(figure, title), fontsize=LARGE, fontweight="bold", color=INK, **place)


def mark_chance(
    axes: Axes, chance: float, axis: Literal["x", "y"] = "y", side: Literal["left", "right"] = "left"
) -> None:
    """Draw a dashed line at chance accuracy, and label it.

    Args:
        axes: The panel; the line widens its limits if it has to.
        chance: Chance accuracy, 0 to 1.
        axis: The axis of the accuracy.
        side: End of a horizontal line at which its label stands.
    """
    look: dict[str, Any] = {"color": GREY, "linewidth": 0.8, "linestyle": (0, (4, 3)), "zorder": 1}
    text: dict[str, Any] = {"textcoords": "offset points", "fontsize": SMALL, "color": GREY}
    text["bbox"] = {"facecolor": "white", "linewidth": 0, "pad": 0.5, "alpha": 0.8}  # curves lie behind
    name = f"chance {100 * chance:.1f} %"
    if axis == "x":
        axes.axvline(chance, **look)
        axes.annotate(name, (chance, 1), (0, 2), axes.get_xaxis_transform(), ha="center", va="bottom", **text)
    else:
        axes.axhline(chance, **look)
        place, shift = {"left": (0, 3), "right": (1, -3)}[side]
        axes.annotate(
            name, (place, chance), (shift, 2), axes.get_yaxis_transform(), ha=side, va="bottom", **text
        )
