"""The commands of ``fer``, one file each.

A file of this package is a command if it defines ``HELP``, its line in ``fer --help``. The command and the
function that runs it are named after the file; the function takes the arguments after the command.
``SECTION`` is the heading under which the command is listed. ``TAKES`` says what its positional arguments
are: ``checkpoint`` (or a run that has one), ``folder`` (of runs) or ``sweep`` (a sweep file); ``study`` if it
trains several times and takes no checkpoint.
"""

import ast
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

SECTIONS: Final = ("train", "evaluate", "prune and export", "data")
"""Headings of ``fer --help`` in order; any others come after them."""


class Command(NamedTuple):
    """A command, as ``fer --help`` lists it.

    Attributes:
        name: Name of the command, of its file and of its function.
        help: One line that starts with a verb.
        section: Heading under which it is listed.
        takes: ``TAKES`` of its file; empty without one.
    """

    name: str
    help: str
    section: str
    takes: str = ""


def find_commands() -> list[Command]:
    """Return all commands in the order of their sections and names, without importing their files."""
    order = {section: number for number, section in enumerate(SECTIONS)}
    found = (command for folder in __path__ for command in _commands_in(folder))
    return sorted(found, key=lambda each: (order.get(each.section, len(order)), each.section, each.name))


@cache
def _commands_in(folder: str) -> tuple[Command, ...]:
    """Return the commands of a folder."""
    return tuple(
        Command(path.stem, constants["HELP"], constants.get("SECTION", "other"), constants.get("TAKES", ""))
        for path in Path(folder).glob("*.py")
        if "HELP" in (constants := dict(_constants(path)))
    )


def load(command: str) -> Callable[[Sequence[str]], None]:
    """Import a command's file and return its function.

    The function takes the arguments after the command and raises InputError if they are invalid.
    """
    function: Callable[[Sequence[str]], None] = getattr(import_module(f"fer.commands.{command}"), command)
    return function


def _constants(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the names and values of a file's text constants."""
    for node in ast.parse(path.read_bytes()).body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=str(value))):
                yield name, value
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(value))):
                yield name, value
