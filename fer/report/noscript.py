"""What a page shows where scripts are not allowed, as in the preview of a mail: results as tables, images."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from fer.report.parts import Page
from fer.report.still import table

Formats = Mapping[str, Callable[[Any], str]]
"""Function that turns a value into text, for each key of a row."""

NOTE: Final = (
    "Scripts are not allowed here, so that this page shows results, commands and images only. Open it in a "
    "browser that allows scripts to see the charts and the angles between neurons."
)
"""First sentence of such a page."""


def take_images(content: Any) -> Iterator[tuple[str, str]]:
    """Yield the title and the element of each image, and leave only its place in the content.

    The element has the id ``image-NAME``; the scripts move it to its place.

    Args:
        content: The gathered data, or a part of it. Its images lose their ``src``.
    """
    match content:
        case {"src": _, "name": name, "title": title, "alt": alt}:
            source = content.pop("src")
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
    warnings = [text for text in (content.get("unfinished"), *content.get("limits", [])) if text]
    head = [
        f'<p class="kicker">{escape(content["kind"])}</p>',
        f"<h1>{escape(content['name'])}</h1>",
        *(f'<p class="warn">{escape(text)}</p>' for text in warnings),
        f'<p class="note">{NOTE}</p>',
    ]
    repeat = content.get("repeat", {})
    commands = [repeat[name] for name in ("command", "best", "folder") if repeat.get(name)]
    sections = [
        *_tables(content),
        ("Settings", "".join(_list(content.get("facts", [])))),
        ("Commands", "".join(f"<pre>{escape(command)}</pre>" for command in commands)),
    ]
    parts = (f"<section><h2>{title}</h2>{text}</section>" for title, text in sections if text)
    return "\n".join([*head, *parts])


def _tables(content: Page) -> Iterator[tuple[str, str]]:
    """Yield the title and the HTML of each table of results."""
    splits = content.get("results", [])
    quality = {"n": _count, "acc": _percent, "low": _percent, "high": _percent}
    names = ("n", "accuracy", "from (95 %)", "to", "recall", "F1")
    means = {"balanced": _percent, "f1": _percent}
    yield "Results", _table(("split", *names), splits, "name", quality | means)
    if members := content.get("members"):
        rows = [
            {"name": row["number"], "val": row["val"]["acc"], "test": row["test"]["acc"]}
            for row in members["rows"]
        ]
        sums = [{"name": name, **members[key]} for name, key in (("mean", "mean"), ("std. dev.", "std"))]
        formats = {"val": _percent, "test": _percent}
        member = content["member"]
        table_of = _table((member, "accuracy on val", "on test"), rows + sums, "name", formats)
        yield f"{member.capitalize()}s", table_of
    if sweep := content.get("sweep"):
        trial: Formats = {"state": str, "value": _short}
        yield "Trials", _table(("trial", "state", sweep["metric"]), sweep["rows"], "name", trial)
    for split in [each for each in splits if each["name"] == "test"] or splits[-1:]:
        formats = {"n": _count, "recall": _percent, "precision": _percent, "f1": _percent}
        head = ("class", "n", "recall", "precision", "F1")
        yield f"Classes of {escape(split['name'])}", _table(head, split["classes"], "name", formats)
    if stages := content.get("stages", {}).get("network"):
        formats = {"begin": _short, "end": _short}
        yield "Training stages", _table(("stage", "first epoch", "last"), stages, "text", formats)
    if prune := content.get("prune"):
        quantities = {
            "accuracy": ("acc", _percent),
            "parameters": ("parameters", _count),
            "multiply-adds": ("macs", _count),
        }
        rows = [
            {"name": name, **{side: form(prune[side].get(key)) for side in ("before", "after")}}
            for name, (key, form) in quantities.items()
        ]
        yield "Pruning", _table(("", "before", "after"), rows, "name", {"before": str, "after": str})


def _table(head: Sequence[str], rows: Iterable[Page], name: str, formats: Formats) -> str:
    """Return a table of some columns; empty without rows."""
    lines = [[str(row[name]), *(show(row.get(key)) for key, show in formats.items())] for row in rows]
    return table(head, lines) if lines else ""


def _list(facts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the parts of a list of names and texts."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    if items:
        yield f'<dl class="facts">{items}</dl>'


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _percent(value: Any) -> str:
    """Return a share as text.

    >>> _percent(0.5)
    '50.00 %'
    """
    return f"{100 * value:.2f} %" if _is_number(value) else "\N{EN DASH}"


def _count(value: Any) -> str:
    return f"{value:,}" if _is_number(value) else "\N{EN DASH}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if _is_number(value) else "\N{EN DASH}"
