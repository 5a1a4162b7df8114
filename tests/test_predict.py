"""Predictions as a table."""

import pandas as pd
import pytest
import torch

from fer.labels import EXPRESSIONS
from fer.predict.splits import write_predictions


@pytest.fixture
def two_tests(tiny_data):
    class TwoTests(tiny_data):
        test_names = ("public", "private")

        def load_splits(self):
            splits = super().load_splits()
            return splits | {
                "public": splits["test"].take(range(3)),
                "private": splits["test"].take(range(3, 5)),
            }

    data = TwoTests()
    data.setup()
    return data


def test_a_row_for_each_pattern_of_each_test_split(two_tests, tmp_path):
    batches = [torch.eye(7)[[6, 1]] * 0.9, torch.eye(7)[[2]], torch.full((2, 7), 1 / 7)]
    path = tmp_path / "new" / "predictions.csv"
    write_predictions(path, two_tests, [batches[:2], batches[2:]])
    table = pd.read_csv(path)
    assert list(table.columns) == ["split", "index", "name", "label", "predicted", *EXPRESSIONS]
    assert table[["split", "index", "label", "predicted"]].to_numpy().tolist() == [
        ["public", 0, "angry", "surprise"],
        ["public", 1, "disgust", "disgust"],
        ["public", 2, "fear", "fear"],
        ["private", 0, "happy", "angry"],  # undecided: the first of equals
        ["private", 1, "neutral", "angry"],
    ]
    assert table.loc[0, "surprise"] == 0.9
    assert table.loc[4, list(EXPRESSIONS)].tolist() == [pytest.approx(1 / 7, abs=1e-6)] * 7


def test_a_split_without_predictions_is_no_table(two_tests, tmp_path):
    with pytest.raises(ValueError, match="zip"):
        write_predictions(tmp_path / "predictions.csv", two_tests, [[torch.eye(7)[:3]]])
    assert not list(tmp_path.glob("*.csv"))


def test_a_limited_prediction_names_the_samples_it_has(two_tests, tmp_path):
    path = tmp_path / "predictions.csv"
    write_predictions(path, two_tests, [[torch.eye(7)[:2]], [torch.eye(7)[:1]]])
    table = pd.read_csv(path, dtype={"name": str})
    assert table[["split", "index", "label"]].to_numpy().tolist() == [
        ["public", 0, "angry"], ["public", 1, "disgust"], ["private", 0, "happy"],
    ]  # fmt: skip
    names = [*two_tests.splits["public"].names[:2], two_tests.splits["private"].names[0]]
    assert table["name"].tolist() == [str(name) for name in names]
