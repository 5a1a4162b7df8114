"""The model card of a run: what the network is, on what data, how good, and what it must not be used for."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch

from fer import __version__
from fer.metrics import ClassificationReport, report, wilson_interval

UNKNOWN_DATA = (
    "How the samples were collected and labelled, and what or whom they show, is not recorded here: add it "
    "before others use the network."
)

NOT_FOR = (
    "For samples from another source, with another crop or with other classes than the test split, until "
    "it has been tested on such samples.",
    "Where samples may belong to none of its classes: it gives each sample one of its classes.",
)
"""What holds for any classifier."""


class KnowsData(Protocol):
    """What a model card says of a data set, in sentences.

    Attributes:
        about: What the samples are, and where their labels come from.
        limits: What the data set lacks.
        misuse: What a network that was trained on it must not be used for.
    """

    @property
    def about(self) -> Sequence[str]:
        """What the samples are."""

    @property
    def limits(self) -> Sequence[str]:
        """What the data set lacks."""

    @property
    def misuse(self) -> Sequence[str]:
        """What it must not be used for."""


@runtime_checkable
class HasCards(Protocol):
    """A data module that tells what is known of the data that a network was trained and tested on."""

    def cards(self, trained_on: str | None) -> Sequence[KnowsData | None]:
        """Return what is known of each data set; None: nothing is."""


def model_card(
    results: Mapping[str, Any],
    data: Sequence[KnowsData | None] = (None,),
    *,
    name: str,
    origin: Sequence[str] = (),
) -> str:
    """Return the model card of a tested classifier, in Markdown.

    Args:
        results: Of the run, as :meth:`fer.runs.Run.write_results` takes them, with its splits.
        data: What is known of each data set that it was trained or tested on; None: nothing is.
        name: What the network is called.
        origin: Further lines on where it comes from.
    """
    names = results["class_names"]
    reports = {
        split: report(torch.tensor(found["confusion"]), names, found.get("non_finite"))
        for split, found in results["splits"].items()
    }
    shown = next((split for split in reports if split not in ("train", "val")), next(iter(reports)))
    known = [card for card in data if card is not None]
    parts = {
        f"# Model card: {name}": [
            f"{results['network']}, {results['parameters']:,} parameters: a classifier of {len(names)} "
            f"classes ({', '.join(names)}). Written by fer {__version__}."
        ],
        "## Training": _training(results, origin),
        "## Data": [
            f"- Evaluated on: {results['data'].removesuffix('DataModule')}, {results['protocol']}",
            *_list([each for card in data for each in ((UNKNOWN_DATA,) if card is None else card.about)]),
        ],
        "## Accuracy": _accuracies(reports, results["splits"]),
        f"## Recall by class, on {shown}": _recalls(reports[shown]),
        f"## Confusion matrix, on {shown}": _confusion(reports[shown]),
        "## Calibration": _calibration(results),
        "## What the data lacks": _list([each for card in known for each in card.limits]),
        "## What it must not be used for": _list(
            [*dict.fromkeys(each for card in known for each in card.misuse), *NOT_FOR]
        ),
    }
    return "\n\n".join("\n".join([title, "", *lines]) for title, lines in parts.items() if lines) + "\n"


def _list(sentences: Sequence[str]) -> list[str]:
    return [f"- {each}" for each in sentences]


def _training(results: Mapping[str, Any], origin: Sequence[str]) -> list[str]:
    """Return where the weights come from, as far as the run knows."""
    best = results.get("best") or {}
    selected = ", ".join(f"{key} {value:.4f}" for key, value in best.items() if value is not None)
    facts = {
        "Trained on": results.get("trained_on"),
        "Epochs": results.get("epochs"),
        "Seed": results.get("seed"),
        "Checkpoint selected by": selected,
    }
    return _list([f"{key}: {value}" for key, value in facts.items() if value not in (None, "")] + [*origin])


def _accuracies(reports: Mapping[str, ClassificationReport], splits: Mapping[str, Any]) -> list[str]:
    """Return a table of the accuracy of each split, and of views beside it."""
    rows = []
    for split, found in reports.items():
        rows.append([split, "plain", _percent(found.accuracy), _interval(found.interval), f"{found.n:,}"])
        for tta, of_views in splits[split].get("tta", {}).items():
            rows.append(["", tta, _percent(of_views["acc"]), _interval(of_views["interval"]), f"{found.n:,}"])
    last = list(reports.values())[-1]
    largest = int(last.support.max()) / last.n if last.n else 0.0
    return [
        *_table(["split", "views", "accuracy", "95 % interval (Wilson)", "n"], rows),
        "",
        "The network was trained on train, and its checkpoint selected on val: only the test splits tell "
        f"how good it is. Always predicting the largest class would be right for {_percent(largest)} of "
        f"{list(reports)[-1]}. Views are means of probabilities, reported beside the plain accuracy.",
    ]


def _recalls(found: ClassificationReport) -> list[str]:
    """Return a table of recall and precision of each class."""
    right = found.confusion.diagonal().tolist()
    columns = (found.class_names, found.support.tolist(), right, found.precision.tolist())
    rows = [
        [
            name,
            f"{n:,}",
            _percent(hits / n) if n else "-",
            _interval(wilson_interval(hits, n)) if n else "-",
            _percent(precision),
        ]
        for name, n, hits, precision in zip(*columns, strict=True)
    ]
    return _table(["class", "n", "recall", "95 % interval (Wilson)", "precision"], rows)


def _confusion(found: ClassificationReport) -> list[str]:
    rows = [
        [name, *(f"{count:,}" for count in counts)]
        for name, counts in zip(found.class_names, found.confusion.tolist(), strict=True)
    ]
    return [*_table(["truth / predicted", *found.class_names], rows)]


def _calibration(results: Mapping[str, Any]) -> list[str]:
    """Return what temperature scaling does to the probabilities."""
    splits = {
        name: found["calibration"] for name, found in results["splits"].items() if "calibration" in found
    }
    if not splits:
        return []
    known = results.get("calibration")
    if known is None:
        lines = ["The probabilities are not calibrated: the checkpoint has no temperature, so 1 is used."]
    else:
        views = known.get("views", {})
        others = "".join(f", {each['temperature']:.3f} for {tta}" for tta, each in views.items())
        lines = [
            f"Logits are divided by a temperature before the softmax: {known['temperature']:.3f}{others}. "
            f"It was fitted on {known['split']} (n = {known['n']:,}); that of several views on the mean of "
            "their probabilities. ECE is the expected calibration error of 15 bins, NLL the mean negative "
            "log-likelihood."
        ]
    rows = [
        [
            name,
            *(f"{100 * found['ece'][key]:.2f} %" for key in ("before", "after")),
            *(f"{found['nll'][key]:.4f}" for key in ("before", "after")),
            f"{found['n']:,}",
        ]
        for name, found in splits.items()
    ]
    return [*lines, "", *_table(["split", "ECE before", "after", "NLL before", "after", "n"], rows)]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table; what would end a cell in the names of classes is escaped."""
    cells = [[text.replace("|", "\\|").replace("\n", " ") for text in row] for row in (head, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return [lines[0], f"|{' --- |' * len(head)}", *lines[1:]]


def _percent(share: float) -> str:
    return "-" if share != share else f"{100 * share:.2f} %"


def _interval(bounds: Sequence[float]) -> str:
    return f"{100 * bounds[0]:.2f} to {100 * bounds[1]:.2f} %"
