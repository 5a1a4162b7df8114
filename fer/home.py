"""Write the home folder as ``~/`` in files and uploads, so that they do not contain the user's name."""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def hide_home(value: Any) -> Any:
    """Return a text, or a container of texts, with the home folder written as ``~/``.

    >>> hide_home({"root": f"{Path.home()}/data", "home": str(Path.home()), "lr": 0.1})
    {'root': '~/data', 'home': '~/', 'lr': 0.1}
    """
    homes = {str(Path.home()), os.path.realpath(Path.home())} - {os.sep}
    names = "|".join(map(re.escape, sorted(homes, key=len, reverse=True)))
    if not names:
        return value
    # Match whole names only: /home/ann must match neither /home/anna nor /mnt/home/ann.
    pattern = re.compile(rf"(?<![\w.~/-])(?:{names})(?:/+|(?![\w.-]))")
    return _map(lambda text: pattern.sub("~/", text), value)


def show_home(value: Any) -> Any:
    """Return a text, or a container of texts, with a leading ``~/`` replaced by the home folder.

    >>> show_home(["~/data"]) == [f"{Path.home()}/data"]
    True
    """
    return _map(lambda text: str(Path(text).expanduser()) if text.startswith("~/") else text, value)


@contextmanager
def hidden_in_arguments() -> Iterator[None]:
    """Hide the home folder in ``sys.argv``, which other libraries store."""
    before = sys.argv
    sys.argv = hide_home(before)
    try:
        yield
    finally:
        sys.argv = before


def _map(change: Any, value: Any) -> Any:
    """Return nested mappings, lists and tuples with each text changed, including the keys of mappings."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {_map(change, key): _map(change, each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_map(change, each) for each in value)
    return value
