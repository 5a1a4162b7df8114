"""A contact sheet of each augmentation: one image, augmented by the batch and by albumentations.

``python tests/bench/augmentations.py --out augmentations.png``. Each policy has two rows of one synthetic
face, the upper one by the batch.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from fer.data import SyntheticFacesDataModule
from fer.data.augment import augmentation, policy_of, seed_augmentation
from fer.data.batches import Augmenter, draw_numbers

POLICIES = ("fer", "markou", "onghena", "narayan", "jain")


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the sheet, and write it as PNG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("augmentations.png"))
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument("--images", type=int, default=16, help="in a row")
    given = parser.parse_args(argv)
    data = SyntheticFacesDataModule(num_train=70)
    data.setup()
    image = data.splits["train"].images[0]
    figure = Figure((given.images * 0.7, 2 * len(POLICIES) * 0.75), layout="constrained")
    axes = figure.subplots(2 * len(POLICIES), given.images, squeeze=False)
    for number, name in enumerate(POLICIES):
        rows = _batched(name, image, given), _one_by_one(name, image, given)
        for way, images in enumerate(rows):
            for ax, each in zip(axes[2 * number + way], images, strict=True):
                ax.imshow(each, cmap="gray", vmin=0, vmax=255)
                ax.set_axis_off()
            title = f"{name}: {('by the batch', 'albumentations')[way]}"
            axes[2 * number + way, 0].set_title(title, loc="left", size=7)
    figure.savefig(given.out, dpi=100)
    sys.stdout.write(f"{given.out}\n")


def _batched(name: str, image: np.ndarray, given: argparse.Namespace) -> np.ndarray:
    policy = policy_of(name, strength=given.strength)  # type: ignore[arg-type]
    augmenter = Augmenter(
        torch.from_numpy(image[None, :, :, None]),
        mean=np.zeros(1, np.float32),
        std=np.full(1, 1 / 255, np.float32),
        channels=1,
        policy=policy,
    )
    table = draw_numbers(policy, np.arange(given.images, dtype=np.uint64), *image.shape)  # type: ignore[arg-type]
    return augmenter(torch.zeros(given.images, dtype=torch.int64), torch.from_numpy(table))[:, 0].numpy()


def _one_by_one(name: str, image: np.ndarray, given: argparse.Namespace) -> list[np.ndarray]:
    transform = augmentation(name, strength=given.strength)  # type: ignore[arg-type]
    seed_augmentation(transform, 0)  # type: ignore[arg-type]
    return [transform(image=image)["image"] for _ in range(given.images)]  # type: ignore[misc]


if __name__ == "__main__":
    main()
