"""Options that were renamed: the old names go on working for a release, with a warning."""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

RENAMED: Final = {
    "distinctiveness.num_patterns": "distinctiveness.num_samples",
    "prune.by": "prune.criterion",
    "prune.num_patterns": "prune.num_samples",
}
"""By its old name the new name of an option."""

log = logging.getLogger("fer.commands")


def rename_words(words: Sequence[str], options: Collection[str]) -> list[str]:
    """Return a command's words with the new names of options.

    Args:
        words: The words of the command line.
        options: Names that the command takes; others are left as they are.

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
    """Return the settings of a config with the new names of options, nested or dotted as they were.

    Args:
        settings: As read from YAML or JSON.
        options: Names that the command takes; others are left as they are.

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
    """Return the new name of an option and warn, None if it has none."""
    new = RENAMED.get(name)
    if new is None or new not in options:
        return None
    log.warning("--%s is now called --%s; the old name will go", name, new)
    return new
