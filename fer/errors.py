"""The exception for invalid input, and helpers for its message."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, get_args

MOST_SUGGESTED: Final = 3
"""Largest number of paths that :func:`suggest_path` names."""


class InputError(ValueError):
    """Input of the user is invalid: a file, a row, an option.

    The message names the input and says what to do. The command line prints only the message, without a
    traceback, and exits with status 2.
    """


def unreadable_checkpoint(path: Path, reason: str) -> InputError:
    """Return the error for a file that cannot be read as a checkpoint."""
    way_out = "give a run, runs/NAME, or its checkpoints/best.ckpt; if this was one, it is truncated"
    return InputError(f"{path}: not a readable checkpoint ({reason}); {way_out}")


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a question that suggests the closest name, with a trailing space; empty if no name is close.

    >>> did_you_mean("resnett", ["resnet", "cbam"])
    "did you mean 'resnet'? "
    """
    near = get_close_matches(name, list(names), n=1)
    return f"did you mean {near[0]!r}? " if near else ""


def suggest_path(path: Path, is_wanted: Callable[[Path], bool]) -> str:
    """Return a question that suggests an existing path for a missing one, with a trailing space.

    The nearest name is suggested; if none is near, the newest paths are named. Empty if there are none.

    Args:
        path: The missing path. A name alone is also looked for in the folder ``runs``.
        is_wanted: Whether an existing path is of the wanted kind.
    """
    missing = path
    while missing != missing.parent and not missing.parent.is_dir():
        missing = missing.parent
    folders = (missing.parent / "runs", missing.parent)
    try:
        known = {
            each.name: each
            for folder in folders
            if folder.is_dir()
            for each in folder.iterdir()
            if is_wanted(each)
        }
        # A link to another one, as runs/latest is, would name it twice.
        single = [each for each in known.values() if not (each.is_symlink() and each.resolve().name in known)]
        newest = sorted(single, key=lambda each: each.lstat().st_mtime, reverse=True)
    except (OSError, InputError):
        return ""  # a folder that cannot be listed, or a damaged file in it
    near = [known[name] for name in get_close_matches(missing.name, known, n=1)]
    if near or len(newest) == 1:
        (found,) = near or newest
        inside = found / path.relative_to(missing)
        return f"did you mean {inside if inside.exists() else found}? "
    listed = ", ".join(map(str, newest[:MOST_SUGGESTED]))
    return f"the newest ones are {listed}; " if newest else ""


def check_choice(name: str, value: object, choices: Any) -> None:
    """Check that a setting is one of the values of a ``Literal`` type.

    Args:
        name: Name of the setting, for the message.
        value: Its value.
        choices: The ``Literal`` type.

    Raises:
        InputError: The value is not among them.
    """
    if value not in get_args(choices):
        msg = f"{name} is {value!r}: it must be one of {', '.join(map(str, get_args(choices)))}"
        raise InputError(msg)
