"""Short texts for messages and ``repr``: long lists of layers shortened to one line."""

from collections.abc import Iterable, Mapping
from typing import Final

MOST_NAMED: Final = 6
"""Number of entries of a list that are named."""


def listed(parts: Iterable[str], most: int = MOST_NAMED) -> str:
    """Return the first entries of a list in one line, with the total number if there are more.

    >>> listed(["conv1", "conv2", "fc1"]), listed(["conv1", "conv2", "fc1"], 1), listed([])
    ('conv1, conv2, fc1', 'conv1, ... (3 in all)', 'none')
    """
    every = list(parts)
    more = f", ... ({len(every)} in all)" if len(every) > most else ""
    return ", ".join(every[:most]) + more or "none"


def join_reasons(refused: Mapping[str, str], most: int = 4) -> str:
    """Return why layers were refused, in one line; empty if none was.

    Args:
        refused: Reason by the name of a layer.
        most: Largest number of layers that are named.

    >>> join_reasons({"a": "not called", "b": "an output", "c": "an output"}, 1)
    'a: not called; and 2 more layers'
    """
    reasons = [f"{layer or 'the network'}: {reason}" for layer, reason in list(refused.items())[:most]]
    if more := len(refused) - len(reasons):
        reasons.append(f"and {more} more layer{'s' if more > 1 else ''}")
    return "; ".join(reasons)
