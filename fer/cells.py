"""Text for CSV cells that spreadsheets do not run as a formula."""

from typing import Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""First characters that make spreadsheets read a cell as a formula (OWASP, "CSV Injection")."""


def text_cell(text: str) -> str:
    """Return text for a cell; one that looks like a formula gets an apostrophe, which spreadsheets hide.

    >>> [text_cell(text) for text in ("happy", "=1+1")]
    ['happy', "'=1+1"]
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


def path_cell(path: str) -> str:
    """Return a relative or absolute path for a cell, changed only such that it still names its file.

    >>> [path_cell(path) for path in ("happy/a.png", "=1+1.png")]
    ['happy/a.png', './=1+1.png']
    """
    return f"./{path}" if path.startswith(_FORMULA) else path
