"""Synthetic faces as a data set."""

from typing import Any, Final

from fer.data.about import DRAWN
from fer.data.base import numbered
from fer.data.drawing import draw_faces
from fer.data.images import ImageDataModule, ImageSplit
from fer.errors import InputError

_SPLIT_SPACING: Final = 7 * 10**8
"""Distance between the first images of two splits in the sequence of faces."""


class SyntheticFacesDataModule(ImageDataModule):
    """Synthetic faces, for trying the toolkit without a data set.

    Args:
        num_train: Images in the train split.
        num_val: Images in the validation split.
        num_test: Images in the test split.
        **kwargs: Settings of every data module, see :class:`ImageDataModule`; ``seed`` chooses the faces.

    Raises:
        InputError: A setting is out of its range.
    """

    card = DRAWN

    def __init__(
        self, *, num_train: int = 3500, num_val: int = 700, num_test: int = 700, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.counts = {"train": num_train, "val": num_val, "test": num_test}
        for name, count in self.counts.items():
            if not 1 <= count <= _SPLIT_SPACING:
                msg = f"data.num_{name} is {count}: it must be from 1 to {_SPLIT_SPACING}"
                raise InputError(msg)

    @property
    def protocol_name(self) -> str:
        """How the splits were made, in words."""
        return "synthetic faces"

    def load_splits(self) -> dict[str, ImageSplit]:
        """Draw the splits, each from its own range of the seed's sequence of faces."""
        splits = {}
        for place, (name, count) in enumerate(self.counts.items()):
            images, labels = draw_faces(
                count,
                image_size=self.image_size,
                channels=self.channels,
                seed=self.seed,
                offset=place * _SPLIT_SPACING,
            )
            splits[name] = ImageSplit(images=images, labels=labels, names=numbered(count))
        return splits
