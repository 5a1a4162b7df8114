"""Least squares from sums over batches, with a ridge selected on held-out samples."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Self

import torch
from torch import Tensor

RIDGES: Final = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Candidate ridges, relative to the variance of each regressor."""

LEAST_GAIN: Final = 1e-12
"""Smallest gain in held-out error, as a share of the targets' variance; less is rounding."""

BLOCK: Final = 256
"""Number of rows of a symmetric matrix that are computed at a time."""

FLAT: Final = 1e-7
"""Spread of a regressor, relative to the largest one, up to which it counts as constant."""


class Fit(NamedTuple):
    """A solution: residuals ≈ weight · regressors + constant.

    Attributes:
        weight: Shape ``(G, o, d)``.
        constant: Shape ``(G, o)``; zero if the fit has no constant.
        ridge: Selected ridge.
        before: Held-out error without the fit, as a share of the targets' variance.
        after: Held-out error with the fit.
    """

    weight: Tensor
    constant: Tensor
    ridge: float
    before: float
    after: float


@dataclass(eq=False)
class Sums:
    """Sums over rows of d regressors z and o residuals r, for each of G groups; float64.

    Attributes:
        count: Number of rows.
        z: Shape ``(G, d)``.
        zz: Shape ``(G, d, d)``; entries below the diagonal are not valid, see :meth:`whole`.
        r: Shape ``(G, o)``.
        rr: Sums of squares, shape ``(G, o)``.
        rz: Shape ``(G, o, d)``.
    """

    count: int
    z: Tensor
    zz: Tensor
    r: Tensor
    rr: Tensor
    rz: Tensor

    @classmethod
    def like(cls, z: Tensor, r: Tensor) -> Self:
        """Return empty sums for rows of shapes ``(G, n, d)`` and ``(G, n, o)``."""
        (g, _, d), o = z.shape, r.shape[2]
        sizes = (g, d), (g, d, d), (g, o), (g, o), (g, o, d)
        return cls(0, *(torch.zeros(size, dtype=torch.float64, device=z.device) for size in sizes))

    def add_(self, z: Tensor, r: Tensor) -> None:
        """Add rows in float64, shapes ``(G, n, d)`` and ``(G, n, o)``."""
        self.count += z.shape[1]
        self.z += z.sum(1)
        self.r += r.sum(1)
        self.rr += r.square().sum(1)
        self.rz.baddbmm_(r.transpose(1, 2), z)
        for first in range(0, z.shape[2], BLOCK):  # zz is symmetric, so half of it is enough
            rows = z[:, :, first : first + BLOCK].transpose(1, 2)
            self.zz[:, first : first + BLOCK, first:].baddbmm_(rows, z[:, :, first:])

    def __add__(self, other: Self) -> "Sums":
        """Return the sums over the rows of both."""
        return Sums(*(one + two for one, two in zip(vars(self).values(), vars(other).values(), strict=True)))

    def whole(self) -> "Sums":
        """Return the same sums with ``zz`` filled in below the diagonal."""
        upper = self.zz.triu()
        return replace(self, zz=upper + self.zz.triu(1).transpose(1, 2))

    def centred(self) -> tuple[Tensor, Tensor]:
        """Return ``zz`` and ``rz`` around the means."""
        return (
            self.zz - self.z[:, :, None] * self.z[:, None] / self.count,
            self.rz - self.r[:, :, None] * self.z[:, None] / self.count,
        )

    def errors(self, weight: Tensor, constant: Tensor) -> Tensor:
        """Return the squared errors of r ≈ weight · z + constant, shape ``(G, o)``."""
        explained = torch.einsum("god,gd->go", weight, self.z)
        return (
            self.rr
            - 2 * (weight * self.rz).sum(2)
            + ((weight @ self.zz) * weight).sum(2)
            - 2 * constant * (self.r - explained)
            + self.count * constant.square()
        )


class NormalEquations:
    """Least-squares fit of residuals by regressors, to which rows are added batch by batch.

    Args:
        has_constant: Whether the fit may have a constant.
    """

    def __init__(self, *, has_constant: bool) -> None:
        self.has_constant = has_constant
        self.fitted: Sums | None = None
        self.held_out: Sums | None = None
        self._origin = self._centre = self._spread = torch.zeros(())

    def add(self, z: Tensor, r: Tensor, targets: Tensor, held_out: Tensor) -> None:
        """Add rows.

        Args:
            z: Regressors, shape ``(G, n, d)``.
            r: Residuals, shape ``(G, n, o)``.
            targets: Targets whose variance is the unit of the errors, shape ``(G, n, o)``.
            held_out: Whether each row is held out, bool, shape ``(n,)``.
        """
        r, targets = r.double(), targets.double()
        if self.fitted is None and self.held_out is None:  # shift by the first means, to avoid cancellation
            first = z.double()
            self._origin = first.mean(1) if self.has_constant else torch.zeros_like(first[:, 0])
            self._centre, self._spread = targets.mean(1), torch.zeros_like(targets[:, 0])
        self._spread = self._spread + (targets - self._centre[:, None]).square().sum(1)
        for name, chosen in (("fitted", ~held_out), ("held_out", held_out)):
            if len(rows := chosen.nonzero()[:, 0]):
                if getattr(self, name) is None:
                    setattr(self, name, Sums.like(z, r))
                moved = z.index_select(1, rows).double().sub_(self._origin[:, None])
                getattr(self, name).add_(moved, r.index_select(1, rows))

    @property
    def num_rows(self) -> int:
        """Number of rows that are not held out."""
        return 0 if self.fitted is None else self.fitted.count

    @property
    def num_unknowns(self) -> int:
        """Number of regressors that vary, in the group that has the most of them."""
        if self.fitted is None:
            return 0
        return int((_scales(self._products(self.fitted)[0]) > 0).sum(1).max())  # needs only the diagonal

    @property
    def is_finite(self) -> bool:
        """Whether all rows are finite."""
        parts = [each for each in (self.fitted, self.held_out) if each is not None]
        return all(bool((each.zz.isfinite().all() & each.rr.isfinite().all()).all()) for each in parts)

    def solve(self) -> Fit | None:
        """Return the fit with the smallest held-out error, refitted on all rows; None if no fit lowers it."""
        if self.fitted is None or self.held_out is None:
            return None
        fitted, held_out = self.fitted.whole(), self.held_out.whole()
        total = fitted + held_out
        size = self._spread / total.count * held_out.count
        share = torch.where(size > 1e-20 * size.max(), 1 / size, 0)
        share = share / max(1, int((share > 0).sum()))
        before, errors = float((held_out.rr * share).sum()), []
        for weight, constant in self._fits(fitted, RIDGES):
            errors.append(float((held_out.errors(weight, constant) * share).sum()))
        after = min(errors)
        if not after < before - LEAST_GAIN:
            return None
        ridge = RIDGES[errors.index(after)]
        weight, constant = next(self._fits(total, [ridge]))
        constant = constant - torch.einsum("god,gd->go", weight, self._origin)
        return Fit(weight, constant if self.has_constant else 0 * constant, ridge, before, after)

    def _products(self, sums: Sums) -> tuple[Tensor, Tensor]:
        return sums.centred() if self.has_constant else (sums.zz, sums.rz)

    def _fits(self, sums: Sums, ridges: Sequence[float]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield weights and constants for each ridge; a regressor that does not vary has weight 0."""
        zz, rz = self._products(sums)
        scale = _scales(zz)
        cosines, mixed = zz * scale[:, :, None] * scale[:, None], rz * scale[:, None]
        diagonal = cosines.diagonal(dim1=1, dim2=2)
        ones = diagonal + (scale == 0)
        for ridge in ridges:
            diagonal.copy_(ones + ridge)
            factor = torch.linalg.cholesky(cosines)
            weight = torch.cholesky_solve(mixed.transpose(1, 2), factor).transpose(1, 2) * scale[:, None]
            mean = (sums.r - torch.einsum("god,gd->go", weight, sums.z)) / sums.count
            yield weight, mean if self.has_constant else torch.zeros_like(mean)


def _scales(zz: Tensor) -> Tensor:
    """Return one over the square root of each diagonal entry, shape ``(G, d)``; 0 for constant regressors."""
    size = zz.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()
    return torch.where(size > FLAT * size.amax(1, keepdim=True), 1 / size, 0)
