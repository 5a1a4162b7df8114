"""Predictions of networks on the samples of a test split, and McNemar's test of two of them."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fer.cells import path_cell, text_cell
from fer.data.base import ExpressionDataModule
from fer.errors import InputError
from fer.files import read_text
from fer.metrics import Comparison, mcnemar, predicted_classes
from fer.runs import WAY_OUT

COLUMNS = ("split", "name", "label", "predicted")
"""Columns of ``predictions.csv`` that are read."""


@dataclass(frozen=True, eq=False)
class Answers:
    """A network's predictions for the N samples of a split.

    Attributes:
        names: Name of each sample, shape ``(N,)``.
        labels: Name of each sample's class, shape ``(N,)``.
        predicted: Name of each predicted class, shape ``(N,)``; empty if the logits were not finite.
    """

    names: NDArray[np.str_]
    labels: NDArray[np.str_]
    predicted: NDArray[np.str_]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each sample is classified correctly, shape ``(N,)``."""
        return np.equal(self.labels, self.predicted)


def read_answers(path: Path) -> dict[str, Answers]:
    """Return the predictions in a ``predictions.csv`` by split; empty if there is no file.

    Raises:
        InputError: The file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        rows = list(csv.DictReader(read_text(path).splitlines()))
        columns = {name: np.array([row[name] for row in rows], dtype=np.str_) for name in COLUMNS}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as e:
        msg = f"{path} is damaged: {e}; {WAY_OUT}"
        raise InputError(msg) from e
    return {
        str(split): Answers(*(columns[name][columns["split"] == split] for name in COLUMNS[1:]))
        for split in dict.fromkeys(columns["split"].tolist())
    }


def compute_answers(task: nn.Module, data: ExpressionDataModule) -> dict[str, Answers]:
    """Return the predictions of a network in eval mode for each test split.

    Args:
        task: Maps inputs to logits; runs on its own device.
        data: Data module with loaded splits and the network's labels.
    """
    device = next(task.parameters()).device
    classes = np.array([*map(text_cell, data.label_names), ""])
    found = {}
    for split, loader in zip(data.test_names, data.predict_dataloader(), strict=True):
        with torch.inference_mode():
            predicted = torch.cat([predicted_classes(task(batch[0].to(device)).cpu()) for batch in loader])
        samples = data.splits[split]
        names = np.array([path_cell(str(name)) for name in samples.names])
        found[split] = Answers(names, classes[samples.labels], classes[predicted.numpy()])
    return found


def why_not_paired(one: Answers, other: Answers) -> str:
    """Return why two networks' predictions cannot be paired; empty if the samples are the same."""
    if {*one.labels.tolist()} != {*other.labels.tolist()}:
        return "their test samples have different classes"
    if len(one.names) != len(other.names):
        return f"their test splits differ: {len(one.names):,} and {len(other.names):,} samples"
    is_same = np.array_equal(one.names, other.names) and np.array_equal(one.labels, other.labels)
    return "" if is_same else "their test splits hold different samples"


def pair(one: Answers, other: Answers) -> Comparison:
    """Return McNemar's test of two networks with predictions for the same samples."""
    return mcnemar(torch.from_numpy(one.right), torch.from_numpy(other.right))


def sample_rows(answers: Mapping[str, Answers]) -> list[list[str]]:
    """Return a table of samples: name, label, and each network's prediction.

    Args:
        answers: Predictions for the same samples, by the name of the run.
    """
    first = next(iter(answers.values()))
    columns = [first.names, first.labels, *(each.predicted for each in answers.values())]
    rows = np.stack(columns, axis=1).tolist()
    return [["name", "label", *map(text_cell, answers)], *rows]
