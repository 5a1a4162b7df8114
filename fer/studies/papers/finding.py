"""Findings of the checks, and arithmetic that checks share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer.data.features import FeatureSplit
from fer.studies.papers.facts import Papers

ROUNDING: Final = 1e-9
"""Slack for values that lie on the edge of their rounding interval."""


@dataclass(frozen=True)
class Finding:
    """Outcome of a check.

    Attributes:
        printed: What the paper prints.
        recomputed: What follows from the printed numbers, or from the data.
        verdict: What the comparison means, in a sentence.
        holds: Whether the numbers support the verdict.
    """

    printed: str
    recomputed: str
    verdict: str
    holds: bool


@dataclass(frozen=True)
class Check:
    """One finding of the project about the papers, as a computation that anybody can repeat.

    Attributes:
        code: ``O1`` to ``O23``.
        title: Paper and place, and what is checked.
        from_facts: Computes the finding from printed numbers; None: it needs the data.
        from_data: Computes it from SFEW's features, or adds to the first; None: it needs no data.
    """

    code: str
    title: str
    from_facts: Callable[[Papers], Finding] | None = None
    from_data: Callable[[Papers, FeatureSplit], Finding] | None = None


def agrees(value: NDArray[np.float64] | float, printed: NDArray[np.float64] | float, digits: int) -> np.bool_:
    """Return whether all values round to the printed ones; ties may be rounded either way.

    >>> bool(agrees(0.125, 0.12, digits=2)), bool(agrees(0.1251, 0.12, digits=2))
    (True, False)
    """
    return np.all(np.abs(np.subtract(value, printed)) <= 0.5 * 10.0**-digits + ROUNDING)


def numerators(printed: float, n: int, *, digits: int) -> list[int]:
    """Return all k for which k / n rounds to a printed share.

    >>> numerators(0.4909, 55, digits=4), numerators(0.4909, 54, digits=4)
    ([27], [])
    """
    nearest = round(printed * n)
    return [k for k in (nearest - 1, nearest, nearest + 1) if 0 <= k <= n and agrees(k / n, printed, digits)]


def shown(values: Sequence[float] | NDArray[np.float64], digits: int = 2) -> str:
    """Return numbers as text, separated by spaces.

    >>> shown([0.5, 12], 1)
    '0.5 12.0'
    """
    return " ".join(f"{value:.{digits}f}" for value in values)
