"""Write the class probabilities of a data set's test splits as a table."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fer.cells import path_cell, text_cell
from fer.data.base import ExpressionDataModule
from fer.files import atomic_write
from fer.metrics import predicted_classes


def write_predictions(path: Path, data: ExpressionDataModule, batches: Sequence[Sequence[Tensor]]) -> None:
    """Write one row for each sample: name, label, predicted class, and the probability of each class.

    The predicted class is empty for a sample whose probabilities are not finite.

    Args:
        path: The CSV file.
        data: The data module; its test splits were predicted in order, each from its first sample.
        batches: Batches of class probabilities for each test split, shape ``(N, K)`` each.
    """
    names = np.array([text_cell(name) for name in data.label_names])
    tables = []
    for split, split_batches in zip(data.test_names, batches, strict=True):
        probabilities = torch.cat(list(split_batches)).float()
        table = pd.DataFrame(probabilities.numpy(), columns=names)
        table.insert(0, "predicted", np.append(names, "")[predicted_classes(probabilities)])
        rows = slice(len(table))  # --trainer.limit_predict_batches leaves out the rest
        table.insert(0, "label", names[data.splits[split].labels[rows]])
        table.insert(0, "name", [path_cell(str(name)) for name in data.splits[split].names[rows]])
        table.insert(0, "index", np.arange(len(table)))
        table.insert(0, "split", split)
        tables.append(table)
    with atomic_write(path) as file:
        pd.concat(tables).to_csv(file, index=False, float_format="%.6f")
