"""The options ``--target_…`` of ``fer prune``, one for each size that can be limited."""

from argparse import SUPPRESS
from collections.abc import Iterable
from typing import Any, Final

from fer.pruning import SIZE_KINDS
from fer.pruning.limits import find_target

PREFIX: Final = "target_"

HOW: Final = (
    ". Any --target_… removes, from all layers, the neurons that change the network's outputs least for what "
    "they save. With --prune.rule gedeon_harris, narayan or jain, one threshold is "
    "used for all layers; with the other rules, the same share is removed from each layer"
)
"""End of the first option's help: what all of them do."""


def add_size_targets(parser: Any) -> None:
    """Add the options to a parser; those of the same names in the callback's group leave its help."""
    of_group = {f"prune.{PREFIX}{name}" for name in SIZE_KINDS}
    for action in parser._actions:
        if action.dest in of_group:
            action.help = SUPPRESS
    for number, (name, kind) in enumerate(SIZE_KINDS.items()):
        parser.add_argument(
            f"--{PREFIX}{name}",
            type=float | None,
            default=None,
            help=f"share of the {kind.title} to keep, 0 to 1" + ("" if number else HOW),
        )


def with_underscores(words: Iterable[str]) -> list[str]:
    """Return command-line arguments with ``--target-`` spelled ``--target_``."""
    return [word.replace("--target-", f"--{PREFIX}", 1) for word in words]


def take_size_target(config: Any) -> dict[str, float]:
    """Remove the options from a config, and return the given share by the name of its size.

    Raises:
        InputError: A share is not between 0 and 1, or several are given.
    """
    return find_target({name: config.pop(f"{PREFIX}{name}") for name in SIZE_KINDS}, f"--{PREFIX}")
