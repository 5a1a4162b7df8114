"""Write an explanation as one page and one image."""

from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer.errors import InputError
from fer.explain.images import answer_of, describe, map_image, sheet, tint
from fer.explain.photo import ExplainedFace, Explanation
from fer.figures.style import write_figure
from fer.files import atomic_write
from fer.predict.drawing import annotate
from fer.report.still import image, still_page, table

SIDE = 320
"""Side of a face on the page, in pixels."""

PHOTO = 1024
"""Longest side of the photo on the page, in pixels."""

CSS = """
.photo { max-width: 100%; max-height: 30rem; height: auto; border: 1px solid var(--pale); }
.faces { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 10rem), 1fr)); gap: 1rem; }
.faces figure, .maps figure { margin: 0; }
.faces img { width: 100%; height: auto; image-rendering: pixelated; }
.maps { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)); gap: .6rem; }
.maps img { width: 100%; height: auto; image-rendering: pixelated; border: 1px solid var(--pale); }
.maps figcaption { font-size: .8rem; margin-top: .1rem; }
"""

READ = """<p class="note">Vermillion parts are evidence for the predicted class, blue parts against it.
Grad-CAM weights the feature maps of one layer by the gradient of the class. Occlusion hides one patch at a
time and shows by how much the probability drops. Where both agree, the prediction depends on that part;
neither says why. The neurons shown are the most active ones among the more distinct half of each layer, with
their angle to the nearest similar or opposite neuron. In a map, black is the smallest value and white the
largest.</p>"""


def write_explanation(
    out: Path, explanation: Explanation, title: str, facts: list[tuple[str, str]]
) -> list[Path]:
    """Write ``explanation.html`` and ``explanation.png`` into a folder, and return them.

    Args:
        out: The folder, created if missing.
        explanation: The explanation of at least one face.
        title: Name of the photo.
        facts: Facts about the network, as pairs of name and text.

    Raises:
        InputError: A file cannot be written.
    """
    paths = [out / "explanation.html", out / "explanation.png"]
    try:
        with atomic_write(paths[0]) as file:
            file.write(_page(explanation, title, facts).encode())
        write_figure(sheet(explanation, title), paths[1])
    except OSError as e:
        msg = f"--out {out}: nothing can be written there ({e.strerror}); choose another folder"
        raise InputError(msg) from e
    return paths


def _page(explanation: Explanation, title: str, facts: list[tuple[str, str]]) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    photo = annotate(explanation.image, [each.face for each in explanation.faces])
    lead = [
        f'<dl class="facts">{rows}</dl>',
        *(f'<p class="warn">{escape(note)}</p>' for note in explanation.notes),
        image(_png(photo, longest=PHOTO), f"{title} with the faces that were found", "photo"),
        READ,
    ]
    sections = {
        f"Face {number}: {answer_of(each)}": _section(each, explanation.layer)
        for number, each in enumerate(explanation.faces, 1)
    }
    return still_page(title, "what the network looked at", sections, lead="\n".join(lead), css=CSS)


def _section(each: ExplainedFace, layer: str) -> str:
    low, high = (100 * float(value) for value in (each.occlusion.min(), each.occlusion.max()))
    pictures = [
        (each.crop, "Input of the network"),
        (tint(each.crop, each.relevance), f"Grad-CAM at {layer}"),
        (tint(each.crop, each.occlusion), f"Occlusion: {low:+.1f} to {high:+.1f} percentage points of drop"),
    ]
    faces = "".join(_figure(_png(picture, side=SIDE), text) for picture, text in pictures)
    maps = "".join(
        f'<h3>{escape(layer)}</h3><div class="maps">'
        + "".join(
            _figure(
                _png(map_image(neuron)), f"neuron {describe(neuron)}", alt=f"map of neuron {neuron.index}"
            )
            for neuron in neurons
        )
        + "</div>"
        for layer, neurons in each.neurons.items()
    )
    values = [(name, f"{100 * value:.1f} %") for name, value in each.face.probabilities.items()]
    return f'<div class="faces">{faces}</div>{table(["class", "probability"], values)}{maps}'


def _figure(png: bytes, text: str, alt: str | None = None) -> str:
    return f"<figure>{image(png, alt or text, 'map')}<figcaption>{escape(text)}</figcaption></figure>"


def _png(picture: NDArray[np.uint8], *, side: int | None = None, longest: int | None = None) -> bytes:
    """Return an image as PNG, enlarged to ``side`` or reduced to ``longest``, in pixels."""
    drawn = Image.fromarray(picture)
    if side is not None and drawn.width < side:
        drawn = drawn.resize((side, side), Image.Resampling.NEAREST)
    if longest is not None:
        drawn.thumbnail((longest, longest))
    file = BytesIO()
    drawn.save(file, "PNG", optimize=True)
    return file.getvalue()
