"""Photos with the faces that were found in them, and a sheet of many."""

import math
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fer.predict.recognizer import Face

COLOURS: Final = (
    *((86, 180, 233), (230, 159, 0), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0)),
    *((0, 114, 178), (153, 153, 153)),
)
"""Colours of classes, told apart also by those who do not see all of them; then again from the first.

Source: Okabe and Ito, "Color Universal Design", 2008.
"""

DRAWN_SIDE: Final = 1600
"""Longest side of a photo that is drawn on, in pixels; a larger one is drawn smaller."""

CELL: Final = 220
"""Side of a photo on the sheet, in pixels."""

CAPTION: Final = 34
"""Height of the two lines below a photo on the sheet, in pixels."""

NUM_SHEET: Final = 60
"""Photos on the sheet."""

INK: Final = (34, 34, 34)
PAPER: Final = (255, 255, 255)


def annotate(
    image: NDArray[np.uint8], faces: Sequence[Face], max_side: int = DRAWN_SIDE
) -> NDArray[np.uint8]:
    """Return a copy of an image with the box, the landmarks, the class and its probability of each face.

    Args:
        image: RGB, uint8, shape ``(H, W, 3)``.
        faces: In this image.
        max_side: Longest side of the copy, in pixels.

    Returns:
        RGB, uint8, at most that large.
    """
    small, scale = _shrunk(image, max_side)
    drawn = Image.fromarray(small)
    draw = ImageDraw.Draw(drawn)
    width = max(1, round(max(drawn.size) / 400))
    for face in faces:
        colour = colour_of(face)
        left, top, right, bottom = (scale * value for value in face.box)
        draw.rectangle((left, top, right, bottom), outline=colour, width=width)
        radius = min(width, (right - left) / 30)
        for x, y in (face.landmarks or ()) if radius >= 1 else ():  # of small faces they would hide the face
            x, y = scale * x, scale * y
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    for face in faces:  # no box is drawn over a name
        _label(draw, face, scale, drawn.size)
    return np.asarray(drawn, np.uint8)


def colour_of(face: Face) -> tuple[int, int, int]:
    """Return the colour of a face's class."""
    return COLOURS[list(face.probabilities).index(face.label) % len(COLOURS)]


def _label(draw: ImageDraw.ImageDraw, face: Face, scale: float, size: tuple[int, int]) -> None:
    """Write the class and its probability above the box, or inside where there is no room above."""
    left, top, right, _ = (scale * value for value in face.box)
    text = f"{face.label} {face.probabilities[face.label]:.0%}"
    font = ImageFont.load_default(min(max((right - left) / 7, max(size) / 60, 10), max(size) / 24))
    x0, y0, x1, y1 = draw.textbbox((0, 0), text, font=font)
    wide, high = x1 - x0 + 6, y1 - y0 + 6
    x = min(max(left, 0), max(size[0] - wide, 0))
    y = top - high if top >= high else max(top, 0)
    colour = colour_of(face)
    is_light = sum(share * value for share, value in zip((0.299, 0.587, 0.114), colour, strict=True)) > 128
    draw.rectangle((x, y, x + wide, y + high), fill=colour)
    draw.text((x + 3 - x0, y + 3 - y0), text, fill=INK if is_light else PAPER, font=font)


def thumbnail(image: NDArray[np.uint8], faces: Sequence[Face]) -> NDArray[np.uint8]:
    """Return an image with its faces as it is on a sheet."""
    return annotate(image, faces, CELL)


def draw_sheet(cells: Sequence[tuple[NDArray[np.uint8], str, str]]) -> NDArray[np.uint8]:
    """Return images side by side.

    Args:
        cells: For each image, one or more, its :func:`thumbnail` and the two lines below it.

    Returns:
        RGB, uint8.
    """
    columns = min(len(cells), max(1, math.ceil(math.sqrt(1.5 * len(cells)))))
    rows = math.ceil(len(cells) / columns)
    gap = 10
    sheet = Image.new("RGB", (gap + columns * (CELL + gap), gap + rows * (CELL + CAPTION + gap)), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for place, (image, *lines) in enumerate(cells):
        x, y = gap + place % columns * (CELL + gap), gap + place // columns * (CELL + CAPTION + gap)
        height, width = image.shape[:2]
        sheet.paste(Image.fromarray(image), (x + (CELL - width) // 2, y + (CELL - height) // 2))
        for number, line in enumerate(lines):
            draw.text((x, y + CELL + 3 + 15 * number), _fitting(draw, line, font), fill=INK, font=font)
    return np.asarray(sheet, np.uint8)


def _fitting(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return text that is not wider than a cell, its middle left out."""
    short, kept = text, len(text)
    while draw.textlength(short, font=font) > CELL and kept > 2:
        kept -= 1
        short = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
    return short


def _shrunk(image: NDArray[np.uint8], max_side: int) -> tuple[NDArray[np.uint8], float]:
    """Return an image that is at most so large, and its size as a share of the original's."""
    scale = min(1.0, max_side / max(image.shape[:2]))
    if scale == 1:
        return image, scale
    height, width = (max(1, round(scale * side)) for side in image.shape[:2])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8), scale
