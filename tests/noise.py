"""Images of noise, as many and as large as a bench needs."""

from typing import Any

import numpy as np
from measured import SIZES

from fer.data.base import numbered
from fer.data.images import ImageDataModule, ImageSplit


class Noise(ImageDataModule):
    """Images of noise, as many as FER2013 has.

    Args:
        num_train: Images of the train split.
        num_val: Images of the validation split, and of the test split.
        size: Height and width of the images, in pixels.
        **kwargs: See :class:`fer.data.images.ImageDataModule`.
    """

    def __init__(
        self, num_train: int = SIZES["train"], num_val: int = SIZES["val"], size: int = 48, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.nums = {"train": num_train, "val": num_val, "test": num_val}
        self.size = size

    def load_splits(self) -> dict[str, ImageSplit]:
        """Return the splits; images have as many colours as the inputs."""
        rng, colours = np.random.default_rng(0), () if self.channels == 1 else (3,)
        return {
            name: ImageSplit(
                images=rng.integers(256, size=(num, self.size, self.size, *colours), dtype=np.uint8),
                labels=np.arange(num) % 7,
                names=numbered(num),
            )
            for name, num in self.nums.items()
        }
