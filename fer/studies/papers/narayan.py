"""Narayan and Ge's table: O13, O18, O20."""

from typing import Final

import numpy as np

from fer.metrics import wilson_interval
from fer.studies.papers.facts import Papers
from fer.studies.papers.finding import Check, Finding, numerators

DIGITS: Final = 4
"""Decimal places of the printed percentages, as shares."""


def fits(percentages: list[float], n: int) -> bool:
    """Return whether each percentage is some k / n."""
    return all(numerators(value / 100, n, digits=DIGITS) for value in percentages)


def smallest_set(percentages: list[float], largest: int) -> int:
    """Return the smallest n for which each percentage is some k / n; 0: none up to the largest."""
    return next((n for n in range(1, largest + 1) if fits(percentages, n)), 0)


def _validation(papers: Papers) -> list[float]:
    return [value for name in ("before", "after") for value in papers["s3"][name].table[:, 0]]


def recomputed(papers: Papers) -> dict[str, float]:
    """Return the validation accuracies as k / n in per cent, with their labels in the item's table."""
    n = smallest_set(_validation(papers), 100)
    return {
        f"{name}: {label}": 100 * ks[0] / n
        for name in ("before", "after")
        for label, value in papers["s3"][name].cells().items()
        if n and (ks := numerators(value / 100, n, digits=DIGITS))
    }


def number_of_images(papers: Papers) -> Finding:
    """O13: validation percentages are multiples of 1/55."""
    values = _validation(papers)
    most = int(
        papers["s3"]["samples"].value("section 2") * papers["s3"]["held_out"].value("validation") / 100
    )
    n = smallest_set(values, most)
    best = max(values)
    right = (numerators(best / 100, n, digits=DIGITS) or [0])[0] if n else 0
    low, high = wilson_interval(right, n)
    return Finding(
        printed=f"14 validation accuracies, the best {best:.2f} %, without the number of images",
        recomputed=f"all are multiples of 1/{n}, and of no other number up to {most}; the best is "
        f"{right}/{n}, "
        f"Wilson 95 % [{100 * low:.1f}, {100 * high:.1f}] %"
        if n
        else f"they are multiples of no 1/n up to n = {most}",
        verdict="55 images, 10 % of about 550, so that some 125 images without a detected face were left "
        "out. "
        f"One image is {100 / 55:.2f} points: most gains and losses by pruning are one or two images.",
        holds=n == 55 and right == 27 and not any(fits(values, other) for other in range(n + 1, most + 1)),
    )


def complementary_maps(papers: Papers) -> Finding:
    """O18: maps that are never negative do not cancel each other at 180 degrees."""
    thresholds = papers["s3"]["thresholds"].table
    is_symmetric = np.array_equal(thresholds.sum(axis=1), np.full(len(thresholds), 180.0))
    falling, rising = np.array([2.0, 1.0, 0.0]), np.array([0.0, 1.0, 2.0])
    centred = [each - each.mean() for each in (falling, rising)]
    cosine = centred[0] @ centred[1] / np.prod([np.linalg.norm(each) for each in centred])
    total = falling + rising
    return Finding(
        printed="thresholds "
        + ", ".join(f"{low:g}° and {high:g}°" for low, high in np.unique(thresholds, axis=0))
        + '; maps near 180° "were cancelling out each other\'s functionality"',
        recomputed=f"the ReLU outputs 2 1 0 and 0 1 2 are at {np.degrees(np.arccos(cosine)):.0f}° after "
        f"centring; their sum is {' '.join(f'{value:g}' for value in total)}",
        verdict="the sum is constant, not zero: removing both maps shifts the next layer unless its bias "
        "takes "
        "the constant. fer's rule narayan does as the paper; the default corrects the next layer.",
        holds=bool(is_symmetric and np.ptp(total) == 0 < total[0]),
    )


def average_over_epochs(papers: Papers) -> Finding:
    """O20: the average test accuracy is a mean over epochs."""
    tests = [float(value) for value in papers["s3"]["test"].table[:, 0]]
    n = smallest_set(_validation(papers), 100)
    multiples = [value for value in tests if n and numerators(value / 100, n, digits=DIGITS)]
    common = smallest_set(tests, 140)
    return Finding(
        printed=f"average test accuracies {', '.join(f'{value:.2f}' for value in tests)} %",
        recomputed=f"{len(multiples)} of {len(tests)} are multiples of 1/{n}; they are multiples of "
        + (f"1/{common}" if common else "no 1/n up to n = 140"),
        verdict='they are no accuracies of one network on one set: the "test" set is read in every epoch, '
        "which makes it a validation set, and averaged over all epochs. The final test is what the paper "
        "calls "
        "validation.",
        holds=not multiples and common == 0,
    )


CHECKS: Final = (
    Check("O13", "Narayan and Ge, Table 1: how many images", number_of_images),
    Check("O18", "Narayan and Ge, section 3.2: complementary maps", complementary_maps),
    Check("O20", "Narayan and Ge, Table 1: average test accuracy", average_over_epochs),
)
