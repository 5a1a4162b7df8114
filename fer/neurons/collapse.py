"""Neural collapse: whether the samples of each class converge to one point in the last hidden layer.

Source: Papyan, Han and Donoho, "Prevalence of Neural Collapse During the Terminal Phase of Deep Learning
Training", 2020.
"""

import math
from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor

MEASURES: Final = ("nc1", "nc2_spread", "nc4")
"""Measures of :class:`Collapse` that are logged and drawn. The mean angle is not: centred class
means of equal length have a mean cosine of -1 / (K - 1), whether they are equally far apart or not."""

EIGENVALUE_FLOOR: Final = 1e-10
"""Eigenvalues of the scatter between classes, as a share of the largest, below which they count as 0."""


@dataclass(frozen=True, eq=False)
class Collapse:
    """Measures of how far a layer has collapsed.

    Attributes:
        nc1: Variability within classes relative to between classes, tr(Σ_W Σ_B⁺) / K; 0 when collapsed.
        nc2_angle: Mean angle between the centred class means, degrees; arccos(-1 / (K - 1)) when collapsed,
            which is 99.59 for 7 classes.
        nc2_spread: Standard deviation of these angles, degrees; 0 when collapsed.
        nc4: Share of samples whose predicted class is the class with the nearest mean; 1 when collapsed.
    """

    nc1: float
    nc2_angle: float
    nc2_spread: float
    nc4: float

    @classmethod
    def of(cls, activations: Tensor, labels: Tensor, predicted: Tensor) -> Self:
        """Measure how far a layer has collapsed. Classes without samples are left out.

        Args:
            activations: Activations of the last hidden layer, shape ``(N, C)``.
            labels: Class of each sample, shape ``(N,)``, int64.
            predicted: Class predicted for each sample, shape ``(N,)``, int64.

        Returns:
            The measures; all NaN with fewer than two classes.
        """
        values = activations.double()
        classes, members = torch.unique(labels, return_inverse=True)
        if len(classes) < 2 or not bool(values.isfinite().all()):
            return cls(*[math.nan] * 4)
        counts = torch.bincount(members).double()
        means = torch.zeros(len(classes), values.shape[1], dtype=torch.float64, device=values.device)
        means = means.index_add_(0, members, values) / counts[:, None]
        offsets = means - values.mean(dim=0)
        within = values - means[members]
        nc1 = _trace_ratio(within, offsets, counts) / len(classes)
        degrees = _angles_between(offsets)
        nearest = torch.cdist(values, means).argmin(dim=1)
        nc4 = float((classes[nearest] == predicted).double().mean())
        return cls(nc1, float(degrees.mean()), float(degrees.std(correction=0)), nc4)


def _trace_ratio(within: Tensor, offsets: Tensor, counts: Tensor) -> float:
    """Return tr(Σ_W Σ_B⁺), with Σ_B = Σ_k n_k d_k d_kᵀ / N, whose rank is at most K - 1.

    With the singular values s and right singular vectors v of the weighted offsets, it is the sum over them
    of the variance within the classes along v, divided by s².
    """
    num = len(within)
    weighted = offsets * (counts / num).sqrt()[:, None]
    _, singular, directions = torch.linalg.svd(weighted, full_matrices=False)
    between = singular.square()
    kept = between > EIGENVALUE_FLOOR * between.max()
    if not bool(kept.any()):
        return math.inf
    along = (within @ directions[kept].T).square().sum(dim=0) / num
    return float((along / between[kept]).sum())


def _angles_between(offsets: Tensor) -> Tensor:
    """Return the angle of each pair of vectors, in degrees."""
    units = torch.nn.functional.normalize(offsets, dim=1)
    first, second = torch.triu_indices(len(units), len(units), 1)
    # Twice the arc tangent of half the angle is accurate near 0 and 180, unlike the arc cosine.
    apart, together = (units[first] - units[second]).norm(dim=1), (units[first] + units[second]).norm(dim=1)
    return (2 * torch.atan2(apart, together)).rad2deg()
