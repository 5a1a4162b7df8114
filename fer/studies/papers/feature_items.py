"""Replays on SFEW's ten features: Markou's ANN, and Jain's ANN-20 with hidden layers of several sizes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

import numpy as np
import torch

from fer.data.features import FeatureSplit
from fer.metrics import ClassificationReport, report
from fer.neurons import angles
from fer.studies.papers.facts import Papers
from fer.studies.papers.feature_networks import (
    JAIN,
    MARKOU,
    NUM_CLASSES,
    Moment,
    Rows,
    Settings,
    accuracy,
    dead_neurons,
    hidden_statistics,
    predict,
    prune_as_jain,
    train,
)
from fer.studies.papers.replay import Line, Measured, Panel, Replay, average, proportion
from fer.studies.papers.sfew_rows import folds, hold_out, scaled
from fer.studies.papers.store import Store

NUM_FOLDS: Final = 5
SIZES: Final = (5, 10, 20, 50, 100, 200, 500, 1000)
"""Numbers of hidden neurons; Jain names 200, 500 and 1000, for a network on AlexNet's features."""

FULL_BATCH: Final = "ANN trained on the full batch, last epoch tested; the batch size is not printed"

Result = dict[str, Any]


def shorter(settings: Settings, *, quick: bool) -> Settings:
    """Return the settings, with a tenth of the epochs for a quick replay."""
    if not quick:
        return settings
    return replace(settings, epochs=max(settings.epochs // 10, 1), step=settings.step // 10)


def markou_folds(pool: FeatureSplit, store: Store, *, quick: bool) -> list[list[Result]]:
    """Return the results of Markou's ANN, by seed and fold."""
    settings = shorter(MARKOU, quick=quick)

    def run(seed: int, fold: int) -> Result:
        rows = scaled(pool, *list(folds(pool, NUM_FOLDS, seed))[fold], "column")
        network, moments = train(rows, settings, seed, every=max(settings.epochs // 100, 1))
        return {"confusion": _confusion(network, rows), **_curves(moments)}

    return [
        [
            store.get(f"markou-ann-seed{seed}-fold{fold}", asdict(settings), lambda s=seed, f=fold: run(s, f))  # type: ignore[misc]
            for fold in range(NUM_FOLDS)
        ]
        for seed in range(1 if quick else 3)
    ]


def ann_accuracy(papers: Papers, pool: FeatureSplit, store: Store, *, quick: bool) -> Replay:
    """Replay the accuracy of Markou's ANN (Table 3)."""
    reports = [_pooled(of_seed) for of_seed in markou_folds(pool, store, quick=quick)]
    ours = proportion([each.accuracy for each in reports], reports[0].n)
    return Replay({"ANN": ours}, notes=(FULL_BATCH,))


def ann_classes(papers: Papers, pool: FeatureSplit, store: Store, *, quick: bool) -> Replay:
    """Replay precision, recall and specificity of Markou's ANN (Table 4)."""
    reports = [_pooled(of_seed) for of_seed in markou_folds(pool, store, quick=quick)]
    return Replay(class_metrics("ANN", reports, ("precision", "recall", "specificity")), notes=(FULL_BATCH,))


def ann_angles(fold: int, papers: Papers, pool: FeatureSplit, store: Store, *, quick: bool) -> Replay:
    """Replay the angles and losses of Markou's ANN in a fold (Figs. 2, 5, 7, 9 and 10)."""
    result = markou_folds(pool, store, quick=quick)[0][fold]
    epochs, angle = result["epochs"], result["angles"]
    panels = (
        Panel(
            *("epoch", "angle in degrees (Markou, equation 5)"),
            [
                Line("mean, 5 to 95 %", epochs, angle["mean"], angle["q05"], angle["q95"]),
                Line("smallest", epochs, angle["min"]),
                Line("largest", epochs, angle["max"]),
            ],
        ),
        Panel(
            "epoch",
            "cross-entropy",
            [Line("train", epochs, result["train_loss"]), Line("test", epochs, result["test_loss"])],
        ),
    )
    n = int(np.sum(result["confusion"]))
    ours = {
        f"{name}, {when} epoch": average([values[place]], n)
        for name, values in (("mean angle", angle["mean"]), ("train loss", result["train_loss"]))
        for when, place in (("first", 0), ("last", -1))
    }
    return Replay(ours, panels, notes=("seed 0; ln 7 = 1.95 is the loss of guessing; no number is printed",))


def jain_runs(pool: FeatureSplit, store: Store, *, hidden: int, num: int) -> list[Result]:
    """Return the results of Jain's feature network before and after pruning, one for each seed."""
    settings = replace(JAIN, hidden=hidden)

    def run(seed: int) -> Result:
        rows = scaled(pool, *hold_out(pool, 346, seed), "minmax")
        network, _ = train(rows, settings, seed)
        pruned, left = prune_as_jain(network, rows.train)
        degrees = angles(hidden_statistics(network, rows.train, pattern_minmax=True))
        of_unit = degrees[6, 7:19].nan_to_num(-1).tolist() if hidden >= 19 else []
        return {
            "train": accuracy(network, rows.train, rows.train_labels),
            "test": accuracy(network, rows.test, rows.test_labels),
            "pruned": accuracy(pruned, rows.test, rows.test_labels),
            "left": left,
            "dead": dead_neurons(network, rows.train),
            "angles": of_unit,
        }

    return [
        store.get(f"jain-ann{hidden}-seed{seed}", asdict(settings), lambda s=seed: run(s))  # type: ignore[misc]
        for seed in range(num)
    ]


def ann20_pruned(papers: Papers, pool: FeatureSplit, store: Store, *, quick: bool) -> Replay:
    """Replay Jain's ANN-20 before and after pruning (Fig. 3, section 3.1)."""
    results = jain_runs(pool, store, hidden=20, num=3 if quick else 30)
    n = len(pool) - 346
    ours = {
        "ann: train": proportion([each["train"] for each in results], 346),
        "ann: test": proportion([each["test"] for each in results], n),
        "ann: test after pruning": proportion([each["pruned"] for each in results], n),
        "neurons pruned of 20": average([20 - each["left"] for each in results]),
        "dead neurons of 20": average([float(each["dead"]) for each in results]),
    }
    removed = sorted({20 - each["left"] for each in results})
    lines = []
    for name, when in (("test", "before"), ("pruned", "after")):
        by_removed = {
            num: proportion([each[name] for each in results if 20 - each["left"] == num], n)
            for num in removed
        }
        ours |= {f"fig3_{when}: {num} pruned": each for num, each in by_removed.items()}
        y = [each.value for each in by_removed.values()]
        lines.append(Line(f"{when} pruning", removed, y, is_points=True))
    for name in ("fig3_before", "fig3_after"):
        cells = papers["s4"][name].cells()
        x = [int(label.split()[0]) for label in cells]
        lines.append(Line(f"printed, {name.removeprefix('fig3_')}", x, [*cells.values()], is_points=True))
    panel = Panel("neurons pruned of 20", f"test accuracy in per cent, n = {n}", lines)
    return Replay(ours, (panel,), notes=("rule jain; random 346/329 split in each seed",))


def unit_angles(papers: Papers, pool: FeatureSplit, store: Store, *, quick: bool) -> Replay:
    """Replay the angles between one unit and twelve others (Table 3)."""
    results = jain_runs(pool, store, hidden=20, num=3 if quick else 30)
    ours: dict[str, Measured] = {}
    for place, label in enumerate(papers["s4"]["angles"].rows):
        degrees = [each["angles"][place] for each in results]
        ours[label] = average([math.nan if value < 0 else value for value in degrees])
    equal = [float(_most_equal(each["angles"])) for each in results]
    ours["pairs with the most frequent angle, of 12"] = average(equal)
    ours["dead neurons of 20"] = average([float(each["dead"]) for each in results])
    note = "units have no order: compare the set of angles, not angle by angle; dead units have no angle"
    return Replay(ours, notes=(note,))


def by_size(papers: Papers, pool: FeatureSplit, store: Store, *, quick: bool) -> Replay:
    """Replay accuracy and compression for several numbers of hidden neurons (Figs. 4, 5, 6), on features."""
    sizes = SIZES[1:6:2] if quick else SIZES
    results = {size: jain_runs(pool, store, hidden=size, num=2 if quick else 10) for size in sizes}
    n = len(pool) - 346
    ours: dict[str, Measured] = {}
    for size, of_size in results.items():
        ours[f"features, {size} hidden, test"] = proportion([each["test"] for each in of_size], n)
        ours[f"features, {size} hidden, test after pruning"] = proportion(
            [each["pruned"] for each in of_size], n
        )
        ours[f"features, {size} hidden, pruned"] = average(
            [100 * (1 - each["left"] / size) for each in of_size]
        )
        ours[f"features, {size} hidden, dead"] = average([100 * each["dead"] / size for each in of_size])

    def line(label: str, suffix: str) -> Line:
        cells = [ours[f"features, {size} hidden, {suffix}"] for size in sizes]
        spread = [0.0 if math.isnan(each.sd) else each.sd for each in cells]
        y = [each.value for each in cells]
        low, high = ([value + sign * sd for value, sd in zip(y, spread, strict=True)] for sign in (-1, 1))
        return Line(label, [*map(math.log10, sizes)], y, low, high)

    printed = papers["s4"]["compression"].cells()
    x = [math.log10(int(label.split()[0])) for label in printed]
    panels = (
        Panel(
            *("log10 of hidden neurons", f"test accuracy in per cent, n = {n}"),
            [line("before pruning", "test"), line("after pruning", "test after pruning")],
        ),
        Panel(
            *("log10 of hidden neurons", "hidden neurons in per cent"),
            [
                line("pruned, mean ± sd", "pruned"),
                line("dead", "dead"),
                Line("printed, on AlexNet's features", x, [*printed.values()], is_points=True),
            ],
        ),
    )
    return Replay(
        ours, panels, notes=("on SFEW's ten features; the paper's network is on AlexNet's features",)
    )


def class_metrics(
    prefix: str, reports: Sequence[ClassificationReport], names: Sequence[str]
) -> dict[str, Measured]:
    """Return metrics of each class, 0 to 1, as means over the seeds, with the labels of Table 4."""
    scalars = [each.scalars() for each in reports]
    return {
        f"{metric}: {prefix}, {name}" if prefix else f"{metric}, {name}": average(
            [each[f"{metric}/{name}"] for each in scalars], reports[0].n
        )
        for metric in names
        for name in reports[0].class_names
    }


def _confusion(network: torch.nn.Module, rows: Rows) -> list[list[int]]:
    counts = torch.zeros(NUM_CLASSES, NUM_CLASSES, dtype=torch.int64)
    right, predicted = rows.test_labels, predict(network, rows.test)
    counts.index_put_((right, predicted), torch.ones_like(right), accumulate=True)
    confusion: list[list[int]] = counts.tolist()
    return confusion


def _pooled(results: Sequence[Mapping[str, Any]]) -> ClassificationReport:
    return report(torch.tensor([each["confusion"] for each in results]).sum(dim=0))


def _curves(moments: Sequence[Moment]) -> Result:
    names = ("mean", "min", "q05", "q95", "max")
    return {
        "epochs": [moment.epoch for moment in moments],
        "train_loss": [moment.train_loss for moment in moments],
        "test_loss": [moment.test_loss for moment in moments],
        "angles": {name: [moment.summary[name] for moment in moments] for name in names},
    }


def _most_equal(degrees: Sequence[float]) -> int:
    """Return the size of the largest group of angles that are equal to two digits; a dead unit's is -1."""
    return int(np.unique(np.round(degrees, 2), return_counts=True)[1].max())
