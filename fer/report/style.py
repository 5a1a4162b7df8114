"""The style sheet that all pages share, with the colours of the figures."""

from pathlib import Path
from typing import Final

from fer.figures import style as looks

WEB: Final = Path(__file__).parent / "web"
"""Folder of the templates, the style and the scripts."""


def style() -> str:
    """Return the style sheet, with the colours of the figures."""
    return f":root {{ {_colours()} }}\n{(WEB / 'report.css').read_text()}"


def _colours() -> str:
    """Return the colours of the figures as CSS variables."""
    names = ("BLUE", "SKY", "GREEN", "VERMILLION", "ORANGE", "PURPLE", "INK", "GREY", "PALE")
    return " ".join(f"--{name.lower()}: {getattr(looks, name)};" for name in names)
