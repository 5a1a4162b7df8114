"""Views of an image for test-time augmentation, for both NumPy arrays and torch tensors."""

from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol, TypeVar

Tta = Literal["none", "flip", "ten_crop"]
"""Views of each image that the network is run on; the prediction is the mean of their probabilities.

- ``none``: the image.
- ``flip``: the image, and its mirror image (left to right).
- ``ten_crop``: the image and its four diagonal shifts by :data:`SHIFT`, each also mirrored. Borders are
  repeated outwards, so that all views have the size of the image.
"""

SHIFT: Final = 1 / 24
"""Shift of ``ten_crop`` in x and in y, as a share of the image's size: 2 of 48 pixels, as for crops of 44."""


class Images(Protocol):
    """Images in the layout ``(…, H, W)``: a NumPy array or a tensor."""

    @property
    def shape(self) -> Sequence[int]:
        """Sizes of the axes."""

    def __getitem__(self, key: Any, /) -> Any:
        """Return the entries at indices."""


I = TypeVar("I", bound=Images)  # noqa: E741


NUM_VIEWS: Final[dict[Tta, int]] = {"none": 1, "flip": 2, "ten_crop": 10}
"""Number of views. The views of a kind with fewer are the first views of a kind with more."""


def views(images: I, tta: Tta) -> list[I]:
    """Return the views of a batch: the images, their mirror images, then each shift, plain and mirrored.

    Args:
        images: Shape ``(…, H, W)``.
        tta: Kind of views.

    >>> import numpy as np
    >>> [view.tolist() for view in views(np.array([[1, 2, 3]]), "flip")]
    [[[1, 2, 3]], [[3, 2, 1]]]
    """
    directions = ((0, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))[: max(1, NUM_VIEWS[tta] // 2)]
    plain = [images if direction == (0, 0) else _shifted(images, *direction) for direction in directions]
    return [view for each in plain for view in (each, _mirrored(each))][: NUM_VIEWS[tta]]


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
