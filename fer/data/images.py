"""Images of faces as network inputs: sizes, channels, normalisation, augmentation."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from fer.data.audit import seen_in
from fer.data.augment import Augment, augmentation, policy_of, seed_augmentation
from fer.data.base import ExpressionDataModule, Item, Split
from fer.data.batches import Augmenter, BatchedImages
from fer.data.descriptors import NUM_FEATURES, Descriptors
from fer.data.draws import Draw
from fer.data.faces import CropSettings
from fer.data.pixels import resize, to_channels, to_grey
from fer.errors import InputError, check_choice

if TYPE_CHECKING:
    import albumentations as A

log = logging.getLogger("fer.data")

Normalise = Literal["train", "half", "imagenet"]
"""Normalisation of pixels in 0..1.

- ``train``: by the mean and standard deviation of the train split, per channel.
- ``half``: to -1..1.
- ``imagenet``: by ImageNet's mean and standard deviation, for networks pretrained on it (three channels).
"""

Pipeline = Literal["auto", "device", "loader"]
"""Where training images are augmented and normalised.

- ``device``: in whole batches, on the training device, which holds all images as bytes.
- ``loader``: one by one with albumentations, in the data loader's worker processes.
- ``auto``: ``device`` if the images are small enough, else ``loader``. On a GPU, all splits may take at most
  2 GiB. On a CPU, an image may take at most 3 x 96 x 96 bytes, and all images that are resized to the input's
  size at most 512 MiB. Always ``loader`` if a subclass sets its own ``transform``.
"""

MAX_GPU_BYTES: Final = 2 * 2**30
"""Largest size of all splits that ``auto`` puts on a GPU, in bytes."""

MAX_RESIZED_BYTES: Final = 2**29
"""Largest size of all resized images that ``auto`` keeps in memory beside the originals, in bytes."""

MAX_CPU_BYTES: Final = 3 * 96 * 96
"""Largest size of an image that ``auto`` augments in batches on a CPU, in bytes."""

IMAGES_AT_ONCE: Final = 256
"""Number of images whose pixel values are counted at once."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageSplit(Split):
    """Images with their labels.

    Attributes:
        images: uint8, shape (N, H, W) for grey images or (N, H, W, 3) for RGB.
    """

    images: NDArray[np.uint8]


class ImageDataset(Dataset[Item]):
    """Images of a split as network inputs, augmented when they are loaded.

    If the index is a :class:`fer.data.draws.Draw`, its seed seeds the augmentation.

    An item is ``(inputs, target)``. ``inputs`` are float32 of shape (C, image_size, image_size). ``target``
    is the label, an int64 scalar, or the soft target, float32 of shape (K,), if ``training`` is set and the
    split has soft targets.
    """

    def __init__(
        self,
        split: ImageSplit,
        *,
        image_size: int,
        channels: int,
        mean: NDArray[np.float32],
        std: NDArray[np.float32],
        transform: "A.Compose | None" = None,
        training: bool = False,
    ) -> None:
        self.split = split
        self.targets = torch.from_numpy(split.targets_of(training=training))
        self.image_size = image_size
        self.channels = channels
        self.mean = mean
        self.std = std
        self.transform = transform

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.split.images[index]
        if self.transform is not None:
            if isinstance(index, Draw):
                seed_augmentation(self.transform, index.seed)
            image = self.transform(image=image)["image"]
        image = to_channels(resize(image, self.image_size), self.channels)
        # In place, to save copies: this runs for every image of every epoch.
        values = image.astype(np.float32)
        values -= 255 * self.mean
        values /= 255 * self.std
        return torch.from_numpy(values).permute(2, 0, 1), self.targets[index]


def channel_statistics(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean and the standard deviation of pixels in 0..1, per channel.

    Args:
        images: uint8, shape (N, H, W) or (N, H, W, C).

    Returns:
        Two float32 arrays of shape (C,), C = 1 for grey images.
    """
    channels = images[..., np.newaxis] if images.ndim == 3 else images
    values = np.arange(256) / 255
    # Counting the 256 values is exact and needs no copy of the images as floats. bincount converts each pixel
    # to 8 bytes, hence the parts.
    parts = np.array_split(channels, len(channels) // IMAGES_AT_ONCE + 1)
    counts = np.sum(
        [[np.bincount(c.ravel(), minlength=256) for c in np.moveaxis(part, -1, 0)] for part in parts], axis=0
    )
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ values
    std = np.sqrt(share @ values**2 - mean**2)
    return mean.astype(np.float32), np.maximum(std, 1 / 255).astype(np.float32)


class ImageDataModule(ExpressionDataModule):
    """Images with class labels, as batches ``(inputs, labels)``.

    ``inputs`` are float32 of shape (N, channels, image_size, image_size), ``labels`` int64 of shape (N,).
    Only the train split is augmented. If images of a test split also occur in train or val, its metrics are
    reported twice: for all images, and without these images (the clean split).

    Args:
        image_size: Height and width of the network's input, in pixels.
        channels: Number of colour channels: 1 for grey, 3 for RGB (grey images are repeated).
        normalise: Normalisation of the pixels: by mean and standard deviation of the train split (train), to
            -1 to 1 (half), or by ImageNet's (imagenet).
        augment: Augmentation of the training images: none, fer (flips, shifts, rotations, scaling,
            brightness, erasing), or that of a paper; see :data:`fer.data.augment.Augment`. Ignored
            with ``descriptors``.
        augment_strength: Strength of the augmentation: 1 as defined, 0 almost none, 2 twice as strong.
        pipeline: Where images are augmented; see :data:`Pipeline`. A run's config records the choice of
            ``auto``.
        clean: Remove training images that also occur, pixel by pixel, in val or test.
        descriptors: Use ten features as inputs instead of pixels: the first principal components of LPQ
            and PHOG, fitted on train; see :class:`fer.data.descriptors.Descriptors`.
        **kwargs: See :class:`fer.data.base.ExpressionDataModule`.

    Raises:
        InputError: A setting is out of its range, or a batch is larger than the train split.
    """

    splits: dict[str, ImageSplit]

    def __init__(
        self,
        *,
        image_size: int = 48,
        channels: int = 1,
        normalise: Normalise = "train",
        augment: Augment = "none",
        augment_strength: float = 1.0,
        pipeline: Pipeline = "auto",
        clean: bool = False,
        descriptors: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if image_size < 1:
            msg = f"data.image_size is {image_size}: it must be 1 or more pixels"
            raise InputError(msg)
        if channels not in (1, 3):
            msg = f"data.channels is {channels}: it must be 1 (grey) or 3 (RGB)"
            raise InputError(msg)
        check_choice("data.normalise", normalise, Normalise)
        check_choice("data.pipeline", pipeline, Pipeline)
        if normalise == "imagenet" and channels != 3:
            msg = "data.normalise=imagenet needs three channels: set data.channels=3"
            raise InputError(msg)
        self.image_size = image_size
        self.channels = channels
        self.normalise = normalise
        self.clean = clean
        self.descriptors = descriptors
        self.policy = policy_of(augment, strength=augment_strength)
        self._augment, self._strength = augment, augment_strength
        self.pipeline: Pipeline = pipeline
        self.clean_names: tuple[str, ...] = ()
        self.is_normalised = False
        """Whether mean and std come from a checkpoint instead of the train split."""
        self._features: dict[str, Tensor] = {}
        self._pixels: dict[tuple[str, bool], Tensor] = {}

    @classmethod
    def photo_crop(cls, settings: Mapping[str, Any]) -> CropSettings:
        """Return crop settings that make the faces of a photo look like the images of this data set.

        Args:
            settings: Settings of the data module, as stored in a checkpoint.
        """
        return CropSettings(size=settings.get("image_size", 48))

    @property
    def num_features(self) -> int:
        """Numbers in one network input."""
        return NUM_FEATURES if self.descriptors else self.channels * self.image_size**2

    @property
    def evaluated_names(self) -> tuple[str, ...]:
        """Splits that are evaluated: train without augmentation, val, the test splits, and the clean ones."""
        return (*super().evaluated_names, *self.clean_names)

    @cached_property
    def transform(self) -> "A.Compose | None":
        """Augmentation of one image, which a subclass may replace; None: no augmentation."""
        return self._named

    @cached_property
    def _named(self) -> "A.Compose | None":
        """The augmentation named by ``augment``, made when it is needed: albumentations is slow to import."""
        return augmentation(self._augment, strength=self._strength)

    @property
    def _has_own_transform(self) -> bool:
        return "transform" in vars(self) and self.transform is not self._named

    @property
    def augments(self) -> bool:
        """Whether training images are augmented."""
        chosen = self.transform if self._has_own_transform else self.policy
        return chosen is not None and not self.descriptors

    def prepare_splits(self, splits: dict[str, ImageSplit]) -> dict[str, ImageSplit]:
        """Return the splits and the clean test splits; with ``clean``, remove duplicates from train first."""
        train, val = splits["train"], splits["val"]
        tests = {name: splits[name] for name in self.test_names}
        if self.clean:
            repeated = seen_in(train.images, [split.images for split in (val, *tests.values())])
            train = train.take(np.flatnonzero(~repeated))
            log.info("%d training images are left out, since they also occur in val or test", repeated.sum())
        rests = {}
        for name, test in tests.items():
            repeated = seen_in(test.images, [train.images, val.images])
            if repeated.any() and not repeated.all():
                rests["clean" if name == "test" else f"{name}_clean"] = test.take(np.flatnonzero(~repeated))
        self.clean_names = tuple(rests)
        used = {"train": train, "val": val, **tests, **rests}
        if self.channels == 1 and train.images.ndim == 4:
            return {name: replace(split, images=to_grey(split.images)) for name, split in used.items()}
        return used

    def fit(self, train: ImageSplit) -> None:
        """Fit the normalisation or the descriptors on the train split."""
        if self.descriptors:
            self.described = Descriptors.fit(self._grey(train))
            return
        if self.is_normalised:
            return
        if self.normalise == "train":
            mean, std = channel_statistics(train.images)
        elif self.normalise == "half":
            mean = std = np.array([0.5], np.float32)
        else:
            mean, std = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)
        self.mean, self.std = mean, std

    def state_dict(self) -> dict[str, Any]:
        """Return mean and std, for checkpoints: they are needed to use the network without this package."""
        if self.descriptors or not self.splits:
            return {}
        return {"mean": self.mean.tolist(), "std": self.std.tolist()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Use a checkpoint's mean and std, as its network was trained with them."""
        if state_dict and not self.descriptors:
            self.mean, self.std = (np.array(state_dict[key], np.float32) for key in ("mean", "std"))
            self.is_normalised = True

    def dataset(self, name: str, *, augmented: bool = False) -> Dataset[Item]:
        """Return a split as a dataset of network inputs.

        Args:
            name: ``train``, ``val``, or another of :attr:`evaluated_names`.
            augmented: Whether the items are for training: augmented, with soft targets if the split has
                them. Descriptors are computed once, without augmentation.
        """
        split = self.splits[name]
        if self.descriptors:
            if name not in self._features:
                self._features[name] = torch.from_numpy(self.described.transform(self._grey(split)))
            targets = torch.from_numpy(split.targets_of(training=augmented))
            return TensorDataset(self._features[name], targets)
        if self.choose_pipeline(self.device) == "device":
            return self._batched(name, augmented=augmented)
        return ImageDataset(
            split,
            image_size=self.image_size,
            channels=self.channels,
            mean=self.mean,
            std=self.std,
            transform=self.transform if augmented else None,
            training=augmented,
        )

    def choose_pipeline(self, device: torch.device) -> Pipeline:
        """Return where images are augmented; see :data:`Pipeline`.

        Args:
            device: Device of the training.

        Raises:
            InputError: The pipeline is ``device``, but a subclass sets a transform, which needs ``loader``.
        """
        is_own = self._has_own_transform
        if self.pipeline == "device" and is_own:
            msg = "data.pipeline is 'device', which cannot apply your own transform: set data.pipeline=loader"
            raise InputError(msg)
        if self.pipeline != "auto":
            return self.pipeline
        images = [split.images for split in self.splits.values()]
        # For evaluation, the splits are also kept at the input's size, unless they have that size already.
        new_bytes = self.image_size**2 * min(self.channels, 3 if images and images[0].ndim == 4 else 1)
        resized = sum(len(each) * new_bytes for each in images if each[0].nbytes != new_bytes)
        if device.type == "cuda":
            fits = sum(each.nbytes for each in images) + resized <= MAX_GPU_BYTES
        else:
            fits = all(each[0].nbytes <= MAX_CPU_BYTES for each in images) and resized <= MAX_RESIZED_BYTES
        return "device" if fits and not is_own else "loader"

    def _batched(self, name: str, *, augmented: bool) -> BatchedImages:
        """Return a split as a dataset that makes whole batches."""
        split, policy = self.splits[name], self.policy if augmented else None
        # Images are kept on CUDA devices only; for other devices, batches are made on the CPU and then moved.
        device = self.device if self.device.type == "cuda" else torch.device("cpu")
        augmenter = Augmenter(
            self._pixels_of(name, device, resized=policy is None),
            mean=self.mean,
            std=self.std,
            channels=self.channels,
            image_size=self.image_size,
            policy=policy,
        )
        return BatchedImages(augmenter, torch.from_numpy(split.targets_of(training=augmented)).to(device))

    def _pixels_of(self, name: str, device: torch.device, *, resized: bool) -> Tensor:
        """Return the images of a split on a device, uint8 of shape (N, H, W, C)."""
        images, size = self.splits[name].images, self.image_size
        resized &= images.shape[1:3] != (size, size)
        pixels = self._pixels.get((name, resized))
        if pixels is None or pixels.device != device:
            images = to_grey(images) if self.channels == 1 else images
            if resized:  # once for all epochs; rounded to uint8, as in the loader pipeline
                images = np.stack([resize(each, size) for each in images])
            pixels = torch.from_numpy(images.reshape(*images.shape[:3], -1)).to(device)
            self._pixels[name, resized] = pixels
        return pixels

    def _grey(self, split: ImageSplit) -> NDArray[np.uint8]:
        """Return a split's images in grey and at the input's size, shape (N, image_size, image_size)."""
        return to_grey(np.stack([resize(each, self.image_size) for each in split.images]))
