"""Jain's tables: O11, O12, O15, O16, O19."""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np

from fer.data.features import FeatureSplit
from fer.studies.papers.facts import Papers
from fer.studies.papers.feature_networks import JAIN, accuracy, dead_neurons, prune_as_jain, train
from fer.studies.papers.finding import Check, Finding, agrees, numerators
from fer.studies.papers.sfew_rows import hold_out, scaled

LARGEST_SUPPORT: Final = 39
"""Largest number of test images of a class to try; 10 % of SFEW has about 10."""

SAMPLE: Final = 3
"""Number of seeds of the checks that train networks."""


class Counts(NamedTuple):
    """Test images of a class: its support, the correct predictions, and all predictions of the class."""

    support: int
    right: int
    predicted: int


def solutions(precision: float, recall: float, f1: float) -> Iterator[Counts]:
    """Yield all counts up to :data:`LARGEST_SUPPORT` whose metrics round to the printed ones, in order."""
    for support in range(1, LARGEST_SUPPORT + 1):
        for right in range(1, support + 1):
            if not agrees(right / support, recall, 2):
                continue
            # Precision is printed within half a hundredth, which bounds the number of predictions.
            most = int(right / max(precision - 0.006, 0.01))
            for predicted in range(right, most + 1):
                f1_here = 2 * right / (support + predicted)
                if agrees(right / predicted, precision, 2) and agrees(f1_here, f1, 2):
                    yield Counts(support, right, predicted)


def tables_as_counts(papers: Papers, *, swapped: bool) -> dict[str, tuple[Counts, Counts]]:
    """Return for each class the smallest counts before and after pruning, which share the support.

    Args:
        papers: The facts.
        swapped: Whether to read the printed precision as recall, and the printed recall as precision.

    Returns:
        Counts by class, for the classes that have a solution.
    """
    found: dict[str, tuple[Counts, Counts]] = {}
    tables = [papers["s4"][name] for name in ("before", "after")]
    names = ("recall", "precision") if swapped else ("precision", "recall")
    for name in tables[0].columns:
        before, after = (
            list(solutions(*(table.value(row, name) for row in (*names, "f1")))) for table in tables
        )
        common = {each.support for each in before} & {each.support for each in after}
        if common:
            first, second = (
                next(each for each in counts if each.support == min(common)) for counts in (before, after)
            )
            found[name] = first, second
    return found


def recomputed(papers: Papers, after: bool) -> dict[str, float]:
    """Return precision, recall and F1 of each class from the counts that explain Tables 4 and 5."""
    values: dict[str, float] = {}
    for name, pair in tables_as_counts(papers, swapped=True).items():
        support, right, predicted = pair[after]
        metrics = {
            "precision": right / predicted,
            "recall": right / support,
            "f1": 2 * right / (support + predicted),
        }
        values |= {f"{metric}, {name}": value for metric, value in metrics.items()}
    return values


def recomputed_ann(papers: Papers) -> dict[str, float]:
    """Return the accuracies of ANN-20 as k / n in per cent, without those that no k gives."""
    values: dict[str, float] = {}
    num_train = int(papers["s4"]["split"].value("train"))
    for name in ("ann", "fig3_before", "fig3_after"):
        fact = papers["s4"][name]
        for label, value in fact.cells().items():
            n = num_train if label == "train" else fact.n or 0
            for right in numerators(value / 100, n, digits=4):
                values[f"{name}: {label}"] = 100 * right / n
    return values


def second_scaler(papers: Papers, pool: FeatureSplit) -> Finding:
    """O11: the scaler of the test set is fitted on the test set itself."""
    is_fitted = papers["s4"]["scaling"].value("scalers fitted on the test set") == 1
    num_train = int(papers["s4"]["split"].value("train"))
    right, ours = [], []
    for seed in range(SAMPLE):
        rows = hold_out(pool, num_train, seed)
        by_train, by_test = (scaled(pool, *rows, "minmax", fit_on_test=on_test) for on_test in (False, True))
        network, _ = train(by_train, JAIN, seed)
        ours.append(accuracy(network, by_train.test, by_train.test_labels))
        right.append(accuracy(network, by_test.test, by_test.test_labels))
    return Finding(
        printed=papers["s4"]["scaling"].quote,
        recomputed=f"test accuracy {100 * np.mean(ours):.1f} % with scaling fitted on train, "
        f"{100 * np.mean(right):.1f} % with scaling fitted on the test set itself "
        f"({SAMPLE} seeds, n = {len(pool) - num_train} each)",
        verdict="inputs are scaled differently in the test than in training; fer fits the scaling on train "
        "only.",
        holds=bool(is_fitted and np.mean(ours) != np.mean(right)),
    )


def swapped_columns(papers: Papers) -> Finding:
    """O12: Tables 4 and 5 have precision and recall swapped, and are of 68 images."""
    as_printed = tables_as_counts(papers, swapped=False)
    found = tables_as_counts(papers, swapped=True)
    num = sum(before.support for before, _ in found.values())
    right = [sum(pair[which].right for pair in found.values()) for which in (0, 1)]
    predicted = [sum(pair[which].predicted for pair in found.values()) for which in (0, 1)]
    share = [f"{each}/{num} = {100 * each / max(num, 1):.2f} %" for each in right]
    return Finding(
        printed="precision, recall and F1 of seven classes before and after pruning, without the number of "
        "images",
        recomputed=f"as printed, {7 - len(as_printed)} of 7 classes have no solution in whole images; "
        "swapped, all "
        f"42 cells are those of supports {' '.join(str(before.support) for before, _ in found.values())}: "
        f"{share[0]} right before, {share[1]} after",
        verdict="precision and recall are swapped (classification_report was called with predictions "
        "first), and "
        "the test set has 68 images, 10 % of 675. The loss by pruning is two images.",
        holds=len(as_printed) <= 1
        and len(found) == 7
        and predicted == [num, num]  # not used in the search: every image has one prediction
        and (num, *right) == (68, 38, 36),
    )


def dead_units(papers: Papers) -> Finding:
    """O15: the pairs of Table 3 with equal angles are dead units."""
    angles = papers["s4"]["angles"].read()
    values, counts = np.unique(list(angles.values()), return_counts=True)
    most = float(values[counts.argmax()])
    pairs = [label for label, value in angles.items() if value == most]
    return Finding(
        printed=f"unit 6 with units 7 to 18: "
        f"{', '.join(f'{label}: {value:g}' for label, value in angles.items())}",
        recomputed=f"pairs {', '.join(pairs)} are all at {most:g}° (918 is read as 27.18)",
        verdict="units at the same angle to two digits are most likely the same vector. Dead units are: "
        "they are "
        "zero for every pattern, which the rescaling of patterns turns into one vector for all of them.",
        holds=len(pairs) >= 4,
    )


def dead_units_in_data(papers: Papers, pool: FeatureSplit) -> Finding:
    """O15: half of the hidden units are dead at Jain's learning rate."""
    num_train = int(papers["s4"]["split"].value("train"))
    dead, removed = [], []
    for seed in range(SAMPLE):
        rows = scaled(pool, *hold_out(pool, num_train, seed), "minmax")
        network, _ = train(rows, JAIN, seed)
        dead.append(dead_neurons(network, rows.train))
        removed.append(JAIN.hidden - prune_as_jain(network, rows.train)[1])
    return Finding(
        printed="half of the 20 neurons are pruned almost every time",
        recomputed=f"dead units {np.mean(dead):.1f} of {JAIN.hidden} ({min(dead)} to {max(dead)}), removed "
        "by the rule "
        f"{np.mean(removed):.1f} ({min(removed)} to {max(removed)}), {SAMPLE} seeds",
        verdict="most pruned units are dead at learning rate 0.04. fer counts dead units separately, before "
        "it looks at angles.",
        holds=bool(np.mean(dead) > 0.25 * JAIN.hidden),
    )


def merged_twice(papers: Papers) -> Finding:
    """O16: incoming and outgoing weights are both added."""
    merge = papers["s4"]["merge"]
    incoming, outgoing = 1 + merge.value("incoming weights added"), 1 + merge.value("outgoing weights added")
    x, weight = 0.5, 2.0
    wanted, given = 2 * weight * max(x, 0), outgoing * weight * max(incoming * x, 0)
    return Finding(
        printed='"the weight vector of the neuron was added"; in the code the incoming weights, the bias '
        "and the "
        "outgoing weights",
        recomputed=f"two equal ReLU units give the next layer {wanted:g}; their merger gives {given:g}, "
        f"{given / wanted:g} times as much",
        verdict="either the incoming or the outgoing weights have to be added: both together double the "
        "output of "
        "the pair. (The code also merges into units that are removed later.)",
        holds=given == 2 * wanted,
    )


def compression(papers: Papers) -> Finding:
    """O19: the compression rates contradict the 200 to 300 neurons that are left."""
    rates: Mapping[str, float] = papers["s4"]["compression"].cells()
    low, high = (papers["s4"]["reduced_to"].value(row) for row in ("at least", "at most"))
    sizes = {int(label.split()[0]): rate for label, rate in rates.items()}
    left = {hidden: hidden * (1 - rate / 100) for hidden, rate in sizes.items()}
    outside = [hidden for hidden, number in left.items() if not low <= round(number) <= high]
    fractions = [
        hidden for hidden, rate in sizes.items() if abs(left[hidden] - round(left[hidden])) > ROUNDING
    ]
    return Finding(
        printed=f"{', '.join(f'{rate} % of {hidden}' for hidden, rate in sizes.items())} hidden neurons "
        "pruned; "
        f"{low:g} to {high:g} are left",
        recomputed=", ".join(f"{hidden} to {number:.1f}" for hidden, number in left.items()),
        verdict=f"outside of {low:g} to {high:g}: {', '.join(map(str, outside))}. No whole number: "
        f"{', '.join(map(str, fractions))}, so that rates are means of several runs, whose number is not "
        "printed.",
        holds=outside == [200, 500, 1000] and fractions == [500],
    )


ROUNDING: Final = 1e-6

CHECKS: Final = (
    Check("O11", "Jain, section 2.1 and code: scaling of the test set", from_data=second_scaler),
    Check("O12", "Jain, Tables 4 and 5: precision and recall", swapped_columns),
    Check("O15", "Jain, Table 3: units that are pruned", dead_units, dead_units_in_data),
    Check("O16", "Jain, section 2.6 and code: how units are merged", merged_twice),
    Check("O19", "Jain, sections 3.3 and 4: compression rates", compression),
)
