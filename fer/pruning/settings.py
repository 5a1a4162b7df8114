"""Settings of a pruning: frozen, and checked once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from inspect import signature
from typing import Any, Final, Literal

from fer.errors import InputError, did_you_mean
from fer.neurons.angles import COMPLEMENTARY_ABOVE, SIMILAR_BELOW, check_thresholds
from fer.neurons.blocks import IDLE_BELOW
from fer.neurons.criteria import CriterionName, name_of, no_threshold
from fer.neurons.merge import MergeRule
from fer.neurons.rules import RefitMode, Rule, make_rule

RuleName = Literal["gedeon_harris", "narayan", "jain", "grail", "folding", "neuron_merging", "he2017"]
"""Names of published rules: the keys of :data:`fer.neurons.rules.RULES` and ``RIVALS``."""

SIZES: Final = ("num_removed", "share_removed")
"""Settings that replace the thresholds by numbers of neurons."""

NUM_SAMPLES: Final = 4096
"""Default number of training samples to measure on: about ten per neuron of a wide layer."""


@dataclass(frozen=True, kw_only=True)
class PruneSettings:
    """Settings of a pruning.

    They are frozen: ``dataclasses.replace`` returns a copy with other values.

    Args:
        similar_below: Angle below which two neurons are similar, degrees; one of them is removed.
        complementary_above: Angle above which two neurons are complementary, degrees; one of them is removed.
        criterion: Criterion that selects the neurons to remove: pairs (angles between two neurons), span
            (angle to the linear span of the others: keeps more accuracy at the same size), l1, taylor,
            fisher, or package.module.Class. l1, taylor and fisher have no thresholds and need num_removed,
            share_removed or a size target.
        merge: How the next layer's weights compensate for the removed neurons: refit, affine, scale, gram,
            add or drop.
        refit: What merge refit fits: sequential (each layer from the pruned network's inputs to the whole
            network's outputs, if that lowers the error on held-out samples) or joint (all layers at once).
        recalibrate: Recompute the means and variances of batch norm on the samples after pruning. Results
            hold both networks with and without recalibration.
        rule: Published rule that replaces criterion, merge and refit: gedeon_harris, narayan or jain, by
            angles; or, for comparison, grail, folding, neuron_merging or he2017, which need num_removed,
            share_removed or a size target.
        layers: Names of the layers to prune; null: all hidden layers.
        num_samples: Number of samples, of the training split or of --images, that the neurons are measured
            on.
        idle_below: Relative change of its input below which a whole residual block is removed, 0 to 1.
            Ignored if a rule or layers are given.
        num_removed: Number of neurons to remove, by layer, such as ``{conv4: 20, conv5: 100}``, instead of
            the thresholds; null: use the thresholds.
        share_removed: Share of the neurons to remove from each layer, 0 to 1, instead of the thresholds;
            null: use the thresholds.

    Raises:
        InputError: A setting is out of range.
    """

    similar_below: float = SIMILAR_BELOW
    complementary_above: float = COMPLEMENTARY_ABOVE
    criterion: CriterionName = "pairs"
    merge: MergeRule = "refit"
    refit: RefitMode = "sequential"
    recalibrate: bool = True
    rule: RuleName | None = None
    layers: Sequence[str] | None = None
    num_samples: int = NUM_SAMPLES
    idle_below: float = IDLE_BELOW
    num_removed: Mapping[str, int] | None = None
    share_removed: float | None = None

    def __post_init__(self) -> None:
        if self.num_samples < 2:
            msg = f"prune.num_samples is {self.num_samples}: angles need 2 samples or more"
            raise InputError(msg)
        check_thresholds(self.similar_below, self.complementary_above, "prune.")
        if not 0 <= self.idle_below <= 1:
            msg = f"prune.idle_below is {self.idle_below}: it is a share of a block's input, 0 to 1"
            raise InputError(msg)
        if self.share_removed is not None and not 0 <= self.share_removed < 1:
            msg = f"prune.share_removed is {self.share_removed}: it must be at least 0 and below 1"
            raise InputError(msg)
        if len(self.sizes) > 1:
            msg = "prune.num_removed and prune.share_removed exclude each other: set only one of them"
            raise InputError(msg)
        _ = self.method  # refuses an unknown criterion

    @property
    def sizes(self) -> list[str]:
        """Names of the given settings that replace the thresholds by numbers of neurons; at most one."""
        return [name for name in SIZES if getattr(self, name) is not None]

    def check_size(self, target: Mapping[str, float]) -> None:
        """Check, before anything is trained or measured, that something says how much is removed.

        Args:
            target: Size target besides these settings, see :func:`fer.pruning.limits.find_target`; may be
                empty.

        Raises:
            InputError: The criterion has no thresholds and there is no number; or both set the size.
        """
        if target and self.sizes:
            msg = f"{self.sizes[0]} and target_{next(iter(target))} both set the size: leave out one of them"
            raise InputError(msg)
        criterion = self.method.criterion
        if not (target or self.sizes or criterion.has_thresholds):
            raise no_threshold(name_of(criterion))

    @classmethod
    def check_names(cls, given: Iterable[str], owner: type) -> None:
        """Refuse keyword arguments that are no settings.

        Args:
            given: Their names.
            owner: The class that was given them, which also has parameters of its own.

        Raises:
            InputError: There is no such setting; it names the nearest one, and all.
        """
        own = signature(owner).parameters.values()
        names = [each.name for each in own if each.kind is not each.VAR_KEYWORD]
        names += [each.name for each in fields(cls)]
        for name in given:
            if name not in names:
                hint = did_you_mean(name, names)
                msg = f"{owner.__name__} has no setting {name!r}: {hint}its settings are {', '.join(names)}"
                raise InputError(msg)

    @property
    def idle_share(self) -> float:
        """Value of ``idle_below`` that applies: 0 if a rule or layers are given."""
        return 0.0 if self.rule or self.layers else self.idle_below

    @property
    def method(self) -> Rule:
        """Criterion and compensation: those of the published rule, if one is set."""
        return make_rule(self.rule, self.criterion, self.merge, self.refit)

    @property
    def label(self) -> str:
        """Name of the method for a title."""
        merge = f"{self.refit} refit" if self.merge == "refit" else self.merge
        return self.rule or f"{self.criterion}, {merge}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values: dict[str, Any] = {
            "similar_below": self.similar_below,
            "complementary_above": self.complementary_above,
            "criterion": self.criterion,
            "merge": self.merge,
            "refit": self.refit,
            "recalibrate": self.recalibrate,
            "rule": self.rule,
            "layers": None if self.layers is None else list(self.layers),
            "num_samples": self.num_samples,
            "idle_below": self.idle_share,
        }
        if self.num_removed is not None:
            values["num_removed"] = dict(self.num_removed)
        if self.share_removed is not None:
            values["share_removed"] = self.share_removed
        return values
