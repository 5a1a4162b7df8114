"""Latencies of a network before and after, as text, and whether they differ."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple


class LatencyChange(NamedTuple):
    """Latency of two networks at one batch size.

    Attributes:
        batch_size: Number of samples in a batch, as it is written in ``milliseconds``.
        before: Median of the first network in milliseconds, with its quartiles, if they are known.
        after: The same of the second network.
        ratio: Median of the second network as a share of the first one's.
        differs: Whether the quartiles are apart; None if they are not known.
    """

    batch_size: str
    before: str
    after: str
    ratio: float
    differs: bool | None


def latency_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[LatencyChange]:
    """Yield how the latency changes, for each batch size.

    Args:
        before: ``milliseconds``, medians by batch size; and ``milliseconds_quartiles``, which files of older
            versions do not have.
        after: The same of the other network.
    """
    for size, old in before.get("milliseconds", {}).items():
        if (new := after.get("milliseconds", {}).get(size)) is None:
            continue
        ranges = [each.get("milliseconds_quartiles", {}).get(size) for each in (before, after)]
        old_text, new_text = map(latency_text, (old, new), ranges)
        differs = are_apart(*ranges) if all(ranges) else None
        yield LatencyChange(str(size), old_text, new_text, new / old if old else 1.0, differs)


def latency_text(median: float, quartiles: Sequence[float] | None = None) -> str:
    """Return a median in milliseconds with its first and third quartiles, if they are known.

    >>> latency_text(1.9, (1.82, 2.11)), latency_text(32.57), latency_text(1727.8, (1607.6, 1824.3))
    ('1.90 [1.82, 2.11]', '32.6', '1,728 [1,608, 1,824]')
    """
    digits = 2 if median < 10 else 1 if median < 100 else 0
    ends = "" if not quartiles else f" [{quartiles[0]:,.{digits}f}, {quartiles[1]:,.{digits}f}]"
    return f"{median:,.{digits}f}{ends}"


def are_apart(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether two intervals do not overlap.

    >>> are_apart((1.8, 2.1), (2.2, 2.5)), are_apart((1.8, 2.1), (2.0, 2.5))
    (True, False)
    """
    return one[1] < other[0] or other[1] < one[0]
