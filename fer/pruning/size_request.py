"""The size that a pruning was asked for, and what its thresholds alone would remove."""

from dataclasses import asdict, dataclass
from typing import Any, Self

from torch import nn

from fer.errors import InputError
from fer.neurons import Measurement, plan_groups
from fer.neurons.criteria import LinearSpan
from fer.neurons.warn import warnings_of_trials_dropped
from fer.pruning.limits import Target
from fer.pruning.settings import PruneSettings


@dataclass(frozen=True)
class SizeRequest:
    """Size that replaced the thresholds of a pruning.

    Attributes:
        size: The size that was asked for.
        thresholds: The thresholds that it replaced, in words; None if the criterion has none, or for several
            rounds.
        removed: Number of neurons that these thresholds would remove.
        neurons: Number of neurons that they decide on.
    """

    size: str
    thresholds: str | None = None
    removed: int | None = None
    neurons: int | None = None

    @classmethod
    def of(
        cls,
        settings: PruneSettings,
        network: nn.Module | None = None,
        measurement: Measurement | None = None,
        target: Target | None = None,
    ) -> Self | None:
        """Return the size that was asked for; None if the thresholds decided.

        Args:
            settings: Settings of the pruning, as they were given.
            network: Network before pruning; None: the thresholds are not tried.
            measurement: Measurement of it, as the settings require.
            target: Size limit; None without one.
        """
        if target is not None:
            size = target.limit
        elif settings.share_removed is not None:
            size = f"{100 * settings.share_removed:g} % of each layer removed"
        elif settings.num_removed is not None:
            size = f"{sum(settings.num_removed.values()):,} neurons removed"
        else:
            return None
        criterion = settings.method.criterion
        if network is None or measurement is None or not criterion.has_thresholds:
            return cls(size)
        try:
            with warnings_of_trials_dropped():
                plans = plan_groups(
                    *(network, measurement),
                    similar_below=settings.similar_below,
                    complementary_above=settings.complementary_above,
                    criterion=settings.criterion,
                    merge=settings.merge,
                    rule=settings.rule,
                )
        except InputError:  # a criterion of one's own that cannot do without a size
            return cls(size)
        below, above = f"{settings.similar_below:g}°", f"{settings.complementary_above:g}°"
        return cls(
            size,
            f"the threshold of {below} to the linear span of the others"
            if isinstance(criterion, LinearSpan)
            else f"the thresholds of {below} and {above} between two neurons",
            sum(len(plan.removals) for plan in plans.values()),
            sum(plan.num_neurons for plan in plans.values()),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without unknown ones."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        """Return the size, and what the thresholds would remove, in one or two sentences."""
        asked = f"Asked for: {self.size}."
        if self.thresholds is None:
            return asked
        removed = f"{self.removed:,} of {self.neurons:,} neurons"
        return f"{asked} With no size given, {self.thresholds} would remove {removed}."
