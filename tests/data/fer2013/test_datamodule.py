"""FER2013's protocols, classes and labels."""

import sys
from pathlib import Path

import numpy as np
import pytest
from fer2013_forms import NUM_ROWS, as_csv, as_csv_below
from jsonargparse import ArgumentParser

from fer.data.fer2013 import (
    OFFICIAL_COUNTS,
    PRIVATE,
    PUBLIC,
    TRAINING,
    Fer2013DataModule,
    Fer2013Rows,
    datamodule,
)
from fer.errors import InputError


def data_module(root: Path, protocol: str, *, seed: int = 0) -> Fer2013DataModule:
    data = Fer2013DataModule(root=str(root), protocol=protocol, seed=seed, batch_size=4)  # type: ignore[arg-type]
    data.prepare_data()
    data.setup()
    return data


@pytest.mark.parametrize(
    ("protocol", "sizes", "name"),
    [
        ("official", {"train": 70, "val": 14, "test": 14}, "official: Training / PublicTest / PrivateTest"),
        (
            "merged",
            {"train": 63, "val": 7, "test": 28},
            "merged: 90% of Training / 10% / PublicTest + PrivateTest",
        ),
        (
            "holdout",
            {"train": 49, "val": 21, "public": 14, "private": 14},
            "holdout: 70% of Training / 30% / PublicTest, PrivateTest",
        ),
    ],
)
def test_splits_share_no_image_and_leave_none_out(
    protocol: str, sizes: dict[str, int], name: str, root: Path, rows: Fer2013Rows
) -> None:
    as_csv(root, rows)
    data = data_module(root, protocol)
    assert {key: len(split) for key, split in data.splits.items()} == sizes
    assert data.test_names == tuple(sizes)[2:]
    assert data.protocol_name == name
    found = {image.tobytes() for split in data.splits.values() for image in split.images}
    assert len(found) == NUM_ROWS == sum(sizes.values())
    usage = {image.tobytes(): part for image, part in zip(rows.images, rows.usage, strict=True)}
    label = {image.tobytes(): part for image, part in zip(rows.images, rows.labels, strict=True)}
    allowed = {
        "train": {TRAINING},
        "val": {PUBLIC} if protocol == "official" else {TRAINING},
        "test": {PRIVATE} if protocol == "official" else {PUBLIC, PRIVATE},
        "public": {PUBLIC},
        "private": {PRIVATE},
    }
    for key, split in data.splits.items():
        assert {usage[image.tobytes()] for image in split.images} == allowed[key]
        assert [label[image.tobytes()] for image in split.images] == split.labels.tolist()


@pytest.mark.parametrize(("protocol", "per_class"), [("merged", (9, 1)), ("holdout", (7, 3))])
def test_drawn_splits_keep_the_shares_of_the_classes(
    protocol: str, per_class: tuple[int, int], root: Path, rows: Fer2013Rows
) -> None:
    as_csv(root, rows)
    splits = data_module(root, protocol).splits
    for name, count in zip(("train", "val"), per_class, strict=True):
        assert np.bincount(splits[name].labels).tolist() == [count] * 7


@pytest.mark.parametrize("protocol", ["merged", "holdout"])
def test_drawn_splits_depend_on_the_seed_alone(protocol: str, root: Path, rows: Fer2013Rows) -> None:
    as_csv(root, rows)
    first, again, other = (data_module(root, protocol, seed=seed).splits for seed in (1, 1, 2))
    np.testing.assert_array_equal(first["val"].images, again["val"].images)
    assert not np.array_equal(first["val"].images, other["val"].images)


def test_holdout_of_the_official_counts_has_the_printed_sizes() -> None:
    """20,096 and 8,613 (Onghena and Belo)."""
    labels = np.repeat(np.arange(7), (3995, 436, 4097, 7215, 4965, 4830, 3171))
    data = Fer2013DataModule(protocol="holdout")
    train, val = data._draw(np.arange(OFFICIAL_COUNTS[TRAINING]), labels, datamodule.HOLDOUT_VAL_SHARE)
    assert (train.size, val.size) == (20_096, 8_613)


def test_the_environment_names_the_root(
    root: Path, rows: Fer2013Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_csv_below(root, rows)
    monkeypatch.setenv("FER_DATA_DIR", str(root))
    data = Fer2013DataModule(batch_size=7)
    data.prepare_data()
    data.setup()
    inputs, labels = next(iter(data.val_dataloader()))
    assert inputs.shape == (7, 1, 48, 48)
    assert labels.tolist() == rows.labels[70:77].tolist()


def test_no_root_at_all_is_told() -> None:
    with pytest.raises(InputError, match=r"no folder was given for FER2013; .*--data\.root.*FER_DATA_DIR"):
        Fer2013DataModule().prepare_data()


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(InputError, match=r"data\.protocol is 'kaggle': it must be one of official, merged"):
        Fer2013DataModule(protocol="kaggle")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("protocol", "missing", "empty"),
    [
        ("official", PRIVATE, "test"),
        ("official", PUBLIC, "val"),
        ("official", TRAINING, "train"),
        ("holdout", PUBLIC, "public"),
    ],
)
def test_an_empty_split_is_named(
    protocol: str, missing: int, empty: str, root: Path, rows: Fer2013Rows
) -> None:
    kept = rows.usage != missing
    as_csv(root, Fer2013Rows(rows.images[kept], rows.labels[kept], rows.usage[kept]))
    with pytest.raises(InputError, match=rf"leaves nothing for {empty} with data\.protocol={protocol}"):
        data_module(root, protocol)


@pytest.mark.parametrize("usage", ["none", "too few"])
def test_too_few_images_to_draw_from_are_told(usage: str, root: Path, rows: Fer2013Rows) -> None:
    kept = rows.usage != TRAINING
    kept[:3] = usage == "too few"
    as_csv(root, Fer2013Rows(rows.images[kept], rows.labels[kept], rows.usage[kept]))
    with pytest.raises(
        InputError, match=r"data\.protocol=holdout cannot draw 30% of the [03] Training images"
    ):
        data_module(root, "holdout")


def test_drawing_without_scikit_learn_names_it(
    root: Path, rows: Fer2013Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_csv(root, rows)
    monkeypatch.setitem(sys.modules, "sklearn.model_selection", None)
    with pytest.raises(InputError, match="pip install scikit-learn"):
        data_module(root, "merged")
    data_module(root, "official")


def test_the_command_line_sees_every_option() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Fer2013DataModule, "data")
    given = parser.parse_args(
        ["--data.protocol=merged", "--data.root=x", "--data.batch_size=8", "--data.seed=3"]
    )
    assert (given.data.protocol, given.data.root, given.data.batch_size, given.data.seed) == (
        "merged",
        "x",
        8,
        3,
    )
    assert {"image_size", "channels", "num_workers", "normalise", "augment"} <= set(vars(given.data))
