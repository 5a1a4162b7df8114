"""Settings of a pruning: frozen and checked once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from fer.errors import InputError
from fer.neurons import COMPLEMENTARY_ABOVE, IDLE_BELOW, RULES, SIMILAR_BELOW, MergeRule, Origin

RuleName = Literal["gedeon_harris", "narayan", "jain"]

NUM_SAMPLES: Final = 4096
"""Training samples for the measurement: about ten for each neuron of a wide layer."""


@dataclass(frozen=True, kw_only=True)
class PruneSettings:
    """Settings of a pruning. Use ``dataclasses.replace`` to change one.

    Args:
        similar_below: Angle below which two neurons are similar, degrees; one of them is removed.
        complementary_above: Angle above which two neurons are complementary, degrees; one of them is removed.
        criterion: Criterion that selects the neurons to remove: pairs compares each two neurons, span
            compares each neuron with the linear span of the others.
        merge: How the next layer's weights compensate for the removed neurons: refit, affine, scale, add or
            drop.
        rule: Published rule that replaces criterion and merge: gedeon_harris, narayan or jain.
        layers: Names of the layers to prune; null: all hidden layers.
        num_samples: Number of training samples that the neurons are measured on.
        idle_below: Remove a whole residual block if it changes its input by a smaller share than this, 0 to
            1. Ignored if a rule or layers are given.
        num_removed: Number of neurons to remove, by layer, instead of the thresholds; null: use the
            thresholds.

    Raises:
        InputError: A setting is out of range.
    """

    similar_below: float = SIMILAR_BELOW
    complementary_above: float = COMPLEMENTARY_ABOVE
    criterion: str = "pairs"
    merge: MergeRule = "refit"
    rule: RuleName | None = None
    layers: Sequence[str] | None = None
    num_samples: int = NUM_SAMPLES
    idle_below: float = IDLE_BELOW
    num_removed: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        if self.num_samples < 2:
            msg = f"prune.num_samples is {self.num_samples}: angles need 2 samples or more"
            raise InputError(msg)
        if not 0 <= self.similar_below <= self.complementary_above <= 180:
            msg = (
                f"prune.similar_below is {self.similar_below} and complementary_above "
                f"{self.complementary_above}: they must be 0 to 180 degrees in this order"
            )
            raise InputError(msg)
        if not 0 <= self.idle_below <= 1:
            msg = f"prune.idle_below is {self.idle_below}: it is a share of a block's input, 0 to 1"
            raise InputError(msg)

    @property
    def idle_share(self) -> float:
        """The value of ``idle_below`` that applies: 0 if a rule or layers are given."""
        return 0.0 if self.rule or self.layers else self.idle_below

    @property
    def origin(self) -> Origin:
        """Origin of the activation vectors."""
        origin: Origin = RULES[self.rule].plan["normalise"] if self.rule else "auto"
        return origin

    @property
    def measure_options(self) -> Mapping[str, Any]:
        """Options of :func:`fer.neurons.measure_groups` that the rule needs."""
        return RULES[self.rule].measure if self.rule else {}

    @property
    def method(self) -> str:
        """Name of the method, as in a title: the rule, or criterion and merge."""
        return self.rule or f"{self.criterion}, {self.merge}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = {
            "similar_below": self.similar_below,
            "complementary_above": self.complementary_above,
            "criterion": self.criterion,
            "merge": self.merge,
            "rule": self.rule,
            "layers": None if self.layers is None else list(self.layers),
            "num_samples": self.num_samples,
            "idle_below": self.idle_share,
        }
        return values if self.num_removed is None else values | {"num_removed": dict(self.num_removed)}
