"""Gedeon and Harris's table of activations and angles: O14, O17, O23."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer.studies.papers.facts import Papers
from fer.studies.papers.finding import Check, Finding

Matrix = NDArray[np.float64]


def origins(activations: Matrix) -> dict[str, Matrix]:
    """Return activations, shape ``(N, C)``, for each possible reading of "normalised to -0.5 to 0.5"."""
    lowest = activations.min(axis=1, keepdims=True)
    by_pattern = (activations - lowest) / np.ptp(activations, axis=1, keepdims=True)
    by_unit = (activations - activations.min(axis=0)) / np.ptp(activations, axis=0)
    return {
        "minus 0.5": activations - 0.5,
        "layer rescaled": activations - (activations.min() + activations.max()) / 2,
        "pattern rescaled": by_pattern - 0.5,
        "unit rescaled": by_unit - 0.5,
        "mean subtracted": activations - activations.mean(axis=0),
    }


def largest_error(vectors: Matrix, papers: Papers) -> float:
    """Return the largest difference from the printed angles, in degrees."""
    lengths = np.linalg.norm(vectors, axis=0)
    degrees = np.degrees(np.arccos(np.clip(vectors.T @ vectors / np.outer(lengths, lengths), -1, 1)))
    return max(
        abs(float(degrees[int(first) - 1, int(second) - 1]) - angle)
        for label, angle in papers["gh"]["angles"].cells().items()
        for first, second in [label.split()]
    )


def meanings(papers: Papers) -> Finding:
    """O14: only subtracting 0.5 from the activations gives the printed angles."""
    activations = papers["gh"]["activations"].table
    errors = {name: largest_error(vectors, papers) for name, vectors in origins(activations).items()}
    without = [
        largest_error(np.delete(activations, row, axis=0) - 0.5, papers) for row in range(len(activations))
    ]
    fitting = [name for name, error in errors.items() if error < 1.3]
    return Finding(
        printed="15 angles of 6 units over 16 patterns, activations normalised to -0.5 to 0.5",
        recomputed="largest difference "
        + ", ".join(f"{error:.1f}° ({name})" for name, error in errors.items())
        + f"; {min(without):.1f}° if one of patterns 4, 6, 7, 10, 11 or 13 is left out",
        verdict="0.5 is subtracted, which for logistic units is the middle of the layer's range; rescaling "
        "each "
        "pattern, as Jain's code does, each unit, or subtracting means gives other angles. The printed "
        "angles "
        "were made from 15 patterns.",
        holds=fitting == ["minus 0.5", "layer rescaled"] and min(without) < 0.5,
    )


def both_removed(papers: Papers) -> Finding:
    """O17: removing both neurons of a complementary pair is right only for equal outgoing weights."""
    activations = papers["gh"]["activations"].table
    one, other = activations[:, 0], activations[:, 4]
    angle = papers["gh"]["angles"].value("1 5")
    num_removed = papers["s4"]["complementary"].value("neurons of a pair removed")
    equal, opposite = (one + other).std(), (one - other).std()
    return Finding(
        printed=f"units 1 and 5 of Gedeon and Harris are at {angle:g}°; Jain removes {num_removed:g} of "
        "such a "
        "pair, Narayan and Ge as well",
        recomputed=f"standard deviation of what both give the next layer: {equal:.3f} with outgoing weights "
        "1 "
        f"and 1, {opposite:.3f} with 1 and -1",
        verdict="with equal weights only a constant is lost, which the next layer's bias can take. "
        "Otherwise one "
        "neuron has to stay: h2 = 1 - h1 gives w1 h1 + w2 h2 = w2 + (w1 - w2) h1.",
        holds=bool(angle > 165 and num_removed == 2 and opposite > 5 * equal),
    )


def logistic(papers: Papers) -> Finding:
    """O23: the printed logistic function has a wrong sign."""
    sign = papers["gh"]["logistic"].value("sign")
    values = [1 / (1 + sign * np.exp(-x)) for x in (-2.0, 2.0)]
    activations = papers["gh"]["activations"].table
    is_within = bool((activations >= 0).all() and (activations <= 1).all())
    return Finding(
        printed=f"{papers['gh']['logistic'].quote}; activations of {activations.min():g} to "
        f"{activations.max():g}",
        recomputed=f"at x = -2 and 2 the printed function is {values[0]:.2f} and {values[1]:.2f}",
        verdict="a misprint: (1 + e^-x)^-1 is meant, which is between 0 and 1 as the activations are.",
        holds=bool(is_within and values[0] < 0 and values[1] > 1),
    )


CHECKS: Final = (
    Check("O14", "Gedeon and Harris, tables: the normalisation to -0.5 to 0.5", meanings),
    Check("O17", "Gedeon and Harris, Narayan and Ge, Jain: complementary pairs", both_removed),
    Check("O23", "Gedeon and Harris: the logistic function", logistic),
)
