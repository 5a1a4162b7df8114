"""How much a layer's representation has changed: linear CKA."""

import torch
from torch import Tensor


def linear_cka(before: Tensor, after: Tensor) -> float:
    r"""Return linear CKA (centred kernel alignment) of two representations of the same samples.

    It is \|YᵀX\|² / (\|XᵀX\| \|YᵀY\|) of the centred activations X and Y, in Frobenius norms: 1 if one is a
    rotation of the other, or a multiple of it; near 0 if they have nothing in common.

    Args:
        before: Activations of N samples, shape ``(N, C)``; of feature maps their means.
        after: Activations of the same samples in the same order, shape ``(N, D)``.

    Returns:
        0 to 1; NaN where one of them does not vary or is not finite.

    Raises:
        ValueError: The numbers of samples differ.

    Source: Kornblith et al., "Similarity of Neural Network Representations Revisited", 2019, equation 5.
    """
    if len(before) != len(after):
        msg = f"{len(before)} and {len(after)} samples cannot be compared"
        raise ValueError(msg)
    left, right = (each.double() - each.double().mean(dim=0) for each in (before, after))
    if min(left.shape[1], right.shape[1]) > len(left):  # kernels of samples are smaller
        kernels = left @ left.T, right @ right.T
        shared, norms = (kernels[0] * kernels[1]).sum(), [torch.linalg.norm(each) for each in kernels]
    else:
        shared = torch.linalg.norm(left.T @ right).square()
        norms = [torch.linalg.norm(each.T @ each) for each in (left, right)]
    return float(shared / (norms[0] * norms[1]))
