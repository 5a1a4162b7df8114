"""Images as batches: sizes, channels, normalisation, and which splits are augmented."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fer.data.images import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ImageSplit,
    channel_statistics,
    resize,
    to_channels,
)
from fer.errors import InputError

RNG = np.random.default_rng(0)
GREY = RNG.integers(256, size=(6, 6), dtype=np.uint8)
COLOUR = RNG.integers(256, size=(6, 6, 3), dtype=np.uint8)


# One image


@pytest.mark.parametrize("image", [GREY, COLOUR], ids=["grey", "RGB"])
@pytest.mark.parametrize("image_size", [3, 6, 9])
def test_resize(image, image_size):
    output = resize(image, image_size)
    assert output.shape == (image_size, image_size, *image.shape[2:])
    assert output.dtype == np.uint8
    if image_size == 6:
        assert output is image
    if image_size == 3:  # each pixel is the mean of four
        blocks = image.reshape(3, 2, 3, 2, -1).mean(axis=(1, 3)).reshape(output.shape)
        assert abs(output - blocks).max() <= 0.5


def test_resize_makes_a_square():
    assert resize(np.zeros((4, 8), np.uint8), 4).shape == (4, 4)


@pytest.mark.parametrize(
    ("image", "channels", "expected"),
    [
        pytest.param([[10, 20]], 1, [[[10], [20]]], id="grey stays"),
        pytest.param([[10, 20]], 3, [[[10, 10, 10], [20, 20, 20]]], id="grey is repeated"),
        pytest.param([[[10], [20]]], 3, [[[10, 10, 10], [20, 20, 20]]], id="grey with an axis is repeated"),
        pytest.param([[[1, 2, 3]]], 3, [[[1, 2, 3]]], id="RGB stays"),
        # ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B
        pytest.param([[[100, 0, 0], [0, 100, 0], [0, 0, 100]]], 1, [[[30], [59], [11]]], id="luminance"),
    ],
)
def test_to_channels(image, channels, expected):
    assert to_channels(np.array(image, np.uint8), channels).tolist() == expected


@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 6, 7, 3), (600, 2, 1)], ids=["grey", "RGB", "in parts"])
def test_channel_statistics_are_numpys(shape):
    images = RNG.integers(256, size=shape, dtype=np.uint8)
    mean, std = channel_statistics(images)
    values = images.reshape(np.prod(shape[:3]), -1) / 255
    np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(std, values.std(axis=0), rtol=1e-6)
    assert mean.dtype == std.dtype == np.float32


def test_images_of_one_value_can_be_normalised():
    for value in range(256):
        mean, std = channel_statistics(np.full((2, 3, 3), value, np.uint8))
        assert mean == pytest.approx(value / 255)
        assert std == pytest.approx(1 / 255)


def test_take_keeps_the_order_of_the_rows():
    split = ImageSplit(
        images=np.arange(3, dtype=np.uint8).reshape(3, 1, 1),
        labels=np.array([4, 5, 6]),
        names=np.array(["a", "b", "c"]),
        groups={"clip": np.array(["x", "y", "z"])},
    ).take(np.array([2, 0]))
    assert (split.images.ravel().tolist(), split.labels.tolist(), len(split)) == ([2, 0], [6, 4], 2)
    assert (split.names.tolist(), split.groups["clip"].tolist()) == (["c", "a"], ["z", "x"])


# Batches


@pytest.mark.parametrize(
    ("depth", "settings", "shape"),
    [
        pytest.param(1, {}, (1, 8, 8), id="as it is"),
        pytest.param(1, {"channels": 3, "image_size": 12}, (3, 12, 12), id="larger, three channels"),
        pytest.param(3, {"channels": 3}, (3, 8, 8), id="RGB"),
        pytest.param(3, {"channels": 1, "image_size": 4}, (1, 4, 4), id="RGB as grey, smaller"),
    ],
)
@pytest.mark.parametrize("augment", ["none", "fer"])
def test_every_loader_gives_batches_of_one_shape(augment, depth, settings, shape, tiny_data):
    data = tiny_data(depth=depth, batch_size=8, augment=augment, **settings)
    data.setup()
    train, val = data.train_dataloader(), data.val_dataloader()
    tests, predicted = data.test_dataloader(), data.predict_dataloader()
    assert (len(tests), len(predicted)) == (len(data.evaluated_names), len(data.test_names))
    for loader in (train, val, *tests, *predicted):
        for inputs, labels in loader:
            assert inputs.shape == (len(labels), *shape)
            assert (inputs.dtype, labels.dtype) == (torch.float32, torch.int64)
            assert inputs.isfinite().all()
    assert [len(labels) for _, labels in train] == [8, 8, 8]  # of 28: the rest is left out
    assert [len(labels) for _, labels in val] == [8, 6]
    assert sum(len(labels) for _, labels in tests[0]) == 28


def _images(data, name, **kwargs):
    dataset = data.dataset(name, **kwargs)
    return torch.stack([dataset[row][0] for row in range(len(dataset))])


@pytest.mark.parametrize("depth", [1, 3])
def test_normalised_by_train(depth, tiny_data):
    data = tiny_data(depth=depth, channels=depth)
    data.setup()
    inputs = _images(data, "train").transpose(0, 1).flatten(1)
    torch.testing.assert_close(inputs.mean(dim=1), torch.zeros(depth), atol=1e-5, rtol=0)
    torch.testing.assert_close(inputs.std(dim=1, correction=0), torch.ones(depth), atol=1e-5, rtol=0)
    mean, std = channel_statistics(data.splits["train"].images)
    expected = (data.splits["val"].images.reshape(14, 8, 8, depth) / 255 - mean) / std
    torch.testing.assert_close(_images(data, "val"), torch.from_numpy(expected).permute(0, 3, 1, 2).float())


def test_normalised_to_minus_one_and_one(tiny_data):
    data = tiny_data(normalise="half")
    data.setup()
    expected = torch.from_numpy(data.splits["val"].images / 127.5 - 1).float().unsqueeze(1)
    torch.testing.assert_close(_images(data, "val"), expected)


@pytest.mark.parametrize("depth", [1, 3])
def test_normalised_as_imagenet(depth, tiny_data):
    data = tiny_data(depth=depth, channels=3, normalise="imagenet")
    data.setup()
    images = np.broadcast_to(data.splits["val"].images.reshape(14, 8, 8, depth), (14, 8, 8, 3)) / 255
    expected = torch.from_numpy((images - IMAGENET_MEAN) / IMAGENET_STD).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(_images(data, "val"), expected)


def test_only_training_is_augmented_and_shuffled(tiny_data):
    plain, augmented = tiny_data(), tiny_data(augment="jain")
    plain.setup()
    augmented.setup()
    expected = _images(plain, "train")
    assert torch.equal(_images(augmented, "train"), expected)
    assert torch.equal(_images(augmented, "train"), expected)  # asked again: the same
    assert not torch.equal(_images(augmented, "train", augmented=True), expected)
    for loader in (augmented.val_dataloader(), augmented.test_dataloader()[1]):
        assert torch.equal(torch.cat([inputs for inputs, _ in loader]), _images(plain, "val"))
    assert torch.equal(torch.cat([x for x, _ in augmented.test_dataloader()[0]]), expected)
    loader = plain.train_dataloader()
    first, second = ([labels.tolist() for _, labels in loader] for _ in range(2))
    assert first != second


def test_setup_loads_once(tiny_data):
    data = tiny_data()
    data.setup("fit")
    splits = data.splits
    data.setup("test")
    assert data.splits is splits


def test_class_counts(tiny_data):
    data = tiny_data(labels=[0, 0, 2, 6], num_train=4, batch_size=2)
    data.setup()
    assert data.class_counts.tolist() == [2, 0, 1, 0, 0, 0, 1]
    assert data.evaluated_names == ("train", "val", "test")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        pytest.param({"image_size": 0}, "data.image_size is 0", id="no pixels"),
        pytest.param({"channels": 2}, "data.channels is 2: it must be 1 .* or 3", id="two channels"),
        pytest.param({"batch_size": 0}, "data.batch_size is 0", id="no batch"),
        pytest.param({"normalise": "imagenet"}, "three channels: set data.channels=3", id="ImageNet in grey"),
        pytest.param({"augment": "no"}, "data.augment is 'no'", id="augmentation"),
        pytest.param({"batch_size": 29}, "data.batch_size is 29, more than the 28 samples", id="large batch"),
        pytest.param({"num_workers": -1}, "data.num_workers is -1", id="workers"),
        pytest.param({"normalise": "no"}, "data.normalise is 'no'", id="normalisation"),
    ],
)
def test_unusable_settings_are_named(settings, reason, tiny_data):
    def set_up():
        data = tiny_data(**settings)
        data.setup()
        data.train_dataloader()

    with pytest.raises(InputError, match=reason):
        set_up()


# What stands on two sides


def _repeat(data, *, into, from_, rows):
    """Put the first images of one split in the place of rows of another."""
    load = data.load_splits

    def with_repeats():
        splits = load()
        images = splits[into].images.copy()
        images[rows] = splits[from_].images[: len(rows)]
        return splits | {into: replace(splits[into], images=images)}

    data.load_splits = with_repeats
    return data


@pytest.mark.parametrize("from_", ["train", "val"])
def test_a_test_image_that_was_seen_is_left_out_of_the_clean_rest(from_, tiny_data):
    data = _repeat(tiny_data(), into="test", from_=from_, rows=[2, 5])
    data.setup()
    assert data.evaluated_names == ("train", "val", "test", "clean")
    assert len(data.splits["test"]) == 14
    assert data.splits["clean"].names.tolist() == [str(i) for i in range(14) if i not in (2, 5)]


def test_where_nothing_was_seen_there_is_one_test(tiny_data):
    data = tiny_data()
    data.setup()
    assert data.evaluated_names == ("train", "val", "test")


@pytest.mark.parametrize("into", ["val", "test"])
def test_clean_leaves_out_of_train_what_is_evaluated(into, tiny_data):
    data = _repeat(tiny_data(clean=True), into=into, from_="train", rows=[9, 4])
    data.setup()
    assert data.splits["train"].names.tolist() == [str(i) for i in range(2, 28)]
    assert len(data.splits[into]) == 14
    assert "clean" not in data.evaluated_names


# Descriptors


def test_inputs_can_be_ten_features_of_the_image(tiny_data):
    data = tiny_data(size=24, descriptors=True, depth=3)
    assert data.num_features == 10
    data.setup()
    inputs = torch.cat([inputs for inputs, _ in data.train_dataloader()])
    assert inputs.shape == (28, 10)
    torch.testing.assert_close(inputs.mean(0), torch.zeros(10), atol=1e-5, rtol=0)
    val, labels = next(iter(data.val_dataloader()))
    assert (val.shape, labels.tolist()) == ((7, 10), [0, 1, 2, 3, 4, 5, 6])


def test_images_are_normalised_as_those_of_a_checkpoint(tiny_data):
    own, data = tiny_data(), tiny_data()
    data.load_state_dict({"mean": [0.25], "std": [0.5]})
    for each in (own, data):
        each.setup()
    pixels = own.dataset("val")[0][0] * float(own.std[0]) + float(own.mean[0])
    torch.testing.assert_close(data.dataset("val")[0][0], (pixels - 0.25) / 0.5)
