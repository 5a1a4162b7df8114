"""The audit: tables by hand, an astronaut's photo and its copies, and imagehash as oracle."""

import json
import os
from itertools import combinations
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance
from skimage import data

from fer.data.audit import AuditReport, FeatureFindings, Grouping, Member, Overlap, Value, audit, seen_in
from fer.data.base import numbered
from fer.data.features import FeatureSplit
from fer.data.images import ImageSplit
from fer.data.near import NEAR_CORRELATION, NEAR_DISTANCE, near_pairs

REAL_ROOT = os.environ.get("FER_DATA_DIR")

PHOTO = Image.fromarray(data.astronaut()).crop((150, 20, 300, 170)).convert("L")


def noise(letter, size=8):
    """Return the image of a letter: the same for the same letter, unlike for every other."""
    return np.random.default_rng(ord(letter)).integers(256, size=(size, size), dtype=np.uint8)


def split(images, labels=None, **groups):
    if isinstance(images, str):
        images = [noise(letter) for letter in images]
    labels = np.zeros(len(images), np.int64) if labels is None else np.array(labels)
    named = {kind: np.array(list(values)) for kind, values in groups.items()}
    return ImageSplit(images=np.stack(images), labels=labels, names=numbered(len(labels)), groups=named)


def copies():
    """Return copies of one photo that differ as those on the web do."""
    marked = PHOTO.copy()
    ImageDraw.Draw(marked).text((20, 120), "watermark", fill=255)
    small = PHOTO.resize((30, 30)).resize(PHOTO.size)
    copies = (
        PHOTO,
        ImageEnhance.Contrast(PHOTO).enhance(0.7),
        marked,
        small,
        PHOTO.crop((2, 2, 149, 149)),
    )
    return [np.asarray(copy.resize((48, 48), Image.Resampling.BOX)) for copy in copies]


def where(groups):
    return [[(member.split, member.row) for member in group] for group in groups]


# Identical


def test_identical_patterns_by_hand():
    report = audit(
        {
            "train": split("abca", [0, 1, 2, 3]),
            "val": split("bd", [1, 4]),
            "test": split("abdee", [0, 1, 5, 6, 6]),
        }
    )
    assert where(report.identical) == [
        [("train", 0), ("train", 3), ("test", 0)],
        [("train", 1), ("val", 0), ("test", 1)],
        [("val", 1), ("test", 2)],
        [("test", 3), ("test", 4)],
    ]
    assert report.near == ()
    # a has the labels angry and happy, d neutral and sad.
    assert report.to_dict()["counts"] == {
        "blank": 0,
        "identical": {"groups": 4, "samples": 10, "surplus": 6, "straddling": 3, "conflicting": 2},
        "near": {"groups": 0, "samples": 0, "surplus": 0, "straddling": 0, "conflicting": 0},
    }
    assert report.overlaps == (
        Overlap("val", ("train",), identical=1, alike=1, grouped={}),
        Overlap("test", ("train",), identical=2, alike=2, grouped={}),
        Overlap("test", ("val",), identical=2, alike=2, grouped={}),
        Overlap("test", ("train", "val"), identical=3, alike=3, grouped={}),
    )
    assert report.class_counts["test"] == (1, 1, 0, 0, 0, 1, 2)
    assert report.features is None


def test_two_tests_are_not_held_against_each_other():
    report = audit({name: split("a") for name in ("train", "val", "public", "private")})
    assert [(overlap.split, overlap.others) for overlap in report.overlaps] == [
        ("val", ("train",)),
        *(
            (test, others)
            for test in ("public", "private")
            for others in (("train",), ("val",), ("train", "val"))
        ),
    ]


def test_the_order_of_the_rows_changes_no_count():
    letters, order = np.array(list("aabbbcdefg")), np.random.default_rng(0).permutation(10)
    first, again = (
        audit({"train": split("".join(some)), "test": split("bgx")}) for some in (letters, letters[order])
    )
    assert first.table() == again.table()


@pytest.mark.parametrize(
    ("images", "others", "expected"),
    [
        pytest.param("abc", ["xb"], [False, True, False], id="one"),
        pytest.param("abc", ["xb", "cc"], [False, True, True], id="several others"),
        pytest.param("aa", ["a"], [True, True], id="each copy"),
        pytest.param("aa", [], [False, False], id="no others"),
    ],
)
def test_seen_in(images, others, expected):
    seen = seen_in(split(images).images, [split(other).images for other in others])
    assert seen.tolist() == expected
    assert seen.dtype == np.bool_


def test_one_pixel_or_another_shape_is_another_image():
    image = noise("a")
    other = image.copy()
    other[3, 3] ^= 1
    assert not seen_in(image[None], [other[None]]).any()
    assert not seen_in(image[None], [image.reshape(1, 4, 16)]).any()
    assert seen_in(image[None], [image[None, ::-1][:, ::-1]]).all()


# Near


def test_copies_of_a_photo_are_near():
    report = audit({"train": split([copies()[0], noise("a", 48)]), "test": split(copies()[1:], [0, 0, 3, 3])})
    assert where(report.near) == [[("train", 0), ("test", 0), ("test", 1), ("test", 2), ("test", 3)]]
    assert report.identical == ()
    # Every copy is near the one of train, and near others of its own side.
    assert report.overlaps == (Overlap("test", ("train",), identical=0, alike=4, grouped={}),)
    assert report.to_dict()["counts"]["near"]["conflicting"] == 1


def test_a_near_duplicate_counts_with_its_identical_copies():
    original, brighter, *_ = copies()
    report = audit({"train": split([original]), "test": split([brighter, brighter, original])})
    assert where(report.near) == [[("train", 0), ("test", 0), ("test", 1), ("test", 2)]]
    assert where(report.identical) == [[("train", 0), ("test", 2)], [("test", 0), ("test", 1)]]
    assert report.overlaps == (Overlap("test", ("train",), identical=1, alike=3, grouped={}),)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(np.asarray(PHOTO.transpose(Image.Transpose.FLIP_LEFT_RIGHT)), id="mirrored"),
        pytest.param(255 - np.asarray(PHOTO), id="negative"),
        pytest.param(np.asarray(PHOTO.rotate(30)), id="turned"),
        pytest.param(data.camera()[:150, 150:300], id="another photo"),
    ],
)
def test_what_is_not_near(other):
    assert near_pairs([np.asarray(PHOTO), other]).shape == (2, 0)


def test_near_pairs_are_those_of_imagehash_and_numpy():
    # Windows that move over a photo: from nearly the same to something else, in more than one block.
    photo = np.asarray(PHOTO)
    windows = [photo[top : top + 96, left : left + 96] for top in range(0, 50, 9) for left in range(0, 40, 2)]
    assert len(windows) == 120
    hashes = [imagehash.phash(Image.fromarray(window)) for window in windows]
    thumbnails = [window.reshape(16, 6, 16, 6).mean((1, 3)).round().ravel() for window in windows]
    correlation = np.corrcoef(thumbnails)
    expected = [
        (first, second)
        for first, second in combinations(range(120), 2)
        if hashes[first] - hashes[second] <= NEAR_DISTANCE and correlation[first, second] >= NEAR_CORRELATION
    ]
    by_hash_alone = sum(first - second <= NEAR_DISTANCE for first, second in combinations(hashes, 2))
    assert 20 < len(expected) < by_hash_alone
    assert near_pairs(windows).T.tolist() == [list(pair) for pair in expected]


def test_colour_images_of_several_sizes_are_compared():
    colour = np.asarray(Image.fromarray(data.astronaut()).crop((150, 20, 300, 170)))
    small = np.asarray(Image.fromarray(colour).resize((40, 40)))
    assert near_pairs([colour, noise("a"), small]).tolist() == [[0], [2]]


# Blank


@pytest.mark.parametrize(
    ("images", "rows"),
    [
        pytest.param(np.zeros((2, 8, 8), np.uint8), [0, 1], id="black"),
        pytest.param(np.full((1, 8, 8), 200, np.uint8), [0], id="grey"),
        pytest.param(np.full((1, 8, 8, 3), (1, 2, 3), np.uint8), [0], id="a colour"),
        pytest.param(np.eye(8, dtype=np.uint8)[None], [], id="a line"),
    ],
)
def test_blank_images(images, rows):
    report = audit({"train": split(list(images))})
    assert [member.row for member in report.blank] == rows
    assert report.near == ()


def test_blank_images_are_no_near_duplicates_but_may_be_identical():
    black, grey = np.zeros((8, 8), np.uint8), np.full((8, 8), 9, np.uint8)
    report = audit({"train": split([black, grey, black], [0, 1, 2])})
    assert where(report.identical) == [[("train", 0), ("train", 2)]]
    assert report.near == ()
    assert [member.label for member in report.blank] == ["angry", "disgust", "fear"]


# Groups


def test_groups_by_hand():
    report = audit(
        {
            "train": split("abcd", [0, 1, 0, 0], clip="1123", movie="MMMN"),
            "test": split("efg", [0, 0, 0], clip="245", movie="MOO"),
        }
    )
    assert report.groupings == (
        Grouping("clip", groups=5, shared=2, samples=4, conflicting=1, straddling=1),
        Grouping("movie", groups=3, shared=2, samples=6, conflicting=1, straddling=1),
    )
    assert report.overlaps == (
        Overlap("test", ("train",), identical=0, alike=0, grouped={"clip": 1, "movie": 1}),
    )


# Features


def test_features_by_hand():
    features = np.column_stack((np.arange(12.0), np.full(12, 3.0), np.full(12, np.nan)))
    features[4, 0] = np.nan
    features[7, 0] = 1e6
    parts = {"train": features[:8], "test": np.vstack((features[8:], features[:1]))}
    report = audit(
        {
            name: FeatureSplit(features=rows, labels=np.zeros(len(rows), np.int64), names=numbered(len(rows)))
            for name, rows in parts.items()
        }
    )
    findings = report.features
    assert isinstance(findings, FeatureFindings)
    assert [value for value in findings.missing if value.column == 0] == [
        Value(Member("train", 4, "4", "angry"), 0, None)
    ]
    assert len(findings.missing) == 1 + 13
    assert findings.constant == (1, 2)
    assert findings.outliers == (Value(Member("train", 7, "7", "angry"), 0, 1e6),)
    assert where(report.identical) == [[("train", 0), ("test", 4)]]
    assert report.table().splitlines()[-4:] == [
        "features  values  samples  columns",
        "missing       14       13        2",
        "outliers       1        1        1",
        "constant                         2",
    ]
    json.dumps(report.to_dict(), allow_nan=False)


# What is printed


def test_table_by_hand():
    report = audit(
        {
            "train": split("abca", [0, 1, 2, 3], clip="1123"),
            "val": split("bd", [1, 4], clip="25"),
            "test": split("abdee", [0, 1, 5, 6, 6], clip="66666"),
        }
    )
    assert report.table().splitlines() == [
        "split  angry  disgust  fear  happy  neutral  sad  surprise  all  blank",
        "train      1        1     1      1        0    0         0    4      0",
        "val        0        1     0      0        1    0         0    2      0",
        "test       1        1     0      0        0    1         2    5      0",
        "",
        "duplicates  groups  samples  surplus  in 2+ splits  with 2+ labels",
        "identical        4       10        6             3               2",
        "near             0        0        0             0               0",
        "",
        "samples of  also found in   identical     or near     by clip",
        "val         train          1 (50.0 %)  1 (50.0 %)  1 (50.0 %)",
        "test        train          2 (40.0 %)  2 (40.0 %)   0 (0.0 %)",
        "test        val            2 (40.0 %)  2 (40.0 %)   0 (0.0 %)",
        "test        train or val   3 (60.0 %)  3 (60.0 %)   0 (0.0 %)",
        "",
        "groups by  groups  of 2+ samples  samples there  with 2+ labels  in 2+ splits",
        "clip            5              3              9               3             1",
    ]


def test_json_holds_every_member():
    report = audit({"train": split("aa", [0, 5])})
    content = json.loads(json.dumps(report.to_dict()))
    assert content["identical"] == [
        [
            {"split": "train", "row": 0, "name": "0", "label": "angry"},
            {"split": "train", "row": 1, "name": "1", "label": "sad"},
        ]
    ]


# For real


@pytest.fixture(scope="module")
def real_report(sandboxed, tmp_path_factory: pytest.TempPathFactory) -> AuditReport:
    from fer.data.fer2013 import Fer2013DataModule

    with sandboxed(tmp_path_factory.mktemp("real")):
        module = Fer2013DataModule(str(REAL_ROOT))
        module.setup()
        return audit({name: module.splits[name] for name in ("train", "val", "test")})


@pytest.mark.slow
@pytest.mark.skipif(
    REAL_ROOT is None or not Path(REAL_ROOT).exists(), reason="needs FER2013, named by FER_DATA_DIR"
)
def test_fer2013_gives_the_known_figures(real_report):
    assert real_report.to_dict()["counts"]["blank"] == 12
    identical = real_report.to_dict()["counts"]["identical"]
    assert (identical["groups"], identical["surplus"], identical["conflicting"]) == (1518, 1855, 57)
    overlaps = {(overlap.split, overlap.others): overlap.identical for overlap in real_report.overlaps}
    assert overlaps["val", ("train",)] == 280
    assert overlaps["test", ("train",)] == 288
    assert overlaps["test", ("train", "val")] == 314
