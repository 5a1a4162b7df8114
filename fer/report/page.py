"""One self-contained HTML file: the template with its style, its scripts and the gathered data."""

import json
from copy import deepcopy
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Final

import numpy as np
from matplotlib.colors import to_hex

from fer.errors import InputError
from fer.figures import style as looks
from fer.figures.angles import DIVERGING
from fer.figures.bands import STAGE_LOOKS
from fer.files import atomic_write
from fer.neurons.angles import COMPLEMENTARY_ABOVE, SIMILAR_BELOW
from fer.report.gather import gather
from fer.report.heat import NO_ANGLE, STEP
from fer.report.noscript import results_as_html, take_images
from fer.report.repeat import SettingsOf
from fer.report.style import WEB, style

BUDGET: Final = 6_000_000
"""Largest size of a page in bytes, small enough to be sent by mail."""

SCRIPTS: Final = ("dom", "format", "table", "chart")
"""Scripts that the sections build on, in order. Each section has a file of its own; ``main`` comes last."""


def write_report(folder: Path, out: Path | None, settings_of: SettingsOf) -> Path:
    """Write the page of a folder atomically, and return its path.

    Args:
        folder: As for :func:`fer.report.gather`.
        out: The file to write; None: ``report.html`` in the folder.
        settings_of: As for :func:`fer.report.gather`.

    Raises:
        InputError: There is nothing to report, or the file cannot be written.
    """
    content = page(gather(folder, settings_of)).encode()
    path = folder / "report.html" if out is None else out
    try:
        with atomic_write(path) as file:
            file.write(content)
    except OSError as e:
        msg = f"cannot write {path} ({e.strerror}): choose another file with --out"
        raise InputError(msg) from e
    return path


def page(content: dict[str, Any]) -> str:
    """Return the HTML of the gathered data.

    Texts from the folder cannot become tags: they are embedded escaped, and as JSON without ``<``, which the
    scripts turn into text nodes.
    """
    content = deepcopy(content)
    images = "\n".join(
        f"<figure><h3>{escape(title)}</h3>{element}</figure>" for title, element in take_images(content)
    )
    return Template((WEB / "template.html").read_text()).substitute(
        title=escape(f"{content['name']}: {content['kind'].lower()}"),
        style=style(),
        results=results_as_html(content),
        images=images,
        script=f'"use strict";\n{script()}',
        content=as_json(content | {"look": _look()}),
    )


def script() -> str:
    """Return the scripts of the folder, joined into one."""
    sections = {path.stem for path in WEB.glob("*.js")} - {*SCRIPTS, "main"}
    return "\n".join((WEB / f"{name}.js").read_text() for name in (*SCRIPTS, *sorted(sections), "main"))


def as_json(content: Any) -> str:
    r"""Return JSON that is safe to embed in a script element.

    >>> print(as_json({"name": "</script>"}))
    {"name":"\u003c/script\u003e"}
    """
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _look() -> dict[str, Any]:
    """Return the colours and limits that the scripts need to match the figures."""
    steps = np.arange(0, 180 + STEP, STEP)
    return {
        "angles": [to_hex(colour) for colour in DIVERGING(steps / 180)],
        "shades": [to_hex(colour) for colour in looks.SHADES(np.linspace(0, 1, 101))],
        "stages": {stage.value: colour for stage, (colour, _) in STAGE_LOOKS.items()},
        "reasons": looks.reason_looks(),
        "similar": SIMILAR_BELOW,
        "complementary": COMPLEMENTARY_ABOVE,
        "none": NO_ANGLE,
    }
