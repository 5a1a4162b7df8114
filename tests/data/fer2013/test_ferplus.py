"""FER+: the majority rule, soft targets, and that votes and images are the same rows."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from fer2013_forms import NUM_ROWS, as_csv

from fer.data.fer2013 import FERPLUS_CLASSES, TRAINING, USAGES, Fer2013DataModule, Fer2013Rows
from fer.data.fer2013.ferplus import COLUMNS, Votes, label_rows, majority_columns
from fer.errors import InputError
from fer.labels import EXPRESSIONS

FILE_COLUMNS = (
    *("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"),
    *("unknown", "NF"),
)
"""The columns of votes in the order of the published file."""


def votes_of(**votes: int) -> list[int]:
    """Return a row of votes in the order of COLUMNS."""
    assert set(votes) <= set(COLUMNS)
    return [votes.get(column, 0) for column in COLUMNS]


@pytest.mark.parametrize(
    ("votes", "winner"),
    [
        pytest.param({"happiness": 10}, "happiness", id="all agree"),
        pytest.param({"neutral": 6, "surprise": 1, "sadness": 1, "unknown": 2}, "neutral", id="6 of 8"),
        pytest.param({"neutral": 5, "sadness": 3, "anger": 1, "unknown": 1}, "neutral", id="5 of 8"),
        pytest.param({"neutral": 4, "sadness": 1, "anger": 3, "disgust": 2}, None, id="4 of 9 is no half"),
        pytest.param({"fear": 5, "surprise": 5}, None, id="half is not more than half"),
        pytest.param({"neutral": 4, "sadness": 4, "anger": 1, "unknown": 1}, None, id="4 of 8"),
        pytest.param(
            {"anger": 4, "disgust": 3, "fear": 1, "sadness": 1, "contempt": 1},
            "anger",
            id="4 of 7, not of 10",
        ),
        pytest.param(
            {"anger": 2, **dict.fromkeys(("disgust", "fear", "happiness", "neutral"), 1)},
            "anger",
            id="2 of 2, since single votes do not count",
        ),
        pytest.param(dict.fromkeys(COLUMNS, 1), None, id="only single votes"),
        pytest.param({}, None, id="no votes"),
        pytest.param({"unknown": 6, "neutral": 4}, "unknown", id="unknown"),
        pytest.param({"NF": 10}, "NF", id="not a face"),
        pytest.param({"contempt": 7, "neutral": 3}, "contempt", id="contempt"),
    ],
)
def test_majority_by_hand(votes: dict[str, int], winner: str | None) -> None:
    (found,) = majority_columns(np.array([votes_of(**votes)]))
    assert (None if found < 0 else COLUMNS[found]) == winner


ROWS = [
    votes_of(happiness=6, neutral=3, unknown=1),
    votes_of(anger=5, sadness=5),
    votes_of(contempt=8, neutral=2),
    votes_of(NF=9, happiness=1),
    votes_of(unknown=8, fear=2),
    votes_of(contempt=3, neutral=3, unknown=4),
    votes_of(),
]


def test_labels_and_targets_by_hand() -> None:
    found = label_rows(Votes(np.array(ROWS), np.zeros(7, np.uint8)), FERPLUS_CLASSES)
    names = {label: name for label, name in enumerate(FERPLUS_CLASSES)} | {-1: None}
    assert [names[label] for label in found.labels] == ["happy", None, "contempt", None, None, None, None]
    expected = np.zeros((7, 8))
    expected[0, [FERPLUS_CLASSES.index("happy"), FERPLUS_CLASSES.index("neutral")]] = [6 / 9, 3 / 9]
    expected[1, [FERPLUS_CLASSES.index("angry"), FERPLUS_CLASSES.index("sad")]] = 0.5
    expected[2, [FERPLUS_CLASSES.index("contempt"), FERPLUS_CLASSES.index("neutral")]] = [0.8, 0.2]
    expected[5, [FERPLUS_CLASSES.index("contempt"), FERPLUS_CLASSES.index("neutral")]] = 0.5
    np.testing.assert_allclose(found.targets, expected, rtol=1e-6)
    assert found.targets.dtype == np.float32
    assert found.dropped == "3 without a majority, 1 unknown, 1 not a face"


def test_without_contempt_its_images_go_and_its_votes_do_not_count() -> None:
    found = label_rows(Votes(np.array(ROWS), np.zeros(7, np.uint8)), EXPRESSIONS)
    assert found.labels.tolist() == [EXPRESSIONS.index("happy"), -1, -1, -1, -1, -1, -1]
    assert found.targets.shape == (7, 7)
    assert found.targets[5, EXPRESSIONS.index("neutral")] == 1
    assert not found.targets[[2, 3, 4, 6]].any()
    assert found.dropped == "3 without a majority, 1 unknown, 1 not a face, 1 contempt"


# Beside FER2013


def tiny_votes(rows: Fer2013Rows) -> np.ndarray:
    """Return votes in the order of COLUMNS: eight of ten for FER2013's label, with some exceptions."""
    votes = np.zeros((NUM_ROWS, len(COLUMNS)), np.int64)
    votes[np.arange(NUM_ROWS), rows.labels] = 8
    votes[np.arange(NUM_ROWS), (rows.labels + 1) % 7] = 2
    votes[:6] = [
        votes_of(contempt=7, neutral=3),
        votes_of(anger=5, sadness=5),
        votes_of(NF=10),
        votes_of(unknown=10),
        votes_of(contempt=8, neutral=2),
        votes_of(fear=4, contempt=4, neutral=2),
    ]
    votes[70] = votes_of(anger=5, sadness=5)  # the first of PublicTest
    votes[97] = votes_of(contempt=10)  # the last of PrivateTest
    return votes


def write_votes(folder: Path, votes: np.ndarray, rows: Fer2013Rows, name: str = "fer2013new.csv") -> Path:
    order = [COLUMNS.index(column) for column in FILE_COLUMNS]
    lines = [",".join(("Usage", "Image name", *FILE_COLUMNS))]
    for number, (counts, usage) in enumerate(zip(votes, rows.usage, strict=True)):
        lines.append(",".join((USAGES[usage], f"fer{number:07d}.png", *map(str, counts[order].tolist()))))
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def data_module(root: Path, labels: str, **settings: object) -> Fer2013DataModule:
    data = Fer2013DataModule(root=str(root), labels=labels, batch_size=4, **settings)  # type: ignore[arg-type]
    data.setup()
    return data


def numbers(data: Fer2013DataModule, split: str) -> list[int]:
    """Return the rows of a split, from 0."""
    return [int(name.removeprefix("row ")) - 2 for name in data.splits[split].names]


def test_majority_labels_drop_and_count_what_has_none(
    root: Path, rows: Fer2013Rows, caplog: pytest.LogCaptureFixture
) -> None:
    as_csv(root, rows)
    write_votes(root, tiny_votes(rows), rows, name="FER2013New.csv")
    with caplog.at_level(logging.INFO, "fer.data"):
        data = data_module(root, "ferplus-majority")
    assert data.class_names == FERPLUS_CLASSES
    assert data.num_classes == 8
    assert numbers(data, "train") == [0, 4, *range(6, 70)]
    assert numbers(data, "val") == list(range(71, 84))
    assert numbers(data, "test") == list(range(84, 98))
    contempt = FERPLUS_CLASSES.index("contempt")
    assert data.splits["train"].labels.tolist() == [contempt, contempt, *rows.labels[6:70]]
    assert data.splits["test"].labels.tolist() == [*rows.labels[84:97], contempt]
    assert data.class_counts[contempt] == 2
    message = "majority labels for 93 of 98 images; the others: 3 without a majority, 1 unknown, 1 not a face"
    assert sum(message in record.getMessage() for record in caplog.records) == 1
    assert data.protocol_name == "official: Training / PublicTest / PrivateTest, FER+ majority labels"


def test_distributions_train_also_without_a_majority_and_evaluate_the_same_images(
    root: Path, rows: Fer2013Rows
) -> None:
    as_csv(root, rows)
    write_votes(root, tiny_votes(rows), rows)
    hard, soft = data_module(root, "ferplus-majority"), data_module(root, "ferplus-distribution")
    for split in ("val", "test"):
        assert numbers(soft, split) == numbers(hard, split)
        np.testing.assert_array_equal(soft.splits[split].labels, hard.splits[split].labels)
        inputs, labels = next(iter(soft._loader(soft.dataset(split))))
        assert labels.dtype == torch.int64
    assert numbers(soft, "train") == [0, 1, 4, *range(5, 70)]
    train = soft.splits["train"]
    np.testing.assert_allclose(train.targets.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(train.targets.argmax(axis=1), train.labels)
    assert train.targets[1, [0, EXPRESSIONS.index("sad")]].tolist() == [0.5, 0.5]
    inputs, targets = next(iter(soft.train_dataloader()))
    assert (inputs.shape, targets.shape, targets.dtype) == ((4, 1, 48, 48), (4, 8), torch.float32)
    _, labels = next(iter(soft._loader(soft.dataset("train"))))
    assert labels.tolist() == train.labels[:4].tolist(), "train as it is evaluated"


@pytest.mark.parametrize("protocol", ["merged", "holdout"])
def test_drawn_validation_images_are_the_same_with_both_kinds_of_labels(
    protocol: str, root: Path, rows: Fer2013Rows
) -> None:
    as_csv(root, rows)
    settings = {"protocol": protocol, "skip_classes": ["contempt"]}
    write_votes(root, tiny_votes(rows), rows)
    hard = data_module(root, "ferplus-majority", **settings)
    soft = data_module(root, "ferplus-distribution", **settings)
    assert numbers(soft, "val") == numbers(hard, "val")
    assert set(numbers(soft, "train")) == {*numbers(hard, "train"), 1, 5}


def test_skipping_contempt_leaves_the_seven(root: Path, rows: Fer2013Rows) -> None:
    as_csv(root, rows)
    write_votes(root, tiny_votes(rows), rows)
    data = data_module(root, "ferplus-distribution", skip_classes=["Contempt"])
    assert data.class_names == EXPRESSIONS
    assert numbers(data, "train") == [1, 5, *range(6, 70)]
    assert numbers(data, "test") == list(range(84, 97))
    fear, neutral = EXPRESSIONS.index("fear"), EXPRESSIONS.index("neutral")
    np.testing.assert_allclose(data.splits["train"].targets[1, [fear, neutral]], [4 / 6, 2 / 6], rtol=1e-6)


def test_descriptors_take_soft_targets_too(root: Path, rows: Fer2013Rows) -> None:
    as_csv(root, rows)
    write_votes(root, tiny_votes(rows), rows)
    data = data_module(root, "ferplus-distribution", descriptors=True)
    inputs, targets = next(iter(data.train_dataloader()))
    assert (inputs.shape, targets.shape) == ((4, 10), (4, 8))


# What does not match


def test_missing_votes_say_where_they_belong(root: Path, rows: Fer2013Rows) -> None:
    as_csv(root, rows)
    with pytest.raises(InputError, match=rf"no fer2013new\.csv in {root}.*github\.com/microsoft/FERPlus"):
        data_module(root, "ferplus-majority")


def test_votes_beside_a_file_are_found(root: Path, rows: Fer2013Rows) -> None:
    as_csv(root, rows)
    write_votes(root, tiny_votes(rows), rows)
    assert len(data_module(root / "fer2013.csv", "ferplus-majority").splits["train"]) == 66


def test_another_number_of_rows_is_refused(root: Path, rows: Fer2013Rows) -> None:
    as_csv(root, rows)
    votes = write_votes(root, tiny_votes(rows), rows)
    votes.write_text("\n".join(votes.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(InputError, match=r"fer2013new\.csv has 97 rows and this FER2013 98"):
        data_module(root, "ferplus-majority")


def test_another_usage_names_the_line(root: Path, rows: Fer2013Rows) -> None:
    as_csv(root, rows)
    votes = write_votes(root, tiny_votes(rows), rows)
    lines = votes.read_text().splitlines()
    lines[20] = lines[20].replace("Training", "PublicTest")
    votes.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"line 21: Usage is PublicTest, .*has Training"):
        data_module(root, "ferplus-majority")


def test_rows_in_another_order_are_refused(root: Path, rows: Fer2013Rows) -> None:
    as_csv(root, rows)
    votes = tiny_votes(rows)
    votes[:70] = votes[np.random.default_rng(0).permutation(70)]
    write_votes(root, votes, rows)
    with pytest.raises(InputError, match=r"only \d+% of the majority labels .* own labels.*original CSV"):
        data_module(root, "ferplus-majority")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(",NF\n", "\n", "line 1: no column NF", id="no column"),
        pytest.param(",10\n", ",ten\n", "line 4: column NF: 'ten' is not a number of votes", id="word"),
        pytest.param(",10\n", ",-1\n", "line 4: column NF: '-1' is not", id="negative"),
        pytest.param(",10\n", "\n", "line 4: 11 cells instead of 12", id="no cell"),
    ],
)
def test_a_bad_row_of_votes_is_named(old: str, new: str, message: str, root: Path, rows: Fer2013Rows) -> None:
    as_csv(root, rows)
    votes = write_votes(root, tiny_votes(rows), rows)
    votes.write_text(votes.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=rf"fer2013new\.csv, {message}"):
        data_module(root, "ferplus-majority")


def test_votes_saved_again_by_excel_are_read(root: Path, rows: Fer2013Rows) -> None:
    as_csv(root, rows)
    votes = write_votes(root, tiny_votes(rows), rows)
    votes.write_text(votes.read_text().replace(",", ";"), encoding="utf-16", newline="\r\n")
    assert len(data_module(root, "ferplus-majority").splits["train"]) == 66


# Classes


def test_any_class_can_be_skipped(root: Path, rows: Fer2013Rows) -> None:
    as_csv(root, rows)
    data = data_module(root, "fer2013", skip_classes=["disgust", "Fearful"])
    assert data.class_names == ("angry", "happy", "neutral", "sad", "surprise")
    kept = [row for row in range(70) if EXPRESSIONS[rows.labels[row]] not in ("disgust", "fear")]
    assert numbers(data, "train") == kept
    assert [data.class_names[label] for label in data.splits["train"].labels] == [
        EXPRESSIONS[rows.labels[row]] for row in kept
    ]
    assert rows.usage[kept[-1]] == TRAINING


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"labels": "fer+"}, r"data\.labels is 'fer\+': it must be one of fer2013", id="labels"),
        pytest.param({"skip_classes": ["contempt"]}, "no class 'contempt'; there are angry", id="of FER+"),
        pytest.param({"skip_classes": ["hapy"]}, "no class 'hapy'; did you mean 'happy'", id="typing error"),
        pytest.param({"skip_classes": EXPRESSIONS[1:]}, "leaves 1 of 7 classes", id="one left"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Fer2013DataModule(**settings)  # type: ignore[arg-type]
