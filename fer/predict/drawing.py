"""Draw the faces that were found on photos, and a contact sheet of many photos."""

import math
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fer.palette import class_colours
from fer.predict.marks import Mark, draw_marks
from fer.predict.recognizer import Face

DRAWN_SIDE: Final = 1600
"""Longest side of an annotated photo, in pixels; larger photos are shrunk."""

CELL: Final = 220
"""Side of a photo on the sheet, in pixels."""

CAPTION: Final = 34
"""Height of the two lines below a photo on the sheet, in pixels."""

NUM_SHEET: Final = 60
"""Largest number of photos on the sheet."""

INK: Final = (34, 34, 34)
PAPER: Final = (255, 255, 255)


def annotate(
    image: NDArray[np.uint8], faces: Sequence[Face], max_side: int = DRAWN_SIDE
) -> NDArray[np.uint8]:
    """Return a copy of an image with each face's box, landmarks, class and probability.

    Args:
        image: RGB, uint8, shape ``(H, W, 3)``.
        faces: The faces in this image.
        max_side: Longest side of the copy, in pixels.

    Returns:
        RGB, uint8, with no side longer than ``max_side``.
    """
    small, scale = shrink(image, max_side)
    return draw_marks(small, [mark_face(face).scaled(scale) for face in faces])


def mark_face(face: Face, number: int | None = None) -> Mark:
    """Return the mark of a face: in its class's colour, with its landmarks, or its number in a video.

    Args:
        face: The face.
        number: Number of a tracked face; None: the face is not tracked.
    """
    names = list(face.probabilities)
    colour = class_colours(len(names))[names.index(face.label)]
    text = f"{face.label} {100 * face.probabilities[face.label]:.0f} %"
    if number is not None:
        return Mark(face.box, f"{number} {text}", colour)
    return Mark(face.box, text, colour, face.landmarks or ())


def thumbnail(image: NDArray[np.uint8], faces: Sequence[Face]) -> NDArray[np.uint8]:
    """Return an image with its faces, in the size for a sheet."""
    return annotate(image, faces, CELL)


def draw_sheet(cells: Sequence[tuple[NDArray[np.uint8], str, str]]) -> NDArray[np.uint8]:
    """Return images side by side.

    Args:
        cells: At least one image: its :func:`thumbnail` and the two lines below it.

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
    """Return text that fits into a cell, shortened in its middle if needed."""
    short, kept = text, len(text)
    while draw.textlength(short, font=font) > CELL and kept > 2:
        kept -= 1
        short = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
    return short


def shrink(image: NDArray[np.uint8], max_side: int) -> tuple[NDArray[np.uint8], float]:
    """Return an image with no side longer than ``max_side``, and its scale relative to the original."""
    scale = min(1.0, max_side / max(image.shape[:2]))
    if scale == 1:
        return image, scale
    height, width = (max(1, round(scale * side)) for side in image.shape[:2])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8), scale
