"""Windows (im2col): the inputs of each output of a linear layer or a convolution, as a view."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def as_map(values: Tensor, module: nn.Module, *, vector: bool = False) -> Tensor:
    """Return a layer's outputs as maps ``(N, out, H, W)``; a vector is shaped to be added to such maps."""
    is_map = isinstance(module, nn.Conv2d)
    if vector:
        return values[:, None, None] if is_map else values
    return values if is_map else values.reshape(len(values), -1, values.shape[-1]).transpose(1, 2)[..., None]


def windows_of(module: Any, inputs: Tensor, *, pads: bool) -> Tensor:
    """Return a view of the inputs of each output of a layer, shape ``(N, C, H, W, kh, kw)``."""
    if isinstance(module, nn.Linear):
        return as_map(inputs, module)[..., None, None]
    if pads:
        sides = [_same(*each) for each in zip(inputs.shape[2:], *_form(module), strict=True)]
        padding = [sides[1] // 2, sides[1] - sides[1] // 2, sides[0] // 2, sides[0] - sides[0] // 2]
        mode = "constant"
    else:
        padding = list(module._reversed_padding_repeated_twice)
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    padded = F.pad(inputs, padding, mode=mode) if any(padding) else inputs
    (kh, kw), (sh, sw), (dh, dw) = _form(module)
    n, c, h, w = padded.stride()
    height, width = (
        (full - d * (k - 1) - 1) // s + 1
        for full, k, s, d in zip(padded.shape[2:], (kh, kw), (sh, sw), (dh, dw), strict=True)
    )
    shape = (*padded.shape[:2], height, width, kh, kw)
    return padded.as_strided(shape, (n, c, h * sh, w * sw, h * dh, w * dw), padded.storage_offset())


def _form(module: Any) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    return module.kernel_size, module.stride, module.dilation


def _same(size: int, kernel: int, stride: int, dilation: int) -> int:
    """Return the number of padding zeros for which the output size is the input size over the stride."""
    return max((math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)


def padding_of(module: Any, inputs: Tensor, output: Tensor) -> bool | None:
    """Return whether a layer pads to the output size; None if its output is not determined by its weights."""
    groups = getattr(module, "groups", 1)
    weight = module.weight.detach().reshape(groups, len(module.weight) // groups, -1)
    bias = 0 if module.bias is None else module.bias.detach()[:, None, None]
    wanted = as_map(output, module)
    for pads in (False, True) if isinstance(module, nn.Conv2d) else (False,):
        windows = windows_of(module, inputs, pads=pads)
        if windows.shape[2:4] != wanted.shape[2:]:
            continue
        parts = windows.reshape(len(windows), groups, -1, *windows.shape[2:]).permute(0, 1, 3, 4, 2, 5, 6)
        found = torch.einsum("nghwk,gok->ngohw", parts.flatten(4), weight).flatten(1, 2)
        if torch.allclose(found + bias, wanted):
            return pads
    return None
