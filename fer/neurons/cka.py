"""How much a layer's representation has changed: linear CKA."""

import torch
from torch import Tensor


def linear_cka(before: Tensor, after: Tensor) -> float:
    r"""Return linear CKA (centred kernel alignment) of two representations of the same samples.

    CKA is \|YᵀX\|² / (\|XᵀX\| \|YᵀY\|) of the centred activations X and Y, in Frobenius norms: 1 if one is a
    rotation or a multiple of the other, near 0 if they have nothing in common.

    Args:
        before: Activations of N samples, shape ``(N, C)``; for feature maps, the mean of each map.
        after: Activations of the same samples in the same order, shape ``(N, D)``.

    Returns:
        0 to 1; NaN if one of them is constant or not finite.

    Raises:
        ValueError: The numbers of samples differ.

    Source: Kornblith et al., "Similarity of Neural Network Representations Revisited", 2019, equation 5.
    """
    if len(before) != len(after):
        msg = f"CKA compares the same samples, but there are {len(before)} and {len(after)}"
        raise ValueError(msg)
    left, right = (each.double() - each.double().mean(dim=0) for each in (before, after))
    if min(left.shape[1], right.shape[1]) > len(left):  # sample-by-sample kernels are smaller
        kernels = left @ left.T, right @ right.T
        shared, norms = (kernels[0] * kernels[1]).sum(), [torch.linalg.norm(each) for each in kernels]
    else:
        shared = torch.linalg.norm(left.T @ right).square()
        norms = [torch.linalg.norm(each.T @ each) for each in (left, right)]
    return float(shared / (norms[0] * norms[1]))
