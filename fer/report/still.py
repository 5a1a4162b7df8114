"""A page without scripts: sections of text, tables and images in one self-contained HTML file."""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from string import Template

from fer import __version__
from fer.report.style import WEB, style


def still_page(title: str, kicker: str, sections: Mapping[str, str], *, lead: str = "", css: str = "") -> str:
    """Return a page in the look of the reports.

    Args:
        title: Heading of the page.
        kicker: A few words above the heading.
        sections: HTML of each section, by the section's heading.
        lead: HTML between the heading and the sections.
        css: Additional style rules.
    """
    parts = [
        f'<section id="part-{number}"><h2>{escape(_heading(name))}</h2>{content}</section>'
        for number, (name, content) in enumerate(sections.items())
    ]
    contents = [
        f'<li><a href="#part-{number}">{escape(_heading(name))}</a></li>'
        for number, name in enumerate(sections)
    ]
    return Template((WEB / "still.html").read_text()).substitute(
        title=escape(title),
        kicker=escape(kicker),
        style=style() + css,
        contents="".join(contents),
        body="\n".join([lead, *parts]),
        version=__version__,
    )


def _heading(name: str) -> str:
    """Return a name with its first letter capitalised."""
    return name[:1].upper() + name[1:]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table that scrolls in its own box; the first cell of each row is its heading."""
    top = "".join(f'<th class="text" scope="col">{escape(cell)}</th>' for cell in head)
    lines = (
        f'<tr><th class="wrap" scope="row">{escape(name)}</th>'
        + "".join(f'<td class="text wrap">{escape(cell)}</td>' for cell in cells)
        + "</tr>"
        for name, *cells in rows
    )
    body = f"<thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<div class="scroll" tabindex="0"><table>{body}</table></div>'


def image(png: bytes, text: str, kind: str = "image") -> str:
    """Return an image that is embedded in the page.

    Args:
        png: Content of the PNG file.
        text: Text for screen readers.
        kind: Class in the style sheet.
    """
    data = b64encode(png).decode()
    return f'<img class="{kind}" alt="{escape(text)}" src="data:image/png;base64,{data}">'
