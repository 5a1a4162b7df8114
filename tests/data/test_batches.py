"""Images augmented by the batch: distributed as one by one, the same inputs, and no wait for a device."""

from typing import get_args

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.data import DataLoader

from fer.data.augment import Augment, augmentation, policy_of, seed_augmentation
from fer.data.base import numbered
from fer.data.batches import Augmenter, collate, draw_numbers, uniform_numbers
from fer.data.images import ImageSplit, Pipeline
from fer.errors import InputError

POLICIES = [name for name in get_args(Augment) if name != "none"]
UNCHANGED = {"mean": np.zeros(1, np.float32), "std": np.full(1, 1 / 255, np.float32)}
"""A normalisation that leaves pixels as they are, from 0 to 255."""

SMOOTH = np.add.outer(np.arange(48), 2 * np.arange(48)).astype(np.uint8)
"""A ramp from 0 to 141, brighter to the right than downwards."""

COLOURS = np.stack([SMOOTH, SMOOTH.T, 200 - SMOOTH], axis=2)


def _batched(name, image, num, *, strength=1.0):
    """Return an image augmented num times by the batch, shape (num, H, W, C)."""
    policy = policy_of(name, strength=strength)
    pixels = torch.from_numpy(image.reshape(1, *image.shape[:2], -1))
    table = draw_numbers(policy, np.arange(num, dtype=np.uint64), *image.shape[:2])
    augmenter = Augmenter(pixels, channels=pixels.shape[3], policy=policy, **UNCHANGED)
    return augmenter(torch.zeros(num, dtype=torch.int64), torch.from_numpy(table)).permute(0, 2, 3, 1).numpy()


def _one_by_one(name, image, num, *, strength=1.0):
    """Return an image augmented num times by albumentations, shape (num, H, W, C)."""
    transform = augmentation(name, strength=strength)
    seed_augmentation(transform, 0)
    images = [transform(image=image)["image"] for _ in range(num)]
    return np.stack(images).reshape(num, *image.shape[:2], -1).astype(np.float32)


@pytest.mark.parametrize("image", [SMOOTH, COLOURS], ids=["grey", "RGB"])
@pytest.mark.parametrize("strength", [0.7, 2.0])
@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.slow
def test_moments_of_pixels_are_those_of_albumentations(name, strength, image):
    """Mean and deviation over draws: of 36 blocks, and of an image's mean, deviation and share of black."""
    num = 1500

    def describe(images):
        blocks = images.reshape(num, 6, 8, 6, 8, -1).mean(axis=(2, 4)).reshape(num, -1)
        whole = np.stack(
            [images.mean(axis=(1, 2, 3)), images.std(axis=(1, 2, 3)), 100 * (images < 1).mean((1, 2, 3))]
        )
        return np.concatenate([blocks, whole.T], axis=1)

    ours, theirs = (describe(make(name, image, num, strength=strength)) for make in (_batched, _one_by_one))
    # Pixels that albumentations rounds, or cuts off to whole numbers, are up to one level darker.
    error = np.sqrt((ours.var(axis=0) + theirs.var(axis=0)) / num)
    assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) < 5 * error + 1.0).all()
    deviations = ours.std(axis=0), theirs.std(axis=0)
    spread = [((x - x.mean(axis=0)) ** 2).std(axis=0) for x in (ours, theirs)]
    error = np.sqrt((spread[0] ** 2 + spread[1] ** 2) / num) / (2 * np.maximum(deviations[1], 1))
    assert (np.abs(deviations[0] - deviations[1]) < 5 * error + 1.0).all()


def _draws_of_albumentations(strength, num):
    """Return what albumentations draws for ``fer``, by transform, from its own record of what it applied."""
    import albumentations as A

    transform = augmentation("fer", strength=strength)
    replay = A.ReplayCompose(transform.transforms)
    replay.set_random_seed(3)
    found = {}
    for _ in range(num):
        for each in replay(image=SMOOTH)["replay"]["transforms"]:
            name = each["__class_fullname__"].rpartition(".")[2]
            found.setdefault(name, []).append(each["params"] if each["applied"] else None)
    return found


@pytest.mark.parametrize("strength", [0.5, 1.0])
@pytest.mark.slow
def test_what_is_drawn_is_what_albumentations_draws(strength):
    """Rates, ranges and means of every number of ``fer``, whose transforms include those of the others."""
    num = 3000
    theirs = _draws_of_albumentations(strength, num)
    policy = policy_of("fer", strength=strength)
    table = draw_numbers(policy, np.arange(num, dtype=np.uint64), 48, 48).astype(np.float64)
    ours = {}
    theta, (gain, bias), box = table[:, :6], table[:, 6:8].T, table[:, 8:12]
    mirrored = theta[:, 0] < 0
    forward = np.linalg.inv(
        np.concatenate([theta.reshape(num, 2, 3), np.tile([[[0, 0, 1]]], (num, 1, 1))], axis=1)
    )
    warped = ~np.isclose(np.abs(theta[:, 0]), 1) | ~np.isclose(theta[:, 4], 1)
    erased, lit = box[:, 1] > 0, gain != 1
    for name, applied in (
        ("HorizontalFlip", mirrored),
        ("Affine", warped),
        ("RandomBrightnessContrast", lit),
        ("Erasing", erased),
    ):
        rate = np.mean([each is not None for each in theirs[name]])
        assert applied.mean() == pytest.approx(rate, abs=5 * np.sqrt(0.5 / num)), name
    sign = np.where(mirrored, -1, 1)[warped]
    scale_x = np.hypot(forward[warped, 0, 0], forward[warped, 1, 0])
    angle = np.degrees(np.arctan2(-forward[warped, 1, 0] * sign, forward[warped, 0, 0] * sign))
    ours |= {
        "scale": scale_x,
        "rotate": angle,
        "x": forward[warped, 0, 2] * 24,
        "y": forward[warped, 1, 2] * 24,
    }
    ours |= {"alpha": gain[lit], "beta": bias[lit]}
    ours |= {"top": box[erased, 0], "left": box[erased, 2]}
    ours |= {"height": (box[:, 1] - box[:, 0])[erased], "width": (box[:, 3] - box[:, 2])[erased]}
    affine = [each for each in theirs["Affine"] if each is not None]
    light = [each for each in theirs["RandomBrightnessContrast"] if each is not None]
    holes = np.stack([each["holes"][0] for each in theirs["Erasing"] if each is not None])
    matrices = np.stack([each["matrix"] for each in affine])
    moved = matrices @ np.array([23.5, 23.5, 1]) - [23.5, 23.5, 1]
    expected = {
        "scale": np.array([each["scale"]["x"] for each in affine]),
        "rotate": np.array([each["rotate"] for each in affine]),
        "x": moved[:, 0],
        "y": moved[:, 1],
        "alpha": np.array([each["alpha"] for each in light]),
        "beta": np.array([each["beta"] for each in light]),
        "top": holes[:, 1],
        "left": holes[:, 0],
        "height": holes[:, 3] - holes[:, 1],
        "width": holes[:, 2] - holes[:, 0],
    }
    discrete = {"x", "y", "top", "left", "height", "width"}
    for name, values in expected.items():
        tolerance = max(0.03 * np.ptp(values), 2 * (name in discrete))
        assert ours[name].min() == pytest.approx(values.min(), abs=tolerance), name
        assert ours[name].max() == pytest.approx(values.max(), abs=tolerance), name
        error = np.sqrt((ours[name].var() + values.var()) / len(values))
        assert ours[name].mean() == pytest.approx(values.mean(), abs=5 * error), name
        assert ours[name].std() == pytest.approx(values.std(), rel=0.08), name


def test_random_numbers_are_uniform_and_independent():
    numbers = uniform_numbers(np.arange(20_000, dtype=np.uint64), 6)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    np.testing.assert_allclose(numbers.mean(axis=1), 0.5, atol=0.01)
    np.testing.assert_allclose(numbers.std(axis=1), 12**-0.5, atol=0.01)
    np.testing.assert_allclose(np.corrcoef(numbers), np.eye(6), atol=0.04)
    np.testing.assert_allclose(np.corrcoef(numbers[:, :-1], numbers[:, 1:])[:6, 6:], 0, atol=0.04)


@pytest.mark.parametrize("angle", [-20.0, 15.0])
def test_one_affine_map_is_that_of_albumentations(angle):
    """The same rotation, flip and border, within the rounding of OpenCV."""
    import albumentations as A

    transform = A.Compose([A.HorizontalFlip(p=1), A.Rotate(limit=(angle, angle), p=1)])
    policy = policy_of("markou")
    expected = transform(image=SMOOTH)["image"].astype(np.float32)
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    table = np.zeros((1, 21), np.float32)
    table[0, :6] = [-cos, sin, 0, sin, cos, 0]
    augmenter = Augmenter(torch.from_numpy(SMOOTH[None, :, :, None]), channels=1, policy=policy, **UNCHANGED)
    found = augmenter(torch.tensor([0]), torch.from_numpy(table))[0, 0].numpy()
    assert np.abs(found - expected).mean() < 0.5
    assert np.quantile(np.abs(found - expected), 0.99) < 3


# Without augmentation


@pytest.mark.parametrize(
    ("depth", "settings"),
    [
        pytest.param(1, {}, id="grey"),
        pytest.param(1, {"image_size": 12}, id="larger"),
        pytest.param(1, {"image_size": 5, "channels": 3, "normalise": "imagenet"}, id="smaller, repeated"),
        pytest.param(3, {"channels": 3}, id="RGB"),
        pytest.param(3, {"channels": 1, "normalise": "half", "image_size": 4}, id="RGB as grey"),
    ],
)
def test_evaluation_sees_the_same_inputs_as_one_by_one(depth, settings, tiny_data):
    found = []
    for pipeline in ("device", "loader"):
        data = tiny_data(depth=depth, pipeline=pipeline, augment="fer", **settings)
        data.setup()
        loaders = [data.val_dataloader(), *data.test_dataloader(), data.sample_dataloader("train", 20)]
        found.append([[*map(torch.cat, zip(*loader, strict=True))] for loader in loaders])
    for (ours, our_labels), (theirs, their_labels) in zip(*found, strict=True):
        assert torch.equal(our_labels, their_labels)
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("size", [5, 8, 12])
def test_training_images_are_resized_after_they_are_augmented(size, tiny_data):
    """Within OpenCV's rounding to bytes and of its weights; batched inputs are not rounded."""
    found = []
    for pipeline in ("device", "loader"):
        torch.manual_seed(0)
        data = tiny_data(pipeline=pipeline, augment="onghena", augment_strength=0, image_size=size)
        data.setup()
        found.append(torch.cat([inputs for inputs, _ in data.train_dataloader()]))
    torch.testing.assert_close(*found, atol=1.01 / (255 * float(data.std[0])), rtol=0)


@pytest.mark.parametrize("collate_fn", [None, collate], ids=["default", "own"])
def test_anyones_loader_of_a_data_set_gives_its_batches(collate_fn, tiny_data):
    data = tiny_data()
    data.setup()
    dataset = data.dataset("val")
    batches = [*DataLoader(dataset, batch_size=4, collate_fn=collate_fn)]
    for kind in (0, 1):
        found, expected = (
            torch.cat([batch[kind] for batch in each]) for each in (batches, data.val_dataloader())
        )
        assert torch.equal(found, expected)
    assert len([*dataset]) == 14
    assert torch.equal(dataset[-1][0], dataset[13][0])


# On a device


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("image_size", [48, 32, 64])
@pytest.mark.parametrize("name", [*POLICIES, "none"])
def test_a_batch_waits_for_no_gpu_and_mixes_no_devices(name, image_size, channels):
    """On fake CUDA tensors a value that the CPU asks for, or a tensor of another device, raises."""
    policy = policy_of(name)
    mean = np.full(channels, 0.5, np.float32)
    with FakeTensorMode(allow_non_fake_inputs=False):
        images = torch.empty((100, 48, 48, channels), dtype=torch.uint8, device="cuda:0")
        augmenter = Augmenter(
            images, mean=mean, std=mean, channels=channels, image_size=image_size, policy=policy
        )
        table = None if policy is None else torch.empty((64, 21), device="cuda:0")
        rows = torch.empty(64, dtype=torch.int64, device="cuda:0")
        inputs = augmenter(rows, table)
        assert inputs.shape == (64, channels, image_size, image_size)
        assert (inputs.device.type, inputs.dtype) == ("cuda", torch.float32)


# Which of the two


@pytest.mark.parametrize(
    ("settings", "device", "expected"),
    [
        pytest.param({"size": 48}, "cpu", "device", id="small images on a CPU"),
        pytest.param({"size": 224}, "cpu", "loader", id="large images on a CPU"),
        pytest.param({"size": 97, "depth": 3}, "cpu", "loader", id="large images in colour on a CPU"),
        pytest.param({"size": 224}, "cuda", "device", id="large images on a GPU"),
        pytest.param({"pipeline": "loader"}, "cuda", "loader", id="as set"),
    ],
)
def test_auto_chooses_by_size_and_device(settings, device, expected, tiny_data):
    data = tiny_data(**settings)
    data.setup()
    assert data.choose_pipeline(torch.device(device)) == expected


def test_images_that_do_not_fit_a_gpu_stay_off_it(tiny_data, monkeypatch):
    data = tiny_data()
    data.setup()
    total = sum(split.images.nbytes for split in data.splits.values())
    for limit, expected in ((total, "device"), (total - 1, "loader")):
        monkeypatch.setattr("fer.data.images.MAX_GPU_BYTES", limit)
        assert data.choose_pipeline(torch.device("cuda")) == expected


def test_images_that_would_fill_the_memory_when_they_are_resized_are_resized_one_by_one(
    tiny_data, monkeypatch
):
    data = tiny_data(image_size=12)
    data.setup()
    total = sum(len(split) for split in data.splits.values()) * 12 * 12
    for limit, expected in ((total, "device"), (total - 1, "loader")):
        monkeypatch.setattr("fer.data.images.MAX_RESIZED_BYTES", limit)
        assert data.choose_pipeline(torch.device("cpu")) == expected


def test_a_transform_of_ones_own_is_for_the_loader(tiny_data):
    for pipeline in ("auto", "loader", "device"):
        data = tiny_data(pipeline=pipeline)
        data.transform = augmentation("onghena")
        data.setup()
        if pipeline == "device":
            with pytest.raises(InputError, match=r"your own transform: set data\.pipeline=loader"):
                data.train_dataloader()
        else:
            assert data.choose_pipeline(torch.device("cpu")) == "loader"


def test_an_unknown_pipeline_is_refused(tiny_data):
    with pytest.raises(InputError, match=r"data\.pipeline is 'gpu': it must be one of auto, device, loader"):
        tiny_data(pipeline="gpu")


@pytest.mark.parametrize("pipeline", [name for name in get_args(Pipeline) if name != "auto"])
def test_soft_targets_train_and_labels_evaluate(pipeline, tiny_data):
    class Soft(tiny_data):
        def load_splits(self):
            splits = super().load_splits()
            images, labels = splits["train"].images, splits["train"].labels
            targets = np.eye(7, dtype=np.float32)[labels]
            train = ImageSplit(images=images, labels=labels, names=numbered(28), targets=targets)
            return splits | {"train": train}

    data = Soft(pipeline=pipeline)
    data.setup()
    assert next(iter(data.train_dataloader()))[1].shape == (7, 7)
    assert next(iter(data.test_dataloader()[0]))[1].shape == (7,)
