"""Write the timeline of a video as a figure and as one self-contained HTML file."""

import base64
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer.files import atomic_write
from fer.palette import class_colours
from fer.predict.timeline import Timeline, bands

WEB: Final = Path(__file__).parent / "web"
"""Folder of the template, the style and the script."""

MOST_FACES: Final = 12
"""Tracked faces that are shown: those seen in the most frames."""

MOST_BANDS: Final = 10
"""Most bands: one for each of the most probable classes, and one for all others together."""

BUDGET: Final = 4_000_000
"""Largest size of a page in bytes."""

IMPRESSIONS: Final = (
    "The probabilities estimate the label that annotators would give to a face, not what a person feels. "
    "Do not base a decision about anybody on them."
)


def write_timeline(
    timeline: Timeline, png: Path, html: Path, *, name: str, notes: Sequence[str] = ()
) -> None:
    """Write the timeline as PNG, if there is a face, and as HTML.

    Args:
        timeline: Timeline of the video.
        png: File for the figure.
        html: File for the page.
        name: Name of the video.
        notes: Sentences below the timeline: the network and the smoothing.
    """
    from fer.figures.style import GREY, write_figure
    from fer.figures.timeline import Panel, timeline_figure

    tracks = timeline.longest(MOST_FACES)
    curves = [track.curve(timeline.gap) for track in tracks]
    shown = bands(timeline.class_names, [values for _, values in curves], MOST_BANDS)
    colours = class_colours(len(timeline.class_names))
    frame = max(timeline.step, 1 / timeline.rate)
    looks = [(label, colours[own[0]] if len(own) == 1 else GREY) for label, own in shown]
    stacks = [_stack(values, [own for _, own in shown]) for _, values in curves]
    if tracks:
        panels = [
            Panel(f"face {track.number}: {track}", times, stack)
            for track, (times, _), stack in zip(tracks, curves, stacks, strict=True)
        ]
        write_figure(timeline_figure(panels, looks, timeline.seconds, frame=frame, title=name), png)
    content = {
        "name": name,
        "summary": f"{timeline}{_shown(timeline, len(tracks))}",
        "end": timeline.seconds,
        "frame": frame,
        "bands": [{"name": label, "color": colour} for label, colour in looks],
        "tracks": [
            {
                "number": track.number,
                "summary": str(track),
                "portrait": _address(track.portrait),
                "times": [round(float(time), 3) for time in times],
                "values": [_in_thousandths(row) for row in stack],
            }
            for track, (times, _), stack in zip(tracks, curves, stacks, strict=True)
        ],
        "frames": [
            {
                "time": round(kept.time, 3),
                "src": _address(kept.image),
                "ratio": round(kept.size[0] / kept.size[1], 4),
                "faces": [
                    f"face {number} {face.label} {100 * face.probabilities[face.label]:.0f} %"
                    for number, face in kept.faces[:MOST_FACES]
                ],
            }
            for kept in timeline.frames
        ],
        "notes": [*notes, IMPRESSIONS],
    }
    with atomic_write(html) as file:
        file.write(page(content).encode())


def page(content: dict[str, Any]) -> str:
    """Return the HTML of a timeline, in which all texts are embedded as JSON without ``<``."""
    return Template((WEB / "timeline.html").read_text()).substitute(
        title=escape(f"{content['name']}: timeline"),
        style=(WEB / "timeline.css").read_text(),
        script=f'"use strict";\n{(WEB / "timeline.js").read_text()}',
        content=json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
    )


def _stack(values: NDArray[np.float64], groups: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Return the probabilities of bands, summed over the classes of each band."""
    return np.stack([values[:, list(group)].sum(axis=1) for group in groups], axis=1)


def _in_thousandths(row: NDArray[np.float64]) -> list[int] | None:
    """Return probabilities as whole thousandths that sum to 1,000; None where the face was away.

    >>> _in_thousandths(np.array([1 / 3, 1 / 3, 1 / 3]))
    [333, 334, 333]
    """
    if np.isnan(row).any():
        return None
    edges = np.rint(1000 * np.append(0, np.cumsum(row) / row.sum())).astype(int)
    return [int(each) for each in np.diff(edges)]


def _shown(timeline: Timeline, num: int) -> str:
    """Return how many tracked faces are shown; empty if all are."""
    return "" if num == timeline.num_tracks else f"; the {num} seen in the most frames are shown"


def _address(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
