"""Criteria: the order in which the neurons of a layer are removed, and what each removal costs.

A criterion is one class. Those of this file are registered under a name; any other class that follows the
:class:`Criterion` protocol is chosen by its path, ``"package.module.Class"``, or given as an instance.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Final, Literal, Protocol, TypeVar, get_args, runtime_checkable

import torch
from torch import Tensor

from fer.errors import InputError, did_you_mean
from fer.neurons.angles import Origin, angles, classify, root_mean_squares
from fer.neurons.evidence import Gradients, Limits, Neurons
from fer.neurons.plan import Removal
from fer.neurons.statistics import SAMPLES_PER_NEURON, ActivationStatistics
from fer.neurons.warn import warn

CriterionName = str
"""Name of a registered criterion, a key of :data:`CRITERIA`, or the path of a class."""

PairOrder = Literal["closest", "complementary_first", "similar_first"]
"""Which pairs are decided first: those nearest to 0 or 180 degrees, or all of one kind, nearest first."""

PairPolicy = Literal["merge", "remove_both"]
"""What happens to a complementary pair: one is merged into the other, or both are removed (papers)."""

SPAN_RIDGE: Final = 1e-10
"""Added to the matrix of cosines before it is inverted, because copies make it singular.

An angle to a linear span below about 1e-3 degrees (the root of 2e-10) is not told from 0.
"""


@runtime_checkable
class Criterion(Protocol):
    """Decide which neurons of a layer are removed.

    Attributes:
        needs_gradients: Whether :attr:`Neurons.gradients` are needed, and so labels.
        has_costs: Whether the costs of its removals compare between layers, so that a size target can
            distribute the removals over the layers by cost.
        has_thresholds: Whether the thresholds decide if no number is given.
    """

    needs_gradients: ClassVar[bool] = False
    has_costs: ClassVar[bool] = False
    has_thresholds: ClassVar[bool] = True

    def removals(self, neurons: Neurons, limits: Limits) -> list[Removal]:
        """Return the removals in their order, with their costs.

        One neuron at least must be kept. Neurons that were once not finite must be kept as well: no others
        can approximate them.
        """
        ...

    def cost_unit(self, neurons: Neurons) -> float:
        """Return the number by which the costs of a layer are divided to compare them with other layers."""
        del neurons
        return 1.0


CRITERIA: Final[dict[str, type[Criterion]]] = {}
"""The registered criteria by name, in the order of their definitions."""

C = TypeVar("C", bound=type[Criterion])


def _register(name: str) -> Callable[[C], C]:
    def add(criterion: C) -> C:
        CRITERIA[name] = criterion
        return criterion

    return add


def make_criterion(criterion: CriterionName | Criterion) -> Criterion:
    """Return the criterion of a name or of a class path; an instance is returned as it is.

    Raises:
        InputError: There is no such criterion, or the class is not one.
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
    """Merge one of each two similar or complementary neurons into the other.

    Dead neurons are removed first, then constant ones, then pairs. Of a pair the neuron with the smaller
    contribution, std(a) times the norm of its outgoing weights, is merged into the other; of equal ones the
    later. Several may be merged into one survivor, which itself is merged only where all of these may be,
    too: there are no chains. The wider the thresholds, the fewer neurons are left; in the order ``closest``,
    with both thresholds equally far from 0 and 180, those removed at narrow thresholds are removed first.

    Attributes:
        order: Which pairs are decided first.
        complementary: What happens to a complementary pair.
        normalise: Where activation vectors start from; see :data:`fer.neurons.angles.Origin`.

    Source: Gedeon and Harris, "Network Reduction Techniques", 1991.
    """

    order: PairOrder = "closest"
    complementary: PairPolicy = "merge"
    normalise: Origin = "auto"

    def __post_init__(self) -> None:
        check_choice("order", self.order, PairOrder)
        check_choice("complementary", self.complementary, PairPolicy)

    def removals(self, neurons: Neurons, limits: Limits) -> list[Removal]:
        """Return dead and constant neurons, then those of pairs, closest first."""
        statistics = neurons.statistics
        degrees = angles(statistics, self.normalise)
        removals, room = _silent(statistics, degrees, limits)
        if limits.num_removed is None:
            below, above = limits.similar_below, limits.complementary_above
        else:  # every pair is a candidate
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
        """Return the removals of pairs, ``room`` at most.

        Row i, column j of ``cost`` is the largest distance from neuron j of neuron i and of all that were
        merged into it. A merge can only raise costs: what is decided at one threshold is decided at a wider
        one.
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
        stars: dict[int, list[int]] = {}  # by survivor, those that were merged into it

        def hold(*neurons: int) -> None:
            """Keep neurons from being removed as halves of a complementary pair."""
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

    Dead neurons are removed first, then constant ones, then the neuron nearest to the linear span of the
    others as long as its angle is below ``similar_below``; angles are measured again after each removal. If a
    number is given, the neuron whose removal costs the next layers least is removed: its variance that the
    others do not explain, times the square of its outgoing norm. The others take over its outgoing weights,
    as a refit does, and cost more from then on.

    Attributes:
        normalise: Where activation vectors start from. ``auto`` is ``centre``, the span with a constant,
            where the next layers can add a constant to their outputs, and ``none`` where they cannot.

    Source: the optimal brain surgeon of Hassibi and Stork, 1993, with activations in the place of gradients,
    as for one layer in Dong et al., 2017.
    """

    has_costs: ClassVar[bool] = True
    normalise: Origin = "auto"

    def origin(self, neurons: Neurons) -> Origin:
        """Return where activation vectors start from."""
        if self.normalise != "auto":
            return self.normalise
        return "centre" if neurons.takes_constants else "none"

    def removals(self, neurons: Neurons, limits: Limits) -> list[Removal]:
        """Return dead and constant neurons, then those nearest to the linear span of the others.

        With R the cosines of the neurons that are left, neuron i is at sin² = 1 / (R⁻¹)ᵢᵢ from the linear
        span of the others. Without it their inverse is R⁻¹ less its column i times its row i over (R⁻¹)ᵢᵢ.
        Least squares give neuron j the outgoing weights of i times -(R⁻¹)ⱼᵢ / (R⁻¹)ᵢᵢ.
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
        out = torch.isin(members, held)  # those that cannot be removed, or are removed already
        sent = self._sent(neurons)[members]
        products = sent @ sent.T  # of which only sums of squares count: M may be large
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
        """Return the sum of squares that all neurons, one by one, add to the outputs of the next layers."""
        return float(self._sent(neurons).square().nansum()) or 1.0  # of what is not finite, nothing is known

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
    """Remove the neurons for which the loss depends least on a factor on their output, to first order.

    The cost is the square of the derivative of a batch's mean loss, averaged over the batches.

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

    The cost is half the Fisher information of a factor on the output: half of the squared derivative of a
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


def rank(name: str, costs: Tensor, neurons: Neurons, limits: Limits) -> list[Removal]:
    """Return the removals of the neurons with the smallest costs; equal ones in the order of their indices.

    Args:
        name: Name of the criterion, for messages.
        costs: Cost of each neuron, shape ``(C,)``.
        neurons: The neurons; those that were once not finite are kept.
        limits: Limits with a number.

    Raises:
        InputError: The limits have no number.
    """
    if limits.num_removed is None:
        msg = (
            f"criterion {name} has no threshold: give num_removed, share_removed or a size "
            "target (target_macs, target_params, target_latency)"
        )
        raise InputError(msg)
    costs = costs.double().masked_fill(neurons.statistics.non_finite.to(costs.device), torch.inf)
    costs[list(limits.protected)] = torch.inf
    order = [neuron for neuron in costs.argsort(stable=True).tolist() if costs[neuron].isfinite()]
    return [Removal(neuron, "criterion", cost=float(costs[neuron])) for neuron in order[: limits.num_removed]]


def check_choice(name: str, value: str, choices: Any) -> None:
    """Check that a setting is one of the values of a Literal.

    Raises:
        InputError: It is not.
    """
    if value not in get_args(choices):
        msg = f"{name} is {value!r}: it must be one of {', '.join(get_args(choices))}"
        raise InputError(msg)


def _silent(statistics: ActivationStatistics, degrees: Tensor, limits: Limits) -> tuple[list[Removal], int]:
    """Return the removals of dead and constant neurons, and how many neurons may be removed after them."""
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
        msg = "the criterion needs gradients, which the measurement lacks: measure with this criterion"
        raise InputError(msg)
    return neurons.gradients


def _warn_of_few_samples(statistics: ActivationStatistics) -> None:
    width, count = statistics.num_neurons, statistics.count
    if count < SAMPLES_PER_NEURON * width:
        warn(
            "the linear span of %d neurons is measured on %d samples, fewer than %d a neuron: on others "
            "the neurons will be less redundant; give %d samples, or use the criterion pairs",
            width,
            count,
            SAMPLES_PER_NEURON,
            SAMPLES_PER_NEURON * width,
            severity=width / max(count, 1),
        )
