"""Text in the cells of a CSV, which spreadsheets must not run as a formula."""

from typing import Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of a cell that spreadsheets take for a formula (OWASP, "CSV Injection")."""


def text_cell(text: str) -> str:
    """Return text for a cell; behind an apostrophe, which spreadsheets hide, where it would be a formula.

    >>> [text_cell(text) for text in ("happy", "=1+1")]
    ['happy', "'=1+1"]
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


def path_cell(path: str) -> str:
    """Return a relative or absolute path for a cell, which still names its file.

    >>> [path_cell(path) for path in ("happy/a.png", "=1+1.png")]
    ['happy/a.png', './=1+1.png']
    """
    return f"./{path}" if path.startswith(_FORMULA) else path
