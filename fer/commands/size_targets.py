"""The options ``--target_…`` of ``fer prune``, one for each size that can be limited."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from torch import nn

from fer.errors import InputError
from fer.pruning import SIZE_KINDS, Limit

PREFIX: Final = "target_"

HOW: Final = (
    ". With any --target_…, the neurons are removed, over all layers, whose removal changes the network's "
    "outputs least for what it saves. The papers' rules use one threshold for all layers, and the rivals "
    "remove the same share of each layer"
)
"""End of the first option's help: what all of them do."""


def add_size_targets(parser: Any) -> None:
    """Add the options to a parser."""
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
    given = {name: config.pop(f"{PREFIX}{name}") for name in SIZE_KINDS}
    target = {name: share for name, share in given.items() if share is not None}
    for name, share in target.items():
        if not 0 < share < 1:
            msg = f"--{PREFIX}{name} is {share}: the share to keep must be above 0 and below 1"
            raise InputError(msg)
    if len(target) > 1:
        msg = f"{' and '.join(f'--{PREFIX}{name}' for name in target)} exclude each other: give only one"
        raise InputError(msg)
    return target


def limit_of(target: Mapping[str, float], network: nn.Module) -> Limit | None:
    """Return the limit of a network's size; None without a target."""
    return next((Limit(name, share, of=network) for name, share in target.items()), None)
