"""Import user-defined classes by their class path, ``package.module.Class``."""

import inspect
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final

from fer.errors import InputError, did_you_mean

_AT_IMPORT: Final = (
    *(ArithmeticError, AttributeError, ImportError, LookupError, NameError, OSError, RuntimeError),
    *(SyntaxError, TypeError, ValueError),
)
"""Exceptions that a mistake in the user's module raises."""


def import_class(path: str, *, option: str, base: type) -> type:
    """Import a class from an installed module or one in the working directory.

    Args:
        path: Dotted names of the module and the class.
        option: Option that the path was given to, for the message.
        base: Required base class.

    Raises:
        InputError: The module is not found or fails, or has no such class.
    """
    module_name, _, name = path.rpartition(".")
    module = _import(module_name, f"{option} {path}")
    classes = [
        each for each, value in vars(module).items() if inspect.isclass(value) and issubclass(value, base)
    ]
    found = getattr(module, name, None)
    if found is None:
        own = [each for each in classes if getattr(module, each).__module__ == module.__name__]
        hint = did_you_mean(name, classes) or (f"it defines {', '.join(own)}" if own else "")
        msg = f"{option} {path}: no class {name!r} in {module_name}; {hint}".rstrip("; ")
        raise InputError(msg)
    if not (inspect.isclass(found) and issubclass(found, base)):
        kind = "class" if inspect.isclass(found) else type(found).__name__
        wanted = f"{base.__module__.partition('.')[0]}'s {base.__name__}"
        hint = did_you_mean(name, classes) or "give the path of one that is, package.module.Class"
        msg = f"{option} {path}: this {kind} is not a subclass of {wanted}; {hint}"
        raise InputError(msg)
    return found


def import_from_here() -> str:
    """Make modules of the working directory importable, as ``python -m`` does, and return its path."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return here


def _import(name: str, place: str) -> ModuleType:
    """Import a module by name."""
    here = import_from_here()
    try:
        return import_module(name)
    except ModuleNotFoundError as e:
        if e.name is not None and (name == e.name or name.startswith(f"{e.name}.")):
            files = [path.stem for path in Path.cwd().glob("*.py")]
            hint = did_you_mean(name, files) or f"looked in {here} and in the installed packages"
            msg = f"{place}: no module {e.name!r}; {hint}".rstrip()
            raise InputError(msg) from e
        msg = f"{place}: importing {name} failed: {e}"
        raise InputError(msg) from e
    except _AT_IMPORT as e:
        msg = f"{place}: importing {name} failed: {type(e).__name__}: {' '.join(str(e).split())}"
        raise InputError(msg) from e
