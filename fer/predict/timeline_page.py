"""The timeline of a video as a figure and as one self-contained HTML file."""

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
from fer.predict.timeline import Timeline, Track, bands

WEB: Final = Path(__file__).parent / "web"
"""Folder of the template, the style and the script."""

MOST_FACES: Final = 12
"""Tracked faces that are shown: those seen in the most frames."""

MOST_BANDS: Final = 10
"""Classes that are shown, with what the others have together; the most probable ones."""

BUDGET: Final = 4_000_000
"""Largest size of a page in bytes."""

IMPRESSIONS: Final = (
    "The probabilities are a network's estimate of the label that annotators would give to a face, not of "
    "what a person feels. They are no basis for a decision about anybody."
)


def write_timeline(
    timeline: Timeline, png: Path, html: Path, *, name: str, rate: float, notes: Sequence[str] = ()
) -> None:
    """Write the timeline as PNG, if there is a face, and as HTML.

    Args:
        timeline: Of the video.
        png: The figure's file.
        html: The page's file.
        name: Of the video.
        rate: Frames a second.
        notes: Sentences below it: how it was smoothed, which network it is.
    """
    from fer.figures.style import GREY, class_colours, write_figure
    from fer.figures.timeline import Panel, timeline_figure

    tracks = sorted(timeline.tracks, key=lambda each: -each.num_frames)[:MOST_FACES]
    tracks.sort(key=lambda each: each.number)
    curves = [track.curve(timeline.gap) for track in tracks]
    shown = bands(timeline.class_names, [values for _, values in curves], MOST_BANDS)
    colours = class_colours(len(timeline.class_names))
    end = timeline.end + 1 / rate
    looks = [(label, colours[own[0]] if len(own) == 1 else GREY) for label, own in shown]
    stacks = [_stack(values, [own for _, own in shown]) for _, values in curves]
    if tracks:
        panels = [
            Panel(f"face {track.number}: {_summary(track)}", times, stack)
            for track, (times, _), stack in zip(tracks, curves, stacks, strict=True)
        ]
        frame = max(timeline.step, 1 / rate)
        write_figure(timeline_figure(panels, looks, end, frame=frame, title=name), png)
    content = {
        "name": name,
        "summary": _describe(timeline, end, len(tracks)),
        "end": end,
        "frame": max(timeline.step, 1 / rate),
        "bands": [{"name": label, "color": colour} for label, colour in looks],
        "tracks": [
            {
                "number": track.number,
                "summary": _summary(track),
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
                    f"face {number} {face.label} {face.probabilities[face.label]:.0%}".replace("%", " %")
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
    """Return the HTML of a timeline; its texts are in it as JSON alone, without a ``<``."""
    return Template((WEB / "timeline.html").read_text()).substitute(
        title=escape(f"{content['name']}: timeline"),
        style=(WEB / "timeline.css").read_text(),
        script=f'"use strict";\n{(WEB / "timeline.js").read_text()}',
        content=json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
    )


def _stack(values: NDArray[np.float64], groups: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Return the probabilities of bands: of one class, or of several together."""
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


def _summary(track: Track) -> str:
    """Return when a face was seen, and its most frequent labels."""
    often = sorted(track.labels.items(), key=lambda each: -each[1])[:2]
    labels = ", ".join(f"{name} in {100 * num / track.num_frames:.0f} %" for name, num in often)
    frames = f"{track.num_frames:,} frame{'s' if track.num_frames > 1 else ''}"
    return f"{track.first:.1f} to {track.last:.1f} s, {labels} of {frames}"


def _describe(timeline: Timeline, end: float, num_shown: int) -> str:
    """Return what the timeline is made from, in a line."""
    num = len(timeline.tracks) + timeline.num_dropped
    faces = f"{num:,} tracked face{'' if num == 1 else 's'}"
    more = f", of which the {num_shown} seen in the most frames are shown" if num > num_shown else ""
    return f"{timeline.num_frames:,} frames in {end:.1f} s, {faces}{more}"


def _address(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
