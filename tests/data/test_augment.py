"""Augmentations: what each keeps, and which random numbers differ, which repeat."""

from typing import get_args

import numpy as np
import pytest
import torch

from fer.data.augment import Augment, augmentation, seed_augmentation
from fer.data.base import numbered
from fer.data.images import ImageSplit
from fer.errors import InputError

POLICIES = [name for name in get_args(Augment) if name != "none"]
IMAGE = np.random.default_rng(0).integers(256, size=(48, 48), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(48, 48), (48, 48, 3), (96, 96, 3)], ids=["grey", "RGB", "large RGB"])
@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_keeps_shape_and_type_and_its_input(name, strength, shape):
    transform = augmentation(name, strength=strength)
    seed_augmentation(transform, 0)
    image = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    before = image.copy()
    outputs = [transform(image=image)["image"] for _ in range(16)]
    assert all(output.shape == shape and output.dtype == np.uint8 for output in outputs)
    assert any((output != image).any() for output in outputs)
    assert (image == before).all()


def test_none_is_no_transform():
    assert augmentation("none") is None


@pytest.mark.parametrize("name", POLICIES)
def test_without_strength_a_image_stays_or_is_mirrored(name):
    transform = augmentation(name, strength=0)
    seed_augmentation(transform, 0)
    for _ in range(8):
        output = transform(image=IMAGE)["image"].astype(int)
        assert min(abs(output - IMAGE).max(), abs(output - IMAGE[:, ::-1]).max()) <= 1


@pytest.mark.parametrize(
    ("name", "degrees"),
    [pytest.param("markou", 25, id="markou"), pytest.param("jain", 10, id="jain")],
)
def test_a_rotation_goes_to_both_sides_within_its_limits(name, degrees):
    """A bar through the centre shows the angle by where it meets the image's left half."""
    bar = np.zeros((101, 101), np.uint8)
    bar[50, :] = 255
    transform = augmentation(name)
    seed_augmentation(transform, 0)
    angles = []
    for _ in range(200):
        output = transform(image=bar)["image"]
        rows, columns = np.nonzero(output > 100)
        angles.append(np.degrees(np.arctan(np.polyfit(columns, rows, 1)[0])))
    assert 0.9 * degrees < max(np.abs(angles)) < degrees + 1
    assert min(angles) < 0 < max(angles)


def test_whether_a_image_is_mirrored_does_not_hang_on_how_it_is_turned():
    """Of jain's two random numbers, angle and flip, each half of the one goes with each half of the other."""
    arrow = np.zeros((101, 101), np.uint8)
    arrow[48:53, 10:90], arrow[30:71, 75:90] = 255, 255  # its head to the right
    transform = augmentation("jain")
    seed_augmentation(transform, 0)
    seen = set()
    for _ in range(100):
        rows, columns = np.nonzero(transform(image=arrow)["image"] > 100)
        mirrored = columns.mean() < 50
        seen.add((mirrored, np.polyfit(columns, rows, 1)[0] > 0))
    assert len(seen) == 4


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_seed_gives_the_same_images_and_another_gives_others(name):
    def draw(seed):
        transform = augmentation(name)
        seed_augmentation(transform, seed)
        return np.stack([transform(image=IMAGE)["image"] for _ in range(16)])

    assert (draw(1) == draw(1)).all()
    assert (draw(1) != draw(2)).any()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        pytest.param({"name": "flip"}, "data.augment is 'flip'.*markou", id="unknown"),
        pytest.param({"name": "fer", "strength": -0.1}, "augment_strength is -0.1", id="negative"),
    ],
)
def test_unusable_settings_are_named(settings, reason):
    with pytest.raises(InputError, match=reason):
        augmentation(**settings)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("strength", [4.0, 10.0])
def test_a_strength_that_is_too_much_is_named_or_works(name, strength):
    try:
        transform = augmentation(name, strength=strength)
    except InputError as e:
        assert "augment_strength" in str(e)  # noqa: PT017 - either is fine
        return
    assert transform(image=IMAGE)["image"].shape == IMAGE.shape


# In a loader


@pytest.fixture
def one_image(tiny_data):
    """A maker of data modules whose training images are all the same, so that only augmentation differs."""

    class OneImage(tiny_data):
        def load_splits(self):
            splits = super().load_splits()
            return splits | {
                "train": ImageSplit(
                    images=np.repeat(IMAGE[None], 28, axis=0),
                    labels=np.arange(28) % 7,
                    names=numbered(28),
                )
            }

    return lambda **kwargs: OneImage(image_size=48, augment="markou", normalise="half", **kwargs)


def _epochs(data, *, num_epochs=2, seed=0):
    torch.manual_seed(seed)
    data.setup()
    loader = data.train_dataloader()
    return torch.stack([torch.cat([inputs for inputs, _ in loader]) for _ in range(num_epochs)])


@pytest.mark.parametrize("pipeline", ["device", "loader"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_no_augmentation_comes_twice_among_workers_and_epochs(num_workers, pipeline, one_image):
    images = _epochs(one_image(num_workers=num_workers, pipeline=pipeline)).flatten(0, 1)
    assert len(images) == 2 * 28
    assert len(images.flatten(1).unique(dim=0)) == len(images)


@pytest.mark.parametrize("pipeline", ["device", "loader"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_same_run_draws_the_same_batches_and_another_seed_others(num_workers, pipeline, one_image):
    settings = {"num_workers": num_workers, "pipeline": pipeline}
    first = _epochs(one_image(**settings))
    assert torch.equal(_epochs(one_image(**settings)), first)
    if num_workers == 0:
        assert not torch.equal(_epochs(one_image(**settings), seed=1), first)
