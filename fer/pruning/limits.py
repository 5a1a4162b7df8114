"""Limits on a network's size: the kinds of sizes that a pruning can aim at."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from numbers import Real
from statistics import median, quantiles
from typing import Any, Final, Self

from torch import nn

from fer.errors import InputError
from fer.pruning.size import count_macs, count_parameters, time_in_turn

LATENCY_BATCH: Final = 1
"""Batch size whose latency is limited."""

VECTOR: Final = 16
"""Multiple of feature maps that a wide layer keeps if latency is limited: AVX-512 computes 16 at a time, so a
width between two multiples takes as long as the next one."""


@dataclass(frozen=True)
class SizeKind:
    """Kind of size that can be limited.

    Attributes:
        title: Name in a help text.
        unit: Unit in a message.
        count: Function from a network and an example to its size; None: the size is timed.
        width_step: Multiple of neurons that a wide layer keeps.
        num_steps: Halvings in the search for a price; each one times two networks if the size is timed.
    """

    title: str
    unit: str
    count: Callable[[nn.Module, Any], float] | None
    width_step: int = 1
    num_steps: int = 24


SIZE_KINDS: Final[Mapping[str, SizeKind]] = {
    "macs": SizeKind("multiply-adds", "multiply-adds", count_macs),
    "params": SizeKind("parameters", "parameters", lambda network, example: count_parameters(network)),
    "latency": SizeKind(
        "latency, measured on this machine,", f"ms for a batch of {LATENCY_BATCH}", None, VECTOR, 14
    ),
}
"""Kinds of size by name, as in the option ``--target_NAME`` of ``fer prune`` and in ``max_NAME``."""


@dataclass(frozen=True)
class Reading:
    """Measured size of a network.

    Attributes:
        value: Size; the median of repeats if it is timed.
        low: Lower quartile of the repeats; the value itself if the size is exact.
        high: Upper quartile of the repeats; the value itself if the size is exact.
        num_repeats: Number of repeats.
    """

    value: float
    low: float
    high: float
    num_repeats: int = 1

    @classmethod
    def of(cls, values: list[float]) -> Self:
        """Return the reading of one or more values."""
        low, _, high = quantiles(values) if len(values) > 1 else values * 3
        return cls(median(values), low, high, len(values))

    def __str__(self) -> str:
        """Return the value; with repeats, also their quartiles."""
        if self.num_repeats == 1:
            return f"{self.value:,.0f}"
        return f"{self.value:.3g} (median of {self.num_repeats}, quartiles {self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True, eq=False)
class Limit:
    """Largest size that a pruned network may have.

    Attributes:
        kind: Name of the size, a key of :data:`SIZE_KINDS`.
        most: Largest size, or the largest share of another network's size.
        of: Network whose size ``most`` is a share of; None: ``most`` is the size itself.
    """

    kind: str
    most: float
    of: nn.Module | None = None

    @classmethod
    def one_of(cls, **most: float | None) -> Self | None:
        """Return the limit among arguments ``max_NAME``; None if none is set.

        Raises:
            InputError: More than one is set, or one is not above 0.
        """
        given = {name: value for name, value in most.items() if value is not None}
        if len(given) > 1:
            msg = f"{' and '.join(given)} exclude each other: set only one of them"
            raise InputError(msg)
        for name, value in given.items():
            if not value > 0:
                msg = f"{name} is {value}: it must be above 0"
                raise InputError(msg)
            return cls(name.removeprefix("max_"), value)
        return None

    def step(self, share: float, whole: float) -> "Limit":
        """Return the limit that lies a share, 0 to 1, of the way from the whole size to this one.

        >>> Limit("params", 400.0).step(0.5, 1000.0).most
        700.0
        """
        return replace(self, most=whole - (whole - self.most) * share)


def find_target(shares: Mapping[str, float | None], prefix: str = "target_") -> dict[str, float]:
    """Return the share of a size that is to be kept, by the name of the size; empty if none is given.

    Args:
        shares: Shares by the names of :data:`SIZE_KINDS`; None: not given.
        prefix: What an error writes before the name.

    Raises:
        InputError: A share is not between 0 and 1, or several are given.

    >>> find_target({"macs": 0.5, "params": None})
    {'macs': 0.5}
    """
    target = {name: share for name, share in shares.items() if share is not None}
    for name, share in target.items():
        if not isinstance(share, Real) or not 0 < share < 1:
            msg = f"{prefix}{name} is {share!r}: the share to keep must be above 0 and below 1"
            raise InputError(msg)
    if len(target) > 1:
        msg = f"{' and '.join(f'{prefix}{name}' for name in target)} exclude each other: give only one"
        raise InputError(msg)
    return target


def limit_of(target: Mapping[str, float], network: nn.Module) -> Limit | None:
    """Return the limit that is a share of a network's size; None without a target."""
    return next((Limit(name, share, of=network) for name, share in target.items()), None)


@dataclass(frozen=True)
class Target:
    """Size limit, and the size that was reached.

    Attributes:
        kind: Name of the size, a key of :data:`SIZE_KINDS`.
        most: Largest size allowed.
        before: Size of the network before pruning.
        after: Size of the smaller network.
    """

    kind: str
    most: float
    before: Reading
    after: Reading

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Return the target from plain values, such as those of ``dataclasses.asdict``."""
        sides = {when: Reading(**values[when]) for when in ("before", "after")}
        return cls(**{**values, **sides})

    def __str__(self) -> str:
        """Return the limit and the reached size, for a table."""
        return f"{self.limit}: {self.after}, before {self.before}"

    @property
    def limit(self) -> str:
        """The limit with its unit."""
        most = f"{self.most:,.4g}" if SIZE_KINDS[self.kind].count is None else f"{math.floor(self.most):,}"
        return f"at most {most} {SIZE_KINDS[self.kind].unit}"


class Meter:
    """Measures the size that a limit is about.

    A latency is the unpruned network's times the median ratio of the two, timed in turn, so that other load
    on the machine affects both alike.

    Args:
        limit: Limit.
        network: Network before pruning.
        example: Batch of one or more samples that the network takes.

    Attributes:
        kind: Kind of size.
        whole: Size of the network, or of the one that the limit is a share of.
        most: Largest size allowed.
    """

    def __init__(self, limit: Limit, network: nn.Module, example: Any) -> None:
        self.name, self.kind, self.example = limit.kind, SIZE_KINDS[limit.kind], example
        self.reference = network if limit.of is None else limit.of
        if self.kind.count is None:
            (seconds,) = time_in_turn({"": self.reference}, {"": example}, LATENCY_BATCH).values()
            self.whole = Reading.of([1000 * each for each in seconds])
        else:
            self.whole = Reading.of([self.kind.count(self.reference, example)])
        self.most = limit.most * (1 if limit.of is None else self.whole.value)

    def read(self, network: nn.Module) -> Reading:
        """Return the size of a network."""
        if self.kind.count is not None:
            return Reading.of([self.kind.count(network, self.example)])
        pair = {"whole": self.reference, "small": network}
        seconds = time_in_turn(pair, dict.fromkeys(pair, self.example), LATENCY_BATCH)
        ratios = [small / whole for whole, small in zip(*seconds.values(), strict=True)]
        return Reading.of([ratio * self.whole.value for ratio in ratios])

    def target(self, network: nn.Module) -> Target:
        """Return the limit, with the size of a network before pruning and of this one."""
        return Target(self.name, self.most, self.whole, self.read(network))

    def is_met(self, reading: Reading) -> bool:
        """Return whether this size is small enough."""
        return reading.value <= self.most

    def out_of_reach(self, least: Reading) -> InputError:
        """Return the error for a limit that even the smallest network exceeds."""
        share = least.value / self.whole.value
        return InputError(
            f"{self.most:,.4g} {self.kind.unit} cannot be reached: the smallest network has {least} "
            f"({share:.2g} of the unpruned one); raise target_{self.name} (--target_{self.name}), or name "
            "more layers"
        )
