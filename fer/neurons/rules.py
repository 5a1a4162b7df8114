"""Published pruning rules, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from fer.errors import InputError, check_choice, did_you_mean
from fer.neurons.criteria import Criterion, CriterionName, Pairs, make_criterion
from fer.neurons.merge import MergeRule
from fer.neurons.rivals import Closest, Clusters, Lasso, Magnitude

RefitMode = Literal["sequential", "joint"]
"""Inputs and targets of the merge ``refit``.

- ``sequential``: after the joint refit, each layer behind removed neurons is fitted again, from its inputs in
  the pruned network to its outputs in the unpruned network; see :mod:`fer.neurons.sequential`.
- ``joint``: all layers at once, from their inputs in the unpruned network.
"""

Incoming = Literal["keep", "add", "mean"]


@dataclass(frozen=True)
class Rule:
    """Settings of the pruning steps, except for the thresholds.

    Attributes:
        criterion: Criterion that decides which neurons are removed.
        merge: How the next layers are corrected; see :data:`fer.neurons.merge.MergeRule`.
        constants: Whether the correction may add constants.
        pattern_minmax: Whether each sample is rescaled before it is measured; see
            :func:`fer.neurons.statistics.pattern_minmax`.
        incoming: Treatment of incoming weights: ``keep`` leaves the survivor's as they are; ``add`` adds
            those of the removed neuron, and its bias, to the survivor's, see
            :func:`fer.neurons.merge.add_incoming`; ``mean`` averages them, and batch norm's.
        refit: Inputs and targets of the merge ``refit``; see :data:`RefitMode`.
    """

    criterion: Criterion = field(default_factory=Pairs)
    merge: MergeRule = "refit"
    constants: bool = True
    pattern_minmax: bool = False
    incoming: Incoming = "keep"
    refit: RefitMode = "joint"

    @property
    def measure(self) -> dict[str, bool]:
        """Settings with which neurons are measured, for :func:`fer.neurons.measure_groups`."""
        return {"pattern_minmax": self.pattern_minmax}


RULES: Final[Mapping[str, Rule]] = {
    "gedeon_harris": Rule(Pairs(normalise="half", complementary="remove_both"), merge="add"),
    "narayan": Rule(
        Pairs(normalise="layer_minmax", complementary="remove_both"), merge="add", constants=False
    ),
    "jain": Rule(
        Pairs(normalise="none", complementary="remove_both", order="complementary_first"),
        merge="add",
        constants=False,
        pattern_minmax=True,
        incoming="add",
    ),
}
"""Rules of the papers. None of them considers the size of a neuron's output or its weights in the next layer.

- ``gedeon_harris``: the outgoing weights of a similar neuron are added to the survivor's. Both neurons of a
  complementary pair are removed, and their constant effect is added to the next layer's bias. Gedeon and
  Harris, "Network Reduction Techniques", 1991.
- ``narayan``: as ``gedeon_harris``, for feature maps and without the bias; the paper recommends 8 to 10
  degrees. Narayan and Ge, "Emotion Detection through Static Images using Pruned Convolutional Neural
  Networks".
- ``jain``: complementary pairs first, samples rescaled, and incoming weights added as well, as in the paper's
  code. Jain, "Network Reduction Technique Based on Neuron Distinctiveness for Classifying Faces-Emotion via
  Transfer Learning".

The papers do not say which neuron of a pair is kept: all rules here keep the one that contributes more. Two
errors of Jain's code are not repeated: it merges neurons into others that it removes later, and restores some
neurons that it removed.
"""

RIVALS: Final[Mapping[str, Rule]] = {
    "grail": Rule(Magnitude(), merge="gram", constants=False),
    "folding": Rule(Clusters(), merge="add", constants=False, incoming="mean"),
    "neuron_merging": Rule(Closest(), merge="scale", constants=False),
    "he2017": Rule(Lasso(), merge="refit", refit="sequential"),
}
"""Methods by other authors, for comparison; they need a number of neurons or a size target.

- ``grail``: keeps the largest norms; one ridge regression on the Gram matrix for all positions of a kernel.
  Tang et al., "GRAIL: Post-hoc Compensation by Linear Reconstruction for Compressed Networks", 2026.
- ``folding``: clusters of weights are replaced by their means; with batch norm recalibration this is the
  paper's REPAIR. Wang et al., "Forget the Data and Fine-Tuning! Just Fold the Network to Compress", 2025.
- ``neuron_merging``: Kim et al., "Neuron Merging: Compensating for Pruned Neurons", 2020.
- ``he2017``: neurons selected by a LASSO, then layers fitted in order. He, Zhang and Sun, "Channel Pruning
  for Accelerating Very Deep Neural Networks", 2017.
"""


def make_rule(
    name: str | None,
    criterion: CriterionName | Criterion,
    merge: MergeRule,
    refit: RefitMode = "sequential",
) -> Rule:
    """Return the published rule with this name; without a name, a rule from a criterion and a merge.

    Raises:
        InputError: The rule, the criterion or the refit is unknown.
    """
    check_choice("refit", refit, RefitMode)
    if name is None:
        return Rule(make_criterion(criterion), merge, refit=refit)
    known = {**RULES, **RIVALS}
    if name not in known:
        msg = f"rule is {name!r}: {did_you_mean(name, known)}the rules are {', '.join(known)}"
        raise InputError(msg)
    return known[name]
