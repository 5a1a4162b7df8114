"""Markou's tables, and SFEW itself: O5 to O10, O21."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer.data.features import FeatureSplit, far_outliers
from fer.data.sfew import DESCRIPTORS, FEATURES
from fer.studies.papers.facts import Papers
from fer.studies.papers.feature_networks import MARKOU, train
from fer.studies.papers.finding import Check, Finding, shown
from fer.studies.papers.sfew_rows import folds, scaled

NETWORKS: Final = ("ANN", "CNN", "T-Res")
OUTLIER: Final = "Hangover_001949614_00000089"

Shares = NDArray[np.float64]


def accuracy_by_recall(recall: Shares, counts: Shares) -> float:
    """Return the accuracy that recalls imply, 0 to 1: their mean, weighted by class counts."""
    return float(recall @ counts / counts.sum())


def accuracy_by_specificity(specificity: Shares, counts: Shares) -> float:
    """Return the accuracy that specificities imply; if it is below 0, they contradict each other.

    Every error is a false positive of exactly one class, so the false positives of all classes add up to the
    errors.
    """
    n = counts.sum()
    return float(1 - (1 - specificity) @ (n - counts) / n)


def recomputed(papers: Papers) -> dict[str, float]:
    """Return the accuracies of Table 3 that the recalls of Table 4 imply, in per cent."""
    counts = papers["data"]["sfew"].row("all")
    recall = papers["s0"]["recall"]
    return {name: 100 * accuracy_by_recall(recall.row(name), counts) for name in NETWORKS}


def parameters(papers: Papers) -> dict[str, float]:
    """Return the number of weights of each layer of the network in Table 2, batch norms included."""
    paper = papers["s0"]
    size, channels = paper["input"].value("size"), paper["input"].value("channels")
    counts: dict[str, float] = {}
    for name, row in paper["convolutions"].rows.items():
        kernel, filters, stride, padding = row
        size = (size + 2 * padding - kernel) // stride + 1
        if not np.isnan(filters):
            counts[f"weights of {name} and batch norm"] = (kernel**2 * channels + 1) * filters + 2 * filters
            channels = filters
    width = channels * size**2
    for name, (neurons,) in paper["dense"].rows.items():
        counts[f"weights of {name}"] = (width + 1) * neurons
        width = neurons
    return {**counts, "all weights": sum(counts.values())}


def tables_contradict(papers: Papers) -> Finding:
    """O5: Tables 3 and 4 are not of the same networks, and some specificities are impossible."""
    counts = papers["data"]["sfew"].row("all")
    paper = papers["s0"]
    stated = {name: paper["table3"].value(name) for name in NETWORKS}
    by_recall = {name: 100 * accuracy_by_recall(paper["recall"].row(name), counts) for name in NETWORKS}
    names = (*NETWORKS, "SPI")
    by_specificity = {n: 100 * accuracy_by_specificity(paper["specificity"].row(n), counts) for n in names}
    impossible = [name for name, value in by_specificity.items() if value < 0]
    gaps = [stated[name] - by_recall[name] for name in NETWORKS]
    return Finding(
        printed=", ".join(f"{name} {value:.2f} %" for name, value in stated.items()),
        recomputed="implied by the recalls: "
        + ", ".join(f"{name} {value:.1f} %" for name, value in by_recall.items())
        + "; by the specificities: "
        + ", ".join(f"{name} {value:.1f} %" for name, value in by_specificity.items()),
        verdict=f"with 675 images the tables contradict each other; the specificities of "
        f"{' and '.join(impossible)} "
        "are impossible, whatever the predictions. Accuracies are probably best epochs, class metrics are "
        "not. "
        "Here one checkpoint gives all metrics.",
        # Rounding of seven recalls to two digits moves the implied accuracy by half a point at most.
        holds=impossible == ["ANN", "SPI"] and min(gaps) > 0.5,
    )


def baselines(papers: Papers) -> Finding:
    """O7: class metrics and accuracies are compared with results from different protocols."""
    counts = papers["data"]["sfew"].row("all")
    implied = 100 * accuracy_by_recall(papers["s0"]["recall"].row("SPI"), counts)
    table3, spi = papers["s0"]["table3"], papers["s3"]["spi"].value("SPI")
    random = [table3.value("LPQ"), table3.value("PHOG")]
    return Finding(
        printed=f"baseline accuracies {shown(random)} % (Table 3), baseline recalls of each class (Table 4), "
        f"and {spi:g} % (Narayan and Ge)",
        recomputed=f"the baseline recalls imply {implied:.1f} %",
        verdict="Table 4 compares with the protocol without common persons (19 %), Table 3 with random "
        "folds of "
        "support vector machines on full descriptors; Narayan and Ge compare a random split with the 19 %. "
        "These are different tasks: every number here carries its protocol.",
        holds=abs(implied - spi) < 1 and min(random) > 2 * implied,
    )


def frozen_network(papers: Papers, pool: FeatureSplit) -> Finding:
    """O6: the network of Figs. 2, 5, 7, 9 and 10 hardly learns at its learning rate."""
    printed = papers["s0"]["ann_training"]
    train_rows, test_rows = next(folds(pool, int(printed.value("folds"))))
    network_rows = scaled(pool, train_rows, test_rows, "column")
    _, moments = train(network_rows, MARKOU, seed=0, every=MARKOU.step)
    first, last = moments[0], moments[-1]
    best = max(moment.test_accuracy for moment in moments)
    moved = abs(last.summary["mean"] - first.summary["mean"])
    return Finding(
        printed=f"learning rate {printed.value('lr'):g}, times {printed.value('gamma'):g} every "
        f'{printed.value("step"):.0f} of {printed.value("epochs"):.0f} epochs; the network "quickly stucks '
        "in a "
        f'local minimum"; {papers["s0"]["table3"].value("ANN")} %',
        recomputed=f"fold 1, full batch, one seed: loss {first.train_loss:.2f} to {last.train_loss:.2f} (ln "
        "7 = "
        f"{np.log(7):.2f}), mean angle {first.summary['mean']:.1f}° to {last.summary['mean']:.1f}°, test "
        "accuracy "
        f"{100 * last.test_accuracy:.1f} %, at most {100 * best:.1f} % (n = {len(test_rows)})",
        verdict="the network never leaves its starting point. The plateau comes from the learning rate, not "
        "from a local minimum: stages.json gives the reason lr_frozen.",
        holds=moved < 2 and last.train_loss > np.log(7) - 0.1 and best < 0.3,
    )


def leakage(papers: Papers, pool: FeatureSplit) -> Finding:
    """O8: random folds share clips and films between training and test."""
    clips, movies = pool.groups["clip"], pool.groups["movie"]
    names, counts = np.unique(pool.names, return_counts=True)
    _, of_clip, frames = np.unique(clips, return_inverse=True, return_counts=True)
    conflicting = sum(len(np.unique(pool.labels[of_clip == clip])) > 1 for clip in np.flatnonzero(frames > 1))
    shares = {
        kind: np.mean([np.isin(groups[test], groups[training]).mean() for training, test in folds(pool, 5)])
        for kind, groups in (("clip", clips), ("movie", movies))
    }
    twice = names[counts > 1]
    # A name with a dash where the others have an underscore is a frame of the same clip.
    _, as_meant = np.unique(np.char.replace(clips, "-", "_"), return_counts=True)
    return Finding(
        printed="random folds and hold-outs (Markou, Narayan and Ge, Jain)",
        recomputed=f"{len(pool)} images of {len(frames)} clips of {len(np.unique(movies))} films; "
        f"{(frames > 1).sum()} clips have several frames ({frames[frames > 1].sum()} images), {conflicting} "
        f"of them several labels ({len(as_meant)}, {(as_meant > 1).sum()} and "
        f"{as_meant[as_meant > 1].sum()} if a dash is read as the underscore that the other names have); "
        f"twice in the set: {', '.join(twice) or 'none'}; in random 5-fold {100 * shares['clip']:.0f} % of "
        "the "
        f"test images share a clip with training, {100 * shares['movie']:.0f} % a film",
        verdict="such folds measure in part whether a clip is recognised; data.group_by clip or movie keeps "
        "them apart.",
        holds=bool(shares["clip"] > 0.4 and shares["movie"] > 0.95 and len(twice) == 1),
    )


def outlier(papers: Papers, pool: FeatureSplit) -> Finding:
    """O9: one value of the first feature is five times as large as all others."""
    row, column = int(np.flatnonzero(pool.names == OUTLIER)[0]), FEATURES.index("LPQ1")
    values = pool.features[:, column]
    others = np.delete(values, row)
    squeezed = np.ptp(np.delete(others, far_outliers(others[:, None])[:, 0])) / np.ptp(values)
    missing = int(np.isnan(pool.features[row]).sum())
    return Finding(
        printed="all rows, by z-score (Markou) or min-max (Jain), missing values replaced by the mean",
        recomputed=f"{OUTLIER}: LPQ1 {values[row]:.3f}, {missing} values missing; all others "
        f"{others.min():.3f} to {others.max():.3f}; standard deviation {values.std():.4f} with it, "
        f"{others.std():.4f} without; by min-max most others span {100 * squeezed:.0f} % of the range",
        verdict="one row determines the scaling of the first feature. By default, columns are clipped to the "
        "1st and 99th percentiles of train, and the row is reported; data.clip 0 does as the papers do.",
        holds=bool(missing == 5 and values[row] > 5 * others.max() and values.std() > 3 * others.std()),
    )


def descriptor_scaling(papers: Papers, pool: FeatureSplit) -> Finding:
    """O10: a descriptor's mean and standard deviation may be over its five columns together or over each."""
    features = papers["s0"]["features"]
    descriptors, inputs = features.value("descriptors"), features.value("inputs")
    ratios = []
    for kind in np.unique(DESCRIPTORS):
        columns = pool.features[:, kind == DESCRIPTORS]
        spread = np.nanstd(columns, axis=0)
        ratios.append(spread.max() / spread.min())
    return Finding(
        printed=f'mean and standard deviation "of each descriptor respectively"; {descriptors:g} '
        "descriptors, "
        f"{inputs:g} inputs",
        recomputed=f"within a descriptor the columns' standard deviations differ by up to {max(ratios):.1f} "
        "times",
        verdict="there are two readings, with different inputs: data.scale column (default) and pooled.",
        holds=bool(descriptors < inputs == len(FEATURES) and max(ratios) > 1.5),
    )


def stage_boundaries(papers: Papers) -> Finding:
    """O21: the boundaries of the stages are read off by eye."""
    stages, cycle = papers["s0"]["stages"], papers["s0"]["cnn_training"].value("cycle")
    initial, during, plateau = (stages.value(row) for row in stages.rows)
    return Finding(
        printed=f"initial about {initial:g} epochs, intermediate the next {during:g}, plateau from "
        f"{plateau:g}",
        recomputed=f"{initial:g} + {during:g} = {initial + during:g}; all are multiples of 25, none of the "
        "learning "
        f"rate's cycle of {cycle:g} epochs",
        verdict="round numbers without a rule. stages.json has each boundary with its reason, and which "
        "other "
        "curves change there.",
        holds=initial + during == plateau
        and all(each % 25 == 0 < each % cycle for each in (initial, during, plateau)),
    )


CHECKS: Final = (
    Check("O5", "Markou, Tables 3 and 4: accuracies implied by recall and specificity", tables_contradict),
    Check("O6", "Markou, Figs. 2, 5, 7, 9, 10: the plateau of the ANN", from_data=frozen_network),
    Check("O7", "Markou, Tables 3 and 4; Narayan and Ge: baselines of another protocol", baselines),
    Check("O8", "SFEW: images of the same clip in training and test", from_data=leakage),
    Check("O9", "SFEW: an outlier in the first feature", from_data=outlier),
    Check("O10", "Markou, equation 1: what is standardised together", from_data=descriptor_scaling),
    Check("O21", "Markou, Figs. 3 to 8: boundaries of stages", stage_boundaries),
)
