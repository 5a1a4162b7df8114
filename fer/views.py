"""Views of an image for test-time augmentation, for NumPy arrays and torch tensors alike."""

from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol, TypeVar

Tta = Literal["none", "flip", "ten_crop"]
"""Which views of each image a network is given; the mean of their probabilities is the answer.

- ``none``: the image.
- ``flip``: the image, and mirrored left to right.
- ``ten_crop``: the image and its four diagonal shifts by :data:`SHIFT`, each also mirrored. A shift is a
  window of the image whose border is repeated outside of it: of the size that the network takes, as the five
  crops of a larger image would be.
"""

SHIFT: Final = 1 / 24
"""Shift of ``ten_crop`` in x and in y, as a share of the image's size: 2 pixels of 48."""


class Images(Protocol):
    """Images in the layout ``(…, H, W)``: a NumPy array or a tensor."""

    @property
    def shape(self) -> Sequence[int]:
        """Sizes of the axes."""

    def __getitem__(self, key: Any, /) -> Any:
        """Return the entries at indices."""


I = TypeVar("I", bound=Images)  # noqa: E741


def views(images: I, tta: Tta) -> list[I]:
    """Return the views of a batch of images, the images themselves first.

    Args:
        images: Shape ``(…, H, W)``.
        tta: Which views.

    >>> import numpy as np
    >>> [view.tolist() for view in views(np.array([[1, 2, 3]]), "flip")]
    [[[1, 2, 3]], [[3, 2, 1]]]
    """
    if tta == "none":
        return [images]
    if tta == "flip":
        return [images, _mirrored(images)]
    shifted = [images, *(_shifted(images, y, x) for y in (-1, 1) for x in (-1, 1))]
    return [*shifted, *map(_mirrored, shifted)]


def _mirrored(images: I) -> I:
    mirrored: I = images[..., list(range(images.shape[-1]))[::-1]]
    return mirrored


def _shifted(images: I, y: int, x: int) -> I:
    """Return images moved by :data:`SHIFT` up or down, left or right, with their borders repeated."""
    rows, columns = (
        [min(max(place + direction * max(1, round(SHIFT * size)), 0), size - 1) for place in range(size)]
        for direction, size in ((y, images.shape[-2]), (x, images.shape[-1]))
    )
    shifted: I = images[..., rows, :][..., columns]
    return shifted
