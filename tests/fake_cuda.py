"""Tensors of a GPU that is not there: they have shapes and a device, and no values.

Whoever asks for a value is told off, as by ``item()``, a mask as an index, or ``if tensor``: on a GPU the
process would wait there until all is computed. So is whoever mixes devices.
"""

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torchmetrics import Metric

CUDA = torch.device("cuda", 0)


def fake(tensor: Tensor, mode: FakeTensorMode, device: torch.device = CUDA) -> Tensor:
    """Return a tensor without values, of the same shape, type and memory format."""
    with mode:
        return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=device)


def move(module: nn.Module, mode: FakeTensorMode, device: torch.device = CUDA) -> None:
    """Replace all tensors of a module; ``module.to`` cannot, since the mode holds references to them."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            replaced = fake(parameter, mode, device)
            setattr(part, name, nn.Parameter(replaced, requires_grad=parameter.requires_grad))
        for name, buffer in part.named_buffers(recurse=False):
            part.register_buffer(name, fake(buffer, mode, device))
        if isinstance(part, Metric):
            for name, default in part._defaults.items():
                setattr(part, name, fake(default, mode, device))
