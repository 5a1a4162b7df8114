"""Faster convolutions with small output maps on a CPU, as matrix products."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

MOST_POSITIONS: Final = {torch.bfloat16: 9, torch.float32: 4}
"""Largest output map, in positions, for which a matrix product is faster, by data type."""

Pair = tuple[int, int]


class SmallMaps(TorchFunctionMode):
    """Context manager that computes convolutions with small output maps on a CPU as matrix products.

    The oneDNN kernels that torch uses (3.12) are optimised for larger maps. Times of the forward and backward
    pass of a 3x3 convolution of 128 images, on one core of a Sapphire Rapids Xeon, in ms:

    - 512 to 512 maps of 2x2: torch 124, product 17 in bfloat16; 241 and 66 in float32.
    - 256 to 256 maps of 3x3: torch 21, product 9 in bfloat16; 48 and 45 in float32.
    - 256 to 256 maps of 4x4: torch 26, product 25 in bfloat16.

    Results differ by rounding.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a torch function, or its replacement."""
        del types
        if func is torch.conv2d:
            return _convolve(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _convolve(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor:
    """Replace ``torch.conv2d``, with the same parameters."""
    dtype = _find_type(input, weight)
    if isinstance(padding, str) or dtype not in MOST_POSITIONS or groups != 1:
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    steps, margins = _pair(stride), _pair(padding)
    height, width = _output_size(input, weight, steps, margins)
    is_small = input.ndim == 4 and 0 < height * width <= MOST_POSITIONS[dtype] and _pair(dilation) == (1, 1)
    if not is_small or any(margin >= size for margin, size in zip(margins, weight.shape[2:], strict=True)):
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    maps: Tensor = Convolution.apply(input.to(dtype), weight.to(dtype), steps, margins)
    return maps if bias is None else maps + bias.to(maps.dtype).view(1, -1, 1, 1)


def _find_type(inputs: Tensor, weight: Tensor) -> torch.dtype | None:
    """Return the data type in which torch convolves; None if not on a CPU, or if the types differ."""
    if inputs.device.type != "cpu":
        return None
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu")
    return inputs.dtype if inputs.dtype == weight.dtype else None


class Convolution(Function):
    """Convolution of maps (N, C, H, W) with a weight (K, C, h, w), with a stride, and a padding below (h, w).

    Each output position is the product of a row (the C·h·w values that the kernel covers there) and the
    weight as a matrix. Each position of the maps' gradient is such a product, too: the kernel rotated by 180°
    covers the output's gradient, with zeros inserted between positions if the stride is not 1.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
        """Return the output, in the channels-last format."""
        ctx.save_for_backward(maps, weight)
        ctx.stride, ctx.padding = stride, padding
        size = _output_size(maps, weight, stride, padding)
        rows = _rows(_padded(maps, padding), weight, stride, size)
        output = F.linear(rows, weight.permute(0, 2, 3, 1).flatten(1))
        return output.view(len(maps), *size, len(weight)).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the maps and of the weight, in the channels-last format."""
        maps, weight = ctx.saved_tensors
        num_out, num_in, height, width = weight.shape
        size, of_maps, of_weight = gradient.shape[2:], None, None
        gradient = gradient.permute(0, 2, 3, 1)
        if ctx.needs_input_grad[1]:
            rows = _rows(_padded(maps, ctx.padding), weight, ctx.stride, size)
            of_weight = gradient.reshape(-1, num_out).T @ rows
            of_weight = of_weight.view(num_out, height, width, num_in).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[0]:
            spread = gradient.new_zeros(
                len(maps), maps.shape[2] + height - 1, maps.shape[3] + width - 1, num_out
            )
            places = (
                slice(begin := kernel - 1 - margin, begin + step * count, step)
                for kernel, margin, step, count in zip(
                    (height, width), ctx.padding, ctx.stride, size, strict=True
                )
            )
            spread[:, *places] = gradient
            turned = torch.cat(
                [weight[:, :, i, j] for i in reversed(range(height)) for j in reversed(range(width))]
            )
            of_maps = _rows(spread, weight, (1, 1), maps.shape[2:]) @ turned
            of_maps = of_maps.view(len(maps), *maps.shape[2:], num_in).permute(0, 3, 1, 2)
        return of_maps, of_weight, None, None


def _padded(maps: Tensor, padding: Pair) -> Tensor:
    """Pad maps (N, C, H, W) with zeros; return shape (N, H + 2·top, W + 2·left, C)."""
    top, left = padding
    return F.pad(maps.permute(0, 2, 3, 1), (0, 0, left, left, top, top)).contiguous()


def _rows(maps: Tensor, weight: Tensor, stride: Pair, size: Sequence[int]) -> Tensor:
    """Return the values that the kernel covers at each output position, one row per position (im2col).

    Args:
        maps: Shape (N, H, W, C), contiguous.
        weight: Shape (…, …, h, w).
        stride: Step from one position to the next.
        size: Height and width of the output.

    Returns:
        Shape (N · size, h · w · C).
    """
    height, width = weight.shape[2:]
    to_image, down, right, to_channel = maps.stride()
    covered = maps.as_strided(
        (len(maps), *size, height, width, maps.shape[-1]),
        (to_image, stride[0] * down, stride[1] * right, down, right, to_channel),
        maps.storage_offset(),
    )
    return covered.reshape(-1, height * width * maps.shape[-1])


def _output_size(maps: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Pair:
    """Return the height and width of a convolution's output.

    >>> _output_size(torch.empty(1, 1, 3, 4), torch.empty(1, 1, 3, 3), (2, 2), (1, 1))
    (2, 2)
    """
    sizes = zip(maps.shape[-2:], weight.shape[-2:], stride, padding, strict=True)
    height, width = ((length + 2 * margin - kernel) // step + 1 for length, kernel, step, margin in sizes)
    return height, width


def _pair(value: int | Sequence[int]) -> Pair:
    """Return a setting for both directions.

    >>> _pair(2), _pair((1, 2))
    ((2, 2), (1, 2))
    """
    return (value, value) if isinstance(value, int) else (value[0], value[-1])
