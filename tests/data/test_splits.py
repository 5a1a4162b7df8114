"""Splits: counts by hand on SFEW's classes, every sample in one split, no group on both sides."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from fer.data.splits import Protocol, parse_protocol, split_indices
from fer.errors import InputError

SFEW_COUNTS = (100, 75, 100, 100, 100, 100, 100)
SFEW = np.repeat(np.arange(7), SFEW_COUNTS)


def counts(labels, rows):
    return np.bincount(labels[rows], minlength=7).tolist()


def clips(seed, num_samples=140, num_groups=24):
    """Return labels in random order and groups of about six samples each."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(num_groups, size=num_samples)
    return rng.permutation(np.arange(num_samples) % 7), np.char.add("clip ", groups.astype(str))


def check_partition(splits, num_samples):
    assert list(splits) == ["train", "val", "test"]
    for rows in splits.values():
        assert rows.dtype == np.intp
        assert rows.size > 0
        assert (np.diff(rows) > 0).all()
    assert sorted(np.concatenate(list(splits.values()))) == list(range(num_samples))


# The protocol


@pytest.mark.parametrize(
    ("text", "protocol"),
    [
        pytest.param("80/20", Protocol(sizes=(80, 20)), id="percent"),
        pytest.param("346/329", Protocol(sizes=(346, 329)), id="samples"),
        pytest.param("80/10/10", Protocol(sizes=(80, 10, 10)), id="three parts"),
        pytest.param("4-fold", Protocol(num_folds=4), id="folds"),
        pytest.param("10-fold", Protocol(num_folds=10), id="two digits"),
    ],
)
def test_a_protocol_is_read(text, protocol):
    assert parse_protocol(text) == protocol


@pytest.mark.parametrize(
    "text",
    ["", "80", "80/0", "80/20/", "-80/180", "40/30/20/10", "80:20", "0.8/0.2", "1-fold", "0-fold", "fold"],
)
def test_another_protocol_is_refused(text):
    with pytest.raises(InputError, match=r"data\.protocol is .*it must be"):
        parse_protocol(text)


# Hold-outs


@pytest.mark.parametrize(
    ("protocol", "val_share", "sizes"),
    [
        pytest.param("80/20", 0.1, (486, 54, 135), id="80/20"),
        pytest.param("70/30", 0.1, (426, 47, 202), id="70/30"),
        pytest.param("346/329", 0.1, (311, 35, 329), id="in samples"),
        pytest.param("346/329", 0.25, (260, 86, 329), id="a larger val"),
        pytest.param("80/10/10", 0.1, (539, 68, 68), id="three parts"),
        pytest.param("475/100/100", 0.5, (475, 100, 100), id="three parts in samples"),
    ],
)
def test_hold_outs_have_the_size_asked_for(protocol, val_share, sizes):
    splits = split_indices(SFEW, protocol, val_share=val_share)
    assert tuple(len(rows) for rows in splits.values()) == sizes
    check_partition(splits, 675)


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        pytest.param("80/20", [20, 15, 20, 20, 20, 20, 20], id="80/20"),
        # 675 x 30 % = 202.5: 22.5 of the 75 and 30 of each 100, in 202.
        pytest.param("70/30", [30, 22, 30, 30, 30, 30, 30], id="70/30"),
        pytest.param("4-fold", [25, 19, 25, 25, 25, 25, 25], id="4-fold"),
        pytest.param("5-fold", [20, 15, 20, 20, 20, 20, 20], id="5-fold"),
    ],
)
def test_classes_of_the_test_by_hand(protocol, expected):
    assert counts(SFEW, split_indices(SFEW, protocol)["test"]) == expected


@pytest.mark.parametrize("protocol", ["80/20", "346/329", "80/10/10", "50/50"])
@pytest.mark.parametrize("seed", range(4))
def test_every_class_has_its_share_within_one(protocol, seed):
    labels = np.random.default_rng(seed).choice(7, p=[0.3, 0.02, 0.1, 0.25, 0.13, 0.1, 0.1], size=675)
    splits = split_indices(labels, protocol, seed=seed)
    rest = np.concatenate((splits["train"], splits["val"]))
    for rows, pool in ((splits["test"], np.arange(675)), (splits["val"], rest)):
        share = np.bincount(labels[pool], minlength=7) * len(rows) / len(pool)
        assert (np.abs(np.bincount(labels[rows], minlength=7) - share) <= 1).all()


# Folds


@pytest.mark.parametrize("num_folds", [2, 4, 5])
@pytest.mark.parametrize("by_group", [False, True], ids=["by sample", "by group"])
def test_over_the_folds_every_pattern_is_tested_once(num_folds, by_group):
    labels, groups = clips(0)
    folds = [
        split_indices(labels, f"{num_folds}-fold", fold=fold, groups=groups if by_group else None)
        for fold in range(num_folds)
    ]
    for splits in folds:
        check_partition(splits, len(labels))
    assert sorted(np.concatenate([splits["test"] for splits in folds])) == list(range(len(labels)))


def test_the_test_does_not_depend_on_the_share_of_val():
    few, many = (split_indices(SFEW, "5-fold", fold=2, val_share=share) for share in (0.1, 0.4))
    assert few["test"].tolist() == many["test"].tolist()
    assert (len(few["val"]), len(many["val"])) == (54, 216)


# Groups


@pytest.mark.parametrize("protocol", ["80/20", "80/10/10", "50/50", "5-fold"])
@pytest.mark.parametrize("seed", range(5))
def test_no_group_stands_on_both_sides(protocol, seed):
    labels, groups = clips(seed)
    splits = split_indices(labels, protocol, groups=groups, seed=seed)
    check_partition(splits, len(labels))
    sides = [set(groups[rows]) for rows in splits.values()]
    assert sum(map(len, sides)) == len(set(groups))


def test_random_folds_do_split_groups():
    labels, groups = clips(0)
    splits = split_indices(labels, "5-fold")
    assert set(groups[splits["test"]]) & set(groups[splits["train"]])


@pytest.mark.parametrize(("protocol", "size"), [("80/20", 70), ("70/30", 105), ("187/163", 163)])
@pytest.mark.parametrize("seed", range(2))
def test_hold_outs_of_small_groups_have_nearly_the_size_asked_for(protocol, size, seed):
    labels, groups = clips(seed, num_samples=350, num_groups=70)
    test = split_indices(labels, protocol, groups=groups, seed=seed)["test"]
    largest = np.unique(groups, return_counts=True)[1].max()
    assert abs(len(test) - size) <= 0.03 * 350 + largest
    assert np.abs(np.bincount(labels[test]) - len(test) / 7).max() <= 3


def test_groups_of_one_pattern_are_no_groups():
    labels = np.arange(70) % 7
    splits = split_indices(labels, "80/20", groups=np.arange(70).astype(str))
    assert [counts(labels, rows) for rows in splits.values()] == [[7] * 7, [1] * 7, [2] * 7]


def test_grouped_folds_are_those_of_scikit_learn():
    labels, groups = clips(3)
    splitter = StratifiedGroupKFold(4, shuffle=True, random_state=3)
    expected = [rows.tolist() for _, rows in splitter.split(labels, labels, groups)]
    folds = [split_indices(labels, "4-fold", fold=fold, groups=groups, seed=3) for fold in range(4)]
    assert [splits["test"].tolist() for splits in folds] == expected


# The seed


@pytest.mark.parametrize("protocol", ["80/20", "80/10/10", "4-fold"])
@pytest.mark.parametrize("by_group", [False, True], ids=["by sample", "by group"])
def test_the_draw_depends_on_the_seed_alone(protocol, by_group):
    # Pairs of one label each: alike, so that the seed says which goes where.
    labels, groups = np.repeat(np.arange(70) % 7, 2), np.repeat(np.arange(70).astype(str), 2)
    settings = {"groups": groups if by_group else None, "val_share": 0.2}
    np.random.seed(1)
    first = split_indices(labels, protocol, seed=5, **settings)
    np.random.seed(2)
    again = split_indices(labels, protocol, seed=5, **settings)
    other = split_indices(labels, protocol, seed=6, **settings)
    for name, rows in first.items():
        assert rows.tolist() == again[name].tolist()
        assert rows.tolist() != other[name].tolist()


# What does not fit


@pytest.mark.parametrize(
    ("labels", "protocol", "settings", "message"),
    [
        pytest.param(SFEW, "346/330", {}, r"adds up to 676 samples, but there are 675", id="other counts"),
        pytest.param(SFEW, "80/30", {}, r"adds up to 110 samples.*add up to 100", id="110 %"),
        pytest.param(SFEW, "5-fold", {"fold": 5}, r"data\.fold is 5.*0 to 4", id="no such fold"),
        pytest.param(SFEW, "5-fold", {"fold": -1}, r"data\.fold is -1", id="negative fold"),
        pytest.param(SFEW, "80/20", {"fold": 1}, r"data\.fold is 1.*a single", id="fold of a hold-out"),
        pytest.param(SFEW, "80/20", {"val_share": 0.0}, r"data\.val_share is 0\.0", id="no val"),
        pytest.param(SFEW, "80/20", {"val_share": 1.0}, r"data\.val_share is 1\.0", id="nothing but val"),
        pytest.param(SFEW, "80/20", {"val_share": 0.001}, "val would have 1 of 540", id="val of one"),
        pytest.param(SFEW, "76-fold", {}, "disgust has 75", id="more folds than samples of a class"),
        pytest.param(np.zeros(0, np.int64), "80/20", {}, "test would have 0 of 0", id="nothing"),
        pytest.param(np.arange(7), "80/20", {}, "2 samples of each class", id="one sample a class"),
        pytest.param(
            np.arange(14) % 7, "90/10", {}, "one side would be too small", id="test without some class"
        ),
        pytest.param(
            SFEW, "3-fold", {"groups": np.repeat(["a", "b"], (300, 375))}, "there are 2", id="few groups"
        ),
        pytest.param(
            SFEW, "80/20", {"groups": np.full(675, "a")}, "test cannot be drawn by group", id="one group"
        ),
        pytest.param(
            SFEW,
            "80/20",
            {"groups": np.repeat(["a", "b"], (300, 375))},
            "val cannot be drawn by group",
            id="no group is left for val",
        ),
    ],
)
def test_what_does_not_fit_is_said(labels, protocol, settings, message):
    with pytest.raises(InputError, match=message):
        split_indices(labels, protocol, **settings)


def test_groups_must_be_as_many_as_labels():
    with pytest.raises(ValueError, match="do not fit"):
        split_indices(SFEW, "80/20", groups=np.array(["a"]))


def test_a_sample_has_each_expression_in_its_share(tiny_data):
    labels = [0] * 40 + [1] * 20 + [2] * 4
    data = tiny_data(num_train=64, labels=labels)
    data.setup()
    rows = data.sample("train", 16)
    assert np.bincount(np.array(labels)[rows]).tolist() == [10, 5, 1]
    assert (np.diff(rows) > 0).all()
    assert rows.tolist() == data.sample("train", 16).tolist()
    other = tiny_data(num_train=64, labels=labels, seed=1)
    other.setup()
    assert rows.tolist() != other.sample("train", 16).tolist()
    assert data.sample("train", 1000).tolist() == list(range(64))


def test_classes_that_are_absent_are_not_too_few():
    labels = np.repeat([3, 5], 10)  # only happy and sad, as often
    split = split_indices(labels, "80/20", val_share=0.25)
    assert {name: np.bincount(labels[rows]).tolist()[3::2] for name, rows in split.items()} == {
        "train": [6, 6],
        "val": [2, 2],
        "test": [2, 2],
    }
