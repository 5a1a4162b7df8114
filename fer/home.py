"""The home folder, written as ``~/`` in what is stored and sent: shared files do not name their user."""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def hide_home(value: Any) -> Any:
    """Return a text with the home folder written as ``~/``; of containers, with each text in them.

    >>> hide_home({"root": f"{Path.home()}/data", "home": str(Path.home()), "lr": 0.1})
    {'root': '~/data', 'home': '~/', 'lr': 0.1}
    """
    homes = {str(Path.home()), os.path.realpath(Path.home())} - {os.sep}
    names = "|".join(map(re.escape, sorted(homes, key=len, reverse=True)))
    if not names:
        return value
    # A home folder ends where its name does: /home/ann is no part of /home/anna, nor of /mnt/home/ann.
    pattern = re.compile(rf"(?<![\w.~/-])(?:{names})(?:/+|(?![\w.-]))")
    return _map(lambda text: pattern.sub("~/", text), value)


def show_home(value: Any) -> Any:
    """Return a text that begins with ``~/`` with the home folder instead; of containers, each text in them.

    >>> show_home(["~/data"]) == [f"{Path.home()}/data"]
    True
    """
    return _map(lambda text: str(Path(text).expanduser()) if text.startswith("~/") else text, value)


@contextmanager
def hidden_in_arguments() -> Iterator[None]:
    """Hide the home folder in the program's arguments, which other libraries store as they find them."""
    before = sys.argv
    sys.argv = hide_home(before)
    try:
        yield
    finally:
        sys.argv = before


def _map(change: Any, value: Any) -> Any:
    """Return nested mappings, lists and tuples with each text changed, the keys of mappings included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {_map(change, key): _map(change, each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_map(change, each) for each in value)
    return value
