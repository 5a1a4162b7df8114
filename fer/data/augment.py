"""Named augmentations: the papers' and ours, drawn anew for every image in every epoch."""

import os
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np

from fer.errors import InputError

# albumentations asks PyPI for a newer release when it is imported, which no training should wait for.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

if TYPE_CHECKING:
    import albumentations as A

Augment = Literal["none", "fer", "markou", "onghena", "narayan", "jain"]
"""What is done to a training image.

- ``none``: nothing.
- ``fer``: ours: flip, shift, scale, rotation, light, and a patch erased.
- ``markou``: horizontal flip and rotation up to 25 degrees (Markou, section 2.1).
- ``onghena``: horizontal flip (the code that Onghena and Belo built on).
- ``narayan``: rotation, brightness, contrast and saturation, flip (Narayan and Ge, section 3).
- ``jain``: rotation and horizontal flip (Jain, section 2.2).
"""


def _fer(strength: float) -> "list[A.BasicTransform]":
    import albumentations as A
    import cv2

    return [
        A.HorizontalFlip(p=0.5),
        A.Affine(
            scale=(1 - 0.15 * strength, 1 + 0.15 * strength),
            translate_percent=(-0.1 * strength, 0.1 * strength),
            rotate=(-15 * strength, 15 * strength),
            border_mode=cv2.BORDER_REPLICATE,
            p=0.9,
        ),
        A.RandomBrightnessContrast(0.2 * strength, 0.2 * strength, p=0.5),
        A.Erasing(scale=(0.02, 0.02 + 0.13 * strength), p=0.5 * min(strength, 1.0)),
    ]


def _markou(strength: float) -> "list[A.BasicTransform]":
    import albumentations as A

    return [A.HorizontalFlip(p=0.5), A.Rotate(limit=(-25 * strength, 25 * strength), p=1.0)]


def _onghena(strength: float) -> "list[A.BasicTransform]":
    import albumentations as A

    return [A.HorizontalFlip(p=0.5 * min(strength, 1.0))]


def _narayan(strength: float) -> "list[A.BasicTransform]":
    import albumentations as A

    # The paper gives no sizes: rotation as Jain's and jitter as torchvision's examples have them.
    jitter = (max(0.0, 1 - 0.2 * strength), 1 + 0.2 * strength)
    return [
        A.Rotate(limit=(-10 * strength, 10 * strength), p=1.0),
        A.ColorJitter(brightness=jitter, contrast=jitter, saturation=jitter, hue=(0, 0), p=1.0),
        A.HorizontalFlip(p=0.5),
    ]


def _jain(strength: float) -> "list[A.BasicTransform]":
    import albumentations as A

    return [A.Rotate(limit=(-10 * strength, 10 * strength), p=1.0), A.HorizontalFlip(p=0.5)]


_POLICIES: "Final[dict[str, Callable[[float], list[A.BasicTransform]]]]" = {
    "none": lambda strength: [],
    "fer": _fer,
    "markou": _markou,
    "onghena": _onghena,
    "narayan": _narayan,
    "jain": _jain,
}


def augmentation(name: Augment, *, strength: float = 1.0) -> "A.Compose | None":
    """Build an augmentation of uint8 images (H, W) or (H, W, C), as albumentations has them.

    Args:
        name: Which one; see :data:`Augment`.
        strength: Scales ranges of angles, shifts and contrasts; 1 is as published, 0 next to
            nothing but the mirror; 3 at most.

    Returns:
        The composed transform, or None where there is nothing to do. albumentations heeds no global seed:
        :func:`seed_augmentation` seeds it.

    Raises:
        InputError: The name is unknown or the strength out of its range.
    """
    if name not in _POLICIES:
        msg = f"data.augment is {name!r}: it must be one of {', '.join(get_args(Augment))}"
        raise InputError(msg)
    if not 0 <= strength <= 3:
        msg = f"data.augment_strength is {strength}: it must be 0 to 3"
        raise InputError(msg)
    transforms = _POLICIES[name](strength)
    if not transforms:
        return None
    import albumentations as A  # not above: it is slow to import, and no augmentation needs none

    return A.Compose(transforms)


def seed_augmentation(transform: "A.Compose", seed: int) -> None:
    """Let a transform draw its next image's random numbers from a seed.

    Args:
        transform: Its parts share one generator: if each had one of the same seed, every rotation to the left
            would be the one that is mirrored, too.
        seed: 0 or more.
    """
    transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
