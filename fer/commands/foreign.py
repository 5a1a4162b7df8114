"""Exceptions that libraries raise on invalid input: their types, and a one-line message for each."""

import sys
from typing import Final

TYPES: Final = (
    ("jsonargparse", "ArgumentError"),
    ("lightning.fabric.utilities.exceptions", "MisconfigurationException"),
    ("pydantic", "ValidationError"),
    ("torch", "OutOfMemoryError"),
    ("wandb", "Error"),
    ("yaml", "YAMLError"),
)
"""Module and name of each type. They are looked up only after an exception, in modules that are already
imported, so that the program starts fast."""


def foreign_errors() -> tuple[type[Exception], ...]:
    """Return the types of exceptions that are reported in one line, without a traceback."""
    modules = ((sys.modules.get(module), name) for module, name in TYPES)
    types = (getattr(module, name, None) for module, name in modules if module is not None)
    return (PermissionError, *(each for each in types if each is not None))


def describe_foreign(error: Exception) -> str:
    """Return an exception's message in one line, with the library that raised it.

    >>> describe_foreign(PermissionError(13, "Permission denied", "runs"))
    "[Errno 13] Permission denied: 'runs' (fer … --debug shows the traceback)"
    """
    library = type(error).__module__.partition(".")[0].strip("_")
    message = " ".join(str(error).split()) or type(error).__name__
    origin = "" if library == "builtins" else f"{library.removesuffix('_core')}: "
    return f"{origin}{message} (fer … --debug shows the traceback)"
