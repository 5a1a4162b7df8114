"""The exception for invalid input, and helpers for its message."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, get_args


class InputError(ValueError):
    """Input of the user is invalid: a file, a row, an option.

    The message names the input and says what to do. The command line prints only the message, without a
    traceback, and exits with status 2.
    """


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a question that suggests the closest name, with a trailing space; empty if no name is close.

    >>> did_you_mean("resnett", ["resnet", "cbam"])
    "did you mean 'resnet'? "
    """
    near = get_close_matches(name, list(names), n=1)
    return f"did you mean {near[0]!r}? " if near else ""


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
