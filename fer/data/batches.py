"""Augment, normalise and resize images in batches, on the device that holds them.

The random numbers of an image depend only on the seed of its draw, not on the batch size or the number of
workers and processes.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, overload

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from fer.data.augment import Policy
from fer.data.draws import Draw

NUM_RANDOM: Final = 19
"""Random numbers drawn per image."""

Order = tuple[int, int, int]

ORDERS: Final[tuple[Order, ...]] = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
"""Possible orders of brightness (0), contrast (1) and saturation (2)."""


def uniform_numbers(seeds: NDArray[np.uint64], num: int) -> NDArray[np.float64]:
    """Return uniform random numbers in [0, 1) for each seed, by SplitMix64 (Steele et al., 2014).

    Args:
        seeds: Shape (N,).
        num: Numbers per seed.

    Returns:
        Shape (num, N).
    """
    steps = np.arange(1, num + 1, dtype=np.uint64)[:, None] * np.uint64(0x9E3779B97F4A7C15)
    state = seeds[None] + steps
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state = (state ^ (state >> np.uint64(31))) >> np.uint64(11)
    return np.asarray(state * 2.0**-53, np.float64)


THETA, LIGHT, BOX, JITTER = slice(0, 6), slice(6, 8), slice(8, 12), slice(12, 21)
"""Columns of the augmentation table, which has one row per image.

- ``THETA``: the affine map from output to input coordinates, both from -1 to 1: three numbers for x, three
  for y.
- ``LIGHT``: factor and offset of the pixels, which are 0 to 255.
- ``BOX``: the erased rectangle: top, bottom, left, right, in pixels.
- ``JITTER``: three steps, each with the weights of the pixel, its luminance and the image's mean luminance.
"""


def draw_numbers(policy: Policy, seeds: NDArray[np.uint64], height: int, width: int) -> NDArray[np.float32]:
    """Draw the augmentation parameters of images, with the distributions of albumentations 2.0.

    Args:
        policy: The augmentation policy.
        seeds: Seed of each image, 0 or more, shape (N,).
        height: Height of an image, in pixels.
        width: Width of an image, in pixels.

    Returns:
        The table, shape (N, 21); see :data:`THETA` for its columns.
    """
    u = uniform_numbers(seeds, NUM_RANDOM)
    table = np.zeros((len(seeds), 21), np.float32)
    table[:, THETA] = _theta(policy, u[:7], height, width).T
    is_lit = u[7] < policy.light
    factor, summand = 1 + policy.contrast * (2 * u[8] - 1), 255 * policy.brightness * (2 * u[9] - 1)
    table[:, LIGHT] = np.where(is_lit, [factor, summand], [[1], [0]]).T
    table[:, BOX] = _boxes(policy, u[10:15], height, width).T
    if policy.jitter is not None:
        table[:, JITTER] = _jitter(policy.jitter, u[15:19])
    return table


def _theta(policy: Policy, u: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Return the affine maps, shape (6, N)."""
    is_flipped, is_warped = u[0] < policy.flip, u[1] < policy.warp
    # Truncated to whole pixels, as in albumentations.
    shift_x = np.where(is_warped, np.trunc(policy.shift * (2 * u[2] - 1) * width), 0)
    shift_y = np.where(is_warped, np.trunc(policy.shift * (2 * u[3] - 1) * height), 0)
    scale_x = np.where(is_warped, 1 + policy.scale * (2 * u[4] - 1), 1)
    scale_y = np.where(is_warped, 1 + policy.scale * (2 * u[5] - 1), 1)
    angle = np.where(is_warped, np.deg2rad(policy.degrees * (2 * u[6] - 1)), 0)
    cos, sin = np.cos(angle), np.sin(angle)
    mirror = np.where(is_flipped, -1.0, 1.0)
    to_x, to_y = mirror / scale_x, 1 / scale_y
    return np.stack(
        [
            cos * to_x,
            -sin * to_x * height / width,
            -(cos * shift_x - sin * shift_y) * to_x * 2 / width,
            sin * to_y * width / height,
            cos * to_y,
            -(sin * shift_x + cos * shift_y) * to_y * 2 / height,
        ]
    )


def _boxes(policy: Policy, u: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Return the erased rectangles, empty for images that are not erased, shape (4, N)."""
    (least, most), (narrow, wide) = policy.area, policy.ratio
    total = height * width
    most = min(most * total, narrow * height**2, width**2 / wide)
    if most < least * total or not policy.erase:
        return np.zeros((4, u.shape[1]))
    area = least * total + (most - least * total) * u[1]
    low, high = np.maximum(narrow, area / height**2), np.minimum(wide, width**2 / area)
    ratio = low + (high - low) * u[2]
    is_erased = (u[0] < policy.erase) & (low <= high)
    tall, broad = np.rint(np.sqrt(area / ratio)), np.rint(np.sqrt(area * ratio))
    top, left = np.floor((height - tall + 1) * u[3]), np.floor((width - broad + 1) * u[4])
    return np.asarray(np.where(is_erased, [top, top + tall, left, left + broad], 0), np.float64)


def _jitter(factors: tuple[float, float], u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the steps of the colour jitter, shape (N, 9)."""
    low, high = factors
    brightness, contrast, saturation = low + (high - low) * u[:3]
    none = np.zeros_like(brightness)
    steps = np.stack(
        [
            np.stack([brightness, none, none]),
            np.stack([contrast, none, 1 - contrast]),
            np.stack([saturation, 1 - saturation, none]),
        ]
    )
    order = np.array(ORDERS)[(len(ORDERS) * u[3]).astype(np.int64)]
    in_order = steps.transpose(2, 0, 1)[np.arange(len(order))[:, None], order]
    return np.asarray(in_order.reshape(-1, 9), np.float64)


class Batch(Sequence[tuple[Tensor, Tensor]]):
    """A finished batch that is also a sequence of samples ``(inputs, target)``, for any collate function.

    Args:
        inputs: Shape (N, C, H, W).
        targets: Shape (N,) or (N, K).
    """

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs, self.targets = inputs, targets

    def __len__(self) -> int:
        return len(self.inputs)

    @overload
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]: ...

    @overload
    def __getitem__(self, index: slice) -> "Batch": ...

    def __getitem__(self, index: int | slice) -> "tuple[Tensor, Tensor] | Batch":
        if isinstance(index, slice):
            return Batch(self.inputs[index], self.targets[index])
        return self.inputs[index], self.targets[index]


def collate(samples: Sequence[Any]) -> Any:
    """Collate samples into a batch; the tensors of a :class:`Batch` are returned as they are."""
    if isinstance(samples, Batch):
        return [samples.inputs, samples.targets]
    return default_collate(list(samples))


class Augmenter:
    """Turns uint8 images into network inputs, in batches and without synchronising with the device.

    Args:
        images: uint8, shape (N, H, W, C), on the device.
        mean: Mean of the pixels, scaled to 0..1, shape (C,) or (1,).
        std: Standard deviation of the pixels, scaled to 0..1, shape (C,) or (1,).
        channels: Channels of the inputs; grey images are repeated.
        image_size: Height and width of the inputs, in pixels; None: those of the images.
        policy: Augmentation policy; None: no augmentation.
    """

    def __init__(
        self,
        images: Tensor,
        *,
        mean: NDArray[np.float32],
        std: NDArray[np.float32],
        channels: int,
        image_size: int | None = None,
        policy: Policy | None = None,
    ) -> None:
        self.images, self.channels, self.policy = images, channels, policy
        device, (height, width) = images.device, images.shape[1:3]
        self.shift, self.divisor = (
            torch.tensor(255 * each, device=device).view(-1, 1, 1) for each in (mean, std)
        )
        self.grey = torch.tensor([0.299, 0.587, 0.114], device=device).view(3, 1, 1)
        self.columns, self.rows = (torch.arange(num, device=device) for num in (width, height))
        self.x, self.y = (2 * self.columns + 1) / width - 1, (2 * self.rows + 1) / height - 1
        self.weights: tuple[Tensor, Tensor] | None = None
        if image_size is not None and (height, width) != (image_size, image_size):
            down, right = (torch.from_numpy(_weights(num, image_size, height)) for num in (height, width))
            self.weights = down.to(device), right.T.contiguous().to(device)

    def __call__(self, rows: Tensor, table: Tensor | None) -> Tensor:
        """Return the inputs, float32 of shape (N, channels, image_size, image_size).

        Args:
            rows: Rows of the images, int64, on the images' device.
            table: Table of :func:`draw_numbers`, on the same device; None: no augmentation.
        """
        pixels = self.images.index_select(0, rows).permute(0, 3, 1, 2)
        if table is None or self.policy is None:
            values = pixels.contiguous().float()
        else:
            values = self._augment(pixels.float(), table, self.policy)
        values = values.sub_(self.shift) if len(self.shift) <= values.shape[1] else values - self.shift
        # Divide instead of multiplying by the inverse: the results then equal those of ImageDataset.
        values.div_(self.divisor)
        if self.weights is not None:
            down, right = self.weights
            values = down @ values @ right
        return values.expand(-1, self.channels, -1, -1).contiguous()

    def _augment(self, values: Tensor, table: Tensor, policy: Policy) -> Tensor:
        """Augment images (N, C, H, W) of pixels from 0 to 255."""
        of_images = table.T[:, :, None, None, None]
        if policy.warp:
            values = self._warp(values, table[:, THETA].view(-1, 2, 3, 1), replicate=policy.replicate)
        elif policy.flip:
            values = torch.where(of_images[0] < 0, values.flip(-1), values)
        if policy.jitter is not None:
            for own, grey, mean in torch.split(of_images[JITTER], 3):
                luminance = values if values.shape[1] == 1 else (values * self.grey).sum(1, keepdim=True)
                values = own * values + grey * luminance + mean * luminance.mean((2, 3), keepdim=True)
                values.clamp_(0, 255)
        if policy.light:
            factor, summand = of_images[LIGHT]
            values = values.mul_(factor).add_(summand).clamp_(0, 255)
        if policy.erase:
            top, bottom, left, right = table[:, BOX, None].unbind(1)
            of_rows = ((self.rows >= top) & (self.rows < bottom)).float()
            of_columns = ((self.columns >= left) & (self.columns < right)).float()
            box = of_rows[:, None, :, None] * of_columns[:, None, None, :]
            values.addcmul_(values, box, value=-1)
        return values

    def _warp(self, values: Tensor, theta: Tensor, *, replicate: bool) -> Tensor:
        """Return images (N, C, H, W) mapped by affine maps (N, 2, 3, 1)."""
        # All x first, then all y: five times as fast as interleaved pairs, and as fast to sample from.
        of_x, of_y, of_one = theta.unbind(2)
        grid = (of_x * self.x)[:, :, None, :] + (of_y * self.y + of_one)[:, :, :, None]
        border = "border" if replicate else "zeros"
        return F.grid_sample(values, grid.permute(0, 2, 3, 1), padding_mode=border, align_corners=False)


def _weights(size: int, new_size: int, height: int) -> NDArray[np.float32]:
    """Return the matrix that resizes one axis, shape (new_size, size)."""
    import cv2

    # Equal to fer.data.pixels.resize, which is linear and separable.
    interpolation = cv2.INTER_AREA if height > new_size else cv2.INTER_LINEAR
    unit = np.eye(size, dtype=np.float32)
    return np.asarray(cv2.resize(unit, (size, new_size), interpolation=interpolation), np.float32)


class BatchedImages(Dataset[tuple[Tensor, Tensor]]):
    """Dataset of network inputs that makes whole batches.

    A loader requests all rows of a batch at once and gets a :class:`Batch`. Rows of type
    :class:`fer.data.draws.Draw` carry the seeds of their augmentation; torch draws seeds for other rows.

    Args:
        augmenter: Makes the inputs.
        targets: Target of each row, on the augmenter's device, shape (N,) or (N, K).
    """

    def __init__(self, augmenter: Augmenter, targets: Tensor) -> None:
        self.augmenter, self.targets = augmenter, targets

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def on_gpu(self) -> bool:
        """Whether the images are on a GPU."""
        return self.targets.is_cuda

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        row = index if isinstance(index, Draw) else range(len(self))[index]
        return self.__getitems__([row])[0]

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return the samples of the given rows."""
        return self._take(*self._prepare(indices))

    def batches(self, draws: Sequence[Draw], size: int, *, drop_last: bool) -> Iterator[Any]:
        """Yield batches of draws; all rows and random numbers are moved to the device once.

        Args:
            draws: Rows and their seeds, in order.
            size: Batch size.
            drop_last: Whether an incomplete last batch is dropped.
        """
        if not draws:
            return
        rows, table = self._prepare(draws)
        for start in range(0, len(draws) - (size - 1 if drop_last else 0), size):
            part = slice(start, start + size)
            yield collate(self._take(rows[part], None if table is None else table[part]))

    def _prepare(self, indices: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Return rows and their augmentation table, on the device."""
        rows = torch.tensor(indices)
        policy, images = self.augmenter.policy, self.augmenter.images
        if policy is None:
            return _moved(rows, images.device), None
        given = [index.seed for index in indices if isinstance(index, Draw)]
        seeds = np.array(given or torch.randint(2**63 - 1, (len(rows),)).tolist(), np.uint64)
        table = draw_numbers(policy, seeds, *images.shape[1:3])
        return _moved(rows, images.device), _moved(torch.from_numpy(table), images.device)

    def _take(self, rows: Tensor, table: Tensor | None) -> Batch:
        return Batch(self.augmenter(rows, table), self.targets.index_select(0, rows))


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Move a tensor to a device without blocking the CPU."""
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
