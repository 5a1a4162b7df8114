"""Describe the values that an option takes, for an error about a value of another type."""

import re
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin

KINDS: Final[dict[Any, tuple[str, ...]]] = {
    bool: ("true", "false"),
    float: ("a number",),
    int: ("a whole number",),
    str: ("text",),
    Path: ("a path",),
    types.NoneType: ("null",),
}
"""Values of each type; other types are named by :func:`value_kinds`."""

SEVERAL: Final[dict[Any, str]] = {
    float: "numbers",
    int: "whole numbers",
    str: "texts",
    Path: "paths",
}
"""Several values of a type."""

LISTS: Final = ("list", "tuple", "set", "Sequence", "Iterable")
MAPPINGS: Final = ("dict", "Mapping")
"""Names of the types of collections."""

NESTED: Final = {
    "fer.callbacks.plateau.ActionByReason": "one of them for each of overfit/lr_frozen/stuck",
}
"""What an error calls a value that has settings of its own, by its class."""


def value_kinds(hint: Any) -> str:
    """Return the values that a type allows.

    >>> [value_kinds(each) for each in (float, int | None, bool | None, Literal["stop", "skip"])]
    ['a number', 'a whole number or null', 'true, false or null', 'stop or skip']
    >>> [value_kinds(each) for each in (tuple[int, ...], Sequence[str] | None, dict[str, float])]
    ['a list of whole numbers', 'a list of texts or null', 'a mapping of names to numbers']
    """
    return join_kinds(_alternatives(hint))


def join_kinds(words: Sequence[str]) -> str:
    """Return alternatives in one text, each once, null last.

    >>> join_kinds(["null", "a number", "text"])
    'a number, text or null'
    """
    words = sorted(dict.fromkeys(words), key=lambda word: word == "null")
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def kinds_in(text: str) -> str:
    """Return the values of the types in a message of jsonargparse, for options of nested classes.

    >>> kinds_in("<class 'int'>, typing.Literal['a'], <class 'NoneType'>")
    'a whole number, a or null'
    """
    names = re.sub(r"<class '([\w.]+)'>", r"\1", text)
    for name, words in NESTED.items():
        names = names.replace(name, words)
    by_name = {kind.__name__: words for kind, words in KINDS.items()}
    names = re.sub(r"typing\.\w+\[|collections\.abc\.|[]'\"]", "", names)
    parts = [part for name in names.split(", ") for part in by_name.get(name, (name,))]
    return join_kinds(parts)


def _alternatives(hint: Any) -> list[str]:
    origin, parts = get_origin(hint), get_args(hint)
    if hint in KINDS:
        return [*KINDS[hint]]
    if origin is Literal:
        return [*map(str, parts)]
    if origin in (Union, types.UnionType):
        return [word for part in parts for word in _alternatives(part)]
    name = getattr(origin or hint, "__name__", str(hint))
    if name in LISTS and parts:
        return [f"a list of {SEVERAL.get(parts[0]) or value_kinds(parts[0])}"]
    if name in MAPPINGS and parts:
        return [f"a mapping of names to {SEVERAL.get(parts[1]) or value_kinds(parts[1])}"]
    path = f"{getattr(hint, '__module__', '')}.{getattr(hint, '__qualname__', '')}"
    return [NESTED.get(path, name)]
