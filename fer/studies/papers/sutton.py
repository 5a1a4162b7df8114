"""Sutton's confusion matrices: O1, O2, O3, O22, and what follows from each matrix."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer.studies.papers.facts import Papers
from fer.studies.papers.finding import Check, Finding, agrees, shown

FIGURES: Final = ("fig5", "fig6", "fig9", "fig10", "fig13", "fig14", "fig18", "fig20")
DISTINCT: Final = tuple(name for name in FIGURES if name != "fig14")
"""Figures without the one that repeats another."""

Counts = NDArray[np.float64]
"""Confusion matrix, rows are the truth, shape ``(K, K)``."""


def one_vs_rest(confusion: Counts) -> NDArray[np.float64]:
    """Return (tp + tn) / n of each class, shape ``(K,)``."""
    right = np.diag(confusion)
    rows, columns, n = confusion.sum(axis=1), confusion.sum(axis=0), confusion.sum()
    return np.asarray((n - rows - columns + 2 * right) / n)


def column_by_ranges(confusion: Counts) -> NDArray[np.float64]:
    """Return Sutton's column "Accuracy" by the rule that reproduces it.

    Of the true negatives of class i, only the blocks above left and below right of its cell are counted, as
    two ranges of a spreadsheet would select them. For classes 2 to 5, the cells to the left in the same row
    (false negatives) are counted, too.
    """
    n = confusion.sum()
    values = []
    for i, right in enumerate(np.diag(confusion)):
        counted = right + confusion[:i, :i].sum() + confusion[i + 1 :, i + 1 :].sum()
        values.append(counted + (confusion[i, :i].sum() if 2 <= i <= 5 else 0))
    return np.asarray(np.array(values) / n)


def recomputed(papers: Papers, figure: str) -> dict[str, float]:
    """Return what follows from a matrix: accuracy in per cent, and each class's one-versus-rest accuracy."""
    fact = papers["s2"][f"{figure}_confusion"]
    classes = one_vs_rest(fact.table)
    return {"accuracy": _accuracy(fact.table), **dict(zip(fact.columns, map(float, classes), strict=True))}


def _accuracy(confusion: Counts) -> float:
    return float(100 * np.trace(confusion) / confusion.sum())


def column_of_accuracies(papers: Papers) -> Finding:
    """O1: the printed column is not one-versus-rest accuracy."""
    paper = papers["s2"]
    by_ranges, by_definition = 0, np.zeros(0, np.int64)
    for name in DISTINCT:
        confusion, printed = paper[f"{name}_confusion"].table, paper[f"{name}_column"].table[:, 0]
        pairs = list(zip(column_by_ranges(confusion), printed, strict=True))
        by_ranges += sum(bool(agrees(value, cell, 2)) for value, cell in pairs)
        pairs = list(zip(one_vs_rest(confusion), printed, strict=True))
        matching = [i for i, (value, cell) in enumerate(pairs) if agrees(value, cell, 2)]
        by_definition = np.union1d(by_definition, matching)
    first = paper["fig5_confusion"].table
    num_cells = 7 * len(DISTINCT)
    return Finding(
        printed=f"second Fig. 5: {shown(paper['fig5_column'].table[:, 0])}",
        recomputed=f"one versus rest: {shown(one_vs_rest(first))}; two blocks of the matrix, for classes 2 "
        "to "
        f"5 with the row left of the cell: {shown(column_by_ranges(first))}",
        verdict=f"the second rule gives {by_ranges} of {num_cells} cells; one-versus-rest accuracy agrees "
        "for "
        f"classes {' and '.join(map(str, by_definition))} alone. The column is an error of a spreadsheet's "
        "ranges.",
        holds=by_ranges == num_cells and by_definition.tolist() == [0, 6],
    )


def repeated_matrix(papers: Papers) -> Finding:
    """O2: Fig. 14 repeats Fig. 9, and most stated accuracies are not those of the matrices."""
    paper = papers["s2"]
    stated = {
        name: paper[f"{name}_total"].value("accuracy") for name in FIGURES if f"{name}_total" in paper.facts
    }
    traces = {name: _accuracy(paper[f"{name}_confusion"].table) for name in FIGURES}
    same = [name for name, value in stated.items() if abs(traces[name] - value) < 0.02]
    is_copy = np.array_equal(paper["fig14_confusion"].table, paper["fig9_confusion"].table)
    return Finding(
        printed=", ".join(f"{name} {value:.2f} %" for name, value in stated.items()),
        recomputed=", ".join(f"{name} {value:.2f} %" for name, value in traces.items()),
        verdict=f"Figs. 9 and 14 are {'identical' if is_copy else 'different'} in all 49 cells; the stated "
        f"accuracy is the matrix's for {', '.join(same)} alone (within 0.02 points). Stated accuracies are "
        "probably those of the best epoch, matrices those of the last.",
        holds=is_copy and same == ["fig5", "fig13"],
    )


def size_of_test(papers: Papers) -> Finding:
    """O3: the matrices count PublicTest and PrivateTest together."""
    printed = papers["s2"]["test_images"].value("test")
    counts = papers["data"]["fer2013"]
    both = counts.row("PublicTest") + counts.row("PrivateTest")
    rows = [papers["s2"][f"{name}_confusion"].table.sum(axis=1) for name in FIGURES]
    is_both = all(np.array_equal(each, both) for each in rows)
    return Finding(
        printed=f"{printed:,.0f} test images",
        recomputed=f"rows of the matrices: {shown(rows[0], 0)} = {rows[0].sum():,.0f} images",
        verdict="the rows are the class counts of PublicTest and PrivateTest together, so that the numbers "
        "are "
        "comparable with those of neither.",
        holds=bool(is_both and both.sum() == 2 * printed),
    )


def full_accuracy(papers: Papers) -> Finding:
    """O22: "near-full accuracy" refers to the network's own final accuracy."""
    paper = papers["s2"]
    epochs, highest = (
        paper["soon"].value("ResNet"),
        max(_accuracy(paper[f"{n}_confusion"].table) for n in FIGURES),
    )
    about = paper["about"].value("ResNet")
    return Finding(
        printed=f"near-full accuracy within {epochs:.0f} epochs; about {about:.0f} % on average",
        recomputed=f"highest accuracy of any matrix: {highest:.2f} %",
        verdict='"full" means the final accuracy of the same training, not 100 %.',
        holds=highest < about + 1 < 100,
    )


CHECKS: Final = (
    Check("O1", 'Sutton, Figs. 5 to 20: the column "Accuracy"', column_of_accuracies),
    Check("O2", "Sutton, Figs. 9 and 14, and the stated accuracies", repeated_matrix),
    Check("O3", "Sutton, section II: number of test images", size_of_test),
    Check("O22", "Sutton, section IV A: near-full accuracy", full_accuracy),
)
