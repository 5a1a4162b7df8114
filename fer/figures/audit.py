"""What an audit found, as a page of images."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from fer.figures.style import (
    BLUE,
    GREY,
    INK,
    LARGE,
    NORMAL,
    PALE,
    SMALL,
    TINY,
    VERMILLION,
    inch_canvas,
    show_image,
)
from fer.labels import EXPRESSIONS

PAGE_WIDTH = 11.0
"""In inches."""

IMAGE_WIDTH = 0.72
"""In inches."""

MARGIN = 0.14
"""Around groups and at the edges, in inches."""

HEADING_HEIGHT = 0.34
"""Of a section's title, in inches."""

LINE_HEIGHT = 1.25 * TINY / 72
"""Of a line of a caption, in inches."""

BAR_HEIGHT = 0.15
"""Of a class among the bars, with its gap, in inches."""


class ImageGroup(NamedTuple):
    """Images that stand side by side.

    Attributes:
        images: One or more, uint8, shape ``(H, W)`` or ``(H, W, 3)`` each.
        captions: A text for each; a line wider than its image goes on in the next, and of a very long
            one the end is shown, which tells files apart.
        stands_out: Whether the group is framed, as what needs looking at first.
    """

    images: Sequence[NDArray[np.uint8]]
    captions: Sequence[str]
    stands_out: bool = False


class Section(NamedTuple):
    """Groups of images under one title."""

    title: str
    groups: Sequence[ImageGroup]


def audit_figure(
    class_counts: Mapping[str, Sequence[int]],
    sections: Sequence[Section],
    title: str = "Audit",
    class_names: Sequence[str] = EXPRESSIONS,
) -> Figure:
    """Draw sections of groups of images, and above them the class balance of each split.

    Args:
        class_counts: For each split the samples of K classes.
        sections: From top to bottom; the groups of one flow as words do.
        title: What was audited.
        class_names: K names.

    Returns:
        The figure; its height follows from the images.

    Raises:
        ValueError: No splits, the names are not as many as the classes, the captions not as many as the
            images, or a group is empty.
    """
    if not class_counts or any(len(counts) != len(class_names) for counts in class_counts.values()):
        msg = f"{len(class_names)} class names do not fit the splits' classes {dict(class_counts)}"
        raise ValueError(msg)
    for section in sections:
        for group in section.groups:
            if not group.images or len(group.images) != len(group.captions):
                msg = f"{section.title}: {len(group.captions)} captions for {len(group.images)} images"
                raise ValueError(msg)
    top_of_bars = MARGIN + HEADING_HEIGHT
    top = top_of_bars + 0.24 + BAR_HEIGHT * len(class_names) + MARGIN
    layouts = []
    for section in sections:
        lines = list(_lines(section.groups))
        layouts.append((top, lines))
        top += HEADING_HEIGHT + sum(_line_height(line) for line in lines)

    figure, axes = inch_canvas(PAGE_WIDTH, top + MARGIN)
    _write(axes, MARGIN, MARGIN, title, LARGE, weight="bold")
    _draw_balance(axes, top_of_bars, class_counts, class_names)
    for section, (y, lines) in zip(sections, layouts, strict=True):
        _write(axes, MARGIN, y + 0.1, section.title, NORMAL, weight="bold")
        y += HEADING_HEIGHT
        for line in lines:
            x = MARGIN
            for group in line:
                _draw_group(axes, group, x, y)
                x += len(group.images) * IMAGE_WIDTH + MARGIN
            y += _line_height(line)
    return figure


def _lines(groups: Sequence[ImageGroup]) -> Iterator[list[ImageGroup]]:
    """Yield the groups of each line; a group wider than the page has a line of its own, or more."""
    most = int((PAGE_WIDTH - MARGIN) / IMAGE_WIDTH) - 1
    line: list[ImageGroup] = []
    room = PAGE_WIDTH - MARGIN
    for group in groups:
        for start in range(0, len(group.images), most):
            stop = start + most
            part = group._replace(images=group.images[start:stop], captions=group.captions[start:stop])
            width = len(part.images) * IMAGE_WIDTH + MARGIN
            if line and width > room:
                yield line
                line, room = [], PAGE_WIDTH - MARGIN
            line.append(part)
            room -= width
    if line:
        yield line


def _image_height(image: NDArray[np.uint8]) -> float:
    height: float = IMAGE_WIDTH * image.shape[0] / image.shape[1]
    return height


def _line_height(line: Sequence[ImageGroup]) -> float:
    """Return the inches that a line of groups is high, captions and margin included."""
    return MARGIN + max(
        _image_height(image) + LINE_HEIGHT * len(_caption_lines(caption))
        for group in line
        for image, caption in zip(group.images, group.captions, strict=True)
    )


def _draw_group(axes: Axes, group: ImageGroup, x: float, y: float) -> None:
    """Draw images edge to edge with their captions, framed if the group stands out."""
    for index, (image, caption) in enumerate(zip(group.images, group.captions, strict=True)):
        left = x + index * IMAGE_WIDTH
        height = show_image(axes, image, left, y, IMAGE_WIDTH - 0.02)
        for number, line in enumerate(_caption_lines(caption), start=1):
            bottom = y + height + number * LINE_HEIGHT
            axes.text(left, bottom, line, fontsize=TINY, color=INK, parse_math=False)
    if group.stands_out:
        width = len(group.images) * IMAGE_WIDTH - 0.02
        height = max(map(_image_height, group.images))
        frame = Rectangle((x, y), width, height, fill=False, edgecolor=VERMILLION, linewidth=1.6)
        axes.add_patch(frame)


def _caption_lines(caption: str) -> list[str]:
    """Return the lines of a caption, each as wide as an image at most."""
    most = int(IMAGE_WIDTH * 72 / (0.64 * TINY))
    lines = []
    for line in caption.split("\n"):
        text = line if len(line) <= 3 * most else "…" + line[1 - 3 * most :]
        lines += [text[start : start + most] for start in range(0, len(text), most)]
    return lines


def _draw_balance(
    axes: Axes, top: float, class_counts: Mapping[str, Sequence[int]], class_names: Sequence[str]
) -> None:
    """Draw for each split the share of every class as a bar, with its count."""
    names_width, counts_width = 0.6, 0.85
    panel = (PAGE_WIDTH - 2 * MARGIN) / max(len(class_counts), 3)
    shares = {name: [n / max(sum(counts), 1) for n in counts] for name, counts in class_counts.items()}
    largest = max(max(values) for values in shares.values()) or 1.0
    room = panel - names_width - counts_width
    for number, (split, counts) in enumerate(class_counts.items()):
        left = MARGIN + number * panel
        _write(axes, left, top, f"{split}: {sum(counts):,} samples", SMALL, weight="bold")
        for label, (name, n, share) in enumerate(zip(class_names, counts, shares[split], strict=True)):
            y = top + 0.24 + BAR_HEIGHT * (label + 0.5)
            start = left + names_width
            axes.text(start - 0.05, y, name, fontsize=TINY, ha="right", va="center", color=INK)
            for width, colour in ((room, PALE), (room * share / largest, BLUE)):
                axes.barh(y, width, left=start, height=0.75 * BAR_HEIGHT, color=colour, linewidth=0)
            text = f"{n:,}  {share:.1%}" if n else "0"
            axes.text(start + room + 0.05, y, text, fontsize=TINY, va="center", color=INK if n else GREY)


def _write(axes: Axes, x: float, y: float, text: str, size: float, weight: str = "normal") -> None:
    """Write a text whose top is at ``y`` inches."""
    axes.text(x, y, text, fontsize=size, va="top", fontweight=weight, color=INK, linespacing=1.1)
