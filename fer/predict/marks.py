"""Mark faces in an image: a box in the colour of the class, and labels that do not overlap."""

from collections.abc import Sequence
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fer.data.detectors import Point
from fer.palette import readable_on
from fer.predict.tracks import Box

TEXT_SHARE: Final = 1 / 34
"""Font size, as a share of the image's shorter side."""

MIN_TEXT: Final = 11
"""Smallest legible font size, in pixels."""

MOST_LABELS: Final = 100
"""Most labels in one image; smaller faces beyond them get only a box."""


class Mark(NamedTuple):
    """A face that is marked in an image.

    Attributes:
        box: Left, top, right and bottom, in pixels; it may go beyond the image.
        text: The label, in one line.
        colour: ``#rrggbb``.
        landmarks: Points ``(x, y)``, in pixels.
    """

    box: Box
    text: str
    colour: str
    landmarks: Sequence[Point] = ()

    def scaled(self, scale: float) -> "Mark":
        """Return the mark for an image that is scaled by this factor."""
        left, top, right, bottom = (scale * value for value in self.box)
        points = [(scale * x, scale * y) for x, y in self.landmarks]
        return Mark((left, top, right, bottom), self.text, self.colour, points)


class Spot(NamedTuple):
    """Where a label is, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Sequence[float]) -> bool:
        """Return whether this one overlaps another one."""
        left, top, right, bottom = other
        return self.left < right and left < self.right and self.top < bottom and top < self.bottom


def draw_marks(image: NDArray[np.uint8], marks: Sequence[Mark]) -> NDArray[np.uint8]:
    """Return a copy of an image with the faces marked.

    Args:
        image: RGB, uint8, shape ``(H, W, 3)``.
        marks: Its faces. If there is no room for a label, only the box is drawn.
    """
    if not marks:
        return image.copy()
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    height, width = image.shape[:2]
    size = max(MIN_TEXT, round(TEXT_SHARE * min(height, width)))
    font, line, pad = _font(size), max(2, round(size / 7)), max(2, round(size / 5))
    # All lines have the same height, so that labels do not jump between texts with and without descenders.
    ascent, descent = font.getmetrics()
    sizes = [(font.getlength(mark.text) + 2 * pad, ascent + descent + pad) for mark in marks]
    for mark in marks:
        draw.rectangle(_inside(mark.box, width, height), outline=mark.colour, width=line)
        radius = min(line, (mark.box[2] - mark.box[0]) / 30)
        for x, y in mark.landmarks if radius >= 1 else ():  # on small faces they would hide the face
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=mark.colour)
    for mark, spot in zip(
        marks, place_labels([mark.box for mark in marks], sizes, (width, height)), strict=True
    ):
        if spot is not None:
            draw.rectangle(spot, fill=mark.colour)
            ink = readable_on(mark.colour)
            draw.text((spot.left + pad, spot.top + pad / 2), mark.text, fill=ink, font=font)
    return np.asarray(canvas, np.uint8)


def place_labels(
    boxes: Sequence[Box], sizes: Sequence[tuple[float, float]], within: tuple[float, float]
) -> list[Spot | None]:
    """Return where each label goes: at its face, inside the image, and not over another label.

    A label goes above its box, else below, else inside at the top or the bottom, else beside it; places that
    cover no other face are preferred. Larger faces come first; at most :data:`MOST_LABELS` get a label.

    Args:
        boxes: Left, top, right and bottom of each face, in pixels.
        sizes: Width and height of each label, in pixels.
        within: Width and height of the image, in pixels.

    Returns:
        The place of each face's label, or None if there is no room.
    """
    spots: list[Spot | None] = [None] * len(boxes)
    placed: list[Spot] = []
    order = sorted(range(len(boxes)), key=lambda i: (boxes[i][0] - boxes[i][2]) * (boxes[i][3] - boxes[i][1]))
    for i in order[:MOST_LABELS]:
        free = [
            spot
            for spot in _candidates(boxes[i], sizes[i], within)
            if not any(spot.meets(other) for other in placed)
        ]
        others = [boxes[j] for j in order[:MOST_LABELS] if j != i]
        best = next((spot for spot in free if not any(spot.meets(box) for box in others)), None)
        if spot := best or next(iter(free), None):
            spots[i] = spot
            placed.append(spot)
    return spots


def _candidates(box: Box, size: tuple[float, float], within: tuple[float, float]) -> list[Spot]:
    """Return the possible places of a face's label inside the image, the best first."""
    (left, top, right, bottom), (width, height), (most_x, most_y) = box, size, within
    if width > most_x or height > most_y:
        return []
    x = min(max(left, 0.0), most_x - width)
    places = [(x, top - height), (x, bottom), (x, top), (x, bottom - height)]
    places += [(right, top), (left - width, top), (right, bottom - height), (left - width, bottom - height)]
    return [
        Spot(across, down, across + width, down + height)
        for across, down in places
        if 0 <= across <= most_x - width and 0 <= down <= most_y - height
    ]


def _inside(box: Box, width: int, height: int) -> Box:
    """Return the part of a box inside an image."""
    left, top, right, bottom = box
    x0, y0 = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    return x0, y0, min(max(right, x0), width - 1), min(max(bottom, y0), height - 1)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which comes with Matplotlib and has the letters of many languages.

    Matplotlib is only located: importing it would take a twentieth of the time for one photo.
    """
    matplotlib = cast("ModuleSpec", find_spec("matplotlib"))
    folder = Path(cast("str", matplotlib.origin)).parent
    return ImageFont.truetype(folder / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", size)
