"""What the consumers of a pruned layer need so that they compute what they did before."""

import logging
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from fer.errors import InputError
from fer.neurons.plan import SAMPLES_PER_NEURON, PrunePlan
from fer.neurons.statistics import ActivationStatistics

MergeRule = Literal["refit", "affine", "scale", "add", "drop"]
"""What takes the place of a neuron that goes.

- ``refit``: all survivors, by least squares on the samples.
- ``affine``: the survivor that stands for it, times a factor, plus a constant, by least squares.
- ``scale``: the same without the constant.
- ``add``: that survivor, as if it were the same (the papers); of a complementary pair its opposite, and a
  constant.
- ``drop``: nothing.

Of a neuron that goes into no other its mean stays; with ``refit`` all survivors again, with ``drop`` nothing.
"""

RIDGE: Final = 1e-6
"""Of the refit, relative to the variance of a survivor."""

STEPS: Final = 3
"""Of the refit: each divides what the ridge holds back by 1 + variance / ridge once more."""

log = logging.getLogger("fer.neurons")


def merge_weights(
    plan: PrunePlan,
    statistics: ActivationStatistics,
    weight: Tensor,
    bias: Tensor | None,
    *,
    merge: MergeRule = "refit",
    ridge: float = RIDGE,
    constants: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return a consumer's weights for the survivors, and its bias.

    Exact for a linear consumer, a convolution without zero padding, and one behind a flatten. A zero-padded
    convolution sees a constant inside the image only: there ``constants=False`` may err less.

    Args:
        plan: For C neurons, of which K are kept.
        statistics: Of the C neurons, as this consumer sees them.
        weight: Of the consumer, for C neurons, shape ``(out, C)``, ``(out, C, kh, kw)`` of a convolution, or
            ``(out, C, columns)`` where a flatten gives each neuron several columns.
        bias: Of the consumer, shape ``(out,)``, or None.
        merge: What takes the place of a neuron that goes.
        ridge: See :func:`coefficients`.
        constants: Whether the bias may take a part; if not, it is returned as it is.

    Returns:
        The weights, shape ``(out, K, ...)``, and the bias, shape ``(out,)``, both of the dtype and on the
        device of ``weight``. Of a consumer without a bias, the second is what a bias would be: where it is
        not zero it has to go elsewhere (batch norm: ``running_mean`` less it), or ``constants=False``.

    Raises:
        InputError: As of :func:`coefficients`; or weights that are not for C neurons.
    """
    if weight.ndim < 2 or weight.shape[1] != plan.num_neurons:
        msg = f"weights of shape {tuple(weight.shape)} do not read {plan.num_neurons} neurons"
        raise InputError(msg)
    matrix, constant = coefficients(plan, statistics, merge, ridge=ridge, constants=constants)
    with torch.no_grad():
        exact = weight.to(matrix)
        merged = torch.einsum("oc...,kc->ok...", exact, matrix)
        correction = torch.einsum("oc...,c->o", exact, constant)
        if bias is not None:
            correction += bias.to(matrix)
        return merged.to(weight), correction.to(weight)


def coefficients(
    plan: PrunePlan,
    statistics: ActivationStatistics,
    merge: MergeRule = "refit",
    *,
    ridge: float = RIDGE,
    constants: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return how the activations of all neurons follow from those of the survivors: a ≈ Mᵀ a_kept + c.

    ``refit`` starts from ``affine`` (without constants, from ``scale``) and takes :data:`STEPS` steps of
    iterated Tikhonov regularisation: none of them can raise the squared error on the samples, and what
    the first merge got right, a copy, stays right. The ridge only holds directions in which the survivors do
    not vary; the larger it is, the nearer the result stays to ``affine``.

    Args:
        plan: For C neurons, of which K are kept.
        statistics: Of the C neurons.
        merge: What takes the place of a neuron that goes.
        ridge: Of the refit, above 0, relative to the variance of a survivor.
        constants: Whether c may be other than zero; if not, coefficients are fitted without it.

    Returns:
        M, shape ``(K, C)``, whose columns of survivors are those of the identity, and c, shape ``(C,)``,
        which is 0 for survivors; float64, on the device of the statistics.

    Raises:
        InputError: Statistics of another layer, of no samples, of rescaled samples (but for ``add`` and
            ``drop`` without constants), or not finite where a neuron goes; an unknown merge; a ridge of 0.

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

    # A fit with a constant is one of centred activations, in which what is constant has no say.
    is_centred = constants and merge in ("refit", "affine")
    products = statistics.scatter if is_centred else statistics.gram
    silent = statistics.dead | statistics.non_finite
    if is_centred:
        silent |= statistics.constant
    rows = (~silent[kept]).nonzero().flatten()
    gone = torch.tensor([removal.neuron for removal in plan.removals], device=device)
    goes, stays, signs = _merges(plan, products)
    bare = goes[:0] if is_centred else goes  # those whose place is taken without a constant
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
    """Return the weights by which the survivors are made, as Jain's rule leaves them.

    What makes a neuron that goes is added to what makes the survivor that stands for it. The survivor then
    is another function, which no consumer can put right: it is here to be compared with.

    Args:
        plan: For C neurons, of which K are kept.
        weight: Of the layer that makes them, shape ``(C, ...)``.
        bias: Of that layer, shape ``(C,)``, or None.

    Returns:
        Shapes ``(K, ...)`` and ``(K,)``.

    Raises:
        InputError: Weights that do not make C neurons.

    Source: Jain, "Network Reduction Technique Based on Neuron Distinctiveness for Classifying Faces-Emotion
    via Transfer Learning", section 2.6, and the code of it.
    """
    if len(weight) != plan.num_neurons:
        msg = f"weights of shape {tuple(weight.shape)} do not make {plan.num_neurons} neurons"
        raise InputError(msg)
    kept = list(plan.kept)
    goes, stays, _ = _merges(plan, weight)

    def added(values: Tensor) -> Tensor:
        return values.detach().index_add(0, stays, values.detach()[goes])[kept]

    return added(weight), None if bias is None else added(bias)


def _merges(plan: PrunePlan, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the neurons that go into another, those others, and 1 or, if complementary, -1."""
    merges = [removal for removal in plan.removals if removal.into is not None]
    goes = torch.tensor([removal.neuron for removal in merges], dtype=torch.long, device=like.device)
    stays = torch.tensor([removal.into for removal in merges], dtype=torch.long, device=like.device)
    signs = [-1.0 if removal.reason == "complementary" else 1.0 for removal in merges]
    return goes, stays, torch.tensor(signs, dtype=like.dtype, device=like.device)


def _refit(products: Tensor, kept: Tensor, gone: Tensor, start: Tensor, ridge: float) -> Tensor:
    """Return coefficients of the kept for those that go, shape ``(K, R)``, fitted from ``start`` on."""
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
    if merge not in get_args(MergeRule):
        msg = f"merge is {merge!r}: it must be one of {', '.join(get_args(MergeRule))}"
        raise InputError(msg)
    if not ridge > 0:
        msg = f"ridge is {ridge}: it must be above 0, since neurons that are alike have no fit without it"
        raise InputError(msg)
    if plan.num_neurons != statistics.num_neurons:
        msg = f"a plan for {plan.num_neurons} neurons does not fit statistics of {statistics.num_neurons}"
        raise InputError(msg)
    if merge == "drop" or (merge == "add" and not constants):
        return
    if statistics.count == 0:
        msg = "there are no samples to merge neurons by: the analysis set is empty"
        raise InputError(msg)
    if statistics.pattern_minmax:
        msg = (
            "statistics of samples that were rescaled do not say what a neuron puts out: measure again with "
            "pattern_minmax=False, or merge by drop, or by add without constants"
        )
        raise InputError(msg)
    removed = [removal.neuron for removal in plan.removals if statistics.non_finite[removal.neuron]]
    if removed:
        msg = f"neuron {removed[0]} was once not finite, and nothing can stand for it: keep it, or drop it"
        raise InputError(msg)


def _warn_of_few(num_samples: int, num_survivors: int) -> None:
    if num_samples < SAMPLES_PER_NEURON * num_survivors:
        log.warning(
            "%d survivors are fitted to %d samples, fewer than %d a neuron: on others the fit is worse than "
            "it looks; give %d samples",
            num_survivors,
            num_samples,
            SAMPLES_PER_NEURON,
            SAMPLES_PER_NEURON * num_survivors,
        )
