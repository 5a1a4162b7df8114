"""Prune plans as plain data: which neurons are removed, why, and which survivors they are merged into."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import NoneType
from typing import Any, Final, Self

from fer.errors import InputError

RemovalReason = str
"""Reason for a removal: a key of :data:`REMOVAL_REASONS`."""

REMOVAL_REASONS: Final[Mapping[RemovalReason, str]] = {
    "dead": "dead",
    "constant": "constant",
    "similar": "similar",
    "complementary": "complementary",
    "span": "linear span",
    "criterion": "criterion",
    "block": "block",
}
"""Removal reasons with their labels, in display order. Tables, figures and reports use this order.

- ``dead``, ``constant``: its output is always zero, or never changes; see
  :class:`fer.neurons.ActivationStatistics`.
- ``similar``, ``complementary``: its activation vector is nearly parallel or opposite to another neuron's.
- ``span``: it lies near the linear span of the other neurons.
- ``criterion``: another criterion, such as the norm of its weights, ranked it lowest.
- ``block``: it is removed together with a whole block of the network.
"""

MOST_NEURONS: Final = 2**31
"""Largest number that a plan may hold; no network has larger ones."""


@dataclass(frozen=True)
class Removal:
    """Removal of one neuron.

    Attributes:
        neuron: Index of the neuron in the layer.
        reason: Reason for the removal; a key of :data:`REMOVAL_REASONS`.
        into: Survivor that it is merged into; None if there is none or if all survivors approximate it.
        degrees: Angle that decided, to another neuron or to the linear span of the survivors.
        cost: Cost of the removal by the criterion, if a cost decided; for the linear span, the squared error
            per sample that the removal adds to the outputs of the next layers.
    """

    neuron: int
    reason: RemovalReason
    into: int | None = None
    degrees: float | None = None
    cost: float | None = None


@dataclass(frozen=True)
class PrunePlan:
    """Merges and drops, in the layer's own neuron indices; changes nothing.

    Attributes:
        num_neurons: Number of neurons before pruning, C.
        removals: Removals in the order in which they were decided.

    Raises:
        InputError: No neuron is left, a neuron is removed twice or merged into one that is removed, an index
            is out of range, or a reason is unknown.
    """

    num_neurons: int
    removals: tuple[Removal, ...] = ()

    def __post_init__(self) -> None:
        removed: set[int] = set()
        for removal in self.removals:
            for index in (removal.neuron, removal.into):
                if index is not None and not 0 <= index < self.num_neurons:
                    msg = f"the plan names neuron {index}, but the layer has {self.num_neurons} neurons"
                    raise InputError(msg)
            if removal.reason not in REMOVAL_REASONS:
                msg = f"reason is {removal.reason!r}: it must be one of {', '.join(REMOVAL_REASONS)}"
                raise InputError(msg)
            if removal.neuron in removed:
                msg = f"the plan removes neuron {removal.neuron} twice"
                raise InputError(msg)
            removed.add(removal.neuron)
        for removal in self.removals:
            if removal.into in removed:
                msg = f"neuron {removal.neuron} is merged into neuron {removal.into}, which is removed, too"
                raise InputError(msg)
        if len(removed) >= self.num_neurons:
            msg = f"the plan removes all {self.num_neurons} neurons: a layer must keep at least one"
            raise InputError(msg)

    def __repr__(self) -> str:
        """Return the number of neurons that are kept, and the reasons for the removals."""
        counts = ", ".join(f"{count} {reason}" for reason, count in self.counts.items() if count)
        left = self.num_neurons - len(self.removals)
        return f"PrunePlan({left} of {self.num_neurons} neurons kept; removed: {counts or 'none'})"

    @property
    def kept(self) -> tuple[int, ...]:
        """Indices of the neurons that are kept, ascending."""
        removed = {removal.neuron for removal in self.removals}
        return tuple(neuron for neuron in range(self.num_neurons) if neuron not in removed)

    @property
    def counts(self) -> dict[RemovalReason, int]:
        """Number of removed neurons by reason."""
        reasons = [removal.reason for removal in self.removals]
        return {reason: reasons.count(reason) for reason in REMOVAL_REASONS}

    def to_json(self) -> str:
        """Return the plan as JSON, for :meth:`from_json`."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the plan that :meth:`to_json` wrote.

        Raises:
            InputError: The text is not a plan, or the plan contradicts itself.
        """
        try:
            values = json.loads(text, parse_constant=str)  # NaN becomes text, which is refused below
        except (ValueError, RecursionError) as error:
            msg = f"the plan is not JSON: {error}"
            raise InputError(msg) from error
        _check_parts("the plan", values, {"num_neurons": (int,), "removals": (list,)})
        for number, removal in enumerate(values["removals"], 1):
            _check_parts(
                f"removal {number} of the plan",
                removal,
                {
                    "neuron": (int,),
                    "reason": (str,),
                    "into": (int, NoneType),
                    "degrees": (float, int, NoneType),
                    "cost": (float, int, NoneType),
                },
            )
        removals = tuple(Removal(**removal) for removal in values["removals"])
        return cls(num_neurons=values["num_neurons"], removals=removals)


def count_removed(plans: Mapping[str, PrunePlan], gone: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Count neurons ``before`` and ``after``, and removals by reason, for each layer.

    Args:
        plans: Plans by layer.
        gone: Number of neurons that were removed together with their blocks, by layer; see
            :func:`fer.neurons.prunable.neurons_within`.
    """
    pruned = {
        name: {"before": plan.num_neurons, "after": len(plan.kept), **plan.counts}
        for name, plan in plans.items()
    }
    return pruned | {
        name: {"before": num, "after": 0, **PrunePlan(num).counts, "block": num} for name, num in gone.items()
    }


def _check_parts(what: str, values: Any, types: Mapping[str, tuple[type, ...]]) -> None:
    if not isinstance(values, dict) or values.keys() != types.keys():
        msg = f"{what} must have {', '.join(types)} and nothing else, not {_short(values)}"
        raise InputError(msg)
    for name, allowed in types.items():
        value = values[name]
        if type(value) not in allowed:  # isinstance would accept a bool as an int
            names = " or ".join("null" if one is NoneType else one.__name__ for one in allowed)
            msg = f"{name} of {what} is {_short(value)}: it must be {names}"
            raise InputError(msg)
        if isinstance(value, int | float) and not (abs(value) < MOST_NEURONS or _is_cost(name, value)):
            msg = f"{name} of {what} is {_short(value)}, which is too large"
            raise InputError(msg)


def _is_cost(name: str, value: float) -> bool:
    return name == "cost" and isinstance(value, float) and math.isfinite(value)


def _short(value: Any) -> str:
    return f"{json.dumps(value):.80}"
