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
    assert f"'neutrl', but {root} has no such folder" in caplog.text


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


@pytest.mark.slow
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
    with pytest.raises(
        InputError, match=r"data.protocol given: .* needs folders train and test and has angry/"
    ):
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
        pytest.param(
            ["happy", "suprise"],
            r"did you mean 'surprise'\? rename it, or .* --data.skip_classes '\[suprise\]'",
            id="typing error",
        ),
        pytest.param(
            ["1", "2", "10"],
            r"named by numbers \(1, 10, 2\), .*--data.classes to the name of a table \(affectnet, fer2013",
            id="numbers",
        ),
        pytest.param(["happy"], "happy has no images", id="empty class"),
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


# Classes


def _classes_of(data):
    """The name of the class of each folder that some image is in."""
    return {
        name.split("/")[0]: data.class_names[label]
        for split in data.splits.values()
        for name, label in zip(split.names, split.labels, strict=True)
    }


RAFDB = {"1": "surprise", "2": "fear", "3": "disgust", "4": "happy", "5": "sad", "6": "angry", "7": "neutral"}


def test_a_table_names_numbered_folders(tmp_path, make_images):
    for split in ("train", "test"):
        make_images(tmp_path / split, num=10, class_names=RAFDB)
    data = _data(tmp_path, classes="rafdb")
    assert data.class_names == EXPRESSIONS
    assert _classes_of(data) == RAFDB


def test_affectnet_has_eight_classes_contempt_last(tmp_path, make_images, caplog):
    make_images(tmp_path / "data", num=10, class_names=map(str, range(7)))
    with caplog.at_level(logging.INFO, "fer.data"):
        data = _data(tmp_path / "data", classes="affectnet")
    assert data.class_names == (*EXPRESSIONS, "contempt")
    assert _classes_of(data)["0"] == "neutral"
    assert data.class_counts.tolist() == [8] * 7 + [0]
    assert "has no images of contempt" in caplog.text


@pytest.mark.parametrize("skip", [["contempt"], ["Contemptuous"], [7], ["7"]])
def test_a_class_of_a_table_is_skipped_by_its_name_or_its_number(skip, tmp_path, make_images, caplog):
    make_images(tmp_path / "data", num=10, class_names=map(str, range(8)))
    data = _data(tmp_path / "data", classes="affectnet", skip_classes=skip)
    assert data.class_names == EXPRESSIONS
    assert "7" not in _classes_of(data)
    assert "no such folder" not in caplog.text


@pytest.mark.parametrize(
    ("classes", "folders", "names", "found"),
    [
        pytest.param(
            {1: "surprise", 2: "Anger"},
            ["01", "2"],
            ("angry", "surprise"),
            {"01": "surprise", "2": "angry"},
            id="expressions are in canonical order",
        ),
        pytest.param(
            {"b": "cat", "a": "dog"}, ["a", "B"], ("cat", "dog"), {"a": "dog", "B": "cat"}, id="as given"
        ),
        pytest.param(
            {1: "calm", 2: "moved", 3: "moved"},
            ["1", "2", "3"],
            ("calm", "moved"),
            {"1": "calm", "2": "moved", "3": "moved"},
            id="two folders are one class",
        ),
        pytest.param(
            "folders",
            ["joy", "Zebra", "happy"],
            ("Zebra", "happy", "joy"),
            {"joy": "joy", "Zebra": "Zebra", "happy": "happy"},
            id="folders as they are",
        ),
        pytest.param("folders", ["2", "10"], ("2", "10"), {"2": "2", "10": "10"}, id="by value"),
        pytest.param(
            "affectnet",
            ["joy", "contempt"],
            (*EXPRESSIONS, "contempt"),
            {"joy": "happy", "contempt": "contempt"},
            id="a table's classes by name",
        ),
    ],
)
def test_classes_of_folders(classes, folders, names, found, tmp_path, make_images):
    root = make_images(tmp_path / "data", num=10, class_names=folders)
    data = _data(root, classes=classes)
    assert data.class_names == names
    assert data.num_classes == len(names)
    assert _classes_of(data) == found


@pytest.mark.parametrize(("folders", "found"), [([], "no subfolder"), (["cat"], "only cat")])
def test_a_folder_with_fewer_than_two_classes_is_named(folders, found, tmp_path, make_images):
    root = make_images(tmp_path / "pets", num=2, class_names=folders or ["cat"])
    if not folders:
        root = root / "cat"
    with pytest.raises(
        InputError, match=f"{root.name}: {found}; a data set has one subfolder for each class"
    ):
        _data(root, classes="folders")


def test_folders_of_given_splits_must_be_those_of_train(tmp_path, make_images):
    make_images(tmp_path / "train", num=10, class_names=["cat", "dog"])
    make_images(tmp_path / "test", num=2, class_names=["cta", "dog"])
    with pytest.raises(InputError, match=r"cta is none of the classes \(cat, dog\); did you mean 'cat'"):
        _data(tmp_path, classes="folders")
    data = _data(tmp_path, classes="folders", skip_classes=["cta"])
    assert len(data.splits["test"]) == 2


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        pytest.param({"classes": "rafbd"}, "'rafbd': no such table; did you mean 'rafdb'", id="table"),
        pytest.param({"classes": {1: "cat"}}, "needs 2 classes or more, and there are: cat", id="one class"),
        pytest.param({"test_on": "dev"}, "data.test_on is 'dev': it must be test or val", id="test_on"),
    ],
)
def test_unusable_classes_are_named_before_the_data_is_read(settings, reason, tmp_path):
    with pytest.raises(InputError, match=reason):
        FaceFolderDataModule(str(tmp_path / "gone"), **settings)


# Layouts


@pytest.mark.parametrize("val", ["val", "Valid", "validation", None])
@pytest.mark.parametrize("above", ["", "images"])
def test_given_splits_are_found(val, above, tmp_path, make_images):
    for split in filter(None, ("train", val, "test")):
        make_images(tmp_path / "data" / above / split, num=10, class_names=["happy", "sad"])
    sizes = {name: len(split) for name, split in _data(tmp_path / "data").splits.items()}
    assert sizes == {"train": 20 if val else 18, "val": 20 if val else 2, "test": 20}


def test_a_pool_is_found_one_folder_deeper(tmp_path, make_images):
    make_images(tmp_path / "data" / "images", num=10, class_names=["happy", "sad"])
    assert sum(map(len, _data(tmp_path / "data").splits.values())) == 20
    make_images(tmp_path / "data" / "more", num=10, class_names=["happy", "sad"])
    with pytest.raises(InputError, match=r"data contains several data sets \(images, more\)"):
        _data(tmp_path / "data")


def test_val_is_the_test_only_where_the_user_says_so(tmp_path, make_images):
    make_images(tmp_path / "train", num=10, class_names=["happy", "sad"])
    make_images(tmp_path / "valid", num=3, class_names=["happy", "sad"])
    with pytest.raises(InputError, match=r"has train/, valid/; set --data.test_on val to test on valid"):
        _data(tmp_path)
    data = _data(tmp_path, test_on="val")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 18, "val": 2, "test": 6}
    assert data.protocol_name == "as given in folders, tested on valid, val 10% of train, random"
    make_images(tmp_path / "test", num=3, class_names=["happy", "sad"])
    with pytest.raises(InputError, match=r"test is a test split: leave the option out"):
        _data(tmp_path, test_on="val")


def test_train_alone_is_a_pool_that_the_message_names(tmp_path, make_images):
    make_images(tmp_path / "train", num=10, class_names=["happy", "sad"])
    with pytest.raises(InputError, match=r"has train/; split it with --data.root .*train --data.protocol 80"):
        _data(tmp_path)


@pytest.mark.parametrize("protocol", [None, "given", "80/20"])
def test_a_table_of_fer2013_is_another_data_set(protocol, tmp_path):
    (tmp_path / "train.csv").write_text('"emotion","pixels"\n0,1 2 3\n')
    with pytest.raises(
        InputError, match=r"train.csv with the columns of FER2013, which --dataset fer2013 reads"
    ):
        _data(tmp_path, protocol=protocol)


# Files


def test_files_that_are_no_images_are_counted_once_in_one_line(tmp_path, make_images, caplog):
    root = make_images(tmp_path / "data", num=10, class_names=["happy", "sad"])
    for name in ("happy/x.npy", "happy/y.npy", "sad/notes.TXT", "sad/z"):
        (root / name).write_bytes(b"")
    assert sum(map(len, _data(root).splits.values())) == 20
    lines = [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()]
    assert lines == [
        f"{root}: skipped 4 files: 2 .npy, 1 .txt, 1 without suffix (happy/x.npy, sad/notes.TXT, sad/z)"
    ]


def test_a_class_of_which_no_file_is_an_image_says_what_there_is(tmp_path, make_images):
    root = make_images(tmp_path / "data", num=10, class_names=["happy", "sad"])
    (root / "fear").mkdir()
    (root / "fear" / "x.npy").write_bytes(b"")
    with pytest.raises(InputError, match=r"fear has no images \(skipped 1 file: 1 .npy \(fear/x.npy\)\)"):
        _data(root)
