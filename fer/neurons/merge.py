"""Merge: how the survivors of a layer approximate the neurons that were removed."""

from typing import Final, Literal

import torch
from torch import Tensor

from fer.errors import InputError, check_choice
from fer.neurons.plan import PrunePlan
from fer.neurons.statistics import SAMPLES_PER_NEURON, ActivationStatistics, times_as_many
from fer.neurons.warn import warn

MergeRule = Literal["refit", "affine", "scale", "gram", "add", "drop"]
"""Correction of the next layers for a removed neuron.

- ``refit``: all survivors approximate it, by least squares on the samples.
- ``affine``: the survivor that it is merged into approximates it, by a factor and a constant fitted by least
  squares.
- ``scale``: as ``affine``, without the constant.
- ``gram``: all survivors approximate it, by least squares without a constant and with a ridge of 0.001 of
  the mean square (GRAIL).
- ``add``: the survivor replaces it as if the two were equal (the papers); in a complementary pair, the
  negative of the survivor plus a constant.
- ``drop``: nothing replaces it.

A neuron that is merged into no survivor is replaced by its mean; with ``refit`` by all survivors, with
``drop`` by nothing.
"""

FITTED: Final = ("refit", "affine", "scale")
"""Merges that fit the factor between a removed neuron and a survivor."""

GRAM_RIDGE: Final = 1e-3
"""Ridge of the merge ``gram``, relative to the mean of the Gram matrix's diagonal."""

RIDGE: Final = 1e-6
"""Ridge of the refit, relative to the variance of a survivor."""

STEPS: Final = 3
"""Steps of the refit; each divides the error caused by the ridge by 1 + variance / ridge."""


def coefficients(
    plan: PrunePlan,
    statistics: ActivationStatistics,
    merge: MergeRule = "refit",
    *,
    ridge: float = RIDGE,
    constants: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return how the survivors approximate the activations of all neurons: a ≈ Mᵀ a_kept + c.

    ``refit`` starts from ``affine`` (without constants, from ``scale``) and takes :data:`STEPS` steps of
    iterated Tikhonov regularisation. No step can raise the squared error on the samples, and neurons that the
    start fits exactly, such as copies, stay exact. The ridge acts only in directions in which the survivors
    do not vary; the larger it is, the nearer the result stays to ``affine``.

    M and c are exact for a next layer that is linear, a convolution without zero padding, or behind a
    flatten. For a zero-padded convolution a constant is wrong at the border, so ``constants=False`` may give
    a smaller error.

    Args:
        plan: Plan for C neurons, of which K are kept.
        statistics: Statistics of the C neurons.
        merge: How the removed neurons are replaced.
        ridge: Ridge of the refit, above 0, relative to the variance of a survivor.
        constants: Whether c may differ from zero; if not, the coefficients are fitted without it.

    Returns:
        M, shape ``(K, C)``, with the identity in the columns of survivors, and c, shape ``(C,)``, which is 0
        for survivors; float64, on the device of the statistics.

    Raises:
        InputError: The statistics belong to another layer, have no samples, have rescaled samples (allowed
            for ``add`` and ``drop`` without constants), or are not finite for a removed neuron; the merge is
            unknown; the ridge is not above 0.

    Source: iterated Tikhonov: Riley, "Solving Systems of Linear Equations with a Positive Definite,
    Symmetric, but Possibly Ill-Conditioned Matrix", 1955.
    """
    _check(plan, statistics, merge, ridge, constants=constants)
    device = statistics.mean.device
    kept = torch.tensor(plan.kept, device=device)
    matrix = statistics.upper.new_zeros(len(kept), plan.num_neurons)
    matrix[torch.arange(len(kept), device=device), kept] = 1
    constant = torch.zeros_like(statistics.mean)
    if merge == "drop" or not plan.removals:
        return matrix, constant

    # A fit with a constant is a fit of centred activations, in which constant neurons are zero.
    is_centred = constants and merge in ("refit", "affine")
    products = statistics.scatter if is_centred else statistics.gram
    silent = statistics.dead | statistics.non_finite
    if is_centred:
        silent |= statistics.constant
    rows = (~silent[kept]).nonzero().flatten()
    gone = torch.tensor([removal.neuron for removal in plan.removals], device=device)
    if merge == "gram":
        gram = products[kept[rows][:, None], kept[rows]]
        ridge = GRAM_RIDGE * float(gram.diagonal().mean())
        factor = torch.linalg.cholesky(gram + ridge * torch.eye(len(rows)).to(gram))
        block = rows[:, None], gone
        matrix[block] = torch.cholesky_solve(products[kept[rows][:, None], gone], factor)
        return matrix, constant
    goes, stays, signs = _merges(plan, products)
    bare = goes[:0] if is_centred else goes  # replaced without a constant
    if merge == "add":
        factors, bare = signs, goes[signs > 0]
    else:
        factors = torch.where(silent[stays], 0, products[goes, stays] / products[stays, stays])
    matrix[torch.searchsorted(kept, stays), goes] = factors
    if merge == "refit":
        _warn_of_few(statistics.count, len(rows))
        block = rows[:, None], gone
        matrix[block] = _refit(products, kept[rows], gone, matrix[block], ridge)
    if constants:
        moved = gone[~torch.isin(gone, bare)]
        explained = matrix[rows[:, None], moved].T @ statistics.mean[kept[rows]]
        constant[moved] = statistics.mean[moved] - explained
    return matrix, constant


def add_incoming(plan: PrunePlan, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return the incoming weights of the survivors under Jain's rule.

    The incoming weights of a merged neuron are added to those of its survivor. The survivor then computes a
    different function, which no correction of the next layer can undo; the rule exists for comparison.

    Args:
        plan: Plan for C neurons, of which K are kept.
        weight: Weight of the layer that computes them, shape ``(C, ...)``.
        bias: Bias of that layer, shape ``(C,)``, or None.

    Returns:
        Shapes ``(K, ...)`` and ``(K,)``.

    Raises:
        InputError: The weights do not belong to C neurons.

    Source: Jain, "Network Reduction Technique Based on Neuron Distinctiveness for Classifying Faces-Emotion
    via Transfer Learning", section 2.6, and its code.
    """
    if len(weight) != plan.num_neurons:
        msg = f"weights of shape {tuple(weight.shape)} do not compute {plan.num_neurons} neurons"
        raise InputError(msg)
    kept = list(plan.kept)
    goes, stays, _ = _merges(plan, weight)

    def added(values: Tensor) -> Tensor:
        return values.detach().index_add(0, stays, values.detach()[goes])[kept]

    return added(weight), None if bias is None else added(bias)


def _merges(plan: PrunePlan, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the merged neurons, their survivors, and 1 or, if complementary, -1."""
    merges = [removal for removal in plan.removals if removal.into is not None]
    goes = torch.tensor([removal.neuron for removal in merges], dtype=torch.long, device=like.device)
    stays = torch.tensor([removal.into for removal in merges], dtype=torch.long, device=like.device)
    signs = [-1.0 if removal.reason == "complementary" else 1.0 for removal in merges]
    return goes, stays, torch.tensor(signs, dtype=like.dtype, device=like.device)


def _refit(products: Tensor, kept: Tensor, gone: Tensor, start: Tensor, ridge: float) -> Tensor:
    """Return coefficients of the kept neurons for the removed ones, shape ``(K, R)``."""
    sizes = products.diagonal()[kept].sqrt()[:, None]
    cosines = products[kept[:, None], kept] / (sizes * sizes.T)
    fitted = start * sizes
    left = products[kept[:, None], gone] / sizes - cosines @ fitted
    factor = torch.linalg.cholesky(cosines + ridge * torch.eye(len(kept)).to(cosines))
    for _ in range(STEPS):
        step = torch.cholesky_solve(left, factor)
        fitted += step
        left -= cosines @ step
    return fitted / sizes


def _check(
    plan: PrunePlan, statistics: ActivationStatistics, merge: MergeRule, ridge: float, *, constants: bool
) -> None:
    check_choice("merge", merge, MergeRule)
    if not ridge > 0:
        msg = f"ridge is {ridge}: it must be above 0, because without it similar neurons have no unique fit"
        raise InputError(msg)
    if plan.num_neurons != statistics.num_neurons:
        msg = (
            f"the plan is for {plan.num_neurons} neurons, but the statistics are of {statistics.num_neurons}"
        )
        raise InputError(msg)
    if merge == "drop" or (merge == "add" and not constants):
        return
    if statistics.count == 0:
        msg = "there are no samples to merge neurons by: the analysis set is empty"
        raise InputError(msg)
    if statistics.pattern_minmax:
        msg = (
            "statistics of rescaled samples lack the scale of the activations: measure again with "
            "pattern_minmax=False, or use the merge 'drop', or 'add' without constants"
        )
        raise InputError(msg)
    removed = [removal.neuron for removal in plan.removals if statistics.non_finite[removal.neuron]]
    if removed:
        msg = f"neuron {removed[0]} was NaN or infinite: keep it, or use the merge 'drop'"
        raise InputError(msg)


def _warn_of_few(count: int, num_survivors: int) -> None:
    if count < SAMPLES_PER_NEURON * num_survivors:
        warn(
            "%d survivors are fitted to %d values of each (a feature map has one at each position), fewer "
            "than %d per neuron: on other samples the error is larger; give %s times as many samples",
            *(num_survivors, count, SAMPLES_PER_NEURON, times_as_many(count, num_survivors)),
            severity=num_survivors / max(count, 1),
        )
