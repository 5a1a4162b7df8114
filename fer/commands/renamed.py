"""Renamed options: the old names keep working for one release, with a warning."""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

RENAMED: Final = {
    "distinctiveness.num_patterns": "distinctiveness.num_samples",
    "output": "out",
    "prune.by": "prune.criterion",
    "prune.num_patterns": "prune.num_samples",
}
"""New name of each renamed option, by its old name."""

log = logging.getLogger("fer.commands")


def rename_words(words: Sequence[str], options: Collection[str]) -> list[str]:
    """Return command-line arguments with the new names of options.

    Args:
        words: The arguments.
        options: Names of the command's options; other names are not changed.

    >>> rename_words(["--prune.num_patterns=9", "--model.lr", "1"], ["prune.num_samples", "model.lr"])
    ['--prune.num_samples=9', '--model.lr', '1']
    """
    renamed = []
    for word in words:
        flag, equals, value = word.partition("=")
        new = _new_name(flag.removeprefix("--"), options) if flag.startswith("--") else None
        renamed.append(f"--{new}{equals}{value}" if new else word)
    return renamed


def rename_settings(settings: Mapping[str, Any], options: Collection[str]) -> dict[str, Any]:
    """Return the settings of a config with the new names of options, nested or dotted as before.

    Args:
        settings: Settings as read from YAML or JSON.
        options: Names of the command's options; other names are not changed.

    >>> rename_settings({"prune": {"num_patterns": 9}, "model": {"lr": 1}}, ["prune.num_samples"])
    {'prune': {'num_samples': 9}, 'model': {'lr': 1}}
    """
    renamed: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            inner = rename_settings({f"{key}.{name}": each for name, each in value.items()}, options)
            renamed[key] = {name.removeprefix(f"{key}."): each for name, each in inner.items()}
        else:
            renamed[_new_name(key, options) or key] = value
    return renamed


def _new_name(name: str, options: Collection[str]) -> str | None:
    """Return the new name of a renamed option, with a warning; None if it was not renamed."""
    new = RENAMED.get(name)
    if new is None or new not in options:
        return None
    log.warning("--%s is now called --%s; the old name will go", name, new)
    return new
