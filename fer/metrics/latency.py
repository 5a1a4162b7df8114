"""Latency as text: a median with its spread."""

from collections.abc import Sequence


def latency_text(median: float, quartiles: Sequence[float] | None = None) -> str:
    """Return a median in milliseconds with its first and third quartiles, if they are known.

    >>> latency_text(1.9, (1.82, 2.11)), latency_text(132.571)
    ('1.90 [1.82, 2.11]', '132.57')
    """
    return f"{median:.2f}" if not quartiles else f"{median:.2f} [{quartiles[0]:.2f}, {quartiles[1]:.2f}]"


def are_apart(one: Sequence[float] | None, other: Sequence[float] | None) -> bool:
    """Return whether two intervals do not overlap; without both it is unknown, and so False.

    >>> are_apart((1.8, 2.1), (2.2, 2.5)), are_apart((1.8, 2.1), (2.0, 2.5)), are_apart(None, (2.0, 2.5))
    (True, False, False)
    """
    if not (one and other):
        return False
    return one[1] < other[0] or other[1] < one[0]
