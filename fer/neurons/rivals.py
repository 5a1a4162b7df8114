"""Rival pruning methods without fine-tuning, for comparison: criteria on the same statistics.

Each needs a number of neurons or a size target. Their compensation is in :data:`fer.neurons.rules.RIVALS`.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fer.errors import InputError
from fer.neurons.criteria import Criterion, rank
from fer.neurons.evidence import Limits, Neurons
from fer.neurons.plan import Removal

LEAST_COSINE: Final = 0.45
"""Cosine of incoming weights above which Kim et al. merge a filter into another."""

PENALTIES: Final = 60
"""Number of penalties on the LASSO path, over five decades."""

SWEEPS: Final = 20
"""Largest number of coordinate descent passes per penalty, and of k-means rounds."""

CONVERGED: Final = 1e-6
"""Largest change of the LASSO's factors, which start at 1, at which its descent has converged."""


@dataclass(frozen=True)
class Magnitude(Criterion):
    """Remove the neurons whose incoming weights have the smallest L2 norm, as in GRAIL's tables."""

    has_thresholds: ClassVar[bool] = False

    def removals(self, neurons: Neurons, limits: Limits) -> list[Removal]:
        """Return the neurons with the smallest norms."""
        return rank("l2", _incoming(neurons).norm(dim=1), neurons, limits)


@dataclass(frozen=True)
class Clusters(Criterion):
    """Cluster the incoming weights by k-means, and merge each cluster's neurons into its first one.

    Source: Wang et al., "Forget the Data and Fine-Tuning! Just Fold the Network to Compress", 2025.
    """

    has_thresholds: ClassVar[bool] = False

    def removals(self, neurons: Neurons, limits: Limits) -> list[Removal]:
        """Return all neurons of each cluster but the first."""
        points = _incoming(neurons)
        num = len(points) - len(rank("folding", points.norm(dim=1), neurons, limits))
        centres = points[:1]
        while len(centres) < num:  # add the point that is farthest from all centres
            centres = torch.cat([centres, points[torch.cdist(points, centres).amin(1).argmax()][None]])
        for _ in range(SWEEPS):
            nearest = torch.cdist(points, centres).argmin(1)
            members = F.one_hot(nearest, num).to(points)
            sizes = members.sum(0)[:, None]
            centres = torch.where(sizes > 0, members.T @ points / sizes.clamp(min=1), centres)
        clusters: list[int] = torch.cdist(points, centres).argmin(1).tolist()
        firsts = [clusters.index(cluster) for cluster in clusters]
        removals = [Removal(k, "similar", first) for k, first in enumerate(firsts) if first != k]
        return removals[: len(points) - num]  # equal points can leave clusters empty


@dataclass(frozen=True)
class Closest(Criterion):
    """Remove the neurons with the smallest weights, each merged into the survivor nearest in direction.

    A neuron whose cosine to all survivors is below 0.45 is merged into none. The paper computes the factor
    from norms and batch norm; here it is fitted to the samples, which gives a smaller error.

    Source: Kim et al., "Neuron Merging: Compensating for Pruned Neurons", 2020.
    """

    has_thresholds: ClassVar[bool] = False

    def removals(self, neurons: Neurons, limits: Limits) -> list[Removal]:
        """Return the neurons with the smallest norms, with their survivors."""
        weights = _incoming(neurons)
        gone = [one.neuron for one in rank("neuron_merging", weights.abs().sum(1), neurons, limits)]
        cosines = F.normalize(weights) @ F.normalize(weights).T
        cosines[:, gone] = -1
        best, into = cosines.max(dim=1)
        return [
            Removal(k, "similar", int(into[k])) if best[k] >= LEAST_COSINE else Removal(k, "criterion")
            for k in gone
        ]


@dataclass(frozen=True)
class Lasso(Criterion):
    """Remove the neurons that are first to leave a LASSO of the next layers' outputs as its penalty grows.

    The regressors are the contributions of each neuron to the outputs; for the positions of a kernel,
    products are computed as if the maps were equal at all of them.

    Source: He, Zhang and Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", 2017.
    """

    has_thresholds: ClassVar[bool] = False

    def removals(self, neurons: Neurons, limits: Limits) -> list[Removal]:
        """Return the neurons in the order in which their factors become zero."""
        sent = neurons.outgoing.double()
        products = (neurons.statistics.scatter * (sent @ sent.T)).nan_to_num(0).cpu().numpy()
        wanted, size = products.sum(1), products.diagonal().clip(min=np.finfo(np.float64).tiny)
        factors, left = np.ones(len(wanted)), np.full(len(wanted), np.inf)
        top = np.abs(wanted).max()
        for penalty in top * np.logspace(-5, 0, PENALTIES):
            for _ in range(SWEEPS):
                before = factors.copy()
                for k in range(len(factors)):
                    rest = wanted[k] - products[k] @ factors + products[k, k] * factors[k]
                    factors[k] = np.sign(rest) * max(abs(rest) - penalty, 0) / size[k]
                if np.abs(factors - before).max() < CONVERGED:
                    break
            left[(factors == 0) & np.isinf(left)] = penalty
        left = np.minimum(left, 2 * top)
        return rank("he2017", torch.from_numpy(left), neurons, limits)


def _incoming(neurons: Neurons) -> Tensor:
    if neurons.incoming is None:
        msg = "the criterion needs the incoming weights of the neurons"
        raise InputError(msg)
    return neurons.incoming.double()
