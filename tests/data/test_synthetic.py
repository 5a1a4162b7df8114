from dataclasses import astuple, replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fer.data.drawing import EXPRESSION_ACTIONS, FacialActions, draw_actions, draw_face, draw_faces
from fer.data.synthetic import SyntheticFacesDataModule
from fer.errors import InputError
from fer.labels import EXPRESSIONS, NUM_EXPRESSIONS

VAL_OFFSET = 70_000


def test_every_expression_has_its_own_actions():
    assert tuple(EXPRESSION_ACTIONS) == EXPRESSIONS
    assert len({astuple(actions) for actions in EXPRESSION_ACTIONS.values()}) == NUM_EXPRESSIONS
    assert EXPRESSION_ACTIONS["neutral"] == FacialActions()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_drawn_actions_stay_in_their_ranges_and_differ(expression):
    rng = np.random.default_rng(0)
    drawn = np.array([astuple(draw_actions(EXPRESSIONS.index(expression), rng)) for _ in range(200)])
    two_sided = np.array(
        [
            name in ("brow_inner", "brow_outer", "lid_upper", "mouth_corners", "mouth_width")
            for name in vars(FacialActions())
        ]
    )
    assert drawn.max() <= 1
    assert (drawn >= np.where(two_sided, -1, 0)).all()
    assert len(np.unique(drawn, axis=0)) == 200


@pytest.mark.parametrize("image_size", [32, 48, 97])
@pytest.mark.parametrize(("channels", "tail"), [(1, ()), (3, (3,))], ids=["grey", "rgb"])
def test_images_have_the_size_asked_for(image_size, channels, tail):
    images, labels = draw_faces(9, image_size=image_size, channels=channels)
    assert images.shape == (9, image_size, image_size, *tail)
    assert images.dtype == np.uint8
    assert labels.shape == (9,)
    assert labels.dtype == np.int64
    assert images.std(axis=(1, 2)).min() > 5


@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "rgb"])
def test_a_image_depends_on_seed_and_place_alone(channels):
    album, labels = draw_faces(150, seed=3, channels=channels)
    for offset, count in ((0, 1), (5, 20), (63, 2), (149, 1)):
        images, some_labels = draw_faces(count, seed=3, offset=offset, channels=channels)
        np.testing.assert_array_equal(images, album[offset : offset + count])
        np.testing.assert_array_equal(some_labels, labels[offset : offset + count])


def test_a_face_drawn_alone_is_the_face_drawn_among_others():
    images, labels = draw_faces(10, seed=4)
    rng = np.random.default_rng([4, 9])
    np.testing.assert_array_equal(draw_face(draw_actions(int(labels[9]), rng), rng), images[9])


def test_seeds_draw_different_faces():
    first, second = draw_faces(7, seed=0)[0], draw_faces(7, seed=1)[0]
    assert (first != second).mean() > 0.5


def test_grey_is_the_luminance_of_rgb():
    grey, rgb = draw_faces(21)[0], draw_faces(21, channels=3)[0]
    luminance = rgb @ np.array((0.299, 0.587, 0.114))
    assert np.corrcoef(luminance.ravel(), grey.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("offset", [0, 3])
def test_classes_are_balanced_and_shuffled(offset):
    labels = draw_faces(140, image_size=8, offset=offset)[1]
    counts = np.bincount(labels, minlength=NUM_EXPRESSIONS)
    assert np.ptp(counts) <= (0 if offset == 0 else 2)
    blocks = draw_faces(140, image_size=8)[1].reshape(-1, NUM_EXPRESSIONS)
    assert (np.sort(blocks, axis=1) == np.arange(NUM_EXPRESSIONS)).all()
    assert len(np.unique(blocks, axis=0)) > 10


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("expression", "corners_rise"), [("happy", True), ("sad", False)])
def test_one_persons_mouth_corners_rise_in_joy_and_fall_in_sadness(seed, expression, corners_rise):
    # Only the corners move, so that every changed pixel of the same person's image is the mouth's.
    corners = EXPRESSION_ACTIONS[expression].mouth_corners
    rest, moved = (
        draw_face(actions, np.random.default_rng(seed), image_size=96).astype(int)
        for actions in (FacialActions(), replace(FacialActions(), mouth_corners=corners))
    )
    rows, columns = np.nonzero(np.abs(rest - moved) > 20)
    middle = (columns.min() + columns.max()) / 2
    outermost = np.abs(columns - middle) > 0.8 * (columns.max() - middle)
    dark = moved[rows, columns] < rest[rows, columns]
    assert (rows[outermost & dark].mean() < rows[outermost & ~dark].mean()) == corners_rise


def test_a_stronger_action_changes_the_image_more():
    rest, faint, full = (
        draw_face(FacialActions(mouth_open=share), np.random.default_rng(1)).astype(int)
        for share in (0.0, 0.4, 1.0)
    )
    assert 0 < np.abs(faint - rest).sum() < np.abs(full - rest).sum()


@pytest.mark.parametrize(
    "wrong",
    [{"count": 0}, {"image_size": 0}, {"channels": 2}, {"seed": -1}, {"offset": -7}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_number_out_of_range_is_named(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        draw_faces(**{"count": 7, **wrong})


@pytest.mark.parametrize("name", ["num_train", "num_val", "num_test"])
@pytest.mark.parametrize("count", [0, -3])
def test_the_data_module_names_a_count_that_is_not_positive(name, count):
    with pytest.raises(InputError, match=f"data.{name} is {count}"):
        SyntheticFacesDataModule(**{name: count})


def test_the_data_modules_splits_are_disjoint_balanced_and_sized():
    data = SyntheticFacesDataModule(
        num_train=70, num_val=21, num_test=14, batch_size=7, image_size=32, seed=2
    )
    data.setup()
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 70, "val": 21, "test": 14}
    images = np.concatenate([split.images for split in data.splits.values()])
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == 105
    for split in data.splits.values():
        assert np.ptp(np.bincount(split.labels, minlength=NUM_EXPRESSIONS)) == 0
    inputs, labels = next(iter(data.train_dataloader()))
    assert inputs.shape == (7, 1, 32, 32)
    assert labels.shape == (7,)


def test_validation_faces_stay_when_the_train_split_grows():
    small, large = (
        SyntheticFacesDataModule(num_train=count, num_val=7, num_test=7, image_size=32).load_splits()
        for count in (7, 14)
    )
    np.testing.assert_array_equal(small["val"].images, large["val"].images)


@pytest.mark.slow
def test_a_linear_classifier_of_pixels_stays_below_60_percent():
    linear_model = pytest.importorskip("sklearn.linear_model")
    (train, train_labels), (val, val_labels) = (
        draw_faces(count, image_size=24, offset=offset) for count, offset in ((2100, 0), (700, VAL_OFFSET))
    )
    train, val = train.reshape(len(train), -1) / 255, val.reshape(len(val), -1) / 255
    mean, std = train.mean(axis=0), train.std(axis=0)
    classifier = linear_model.LogisticRegression(C=1e-3, max_iter=500)
    classifier.fit((train - mean) / std, train_labels)
    accuracy = classifier.score((val - mean) / std, val_labels)
    assert 1 / NUM_EXPRESSIONS < accuracy < 0.6


@pytest.mark.slow
def test_a_narrow_conv6_passes_80_percent_within_3_epochs():
    from fer.models.conv6 import Conv6Net

    (train, labels), (val, val_labels) = (
        draw_faces(count, offset=offset) for count, offset in ((3500, 0), (700, VAL_OFFSET))
    )
    inputs, val_inputs = (
        torch.from_numpy((split - train.mean()) / train.std()).float()[:, None] for split in (train, val)
    )
    torch.manual_seed(0)
    network = Conv6Net(widths=(8, 16, 16, 32, 32))
    optimizer = torch.optim.Adam(network.parameters())
    num_steps = len(train) // 64
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=3 * num_steps)
    for _ in range(3):
        for rows in torch.randperm(len(train))[: num_steps * 64].split(64):
            optimizer.zero_grad()
            F.cross_entropy(network(inputs[rows]), torch.from_numpy(labels)[rows]).backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        predicted = network.eval()(val_inputs).argmax(dim=1)
    assert (predicted.numpy() == val_labels).mean() > 0.8
