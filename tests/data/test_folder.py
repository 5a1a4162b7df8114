"""Class folders: given splits or one pool, names of classes, groups, and what cannot be used."""

import logging

import numpy as np
import pytest

from fer.data.folder import FaceFolderDataModule
from fer.errors import InputError
from fer.labels import EXPRESSIONS


def _data(root, **settings):
    data = FaceFolderDataModule(str(root), **{"image_size": 16, "batch_size": 4} | settings)
    data.prepare_data()
    data.setup()
    return data


def test_one_pool_is_split_by_the_protocol(tmp_path, make_images):
    data = _data(make_images(tmp_path / "data", num=10), protocol="80/10/10")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 56, "val": 7, "test": 7}
    assert data.protocol_name == "80/10/10, random"
    inputs, _ = next(iter(data.val_dataloader()))
    assert inputs.shape == (4, 1, 16, 16)


def test_labels_are_those_of_the_folders(tmp_path, make_images):
    root = make_images(tmp_path / "data", num=10, class_names=("Anger", "happiness", "SAD"))
    data = _data(root, protocol="50/50", val_share=0.3)
    for split in data.splits.values():
        for name, label in zip(split.names, split.labels, strict=True):
            assert (
                EXPRESSIONS[label]
                == {"Anger": "angry", "happiness": "happy", "SAD": "sad"}[name.split("/")[0]]
            )


def test_a_class_that_is_no_expression_can_be_left_out(tmp_path, make_images, caplog):
    root = make_images(tmp_path / "CK+", num=10, class_names=("anger", "Contempt", "happy"))
    with caplog.at_level(logging.INFO, "fer.data"):
        data = _data(root, protocol="50/50", val_share=0.3, skip_classes=["contempt", "neutrl"])
    assert sum(len(split) for split in data.splits.values()) == 20
    assert f"10 images are left out: {root / 'Contempt'}" in caplog.text
    assert f"'neutrl', and {root} has no such folder" in caplog.text


def test_a_class_is_left_out_of_every_given_split(tmp_path, make_images):
    for name, num in (("train", 10), ("test", 3)):
        make_images(tmp_path / name, num=num, class_names=("anger", "contempt", "happy"))
    data = _data(tmp_path, skip_classes=["contempt"])
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 18, "val": 2, "test": 6}


@pytest.mark.parametrize("with_val", [True, False])
def test_given_splits_are_kept(with_val, tmp_path, make_images):
    make_images(tmp_path / "train", num=10)
    make_images(tmp_path / "test", num=3, seed=1)
    if with_val:
        make_images(tmp_path / "Validation", num=2, seed=2)
    data = _data(tmp_path)
    sizes = {name: len(split) for name, split in data.splits.items()}
    assert sizes == (
        {"train": 70, "val": 14, "test": 21} if with_val else {"train": 63, "val": 7, "test": 21}
    )
    drawn = "" if with_val else ", val 10% of train, random"
    assert data.protocol_name == f"as given in folders{drawn}"


def test_a_group_is_kept_together_where_val_is_drawn_from_a_given_train(tmp_path, make_images):
    names = [f"S{subject:03d}_{frame}.png" for subject in range(10) for frame in range(4)]
    make_images(tmp_path / "data" / "train", names=names)
    make_images(tmp_path / "data" / "test", num=1)
    settings = {"name_pattern": r"(?P<subject>S\d+)_.*", "val_share": 0.2}
    data = _data(tmp_path / "data", group_by="subject", **settings)
    sides = [set(data.splits[name].groups["subject"]) for name in ("train", "val")]
    assert not sides[0] & sides[1]
    with pytest.raises(InputError, match=r"data.group_by is 'subjct'"):
        _data(tmp_path / "data", group_by="subjct", **settings)


def test_given_splits_must_be_there(tmp_path, make_images):
    make_images(tmp_path / "data", num=2)
    with pytest.raises(InputError, match=r"data.protocol is 'given', but .* has no folders train and test"):
        _data(tmp_path / "data", protocol="given")


def test_the_name_tells_the_group(tmp_path, make_images):
    names = [f"S{subject:03d}_{frame}.png" for subject in range(5) for frame in range(4)]
    data = _data(
        make_images(tmp_path / "data", names=names),
        name_pattern=r"(?P<subject>S\d+)_.*",
        group_by="subject",
        protocol="5-fold",
    )
    sides = {name: set(split.groups["subject"]) for name, split in data.splits.items()}
    assert len(sides["test"]) == 1
    assert not sides["test"] & (sides["train"] | sides["val"])


def test_a_name_that_does_not_match_is_its_own_group(tmp_path, make_images):
    names = ["S1_a.png", "S1_b.png", "me.png"]
    root = make_images(tmp_path / "data", names=names, class_names=("happy", "sad"))
    pool = FaceFolderDataModule(str(root), name_pattern=r"(?P<subject>S\d+)_.*|(?P<other>O\d+)").load_pool()
    assert sorted(pool.groups["subject"]) == ["S1"] * 4 + ["happy/me.png", "sad/me.png"]
    assert len(set(pool.groups["other"])) == 6  # a group that no name has: each is its own


def test_images_of_any_size_and_kind_become_squares(tmp_path, make_images):
    from PIL import Image

    root = make_images(tmp_path / "data", num=10, class_names=("happy", "sad"))
    Image.new("L", (7, 33)).save(root / "happy" / "tall grey ü.png")
    Image.new("RGBA", (40, 20)).save(root / "sad" / "wide.png")
    pool = FaceFolderDataModule(str(root), image_size=12).load_pool()
    assert pool.images.shape == (22, 12, 12, 3)


def test_one_bad_image_is_left_out_and_many_are_an_error(tmp_path, make_images):
    root = make_images(tmp_path / "data", num=10)
    (root / "happy" / "x.png").write_bytes(b"no image")
    pool = FaceFolderDataModule(str(root)).load_pool()
    assert len(pool) == 70
    assert "happy/x.png" not in pool.names
    for i in range(5):
        (root / "happy" / f"x{i}.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="6 of 76 images cannot be used"):
        FaceFolderDataModule(str(root)).load_pool()


def test_a_second_start_is_served_from_the_cache(tmp_path, make_images, monkeypatch):
    root = make_images(tmp_path / "data", num=2)
    first = FaceFolderDataModule(str(root)).load_pool()
    monkeypatch.setattr("fer.data.crops.read_image", lambda path: pytest.fail(f"{path} is read again"))
    again = FaceFolderDataModule(str(root)).load_pool()
    np.testing.assert_array_equal(first.images, again.images)


@pytest.mark.parametrize(
    ("folders", "reason"),
    [
        pytest.param(["cats", "dogs"], "has no folders named after the expressions", id="no classes"),
        pytest.param(
            ["happy", "Contempt"], r"leave it out with --data.skip_classes '\[Contempt\]'", id="class"
        ),
        pytest.param(["happy"], "happy holds no image", id="empty class"),
    ],
)
def test_folders_that_cannot_be_used(folders, reason, tmp_path):
    for name in folders:
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=reason):
        _data(tmp_path)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        pytest.param({"name_pattern": "("}, "data.name_pattern is '\\('", id="regular expression"),
        pytest.param({"crop": "dlib"}, "data.crop .* is 'dlib'", id="detector"),
        pytest.param({"protocol": "most"}, r"'most': it must be .*5-fold\), or given: the", id="protocol"),
        pytest.param({"group_by": "subject"}, "no such kind of group; this data has none", id="group"),
    ],
)
def test_unusable_settings_are_named(settings, reason, tmp_path, make_images):
    with pytest.raises(InputError, match=reason):
        _data(make_images(tmp_path / "data", num=10), **settings)


def test_a_missing_folder(tmp_path):
    with pytest.raises(InputError, match="gone cannot be read as a folder"):
        _data(tmp_path / "gone")
