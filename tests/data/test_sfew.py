"""SFEW: its table of features, its stills, and the clips and films that they are from."""

import logging
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer.data.sfew import FEATURES, NAME, SfewDataModule, SfewFeaturesDataModule, read_features
from fer.errors import InputError
from fer.labels import EXPRESSIONS

REAL_ROOT = os.environ.get("FER_DATA_DIR")
NUM_ROWS = 70


def _table(num_rows=NUM_ROWS):
    """Made-up rows: seven films of five clips of two frames, labels in turn."""
    rng = np.random.default_rng(0)
    names = [f"Film_{i % 7}_Part_{i // 2 % 5:09d}_{i:08d}.mat" for i in range(num_rows)]
    features = rng.normal(size=(num_rows, 10)) / 100
    return [[name, i % 7 + 1, *row] for i, (name, row) in enumerate(zip(names, features, strict=True))]


HEADER = ["", "label", "LPQ components", *[""] * 4, "PHOG components", *[""] * 4]


def _write(path, rows, header=HEADER):
    table = pd.DataFrame([header, *rows] if header else rows)
    if path.suffix == ".csv":
        table.to_csv(path, header=False, index=False)
    else:
        table.to_excel(path, header=False, index=False)
    return path


@pytest.mark.parametrize("name", ["SFEW.xlsx", "SFEW.csv"])
@pytest.mark.parametrize("header", [HEADER, None], ids=["header", "no header"])
def test_a_table_is_read(name, header, tmp_path):
    rows = _table()
    split = read_features(_write(tmp_path / name, rows, header))
    np.testing.assert_allclose(split.features, [row[2:] for row in rows])
    assert split.labels.tolist() == [row[1] - 1 for row in rows]
    assert split.names[8] == "Film_1_Part_000000004_00000008"
    assert split.groups["movie"][8] == "Film_1_Part"
    assert split.groups["clip"][8] == "Film_1_Part_000000004"


@pytest.mark.parametrize(
    ("name", "clip", "movie"),
    [
        pytest.param("Film_000519240_00000005", "Film_000519240", "Film", id="as most"),
        pytest.param("50_50_000519240_00000005", "50_50_000519240", "50_50", id="numbers in the title"),
        pytest.param("Film-010619400_00000087", "Film-010619400", "Film", id="a dash"),
        pytest.param("Film_013827920__00000055", "Film_013827920", "Film", id="two underscores"),
    ],
)
def test_a_name_tells_clip_and_movie(name, clip, movie):
    match = re.fullmatch(NAME, name)
    assert (match["clip"], match["movie"]) == (clip, movie)


def test_a_cell_without_a_value_is_missing_and_no_row_is_left_out(tmp_path, caplog):
    rows = _table()
    rows[3][4] = None
    rows[5][2] = 0.994  # as in the real table's row 205
    path = _write(tmp_path / "SFEW.csv", rows)
    split = read_features(path)
    assert np.argwhere(np.isnan(split.features)).tolist() == [[3, 2]]
    data = SfewFeaturesDataModule(str(path), protocol="80/20", val_share=0.2, batch_size=4)
    logging.getLogger("fer.data").propagate = True
    with caplog.at_level(logging.INFO, "fer.data"):
        data.setup()
    assert sum(len(each) for each in data.splits.values()) == NUM_ROWS
    assert f"1 values are missing: {rows[3][0][:-4]} LPQ3" in caplog.text
    assert f"1 values are outliers: {rows[5][0][:-4]} LPQ1" in caplog.text
    for name in data.splits:
        inputs = data.dataset(name).tensors[0]
        assert inputs.isfinite().all()
        assert inputs.abs().max() < 10  # outliers are clipped


def test_another_vocabulary_does_not_shift_the_labels(tmp_path, monkeypatch):
    """SFEW's labels mean what its own table says, whatever other classes there are names for."""
    path = _write(tmp_path / "SFEW.csv", _table())
    monkeypatch.setattr("fer.labels.KNOWN_NAMES", ("amused", "angry", "contempt", *EXPRESSIONS[1:]))
    data = SfewFeaturesDataModule(str(path), protocol="80/20", val_share=0.2, batch_size=4)
    labels = read_features(path).labels
    assert data.num_classes == 7
    assert [data.class_names[label] for label in labels[:7]] == [
        "angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"
    ]  # fmt: skip


def _change(row, column, value):
    def change(rows):
        rows[row][column] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(_change(3, 1, 8), r"row 5: label .*8.* is none of 1 to 7", id="unknown label"),
        pytest.param(_change(3, 1, 0), r"row 5: label .*0.* is none of 1 to 7", id="label 0"),
        pytest.param(_change(3, 1, 1.5), r"row 5: label .*1.5.* is none of 1 to 7", id="label between"),
        pytest.param(_change(0, 7, "n/k"), r"row 2: PHOG1 is 'n/k', not a number", id="text"),
        pytest.param(_change(6, 0, "total"), r"row 8: 'total' is not the name of a still", id="other row"),
        pytest.param(_change(0, 0, "still"), r"row 2: 'still' is not the name of a still", id="first row"),
        pytest.param(_change(0, 7, "inf"), r"row 2: PHOG1 is 'inf', not a number", id="infinite"),
        pytest.param(lambda rows: [row.pop() for row in rows], r"11 columns instead of 12", id="column"),
    ],
)
@pytest.mark.parametrize("name", ["SFEW.xlsx", "SFEW.csv"])
def test_a_table_that_cannot_be_used(name, change, reason, tmp_path):
    rows = _table()
    change(rows)
    header = HEADER[: len(rows[0])]
    with pytest.raises(InputError, match=reason) as error:
        read_features(_write(tmp_path / name, rows, header))
    assert name in str(error.value)


@pytest.mark.parametrize("seed", range(5))
def test_a_damaged_spreadsheet_is_named(seed, tmp_path):
    path = _write(tmp_path / "SFEW.xlsx", _table())
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for place in rng.integers(len(content), size=40):
        content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"SFEW.xlsx"):
        read_features(path)


def test_what_is_no_table(tmp_path):
    path = tmp_path / "SFEW.xlsx"
    path.write_bytes(b"PK no spreadsheet")
    with pytest.raises(InputError, match=r"SFEW.xlsx cannot be read as a table"):
        read_features(path)
    empty = _write(tmp_path / "SFEW.csv", [])
    with pytest.raises(InputError, match="no row begins with the name of a still"):
        read_features(empty)


def test_where_the_table_is_looked_for(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"no folder was given for SFEW's features"):
        SfewFeaturesDataModule().setup()
    monkeypatch.setenv("FER_DATA_DIR", str(tmp_path))
    with pytest.raises(InputError, match=r"no features of SFEW: looked for .*sfew/SFEW.xlsx"):
        SfewFeaturesDataModule().setup()
    (tmp_path / "sfew").mkdir()
    path = _write(tmp_path / "sfew" / "SFEW.csv", _table())
    assert SfewFeaturesDataModule().source == path


@pytest.mark.parametrize("group_by", ["clip", "movie"])
def test_no_group_stands_on_both_sides(group_by, tmp_path):
    path = _write(tmp_path / "SFEW.csv", _table())
    data = SfewFeaturesDataModule(str(path), protocol="4-fold", fold=2, group_by=group_by, batch_size=4)
    data.setup()
    sides = [set(split.groups[group_by]) for split in data.splits.values()]
    assert sum(map(len, sides)) == len(set.union(*sides))
    assert data.protocol_name == f"4-fold, fold 2, val 10% of train, grouped by {group_by}"


def test_an_unknown_kind_of_group(tmp_path):
    path = _write(tmp_path / "SFEW.csv", _table())
    with pytest.raises(
        InputError, match=r"data.group_by is 'movies': .*did you mean 'movie'\? there are clip, movie"
    ):
        SfewFeaturesDataModule(str(path), group_by="movies").setup()


@pytest.fixture
def stills(tmp_path, make_images):
    """Twenty stills of each expression, two frames a clip."""
    return make_images(
        tmp_path / "sfew" / "Images",
        names=[f"Film_{i % 5}_{i // 2:09d}_{i:08d}.png" for i in range(20)],
        class_names=("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"),
    )


def test_stills_are_found_with_their_groups(stills, tmp_path):
    data = SfewDataModule(str(tmp_path), image_size=16, channels=3, protocol="80/10/10", batch_size=8)
    data.prepare_data()
    data.setup()
    assert data.source == stills
    assert sum(len(split) for split in data.splits.values()) == 140
    train = data.splits["train"]
    assert train.images.shape == (112, 16, 16, 3)
    first = Path(train.names[0])
    assert train.groups["clip"][0] == first.stem.rsplit("_", 1)[0]
    assert train.groups["movie"][0] == "_".join(first.stem.split("_")[:2])


def test_stills_of_one_clip_whose_names_are_spelled_differently_are_one_group(tmp_path, make_images):
    names = ["Film-010619400_00000087", "Film_010619400_00000057", "Film_010619400__00000060"]
    rows = [[f"{name}.mat", 1, *range(10)] for name in [*names, "Film_010619401_00000061"]]
    table = read_features(_write(tmp_path / "SFEW.csv", rows))
    assert table.groups["clip"].tolist() == ["Film_010619400"] * 3 + ["Film_010619401"]
    folder = tmp_path / "Images"
    make_images(folder, names=[f"{name}.png" for name in names], class_names=("Angry", "Sad"))
    stills = SfewDataModule(str(folder), classes="folders", image_size=16).load_pool()
    assert set(stills.groups["clip"]) == {"Film_010619400"}
    assert set(stills.groups["movie"]) == {"Film"}


def test_no_stills(tmp_path):
    with pytest.raises(InputError, match=r"no stills of SFEW in .*: looked there and in its subfolders sfew"):
        SfewDataModule(str(tmp_path)).setup()


@pytest.mark.skipif(REAL_ROOT is None, reason="FER_DATA_DIR does not name a folder with the real SFEW.xlsx")
def test_the_real_table():
    try:
        path = SfewFeaturesDataModule(REAL_ROOT).source
    except InputError as e:
        pytest.skip(str(e))
    split = read_features(path)
    assert split.features.shape == (675, 10)
    assert np.bincount(split.labels).tolist() == [100, 75, 100, 100, 100, 100, 100]
    # 469 are counted elsewhere, where a second underscore or a dash makes a clip of its own.
    assert len(set(split.groups["clip"])) == 467
    assert len(set(split.groups["movie"])) == 58
    row = split.names.tolist().index("Hangover_001949614_00000089")
    assert np.isnan(split.features[row]).tolist() == [False] * 5 + [True] * 5
    assert np.isnan(split.features).sum() == 5
    assert split.features[row, FEATURES.index("LPQ1")] == pytest.approx(0.994, abs=1e-3)
