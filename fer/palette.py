"""Colour-blind safe colours, for figures, pages and annotations of images."""

from typing import Final

BLUE: Final = "#0072B2"
SKY: Final = "#56B4E9"
GREEN: Final = "#009E73"
VERMILLION: Final = "#D55E00"
ORANGE: Final = "#E69F00"
PURPLE: Final = "#CC79A7"
YELLOW: Final = "#F0E442"
"""Okabe and Ito, "Color Universal Design", 2008."""

CLASS_COLOURS: Final = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, YELLOW)
"""Colours of the first seven classes."""


def class_colours(num_classes: int) -> list[str]:
    """Return a different colour for each class, for any number of classes.

    The first seven are Okabe and Ito's. Further ones are darker and lighter versions of these in turn, which
    need a label to be told apart.

    Args:
        num_classes: Number of classes K.

    Returns:
        K colours as ``#RRGGBB``; a class has the same colour for any K.
    """
    colours = []
    for index in range(num_classes):
        rounds, place = divmod(index, len(CLASS_COLOURS))
        step = (rounds + 1) // 2
        share, end = step / (step + 1), 0 if rounds % 2 else 255  # towards black and white, never quite there
        parts = [int(CLASS_COLOURS[place][at : at + 2], 16) for at in (1, 3, 5)]
        colours.append("#" + "".join(f"{round(part + share * (end - part)):02X}" for part in parts))
    return colours


def readable_on(colour: str) -> str:
    """Return black or white, whichever has more contrast to a colour (WCAG 2, relative luminance).

    >>> readable_on("#0072B2"), readable_on("#F0E442")
    ('#FFFFFF', '#000000')
    """
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    luminance = sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return "#000000" if luminance > 0.179 else "#FFFFFF"
