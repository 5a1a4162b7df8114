"""What a page shows where scripts are not allowed, as in the preview of a mail: results as tables, images."""

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any, Final

from fer.report.images import EMBEDDED
from fer.report.parts import Page
from fer.report.still import table

NOTE: Final = (
    "Scripts are not allowed here, so this page shows only results, commands and images. Open it in a "
    "browser that allows scripts to see the charts and the angles between neurons."
)
"""First sentence of such a page."""

UNKNOWN: Final = "\N{EN DASH}"
"""Text in place of a number that is not known."""


def take_images(content: Any) -> Iterator[tuple[str, str]]:
    """Yield the title and the HTML of each image, and leave only its name and title in the content.

    The element has the id ``image-NAME``; the scripts move it to its place.

    Args:
        content: The gathered data, or a part of it. Embedded PNG files (see :func:`fer.report.images.images`)
            lose their ``src``; an address in a damaged file of the folder is no image.
    """
    match content:
        case {"src": str(source), "name": str(name), "title": str(title), "alt": str(alt)} if (
            source.startswith(EMBEDDED)
        ):
            del content["src"]
            attributes = {"class": "image", "id": f"image-{name}", "alt": alt, "src": source}
            words = " ".join(f'{key}="{escape(value)}"' for key, value in attributes.items())
            yield title, f"<img {words}>"
        case dict():
            for part in content.values():
                yield from take_images(part)
        case list():
            for part in content:
                yield from take_images(part)


def results_as_html(content: Page) -> str:
    """Return the head of the page, its results, the facts about the run and its commands, as HTML."""
    warnings = [content[key] for key in ("unfinished", "limits") if content.get(key)]
    notes = [NOTE, content["clean"]] if content.get("clean") else [NOTE]
    repeat = content.get("repeat", {})
    commands = [repeat[name] for name in ("command", "best", "folder") if repeat.get(name)]
    facts = [f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in content.get("facts", [])]
    sections = [
        *((title, _table(head, rows)) for title, head, rows in _tables(content)),
        ("Settings", f'<dl class="facts">{"".join(facts)}</dl>' if facts else ""),
        ("Commands", "".join(f"<pre>{escape(command)}</pre>" for command in commands)),
    ]
    return "\n".join(
        [
            f'<p class="kicker">{escape(content["kind"])}</p>',
            f"<h1>{escape(content['name'])}</h1>",
            *(f'<p class="warn">{escape(text)}</p>' for text in warnings),
            *(f'<p class="note">{escape(text)}</p>' for text in notes),
            *(f"<section><h2>{escape(title)}</h2>{html}</section>" for title, html in sections if html),
        ]
    )


def _tables(content: Page) -> Iterator[tuple[str, Sequence[str], list[list[str]]]]:
    """Yield the title, the heads of the columns and the rows of each table."""
    splits = content.get("results", [])
    head = ["split", "n", "accuracy", "from (95 %)", "to", "recall", "F1"]
    shares = ("acc", "low", "high", "balanced", "f1")
    rows = [[each["name"], _count(each["n"]), *_percents(each, *shares)] for each in splits]
    yield "Results", head, rows
    if members := content.get("members"):
        rows = [
            [str(each["number"]), _percent(each["val"]["acc"]), _percent(each["test"]["acc"])]
            for each in members["rows"]
        ]
        rows.append(["mean", *_percents(members["mean"], "val", "test")])
        rows.append(["std. dev.", *_percents(members["std"], "val", "test")])
        member = content["member"]
        yield f"{member.capitalize()}s", [member, "accuracy on val", "on test"], rows
    if sweep := content.get("sweep"):
        rows = [[each["name"], each["state"], _short(each["value"])] for each in sweep["rows"]]
        yield "Trials", ["trial", "state", sweep["metric"]], rows
    if splits:
        split = next((each for each in splits if each["name"] == "test"), splits[-1])
        rows = [
            [each["name"], _count(each["n"]), *_percents(each, "recall", "precision", "f1")]
            for each in split["classes"]
        ]
        yield f"Classes of {split['name']}", ["class", "n", "recall", "precision", "F1"], rows
    stages = content.get("stages", {}).get("network", [])
    rows = [[each["text"], _short(each["begin"]), _short(each["end"])] for each in stages]
    yield "Training stages", ["stage", "begin, epochs trained", "end"], rows
    if prune := content.get("prune"):
        sides = prune["before"], prune["after"]
        rows = [
            ["accuracy", *(_percent(side.get("acc")) for side in sides)],
            ["parameters", *(_count(side["parameters"]) for side in sides)],
            ["multiply-adds", *(_count(side["macs"]) for side in sides)],
        ]
        yield "Pruning", ["", "before", "after"], rows


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return the HTML of a table; empty without rows."""
    return table(head, rows) if rows else ""


def _percents(row: Page, *keys: str) -> list[str]:
    return [_percent(row[key]) for key in keys]


def _percent(share: Any) -> str:
    """Return a share as text.

    >>> _percent(0.5)
    '50.00 %'
    """
    return f"{100 * share:.2f} %" if _is_known(share) else UNKNOWN


def _count(number: Any) -> str:
    return f"{number:,}" if _is_known(number) else UNKNOWN


def _short(number: Any) -> str:
    return f"{number:.4g}" if _is_known(number) else UNKNOWN


def _is_known(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
