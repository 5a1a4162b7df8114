"""Named augmentations, the papers' and our own, drawn anew for every image in every epoch."""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np

from fer.errors import InputError

# albumentations asks PyPI for a newer release when it is imported; training should not wait for that.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

if TYPE_CHECKING:
    import albumentations as A

Augment = Literal["none", "fer", "markou", "onghena", "narayan", "jain"]
"""How training images are augmented.

- ``none``: not at all.
- ``fer``: our own: flip, shift, scale, rotation, brightness and contrast, random erasing.
- ``markou``: horizontal flip and rotation up to 25 degrees (Markou, section 2.1).
- ``onghena``: horizontal flip (the code that Onghena and Belo built on).
- ``narayan``: rotation, brightness, contrast and saturation, flip (Narayan and Ge, section 3).
- ``jain``: rotation and horizontal flip (Jain, section 2.2).
"""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Random ranges of an augmentation; all distributions are uniform.

    An image is mirrored, warped by one affine map, changed in brightness and contrast, and erased, in this
    order.

    Attributes:
        flip: Probability of mirroring.
        flip_last: Whether mirroring comes last; the distribution is the same.
        warp: Probability of the affine map.
        degrees: Largest rotation in either direction, in degrees.
        scale: Largest relative change of width and of height, drawn independently.
        shift: Largest shift in x and in y, as a share of the image's size; truncated to whole pixels.
        replicate: Whether the area outside the image repeats its border; otherwise it is black.
        light: Probability of a change of brightness and contrast.
        contrast: Largest relative change of contrast around black.
        brightness: Largest change of brightness, as a share of white.
        jitter: Lowest and highest factor of brightness, contrast around the mean and saturation, which are
            changed in random order; None: no jitter.
        erase: Probability of erasing a rectangle to black.
        area: Smallest and largest area of the rectangle, as a share of the image.
        ratio: Smallest and largest ratio of the rectangle's width to its height.
    """

    flip: float = 0.5
    flip_last: bool = False
    warp: float = 0.0
    degrees: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    replicate: bool = False
    light: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    jitter: tuple[float, float] | None = None
    erase: float = 0.0
    area: tuple[float, float] = (0.0, 0.0)
    ratio: tuple[float, float] = (0.3, 3.3)


_POLICIES: Final[dict[str, Callable[[float], Policy | None]]] = {
    "none": lambda strength: None,
    "fer": lambda strength: Policy(
        warp=0.9,
        degrees=15 * strength,
        scale=0.15 * strength,
        shift=0.1 * strength,
        replicate=True,
        light=0.5,
        contrast=0.2 * strength,
        brightness=0.2 * strength,
        erase=0.5 * min(strength, 1.0),
        area=(0.02, 0.02 + 0.13 * strength),
    ),
    "markou": lambda strength: Policy(warp=1.0, degrees=25 * strength),
    "onghena": lambda strength: Policy(flip=0.5 * min(strength, 1.0)),
    # The paper gives no magnitudes: rotation is Jain's, jitter that of torchvision's examples.
    "narayan": lambda strength: Policy(
        warp=1.0,
        degrees=10 * strength,
        jitter=(max(0.0, 1 - 0.2 * strength), 1 + 0.2 * strength),
        flip_last=True,
    ),
    "jain": lambda strength: Policy(warp=1.0, degrees=10 * strength, flip_last=True),
}


def policy_of(name: Augment, *, strength: float = 1.0) -> Policy | None:
    """Return the policy of an augmentation; None for ``none``.

    Args:
        name: Name of the augmentation; see :data:`Augment`.
        strength: Factor of the ranges of angles, shifts and contrasts, 0 to 3: 1 is as published, 0
            leaves little but mirroring.

    Raises:
        InputError: The name is unknown or the strength out of its range.
    """
    if name not in _POLICIES:
        msg = f"data.augment is {name!r}: it must be one of {', '.join(get_args(Augment))}"
        raise InputError(msg)
    if not 0 <= strength <= 3:
        msg = f"data.augment_strength is {strength}: it must be 0 to 3"
        raise InputError(msg)
    return _POLICIES[name](strength)


def augmentation(name: Augment, *, strength: float = 1.0) -> "A.Compose | None":
    """Build an albumentations transform of a uint8 image (H, W) or (H, W, C).

    Args:
        name: Name of the augmentation; see :data:`Augment`.
        strength: See :func:`policy_of`.

    Returns:
        The composed transform, or None for ``none``. albumentations ignores global seeds: seed it with
        :func:`seed_augmentation`.

    Raises:
        InputError: The name is unknown or the strength out of its range.
    """
    policy = policy_of(name, strength=strength)
    if policy is None:
        return None
    import albumentations as A
    import cv2

    degrees = (-policy.degrees, policy.degrees)
    flip = [A.HorizontalFlip(p=policy.flip)]
    others: list[A.BasicTransform] = []
    if policy.replicate:
        warp = A.Affine(
            scale=(1 - policy.scale, 1 + policy.scale),
            translate_percent=(-policy.shift, policy.shift),
            rotate=degrees,
            border_mode=cv2.BORDER_REPLICATE,
            p=policy.warp,
        )
        others.append(warp)
    elif policy.warp:
        others.append(A.Rotate(limit=degrees, p=policy.warp))
    if policy.light:
        others.append(A.RandomBrightnessContrast(policy.brightness, policy.contrast, p=policy.light))
    if policy.jitter is not None:
        factors = {name: policy.jitter for name in ("brightness", "contrast", "saturation")}
        others.append(A.ColorJitter(**factors, hue=(0, 0), p=1.0))
    if policy.area[1]:
        others.append(A.Erasing(scale=policy.area, ratio=policy.ratio, p=policy.erase))
    return A.Compose([*others, *flip] if policy.flip_last else [*flip, *others])


def seed_augmentation(transform: "A.Compose", seed: int) -> None:
    """Seed the random numbers of a transform's next image.

    Args:
        transform: The composed transform. Its parts share one generator: with equal seeds of their own,
            rotation and mirroring would be correlated.
        seed: Seed, 0 or more.
    """
    transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
