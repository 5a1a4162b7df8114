"""Criteria: the order in which the neurons of a layer are removed, and what each removal costs.

A criterion is one class. Classes in this file are registered under a name; any other class that follows the
:class:`Criterion` protocol is given by its path, ``"package.module.Class"``, or as an instance.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Final, Literal, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from fer.errors import InputError, check_choice, did_you_mean
from fer.neurons.angles import Origin, angles, classify, root_mean_squares
from fer.neurons.evidence import Gradients, Limits, Neurons
from fer.neurons.plan import Removal
from fer.neurons.statistics import SAMPLES_PER_NEURON, ActivationStatistics, times_as_many
from fer.neurons.warn import warn

CriterionName = str
"""Name of a registered criterion, a key of :data:`CRITERIA`, or the path of a class."""

PairOrder = Literal["closest", "complementary_first", "similar_first"]
"""Order in which pairs are decided: nearest to 0 or 180 degrees first, or all pairs of one kind first."""

PairPolicy = Literal["merge", "remove_both"]
"""Treatment of a complementary pair: one is merged into the other, or both are removed (as in the papers)."""

SPAN_RIDGE: Final = 1e-10
"""Added to the diagonal of the cosine matrix before it is inverted, since identical neurons make it singular.

Angles to a linear span below about 1e-3 degrees (the root of 2e-10) cannot be distinguished from 0.
"""


@runtime_checkable
class Criterion(Protocol):
    """Decide which neurons of a layer are removed.

    Attributes:
        needs_gradients: Whether the criterion needs :attr:`Neurons.gradients`, and therefore labels.
        has_costs: Whether the costs of its removals are comparable between layers, so that a size target can
            distribute removals over the layers by cost.
        has_thresholds: Whether thresholds decide if no number is given.
    """

    needs_gradients: ClassVar[bool] = False
    has_costs: ClassVar[bool] = False
    has_thresholds: ClassVar[bool] = True

    def removals(self, neurons: Neurons, limits: Limits) -> list[Removal]:
        """Return the removals in order, with their costs.

        At least one neuron must be kept, and so must neurons that were NaN or infinite: no other neurons can
        approximate them.
        """
        ...

    def cost_unit(self, neurons: Neurons) -> float:
        """Return the divisor that makes the costs of this layer comparable with other layers."""
        del neurons
        return 1.0


CRITERIA: Final[dict[str, type[Criterion]]] = {}
"""Registered criteria by name, in the order of their definitions."""

C = TypeVar("C", bound=type[Criterion])


def _register(name: str) -> Callable[[C], C]:
    def add(criterion: C) -> C:
        CRITERIA[name] = criterion
        return criterion

    return add


def make_criterion(criterion: CriterionName | Criterion) -> Criterion:
    """Return the criterion for a name or a class path; an instance is returned unchanged.

    Raises:
        InputError: There is no such criterion, or the class does not follow the protocol.
    """
    if not isinstance(criterion, str):
        found: Any = criterion
    elif criterion in CRITERIA:
        return CRITERIA[criterion]()
    elif "." in criterion:
        module, _, name = criterion.rpartition(".")
        try:
            found = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            msg = f"criterion is {criterion!r}, which cannot be imported: {error}"
            raise InputError(msg) from error
    else:
        msg = (
            f"criterion is {criterion!r}: {did_you_mean(criterion, CRITERIA)}it must be one of "
            f"{', '.join(CRITERIA)}, or the path of a class, package.module.Class"
        )
        raise InputError(msg)
    try:
        made = found() if isinstance(found, type) else found
    except TypeError as error:
        msg = f"criterion {criterion!r} cannot be created without arguments: {error}; give an instance"
        raise InputError(msg) from error
    if not isinstance(made, Criterion):
        msg = (
            f"criterion {criterion!r} does not follow the protocol fer.neurons.Criterion: derive it from that"
        )
        raise InputError(msg)
    return made


@_register("pairs")
@dataclass(frozen=True)
class Pairs(Criterion):
    """Merge one neuron of each similar or complementary pair into the other.

    Dead neurons are removed first, then constant ones, then pairs. In a pair, the neuron with the smaller
    contribution, std(a) times the norm of its outgoing weights, is merged into the other; on a tie, the later
    one. Several neurons may be merged into one survivor, but there are no chains: a survivor is merged into
    another neuron only if all neurons merged into it may be, too. Wider thresholds leave fewer neurons; in
    the order ``closest``, with both thresholds equally far from 0 and 180, the neurons removed at narrow
    thresholds are the first to be removed at wider ones.

    Attributes:
        order: Order in which pairs are decided.
        complementary: Treatment of complementary pairs.
        normalise: Origin of the activation vectors; see :data:`fer.neurons.angles.Origin`.

    Source: Gedeon and Harris, "Network Reduction Techniques", 1991.
    """

    order: PairOrder = "closest"
    complementary: PairPolicy = "merge"
    normalise: Origin = "auto"

    def __post_init__(self) -> None:
        check_choice("order", self.order, PairOrder)
        check_choice("complementary", self.complementary, PairPolicy)

    def removals(self, neurons: Neurons, limits: Limits) -> list[Removal]:
        """Return the removals: dead and constant neurons first, then pairs, closest first."""
        statistics = neurons.statistics
        degrees = angles(statistics, self.normalise)
        removals, room = _silent(statistics, degrees, limits)
        if limits.num_removed is None:
            below, above = limits.similar_below, limits.complementary_above
        else:  # a number is given, so every pair is a candidate
            below, above = 180, 90
        contribution = statistics.std * neurons.outgoing.norm(dim=1)
        return removals + self._of_pairs(degrees, contribution, below, above, room, limits.protected)

    def _of_pairs(
        self,
        degrees: Tensor,
        contribution: Tensor,
        below: float,
        above: float,
        room: int,
        protected: Collection[int],
    ) -> list[Removal]:
        """Return the removals of pairs, at most ``room``.

        ``cost[i, j]`` is the largest distance from neuron j to neuron i and to all neurons merged into i. A
        merge can only raise costs, so decisions at one threshold also hold at a wider one.
        """
        both_go = self.complementary == "remove_both"
        turned = degrees > above
        cost = torch.where(turned, 180 - degrees, degrees)
        if self.order != "closest":
            cost += 360 * (turned if self.order == "similar_first" else ~turned)
        cost[~(turned | (degrees < below))] = torch.inf
        smaller = contribution[:, None] < contribution
        equal = contribution[:, None] == contribution
        into = smaller | equal.tril(-1)
        into[:, list(protected)] = True
        into[list(protected)] = False
        cost[~into] = torch.inf
        removals: dict[int, Removal] = {}
        stars: dict[int, list[int]] = {}  # by survivor, the neurons merged into it

        def hold(*neurons: int) -> None:
            """Protect neurons from removal as halves of a complementary pair."""
            for neuron in neurons:
                cost[neuron].masked_fill_(turned[neuron], torch.inf)
                cost[:, neuron].masked_fill_(turned[neuron], torch.inf)

        if both_go:
            hold(*protected)
        lowest, nearest = cost.min(dim=1)
        # Rows whose lowest cost may have changed.
        stale = torch.zeros(len(degrees), dtype=torch.bool, device=cost.device)
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
                reason = "complementary" if turned[neuron, stays] else "similar"
                removals[neuron] = Removal(neuron, reason, stays, float(degrees[neuron, stays]))
                stars.setdefault(stays, []).append(neuron)
            cost[stays] = torch.maximum(cost[stays], cost[goes])
            cost[goes] = cost[:, goes] = torch.inf
        return list(removals.values())


@_register("span")
@dataclass(frozen=True)
class LinearSpan(Criterion):
    """Remove the neurons nearest to the linear span of the other neurons.

    Dead neurons are removed first, then constant ones. Then the neuron with the smallest angle to the linear
    span of the others is removed while that angle is below ``similar_below``; angles are measured again after
    each removal. If a number is given, the neuron is removed that costs the next layers least: its variance
    unexplained by the others, times its squared outgoing norm. The others take over its outgoing weights, as
    a refit does, and cost more from then on.

    Attributes:
        normalise: Origin of the activation vectors. ``auto`` is ``centre``, the linear span with a constant,
            if the next layers can add a constant to their outputs, and ``none`` if they cannot.

    Source: the optimal brain surgeon of Hassibi and Stork, 1993, with activations instead of gradients, as
    for one layer in Dong et al., 2017.
    """

    has_costs: ClassVar[bool] = True
    normalise: Origin = "auto"

    def origin(self, neurons: Neurons) -> Origin:
        """Return the origin of the activation vectors."""
        if self.normalise != "auto":
            return self.normalise
        return "centre" if neurons.takes_constants else "none"

    def removals(self, neurons: Neurons, limits: Limits) -> list[Removal]:
        """Return the removals: dead and constant neurons, then those nearest to the others' linear span.

        Let R be the cosines of the remaining neurons. Neuron i has the angle sin² = 1 / (R⁻¹)ᵢᵢ to the linear
        span of the others. Removing it subtracts column i times row i over (R⁻¹)ᵢᵢ from the inverse. Least
        squares add -(R⁻¹)ⱼᵢ / (R⁻¹)ᵢᵢ times the outgoing weights of i to those of neuron j.
        """
        statistics, origin = neurons.statistics, self.origin(neurons)
        degrees = angles(statistics, origin)
        removals, room = _silent(statistics, degrees, limits)
        _warn_of_few_samples(statistics)
        below = limits.similar_below if limits.num_removed is None else None
        members = (~degrees.diagonal().isnan()).nonzero().flatten()
        if len(members) == 0:
            return removals
        cosines = degrees[members][:, members].deg2rad().cos()
        cosines.diagonal().add_(SPAN_RIDGE)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(cosines))
        held = torch.tensor(sorted(limits.protected), dtype=members.dtype, device=members.device)
        out = torch.isin(members, held)  # cannot be removed, or already removed
        sent = self._sent(neurons)[members]
        products = sent @ sent.T  # only sums of squares are needed, and M may be large
        first = len(removals)
        while len(removals) - first < room:
            sines = inverse.diagonal().reciprocal().clamp(max=1)
            errors = sines * products.diagonal().clamp(min=0)
            order = (sines if below is not None else errors).masked_fill(out, torch.inf)
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
            out[index] = True
        return removals

    def cost_unit(self, neurons: Neurons) -> float:
        """Return the sum of squares that all neurons, taken one by one, add to the next layers' outputs."""
        return float(self._sent(neurons).square().nansum()) or 1.0  # non-finite neurons are left out

    def _sent(self, neurons: Neurons) -> Tensor:
        """Return what each neuron adds to the outputs of the next layers, as vectors, shape ``(C, M)``."""
        lengths = root_mean_squares(neurons.statistics, self.origin(neurons))
        return lengths[:, None] * neurons.outgoing


@_register("l1")
@dataclass(frozen=True)
class WeightNorm(Criterion):
    """Remove the neurons whose incoming weights have the smallest L1 norm.

    Source: Li et al., "Pruning Filters for Efficient ConvNets", 2017.
    """

    has_thresholds: ClassVar[bool] = False

    def removals(self, neurons: Neurons, limits: Limits) -> list[Removal]:
        """Return the neurons with the smallest norms; their costs do not compare between layers."""
        if neurons.incoming is None:
            msg = "criterion l1 needs the incoming weights of the neurons"
            raise InputError(msg)
        return rank("l1", neurons.incoming.abs().sum(dim=1), neurons, limits)


@_register("taylor")
@dataclass(frozen=True)
class Taylor(Criterion):
    """Remove the neurons whose output gates the loss depends on least, to first order.

    A gate is a factor of 1 on a neuron's output. The cost is the squared derivative of a batch's mean loss
    with respect to the gate, averaged over the batches.

    Source: Molchanov et al., "Importance Estimation for Neural Network Pruning", 2019, equation 8, with
    gates.
    """

    needs_gradients: ClassVar[bool] = True
    has_costs: ClassVar[bool] = True
    has_thresholds: ClassVar[bool] = False

    def removals(self, neurons: Neurons, limits: Limits) -> list[Removal]:
        """Return the neurons with the smallest squared derivatives."""
        return rank("taylor", _gradients(neurons).of_batches, neurons, limits)


@_register("fisher")
@dataclass(frozen=True)
class Fisher(Criterion):
    """Remove the neurons whose removal raises the loss least, to second order.

    The cost is half the Fisher information of a factor on the output: half the squared derivative of a
    sample's loss, averaged over the samples.

    Source: Theis et al., "Faster Gaze Prediction with Dense Networks and Fisher Pruning", 2018; Liu et al.,
    "Group Fisher Pruning for Practical Network Compression", 2021, for layers whose outputs are added.
    """

    needs_gradients: ClassVar[bool] = True
    has_costs: ClassVar[bool] = True
    has_thresholds: ClassVar[bool] = False

    def removals(self, neurons: Neurons, limits: Limits) -> list[Removal]:
        """Return the neurons with the smallest Fisher information."""
        return rank("fisher", _gradients(neurons).of_samples / 2, neurons, limits)


def name_of(criterion: Criterion) -> str:
    """Return the name of a criterion; of one that is not registered, that of its class."""
    kind = type(criterion)
    return next((name for name, each in CRITERIA.items() if each is kind), kind.__name__)


def no_threshold(name: str) -> InputError:
    """Return the error of a criterion that needs a number of removals."""
    return InputError(
        f"criterion {name} has no threshold: set num_removed or share_removed, or a size: target_macs, "
        "target_params or target_latency (PruneCallback, fer prune), or a Limit (fer.pruning.prune_to)"
    )


def rank(name: str, costs: Tensor, neurons: Neurons, limits: Limits) -> list[Removal]:
    """Return the removals of the neurons with the smallest costs; ties in the order of their indices.

    Args:
        name: Name of the criterion, for messages.
        costs: Cost of each neuron, shape ``(C,)``.
        neurons: The neurons; those that were NaN or infinite are kept.
        limits: Limits, which must hold a number.

    Raises:
        InputError: The limits have no number.
    """
    if limits.num_removed is None:
        raise no_threshold(name)
    costs = costs.double().masked_fill(neurons.statistics.non_finite.to(costs.device), torch.inf)
    costs[list(limits.protected)] = torch.inf
    order = [neuron for neuron in costs.argsort(stable=True).tolist() if costs[neuron].isfinite()]
    return [Removal(neuron, "criterion", cost=float(costs[neuron])) for neuron in order[: limits.num_removed]]


def _silent(statistics: ActivationStatistics, degrees: Tensor, limits: Limits) -> tuple[list[Removal], int]:
    """Return the removals of dead and constant neurons, and how many more neurons may be removed."""
    classes = classify(
        statistics,
        degrees,
        similar_below=limits.similar_below,
        complementary_above=limits.complementary_above,
    )
    most = statistics.num_neurons - 1 if limits.num_removed is None else limits.num_removed
    kinds = (("dead", classes.dead), ("constant", classes.constant))
    removals = [
        Removal(neuron, reason)
        for reason, neurons in kinds
        for neuron in neurons.tolist()
        if neuron not in limits.protected
    ][:most]
    return removals, most - len(removals)


def _gradients(neurons: Neurons) -> Gradients:
    if neurons.gradients is None:
        msg = "the criterion needs gradients, but the measurement has none: measure with this criterion"
        raise InputError(msg)
    return neurons.gradients


def _warn_of_few_samples(statistics: ActivationStatistics) -> None:
    width, count = statistics.num_neurons, statistics.count
    if count < SAMPLES_PER_NEURON * width:
        warn(
            "the linear span of %d neurons is measured on %d values of each (a feature map has one at each "
            "position), fewer than %d per neuron: on other samples the neurons will be less redundant; give "
            "%s times as many samples, or use the criterion pairs",
            *(width, count, SAMPLES_PER_NEURON, times_as_many(count, width)),
            severity=width / max(count, 1),
        )
