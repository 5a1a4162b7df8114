"""Published pruning rules, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from fer.errors import InputError, did_you_mean
from fer.neurons.criteria import Criterion, CriterionName, Pairs, make_criterion
from fer.neurons.merge import MergeRule

RefitMode = Literal["sequential", "joint"]
"""What the merge ``refit`` fits.

- ``sequential``: after the joint refit, each layer behind removed neurons again, from what the pruned network
  gives it to what the whole network returns; see :mod:`fer.neurons.sequential`.
- ``joint``: all layers at once, from what the whole network gives them.
"""


@dataclass(frozen=True)
class Rule:
    """How to prune: settings of the steps; the thresholds are the caller's.

    Attributes:
        criterion: Decides which neurons are removed.
        merge: How the next layers are corrected; see :data:`fer.neurons.merge.MergeRule`.
        constants: Whether the correction may add constants.
        pattern_minmax: Whether each sample is rescaled before it is measured; see
            :func:`fer.neurons.statistics.pattern_minmax`.
        incoming: Whether the incoming weights and the bias of a removed neuron are added to the survivor's;
            see :func:`fer.neurons.merge.add_incoming`.
        refit: What the merge ``refit`` fits; see :data:`RefitMode`.
    """

    criterion: Criterion = field(default_factory=Pairs)
    merge: MergeRule = "refit"
    constants: bool = True
    pattern_minmax: bool = False
    incoming: bool = False
    refit: RefitMode = "joint"

    @property
    def measure(self) -> dict[str, bool]:
        """The settings with which neurons are measured, for :func:`fer.neurons.measure_groups`."""
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
        incoming=True,
    ),
}
"""The papers' rules. None of them considers the size of a neuron's output or its weights in the next layer.

- ``gedeon_harris``: the outgoing weights of a similar neuron are added to the survivor's. Both neurons of a
  complementary pair are removed, and the next layer's bias takes their constant effect. Gedeon and Harris,
  "Network Reduction Techniques", 1991.
- ``narayan``: the same for feature maps, without the bias; 8 to 10 degrees are its best. Narayan and Ge,
  "Emotion Detection through Static Images using Pruned Convolutional Neural Networks".
- ``jain``: complementary pairs first, samples rescaled, incoming weights added as well, as in the paper's
  code. Jain, "Network Reduction Technique Based on Neuron Distinctiveness for Classifying Faces-Emotion via
  Transfer Learning".

The papers leave open which neuron of a pair is kept: all rules keep the one that contributes more. Two errors
of Jain's code are not repeated: it merges neurons into others that it removes later, and restores some that
it removed.
"""


def make_rule(
    name: str | None,
    criterion: CriterionName | Criterion,
    merge: MergeRule,
    refit: RefitMode = "sequential",
) -> Rule:
    """Return a paper's rule by its name, or a rule of a criterion and a merge if there is no name.

    Raises:
        InputError: The rule, the criterion or the refit is unknown.
    """
    if refit not in get_args(RefitMode):
        msg = f"refit is {refit!r}: it must be one of {', '.join(get_args(RefitMode))}"
        raise InputError(msg)
    if name is None:
        return Rule(make_criterion(criterion), merge, refit=refit)
    if name not in RULES:
        msg = f"rule is {name!r}: {did_you_mean(name, RULES)}the papers' rules are {', '.join(RULES)}"
        raise InputError(msg)
    return RULES[name]
