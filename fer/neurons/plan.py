"""Which neurons a layer can do without, and which others stand for them: a decision, as plain data."""

import json
import logging
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from types import NoneType
from typing import Any, Final, Literal, Self, get_args

import torch
from torch import Tensor

from fer.errors import InputError
from fer.neurons.angles import (
    COMPLEMENTARY_ABOVE,
    SIMILAR_BELOW,
    Origin,
    angles,
    classify,
    root_mean_squares,
)
from fer.neurons.statistics import ActivationStatistics

RemovalReason = str
"""Why a neuron is removed: a key of :data:`REMOVAL_REASONS`."""

REMOVAL_REASONS: Final[Mapping[RemovalReason, str]] = {
    "dead": "dead",
    "constant": "constant",
    "similar": "similar",
    "complementary": "complementary",
    "span": "linear span",
    "criterion": "criterion",
    "block": "block",
}
"""Each removal reason with its label, in display order. Tables, figures and reports are made from it.

- ``dead``, ``constant``: its output is always zero, or never changes; see
  :class:`fer.neurons.ActivationStatistics`.
- ``similar``, ``complementary``: its activation vector is nearly parallel, or opposite, to another neuron's.
- ``span``: it lies near the linear span of the other neurons.
- ``criterion``: another criterion, such as the norm of its weights, ranked it lowest.
- ``block``: it is removed together with a whole block of the network.
"""

CriterionName = Literal["pairs", "span"]
"""What a neuron is compared with: each other neuron, or all that are left together."""

PairOrder = Literal["closest", "complementary_first", "similar_first"]
"""Which pairs are decided first: those nearest to 0 or 180 degrees, or all of one kind, nearest first."""

PairPolicy = Literal["merge", "remove_both"]
"""What becomes of a complementary pair: one stands for the other, or both go, as the papers have it."""

SPAN_RIDGE: Final = 1e-10
"""Added to the matrix of cosines before it is inverted, which copies make singular.

An angle to a span below about 1e-3 degrees (the root of 2e-10) is not told from 0.
"""

SAMPLES_PER_NEURON: Final = 10
"""Fewer samples for each neuron of a fit are warned of.

A fit of K neurons to N samples errs by (N + K) / (N - K) times as much on others: here by 1.2 times
(Akaike, "Fitting Autoregressive Models for Prediction", 1969). Positions of one image are much alike,
and count for less.
"""

log = logging.getLogger("fer.neurons")


@dataclass(frozen=True)
class Removal:
    """One neuron that goes.

    Attributes:
        neuron: Its index in the layer.
        reason: Why.
        into: The survivor that stands for it; None where there is none, or where all survivors do.
        degrees: The angle that decided: to the other neuron, or to the span of the survivors.
        cost: The squared error, of a sample, that its loss adds to what the consumers sum up, if it decided.
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
        num_neurons: C, before.
        removals: In the order in which they were decided. One neuron at least stays, none goes twice, and
            none goes that stands for another.

    Raises:
        InputError: It is not so.
    """

    num_neurons: int
    removals: tuple[Removal, ...] = ()

    def __post_init__(self) -> None:
        gone: set[int] = set()
        for removal in self.removals:
            for index in (removal.neuron, removal.into):
                if index is not None and not 0 <= index < self.num_neurons:
                    msg = f"a plan for {self.num_neurons} neurons names neuron {index} of another layer"
                    raise InputError(msg)
            if removal.reason not in REMOVAL_REASONS:
                msg = f"reason is {removal.reason!r}: it must be one of {', '.join(REMOVAL_REASONS)}"
                raise InputError(msg)
            if removal.neuron in gone:
                msg = f"the plan removes neuron {removal.neuron} twice"
                raise InputError(msg)
            gone.add(removal.neuron)
        for removal in self.removals:
            if removal.into in gone:
                msg = f"neuron {removal.into} stands for neuron {removal.neuron}, but goes itself"
                raise InputError(msg)
        if len(gone) >= self.num_neurons:
            msg = f"the plan leaves none of {self.num_neurons} neurons: a layer keeps at least one"
            raise InputError(msg)

    @property
    def kept(self) -> tuple[int, ...]:
        """The neurons that stay, ascending."""
        gone = {removal.neuron for removal in self.removals}
        return tuple(neuron for neuron in range(self.num_neurons) if neuron not in gone)

    @property
    def counts(self) -> dict[RemovalReason, int]:
        """How many neurons go, for every reason."""
        reasons = [removal.reason for removal in self.removals]
        return {reason: reasons.count(reason) for reason in REMOVAL_REASONS}

    def to_json(self) -> str:
        """Return the plan as text, for :meth:`from_json`."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the plan that :meth:`to_json` wrote.

        Raises:
            InputError: It is no plan, or a plan that contradicts itself.
        """
        try:
            values = json.loads(text, parse_constant=str)  # NaN, which no plan has, is no number then
        except json.JSONDecodeError as error:
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


@dataclass(frozen=True)
class Rule:
    """How a paper prunes, as settings of the functions that do it; thresholds are the caller's.

    Attributes:
        measure: Settings of :func:`fer.neurons.measure`.
        plan: Settings of :func:`plan_pruning`.
        merge: Settings of :func:`fer.neurons.merge_weights`.
        incoming: The incoming weights and the bias of a neuron that goes are added, too; see
            :func:`fer.neurons.add_incoming`.
    """

    plan: Mapping[str, Any]
    merge: Mapping[str, Any]
    measure: Mapping[str, Any] = field(default_factory=dict)
    incoming: bool = False


RULES: Final[Mapping[str, Rule]] = {
    "gedeon_harris": Rule(
        plan={"normalise": "half", "complementary": "remove_both"},
        merge={"merge": "add"},
    ),
    "narayan": Rule(
        plan={"normalise": "layer_minmax", "complementary": "remove_both"},
        merge={"merge": "add", "constants": False},
    ),
    "jain": Rule(
        measure={"pattern_minmax": True},
        plan={"normalise": "none", "complementary": "remove_both", "order": "complementary_first"},
        merge={"merge": "add", "constants": False},
        incoming=True,
    ),
}
"""The papers' rules. None of them looks at how large a neuron is, or at what its consumer makes of it.

- ``gedeon_harris``: the outgoing weights of a similar neuron are added to its twin's; of a complementary
  pair both go, and the consumer's bias takes their constant effect. Gedeon and Harris, "Network Reduction
  Techniques", 1991.
- ``narayan``: the same for feature maps, without the bias; 8 to 10 degrees are its best. Narayan and Ge,
  "Emotion Detection through Static Images using Pruned Convolutional Neural Networks".
- ``jain``: complementary pairs first, samples rescaled, incoming weights added, too, as the paper's code
  does it. Jain, "Network Reduction Technique Based on Neuron Distinctiveness for Classifying Faces-Emotion
  via Transfer Learning".

Which of two stays is our choice in all of them, and the slips of that code, which merges a neuron into one
that goes later and revives some that went, are not repeated.
"""


def plan_pruning(
    statistics: ActivationStatistics,
    *,
    similar_below: float = SIMILAR_BELOW,
    complementary_above: float = COMPLEMENTARY_ABOVE,
    normalise: Origin = "auto",
    criterion: CriterionName = "pairs",
    order: PairOrder = "closest",
    complementary: PairPolicy = "merge",
    outgoing: Tensor | None = None,
    num_removed: int | None = None,
    protected: Collection[int] = (),
) -> PrunePlan:
    """Return which neurons a layer can do without.

    Dead neurons go first, then constant ones. Then, by pairs: of two that are similar or complementary, the
    one that contributes less, std(a) times its outgoing weights, goes into the other; of equal ones the
    later. A survivor may stand for several, and goes into another only where all of these may, too: there
    are no chains. By span: the neuron that is nearest to the span of all others goes, and angles to spans are
    measured anew.

    One neuron stays, whatever comes; so do neurons that were once not finite, of which nothing is known.

    The wider the thresholds, the fewer neurons are left, and those go first that go at narrower ones: by
    span, and by pairs, closest first, whose two thresholds are equally far from 0 and 180, as in the papers.

    Args:
        statistics: Of C neurons.
        similar_below: Two neurons with a smaller angle are similar; a neuron with a smaller angle to the
            span of the others goes; degrees.
        complementary_above: Two neurons with a larger angle are complementary; degrees; not for spans.
        normalise: Where activation vectors start from. For spans ``auto`` is ``centre``, the span with a
            constant, as the consumer has its bias; where the consumer can take no constant it is ``none``.
        criterion: What a neuron is compared with.
        order: Which pairs are decided first.
        complementary: What becomes of a complementary pair.
        outgoing: Each neuron's outgoing weights, those of all consumers side by side, shape ``(C, M)``; a one
            for each neuron if left out.
        num_removed: Remove so many, closest first, whatever the thresholds say, to compare at equal width.
            By span, those go whose loss costs the consumers least: the variance that the others do not
            explain, times the square of the outgoing norm. The others take over the weights of what goes, as
            a refit gives them, and cost the more.
        protected: Neurons that stay; they may stand for others.

    Raises:
        InputError: No samples; thresholds that are not 0 to 180 degrees in this order; an unknown choice;
            outgoing weights of another layer; ``num_removed`` or ``protected`` that do not fit C.

    Source: Gedeon and Harris, "Network Reduction Techniques", 1991. Spans: the optimal brain surgeon
    of Hassibi and Stork, 1993, with activations for gradients, as for one layer in Dong et al., 2017.
    """
    width = statistics.num_neurons
    choices = (
        ("criterion", criterion, CriterionName),
        ("order", order, PairOrder),
        ("complementary", complementary, PairPolicy),
    )
    for name, value, known in choices:
        _check_choice(name, value, known)
    if num_removed is not None and not 0 <= num_removed < width:
        msg = f"num_removed is {num_removed}: of {width} neurons 0 to {width - 1} can go"
        raise InputError(msg)
    if unknown := [neuron for neuron in protected if not 0 <= neuron < width]:
        msg = f"protected names neuron {unknown[0]}: the layer has neurons 0 to {width - 1}"
        raise InputError(msg)
    weights = (torch.ones(width, 1) if outgoing is None else outgoing.detach()).to(statistics.std)
    if weights.ndim != 2 or len(weights) != width:
        msg = f"outgoing weights of shape {tuple(weights.shape)} do not belong to a layer of {width} neurons"
        raise InputError(msg)
    if criterion == "span" and normalise == "auto":
        normalise = "centre"
    degrees = angles(statistics, normalise)
    classes = classify(
        statistics, degrees, similar_below=similar_below, complementary_above=complementary_above
    )
    most = width - 1 if num_removed is None else num_removed
    removals = [Removal(neuron, "dead") for neuron in classes.dead.tolist() if neuron not in protected]
    removals += [
        Removal(neuron, "constant") for neuron in classes.constant.tolist() if neuron not in protected
    ]
    removals = removals[:most]
    room = most - len(removals)
    if criterion == "span":
        _warn_of_few(statistics)
        below = similar_below if num_removed is None else None
        given = root_mean_squares(statistics, normalise)[:, None] * weights
        removals += _remove_in_span(degrees, given, below=below, room=room, protected=protected)
    else:
        # Where the number is given, every pair is a candidate.
        below, above = (similar_below, complementary_above) if num_removed is None else (180, 90)
        removals += _remove_of_pairs(
            degrees,
            statistics.std * weights.norm(dim=1),
            similar_below=below,
            complementary_above=above,
            order=order,
            complementary=complementary,
            room=room,
            protected=protected,
        )
    if num_removed is not None and len(removals) < num_removed:
        log.warning(
            "%d of %d neurons go, not %d: of the others, none may go into another",
            len(removals),
            width,
            num_removed,
        )
    return PrunePlan(width, tuple(removals))


def count_removed(plans: Mapping[str, PrunePlan], gone: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Return plain numbers, by layer: neurons ``before`` and ``after``, and how many went for every reason.

    Args:
        plans: By layer.
        gone: Neurons by layer, of those that went with their blocks; see :func:`fer.neurons.neurons_within`.
    """
    pruned = {
        name: {"before": plan.num_neurons, "after": len(plan.kept), **plan.counts}
        for name, plan in plans.items()
    }
    return pruned | {
        name: {"before": num, "after": 0, **PrunePlan(num).counts, "block": num} for name, num in gone.items()
    }


def _remove_of_pairs(
    degrees: Tensor,
    contribution: Tensor,
    *,
    similar_below: float,
    complementary_above: float,
    order: PairOrder,
    complementary: PairPolicy,
    room: int,
    protected: Collection[int],
) -> list[Removal]:
    """Return what goes of pairs; see :func:`plan_pruning`.

    Row i, column j of ``cost`` is how far i and all for which it stands would be from j, if i went into j. A
    merge can only raise costs: what was decided at one threshold is decided at a wider one, too.
    """
    width = len(degrees)
    both_go = complementary == "remove_both"
    turned = degrees > complementary_above
    cost = torch.where(turned, 180 - degrees, degrees)
    if order != "closest":
        cost += 360 * (turned if order == "similar_first" else ~turned)
    cost[~(turned | (degrees < similar_below))] = torch.inf
    smaller = contribution[:, None] < contribution
    equal = contribution[:, None] == contribution
    into = smaller | equal.tril(-1)
    into[:, list(protected)] = True
    into[list(protected)] = False
    cost[~into] = torch.inf
    removals: dict[int, Removal] = {}
    stars: dict[int, list[int]] = {}  # by survivor, those for which it stands

    def hold(*neurons: int) -> None:
        """Let neurons not go as halves of a complementary pair."""
        for neuron in neurons:
            cost[neuron].masked_fill_(turned[neuron], torch.inf)
            cost[:, neuron].masked_fill_(turned[neuron], torch.inf)

    if both_go:
        hold(*protected)
    lowest, nearest = cost.min(dim=1)
    stale = torch.zeros(width, dtype=torch.bool, device=cost.device)  # rows whose lowest cost may be another
    while len(removals) < room:
        lowest[stale], nearest[stale] = cost[stale].min(dim=1)
        goes = int(lowest.argmin())
        stays = int(nearest[goes])
        if not lowest[goes].isfinite():
            break
        stale = nearest == goes
        if both_go:
            stale |= nearest == stays
        stale[[goes, stays]] = True
        if both_go and turned[goes, stays]:
            for neuron in (goes, stays)[: room - len(removals)]:
                removals[neuron] = Removal(neuron, "complementary", degrees=float(degrees[goes, stays]))
                cost[neuron] = cost[:, neuron] = torch.inf
            continue
        if both_go:
            hold(goes, stays)
        for neuron in (goes, *stars.pop(goes, ())):
            reason: RemovalReason = "complementary" if turned[neuron, stays] else "similar"
            removals[neuron] = Removal(neuron, reason, stays, float(degrees[neuron, stays]))
            stars.setdefault(stays, []).append(neuron)
        cost[stays] = torch.maximum(cost[stays], cost[goes])
        cost[goes] = cost[:, goes] = torch.inf
    return list(removals.values())


def _remove_in_span(
    degrees: Tensor, given: Tensor, *, below: float | None, room: int, protected: Collection[int]
) -> list[Removal]:
    """Return what goes by span: what is nearest as long as it is nearer than ``below``, or else the cheapest.

    With R the cosines of those that are left, neuron i is sin² = 1 / (R⁻¹)ᵢᵢ away from the span of the
    others; without it, their inverse is R⁻¹ less its column i times its row i over (R⁻¹)ᵢᵢ. The least squares
    give neuron j what i gave the consumers, times -(R⁻¹)ⱼᵢ / (R⁻¹)ᵢᵢ.

    Args:
        degrees: Between neurons, shape ``(C, C)``.
        given: What each gives the consumers, its length times its weights, shape ``(C, M)``.
        below: Degrees, or None.
        room: How many can go.
        protected: Those that stay.
    """
    members = (~degrees.diagonal().isnan()).nonzero().flatten()
    cosines = degrees[members][:, members].deg2rad().cos()
    cosines.diagonal().add_(SPAN_RIDGE)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(cosines))
    protected = torch.isin(
        members, torch.tensor(sorted(protected), dtype=members.dtype, device=members.device)
    )
    products = given[members] @ given[members].T  # of which only sums of squares count: M may be large
    removals: list[Removal] = []
    while len(removals) < room:
        sines = inverse.diagonal().reciprocal().clamp(max=1)
        errors = sines * products.diagonal().clamp(min=0)
        order = (sines if below is not None else errors).masked_fill(protected, torch.inf)
        index = int(order.argmin())
        angle = math.degrees(math.asin(math.sqrt(float(sines[index]))))
        if not order[index].isfinite() or (below is not None and angle >= below):
            break
        cost = float(errors[index]) if below is None else None
        removals.append(Removal(int(members[index]), "span", degrees=angle, cost=cost))
        column, row = inverse[:, index].clone(), products[index].clone()
        share = column / column[index]
        inverse.addr_(column, share, alpha=-1)
        inverse[index] = inverse[:, index] = 0
        products.addr_(share, row, alpha=-1).addr_(row - row[index] * share, share, alpha=-1)
        protected[index] = True
    return removals


def _warn_of_few(statistics: ActivationStatistics) -> None:
    width, count = statistics.num_neurons, statistics.count
    if count < SAMPLES_PER_NEURON * width:
        log.warning(
            "the span of %d neurons is measured on %d samples, fewer than %d a neuron: on others, neurons "
            "will be less alike; give %d samples, or choose by pairs",
            width,
            count,
            SAMPLES_PER_NEURON,
            SAMPLES_PER_NEURON * width,
        )


def _check_choice(name: str, value: str, choices: Any) -> None:
    if value not in get_args(choices):
        msg = f"{name} is {value!r}: it must be one of {', '.join(get_args(choices))}"
        raise InputError(msg)


def _check_parts(what: str, values: Any, types: Mapping[str, tuple[type, ...]]) -> None:
    if not isinstance(values, dict) or values.keys() != types.keys():
        msg = f"{what} must have {', '.join(types)} and no more, not {json.dumps(values):.80}"
        raise InputError(msg)
    for name, allowed in types.items():
        if type(values[name]) not in allowed:  # a bool is an int to isinstance
            names = " or ".join("null" if one is NoneType else one.__name__ for one in allowed)
            msg = f"{name} of {what} is {json.dumps(values[name]):.80}: it must be {names}"
            raise InputError(msg)
