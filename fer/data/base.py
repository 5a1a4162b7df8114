"""What every data module of pictures shares: splits in memory, augmentation, batches."""

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from fer.data.augment import Augment, augmentation, seed_augmentation
from fer.errors import InputError
from fer.labels import NUM_EXPRESSIONS
from fer.processes import process_rank

if TYPE_CHECKING:
    import albumentations as A

Normalise = Literal["train", "half", "imagenet"]
"""How pixels in 0..1 are shifted and scaled.

- ``train``: by the mean and the deviation of the train split, per channel.
- ``half``: to -1..1.
- ``imagenet``: by ImageNet's mean and deviation, for networks pretrained there (three channels).
"""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Split:
    """One split of a data set, in memory.

    Attributes:
        pictures: uint8, shape (N, H, W) for grey pictures or (N, H, W, 3) for RGB.
        labels: int64, shape (N,), canonical labels; see :data:`fer.labels.EXPRESSIONS`.
    """

    pictures: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.integer]) -> "Split":
        """Return the split that holds the given rows, in their order."""
        return Split(self.pictures[rows], self.labels[rows])


class PictureDataset(Dataset[tuple[Tensor, Tensor]]):
    """Pictures of a split as network inputs, each augmented when it is asked for.

    An item is ``(inputs, labels)``: float32 of shape (C, image_size, image_size), and an int64 scalar.
    """

    def __init__(
        self,
        split: Split,
        *,
        image_size: int,
        channels: int,
        mean: NDArray[np.float32],
        std: NDArray[np.float32],
        transform: "A.Compose | None" = None,
    ) -> None:
        self.split = split
        self.image_size = image_size
        self.channels = channels
        self.mean = mean
        self.std = std
        self.transform = transform

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        picture = self.split.pictures[index]
        if self.transform is not None:
            picture = self.transform(image=picture)["image"]
        picture = to_channels(resize(picture, self.image_size), self.channels)
        # Two steps in place instead of one expression: this runs for every picture of every epoch.
        values = picture.astype(np.float32)
        values -= 255 * self.mean
        values /= 255 * self.std
        return torch.from_numpy(values).permute(2, 0, 1), torch.tensor(self.split.labels[index])


def resize(picture: NDArray[np.uint8], image_size: int) -> NDArray[np.uint8]:
    """Return the picture (H, W) or (H, W, C) as a square of ``image_size`` pixels."""
    if picture.shape[:2] == (image_size, image_size):
        return picture
    import cv2

    shrinks = picture.shape[0] > image_size
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (image_size, image_size), interpolation=interpolation), np.uint8)


def to_channels(picture: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Return the picture (H, W) or (H, W, C) as (H, W, channels), grey by luminance, RGB by repetition."""
    if picture.ndim == 2:
        picture = picture[:, :, np.newaxis]
    if picture.shape[2] == channels:
        return picture
    if channels == 3:
        return picture.repeat(3, axis=2)
    import cv2

    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)[:, :, np.newaxis]


def channel_statistics(pictures: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean and the standard deviation of pixels in 0..1, per channel.

    Args:
        pictures: uint8, shape (N, H, W) or (N, H, W, C).

    Returns:
        Two float32 arrays of shape (C,), C = 1 for grey pictures.
    """
    channels = pictures[..., np.newaxis] if pictures.ndim == 3 else pictures
    values = np.arange(256) / 255
    # Counting the 256 values is exact and needs no copy of the pictures as floats.
    counts = np.stack([np.bincount(c.ravel(), minlength=256) for c in np.moveaxis(channels, -1, 0)])
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ values
    std = np.sqrt(share @ values**2 - mean**2)
    return mean.astype(np.float32), np.maximum(std, 1 / 255).astype(np.float32)


class PictureDataModule(LightningDataModule, ABC):
    """Pictures of faces with one of seven expressions, as batches ``(inputs, labels)``.

    ``inputs`` are float32 of shape (N, channels, image_size, image_size), ``labels`` int64 of shape (N,).
    Only the train split is augmented.

    Args:
        image_size: Height and width of the network's input, in pixels.
        channels: 1 for grey, 3 for RGB (a grey picture is repeated).
        batch_size: Pictures a step, in each process.
        num_workers: Processes that prepare batches; null: none on a CPU, where they would take the cores
            that train, else as many as there are cores, 8 at most.
        normalise: How pixels are scaled; see :data:`Normalise`.
        augment: What is done to training pictures; see :data:`fer.data.augment.Augment`.
        augment_strength: 1 as named, 0 next to nothing, 2 twice as much.
        seed: Of splits that are drawn at random. (The run's own seed is ``seed_everything``.)

    Raises:
        InputError: A setting is out of its range, or a batch is larger than the train split.
    """

    def __init__(
        self,
        *,
        image_size: int = 48,
        channels: int = 1,
        batch_size: int = 64,
        num_workers: int | None = None,
        normalise: Normalise = "train",
        augment: Augment = "none",
        augment_strength: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if image_size < 1:
            msg = f"data.image_size is {image_size}: it must be 1 or more pixels"
            raise InputError(msg)
        if channels not in (1, 3):
            msg = f"data.channels is {channels}: it must be 1 (grey) or 3 (RGB)"
            raise InputError(msg)
        if batch_size < 1:
            msg = f"data.batch_size is {batch_size}: it must be 1 or more"
            raise InputError(msg)
        if num_workers is not None and num_workers < 0:
            msg = f"data.num_workers is {num_workers}: it must be 0 (none) or more, or null"
            raise InputError(msg)
        if normalise not in get_args(Normalise):
            msg = f"data.normalise is {normalise!r}: it must be one of {', '.join(get_args(Normalise))}"
            raise InputError(msg)
        if normalise == "imagenet" and channels != 3:
            msg = "data.normalise=imagenet needs three channels: set data.channels=3"
            raise InputError(msg)
        self.image_size = image_size
        self.channels = channels
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.normalise = normalise
        self.seed = seed
        self.transform = augmentation(augment, strength=augment_strength)
        self.splits: dict[str, Split] = {}
        self.save_hyperparameters(logger=False)

    @abstractmethod
    def load_splits(self) -> dict[str, Split]:
        """Return the splits: ``train``, ``val``, and one for each of :attr:`test_names`."""

    @property
    def test_names(self) -> tuple[str, ...]:
        """Names of the test splits, one loader and one block of metrics each."""
        return ("test",)

    @property
    def evaluated_names(self) -> tuple[str, ...]:
        """Splits that testing reports, all from one checkpoint: train (not augmented), val, tests."""
        return ("train", "val", *self.test_names)

    @property
    def protocol_name(self) -> str:
        """How the splits were made, in words: printed beside every result."""
        return "as shipped"

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """Number of training pictures of each expression, shape (7,)."""
        return np.bincount(self.splits["train"].labels, minlength=NUM_EXPRESSIONS)

    def setup(self, stage: str | None = None) -> None:
        """Load the splits, once, and fit the normalisation on train."""
        del stage  # every stage needs train: its statistics normalise the others
        if self.splits:
            return
        self.splits = self.load_splits()
        num_train = len(self.splits["train"])
        if self.batch_size > num_train:
            msg = (
                f"data.batch_size is {self.batch_size}, more than the {num_train} pictures "
                f"of the train split: set it to {num_train} or less"
            )
            raise InputError(msg)
        if self.normalise == "train":
            mean, std = channel_statistics(self.splits["train"].pictures)
        elif self.normalise == "half":
            mean = std = np.array([0.5], np.float32)
        else:
            mean, std = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)
        self.mean, self.std = mean, std

    def dataset(self, name: str, *, augmented: bool = False) -> PictureDataset:
        """Return a split as a dataset of network inputs.

        Args:
            name: ``train``, ``val``, or one of :attr:`test_names`.
            augmented: Whether the augmentation is applied; only training wants that.
        """
        grey_input = self.channels == 1 and self.mean.size == 3
        return PictureDataset(
            self.splits[name],
            image_size=self.image_size,
            channels=self.channels,
            mean=self.mean.mean(keepdims=True) if grey_input else self.mean,
            std=self.std.mean(keepdims=True) if grey_input else self.std,
            transform=self.transform if augmented else None,
        )

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Shuffled, augmented batches; a last batch that is not full is left out."""
        seed_augmentation(self.transform)
        return self._loader(self.dataset("train", augmented=True), shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Batches of the validation split, in order."""
        return self._loader(self.dataset("val"))

    def test_dataloader(self) -> list[DataLoader[tuple[Tensor, Tensor]]]:
        """Batches of each split that testing reports, in the order of :attr:`evaluated_names`."""
        return [self._loader(self.dataset(name)) for name in self.evaluated_names]

    def predict_dataloader(self) -> list[DataLoader[tuple[Tensor, Tensor]]]:
        """Batches of each test split, in the order of :attr:`test_names`."""
        return [self._loader(self.dataset(name)) for name in self.test_names]

    def _loader(
        self, dataset: PictureDataset, *, shuffle: bool = False, drop_last: bool = False
    ) -> DataLoader[tuple[Tensor, Tensor]]:
        on_gpu = torch.cuda.is_available()
        automatic = min(os.cpu_count() or 1, 8) if on_gpu else 0
        num_workers = automatic if self.num_workers is None else self.num_workers
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            num_workers=num_workers,
            worker_init_fn=_seed_worker,
            persistent_workers=num_workers > 0,
            pin_memory=on_gpu,
        )


def _seed_worker(worker_id: int) -> None:
    """Give this worker's copy of the augmentation its own random numbers, in every process of a run."""
    del worker_id
    info = get_worker_info()
    torch.manual_seed(torch.initial_seed() + 1_000_003 * process_rank())
    if info is not None and isinstance(info.dataset, PictureDataset):
        seed_augmentation(info.dataset.transform)
