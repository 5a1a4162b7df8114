"""One HTML file that needs no other: the template with its style, its script and what was gathered."""

import json
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Final

import numpy as np
from matplotlib.colors import to_hex

from fer.errors import InputError
from fer.figures import style
from fer.figures.angles import DIVERGING
from fer.figures.stages import STAGE_LOOKS
from fer.files import atomic_write
from fer.neurons.angles import COMPLEMENTARY_ABOVE, SIMILAR_BELOW
from fer.report.gather import gather
from fer.report.heat import NO_ANGLE, STEP
from fer.report.repeat import SettingsOf

BUDGET: Final = 6_000_000
"""Bytes that a page may have, to be sent by mail."""

FOLDER: Final = Path(__file__).parent
"""Where the template, the style and the scripts are, which are shipped as they are."""


def write_report(folder: Path, out: Path | None, settings_of: SettingsOf) -> Path:
    """Write the page of a folder, whole or not at all, and return its path.

    Args:
        folder: As of :func:`fer.report.gather`.
        out: The file to write; left out, ``report.html`` in the folder.
        settings_of: As of :func:`fer.report.gather`.

    Raises:
        InputError: There is nothing to report, or the file cannot be written.
    """
    content = page(gather(folder, settings_of)).encode()
    path = folder / "report.html" if out is None else out
    try:
        with atomic_write(path) as file:
            file.write(content)
    except OSError as e:
        msg = f"{path} cannot be written ({e.strerror}): give another file with --out"
        raise InputError(msg) from e
    return path


def page(content: dict[str, Any]) -> str:
    """Return the HTML of what was gathered.

    Texts of the folder are in it as JSON alone, without a ``<``, and the script makes text nodes of them:
    none can become a tag.
    """
    template = Template((FOLDER / "template.html").read_text())
    return template.substitute(
        title=escape(f"{content['name']}: {content['kind'].lower()}"),
        style=f":root {{ {_colours()} }}\n{(FOLDER / 'report.css').read_text()}",
        script="\n".join((FOLDER / name).read_text() for name in ("draw.js", "report.js")),
        content=as_json(content | {"look": _look()}),
    )


def as_json(content: Any) -> str:
    r"""Return JSON that can stand in a script element.

    >>> print(as_json({"name": "</script>"}))
    {"name":"\u003c/script\u003e"}
    """
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _colours() -> str:
    """Return the colours of all figures as CSS variables."""
    names = ("BLUE", "SKY", "GREEN", "VERMILLION", "ORANGE", "PURPLE", "INK", "GREY", "PALE")
    return " ".join(f"--{name.lower()}: {getattr(style, name)};" for name in names)


def _look() -> dict[str, Any]:
    """Return what the script must know to draw as the figures do."""
    steps = np.arange(0, 180 + STEP, STEP)
    return {
        "angles": [to_hex(colour) for colour in DIVERGING(steps / 180)],
        "shades": [to_hex(colour) for colour in style.SHADES(np.linspace(0, 1, 101))],
        "stages": {stage.value: colour for stage, (colour, _) in STAGE_LOOKS.items()},
        "similar": SIMILAR_BELOW,
        "complementary": COMPLEMENTARY_ABOVE,
        "none": NO_ANGLE,
    }
