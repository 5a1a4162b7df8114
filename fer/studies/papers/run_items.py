"""Replays by ``fer`` commands: the trainings that an item needs, and how to read its numbers from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch

from fer.metrics import ClassificationReport, report
from fer.runs import Run
from fer.studies.members import read_members, summarise
from fer.studies.papers.feature_items import class_metrics
from fer.studies.papers.replay import Line, Measured, Panel, Replay, average, proportion


def short(num_batches: int) -> tuple[str, ...]:
    """Return the settings of a quick training: two epochs, the first batches of every split."""
    limits = (f"--trainer.limit_{split}_batches" for split in ("train", "val", "test"))
    return ("--trainer.max_epochs", "2", *(word for each in limits for word in (each, str(num_batches))))


SHORT: Final = short(20)
"""Settings of a quick training on small images."""

SHORT_LARGE: Final = short(3)
"""Settings of a quick training on images of 224 pixels, each of which takes as long as twenty small ones."""


@dataclass(frozen=True)
class Step:
    """A run that an item needs.

    Attributes:
        name: Name of the run.
        label: Label of the row or curve that the run fills.
        words: The command and its arguments, without names and folders; ``{run}`` is another step's folder.
        quick: More arguments for a quick replay.
        needs: Name of the step that ``{run}`` stands for.
    """

    name: str
    label: str
    words: tuple[str, ...]
    quick: tuple[str, ...] = SHORT
    needs: str = ""

    @property
    def command(self) -> str:
        """The ``fer`` command."""
        return self.words[0]


Runs = Mapping[str, Run]
"""Finished runs by the labels of their steps."""


def read_report(run: Run, split: str = "test") -> ClassificationReport:
    """Return the report of a split in a run's results."""
    results = run.read_results()
    return report(torch.tensor(results["splits"][split]["confusion"]), results.get("class_names"))


def accuracies(runs: Runs) -> Replay:
    """Return the test accuracy of each run."""
    reports = {label: read_report(run) for label, run in runs.items()}
    return Replay({label: proportion([each.accuracy], each.n) for label, each in reports.items()})


def val_accuracies(runs: Runs) -> Replay:
    """Return the accuracy of each run on val, and draw it over the epochs."""
    reports = {label: read_report(run, "val") for label, run in runs.items()}
    ours = {label: proportion([each.accuracy], each.n) for label, each in reports.items()}
    return Replay(ours, (history_panel(runs, "val/acc", "accuracy on val"),))


def one_matrix(runs: Runs) -> Replay:
    """Return accuracy, one-versus-rest accuracy and recall of each class of a single run, and its matrix."""
    (run,) = runs.values()
    found = read_report(run)
    ours = {"accuracy": proportion([found.accuracy], found.n)}
    scalars = found.scalars()
    ours |= {name: average([scalars[f"ovr_acc/{name}"]], found.n) for name in found.class_names}
    ours |= {f"recall, {name}": average([scalars[f"recall/{name}"]], found.n) for name in found.class_names}
    return Replay(ours, pictures=[run.figures_dir / "confusion-test.png"])


def fer2013_splits(runs: Runs) -> Replay:
    """Return the accuracies on train, val, PublicTest and PrivateTest in the layout of Onghena's Fig. 7."""
    (run,) = runs.values()
    cells = {
        "above, left": "train",
        "above, right": "val",
        "below, left": "public",
        "below, right": "private",
    }
    ours = {}
    for label, split in cells.items():
        found = read_report(run, split)
        ours[label] = Measured(found.accuracy, found.n, 1, *found.interval)
    return Replay(ours, notes=("read by rows: train, val, PublicTest, PrivateTest; see O4",))


def figure_of(name: str) -> Callable[[Runs], Replay]:
    """Return a reader that shows a figure of the first run."""

    def read(runs: Runs) -> Replay:
        run = next(iter(runs.values()))
        return Replay(accuracies(runs).ours, pictures=[run.figures_dir / f"{name}.png"])

    return read


def curves(key: str, title: str) -> Callable[[Runs], Replay]:
    """Return a reader that draws a logged value over the epochs, with the test accuracies."""

    def read(runs: Runs) -> Replay:
        return Replay(accuracies(runs).ours, (history_panel(runs, key, title),))

    return read


def history_panel(runs: Runs, key: str, title: str) -> Panel:
    """Return the curves of a logged value."""
    lines = []
    for label, run in runs.items():
        columns = run.read_metrics()
        points = [
            (epoch, value)
            for epoch, value in zip(columns["epoch"], columns[key], strict=True)
            if value == value  # rows of other measurements have NaN here
        ]
        epochs, values = zip(*points, strict=True)
        lines.append(Line(label, epochs, values))
    return Panel("epoch", title, lines)


def folds_accuracy(runs: Runs) -> Replay:
    """Return the pooled accuracy of each cross-validation."""
    pooled = {label: summarise(read_members(run.folder)).pooled for label, run in runs.items()}
    return Replay({label: proportion([each.accuracy], each.n) for label, each in pooled.items()})


def folds_classes(runs: Runs) -> Replay:
    """Return the class metrics of each cross-validation, pooled over the folds."""
    ours: dict[str, Measured] = {}
    for label, run in runs.items():
        pooled = summarise(read_members(run.folder)).pooled
        ours |= class_metrics(label, [pooled], ("precision", "recall", "specificity"))
    return Replay(ours)


def fold_angles(fold: int) -> Callable[[Runs], Replay]:
    """Return a reader that shows the angles, stages and losses of a fold."""

    def read(runs: Runs) -> Replay:
        (run,) = runs.values()
        num = len(read_members(run.folder))
        shown = min(fold, num - 1)  # a quick cross-validation has fewer
        pictures = [Run(run.folder / f"fold-{shown}").figures_dir / "angles.png"]
        return Replay(folds_accuracy(runs).ours, pictures=pictures, notes=(f"fold {shown + 1} of {num}",))

    return read


def pruned_accuracies(runs: Runs) -> Replay:
    """Return accuracy before and after pruning, and the number of pruned neurons, of each run."""
    ours: dict[str, Measured] = {}
    for label, run in runs.items():
        found = run.read_prune()
        n = int(found["n"])
        layers = found["layers"].values()
        before, after = (sum(layer[when] for layer in layers) for when in ("before", "after"))
        ours[f"before: {label}"] = proportion([found["before"]["acc"]], n)
        ours[f"after: {label}"] = proportion([found["after"]["acc"]], n)
        ours[f"pruned: {label}"] = average([float(before - after)])
        ours[f"pruned share: {label}"] = average([100 * (1 - after / before)])
    return Replay(ours, notes=("before and after pruning on val, which selected the checkpoint",))


def pruned_classes(when: str) -> Callable[[Runs], Replay]:
    """Return a reader of precision, recall and F1 of each class before or after pruning."""

    def read(runs: Runs) -> Replay:
        (run,) = runs.values()
        found = run.read_prune()
        counts = report(torch.tensor(found[when]["confusion"]), found.get("class_names"))
        return Replay(class_metrics("", [counts], ("precision", "recall", "f1")))

    return read


def pruning_curve(runs: Runs) -> Replay:
    """Return the accuracy of Narayan's rule by threshold, and draw it together with the other rules."""
    if not (curves := [run for run in runs.values() if run.curve_path.is_file()]):
        return Replay()
    found = curves[0].read_curve()
    n = int(found["n"])
    lines = [Line(rule, table["threshold"], table["acc"]) for rule, table in found["rules"].items()]
    narayan = found["rules"]["narayan"]
    ours = {
        f"below {threshold:g} degrees": proportion([accuracy], n)
        for threshold, accuracy in zip(narayan["threshold"], narayan["acc"], strict=True)
    }
    panel = Panel("threshold in degrees", f"accuracy on val, n = {n}", lines)
    return Replay(
        ours, (panel,), notes=("numbers are of rule narayan, on val, which selected the checkpoint",)
    )
