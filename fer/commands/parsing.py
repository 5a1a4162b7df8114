"""What commands say, and what their parsers say of words that they do not take."""

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Final

from jsonargparse import ArgumentParser
from rich.console import Console

CONSOLE: Final = Console(highlight=False, soft_wrap=True)


def explain(problem: str, parser: ArgumentParser) -> str:
    """Return a parser's complaint with the settings that were perhaps meant."""
    unknown = re.search(r"unrecognized arguments: --([\w.]+)", problem)
    in_config = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", problem)
    name = unknown.group(1) if unknown else ".".join(in_config.groups()) if in_config else None
    settings = [action.dest for action in parser._actions]
    near = get_close_matches(name, settings, n=3) if name else []
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{problem}; {hint}all settings: {parser.prog} --help"


def takes(parser: ArgumentParser, key: str) -> bool:
    """Return whether the parser has a setting."""
    return any(action.dest == key for action in parser._actions)


def summary(function: Callable[..., None]) -> str:
    """Return a docstring up to its arguments."""
    return (function.__doc__ or "").split("\n\n    Args:")[0]
