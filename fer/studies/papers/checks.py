"""All checks of the papers, and their outcome as text."""

from collections.abc import Iterator
from typing import Final

from fer.data.features import FeatureSplit
from fer.studies.papers import gedeon_harris, jain, markou, narayan, onghena, sutton
from fer.studies.papers.facts import Papers
from fer.studies.papers.finding import Check, Finding

CHECKS: Final[tuple[Check, ...]] = tuple(
    sorted(
        (
            *sutton.CHECKS,
            *onghena.CHECKS,
            *markou.CHECKS,
            *narayan.CHECKS,
            *jain.CHECKS,
            *gedeon_harris.CHECKS,
        ),
        key=lambda check: int(check.code[1:]),
    )
)
"""O1 to O23, in order."""


def findings(check: Check, papers: Papers, pool: FeatureSplit | None) -> Iterator[Finding]:
    """Yield what a check finds in the facts, and in the data if they are there."""
    if check.from_facts is not None:
        yield check.from_facts(papers)
    if check.from_data is not None and pool is not None:
        yield check.from_data(papers, pool)


def describe(finding: Finding) -> str:
    """Return a finding as lines of text."""
    lines = {
        "printed": finding.printed,
        "recomputed": finding.recomputed,
        "verdict" if finding.holds else "NOT CONFIRMED": finding.verdict,
    }
    return "\n".join(f"  {name:<13} {text}" for name, text in lines.items())
