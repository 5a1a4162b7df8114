"""Named augmentations: the papers' and ours, drawn anew for every image in every epoch."""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What an augmentation draws for an image; all ranges are uniform.

    The image is mirrored, warped by one affine map, lit and erased, in this order.

    Attributes:
        flip: Probability of a mirrored image.
        flip_last: Whether the mirror comes after the rest, which changes no distribution.
        warp: Probability of the affine map.
        degrees: Largest rotation to either side.
        scale: Largest change of width and of height, each drawn by itself, as a share of 1.
        shift: Largest shift in x and in y, as a share of the image's size; whole pixels.
        replicate: Whether the image's border is repeated outside of it; else it is black there.
        light: Probability of another brightness and contrast.
        contrast: Largest change of contrast around black, as a share of 1.
        brightness: Largest brightness that is added, as a share of white.
        jitter: Factors, from and to, of brightness, contrast around the mean and saturation, in random order.
        erase: Probability of a black rectangle.
        area: Smallest and largest area of the rectangle, as a share of the image.
        ratio: Smallest and largest width of the rectangle, as a share of its height.
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
    # The paper gives no sizes: rotation as Jain's and jitter as torchvision's examples have them.
    "narayan": lambda strength: Policy(
        warp=1.0,
        degrees=10 * strength,
        jitter=(max(0.0, 1 - 0.2 * strength), 1 + 0.2 * strength),
        flip_last=True,
    ),
    "jain": lambda strength: Policy(warp=1.0, degrees=10 * strength, flip_last=True),
}


def policy_of(name: Augment, *, strength: float = 1.0) -> Policy | None:
    """Return the distributions of an augmentation; None where there is nothing to do.

    Args:
        name: Which one; see :data:`Augment`.
        strength: Scales ranges of angles, shifts and contrasts; 1 is as published, 0 next to
            nothing but the mirror; 3 at most.

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
    """Build an augmentation of uint8 images (H, W) or (H, W, C), one at a time, by albumentations.

    Args:
        name: Which one; see :data:`Augment`.
        strength: See :func:`policy_of`.

    Returns:
        The composed transform, or None where there is nothing to do. albumentations heeds no global seed:
        :func:`seed_augmentation` seeds it.

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
    """Let a transform draw its next image's random numbers from a seed.

    Args:
        transform: Its parts share one generator: if each had one of the same seed, every rotation to the left
            would be the one that is mirrored, too.
        seed: 0 or more.
    """
    transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
