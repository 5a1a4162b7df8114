"""Limits of a network's size: the table of sizes that a pruning can aim at."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import median, quantiles
from typing import Any, Final, Self

from torch import nn

from fer.errors import InputError
from fer.pruning.size import count_macs, count_parameters, time_in_turn

LATENCY_BATCH: Final = 1
"""Samples in the batch whose latency is limited."""

VECTOR: Final = 16
"""Multiple of feature maps that a wide layer keeps where latency counts: AVX-512 computes 16 at a time, and a
width between two multiples takes as long as the next one."""


@dataclass(frozen=True)
class SizeKind:
    """A size of a network that can be limited.

    Attributes:
        title: What it is, in a help text.
        unit: Its unit, in a message.
        count: Function from a network and an example to its size; None: the size is timed.
        width_step: Multiple of neurons that a wide layer keeps.
        num_steps: Halvings in the search for a price; each times two networks where the size is timed.
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
"""The sizes by name: each is an option ``--target_NAME`` of ``fer prune`` and ``max_NAME`` of the library."""


@dataclass(frozen=True)
class Reading:
    """A size of a network.

    Attributes:
        value: The size; of repeats the median.
        low: The lower quartile of the repeats; the value where the size is exact.
        high: The upper quartile.
        num_repeats: Number of repeats.
    """

    value: float
    low: float
    high: float
    num_repeats: int = 1

    @classmethod
    def of(cls, values: list[float]) -> Self:
        """Return the reading of one value or more."""
        low, _, high = quantiles(values) if len(values) > 1 else values * 3
        return cls(median(values), low, high, len(values))

    def __str__(self) -> str:
        """Return the value, and the quartiles of repeats."""
        if self.num_repeats == 1:
            return f"{self.value:,.0f}"
        return f"{self.value:.3g} (median of {self.num_repeats}, quartiles {self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True, eq=False)
class Limit:
    """The largest size that a pruned network may have.

    Attributes:
        kind: Name of the size, a key of :data:`SIZE_KINDS`.
        most: The largest size; or, of another network, the largest share.
        of: The network of whose size ``most`` is a share; None: ``most`` is the size itself.
    """

    kind: str
    most: float
    of: nn.Module | None = None

    @classmethod
    def one_of(cls, **most: float | None) -> Self | None:
        """Return the limit that is given, by ``max_`` and the name of its size; None if there is none.

        Raises:
            InputError: More than one is given, or one is not above 0.
        """
        given = {name: value for name, value in most.items() if value is not None}
        if len(given) > 1:
            msg = f"{' and '.join(given)} exclude each other: give one of them"
            raise InputError(msg)
        for name, value in given.items():
            if not value > 0:
                msg = f"{name} is {value}: it must be above 0"
                raise InputError(msg)
            return cls(name.removeprefix("max_"), value)
        return None

    def step(self, share: float, whole: float) -> "Limit":
        """Return the limit after a share of the way from the whole size, 0 to 1.

        >>> Limit("params", 400.0).step(0.5, 1000.0).most
        700.0
        """
        return replace(self, most=whole - (whole - self.most) * share)


@dataclass(frozen=True)
class Target:
    """A size that was aimed at, and the one that was reached.

    Attributes:
        kind: Name of the size, a key of :data:`SIZE_KINDS`.
        most: The largest size.
        before: Reading of the network before pruning.
        after: Reading of the smaller network.
    """

    kind: str
    most: float
    before: Reading
    after: Reading

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Return the target that plain values, as of ``dataclasses.asdict``, hold."""
        sides = {when: Reading(**values[when]) for when in ("before", "after")}
        return cls(**{**values, **sides})

    def __str__(self) -> str:
        """Return the target and what was reached, as in a table."""
        most = f"{self.most:,.4g}" if SIZE_KINDS[self.kind].count is None else f"{math.floor(self.most):,}"
        return f"at most {most} {SIZE_KINDS[self.kind].unit}: {self.after}, before {self.before}"


class Meter:
    """Read the size that a limit is about.

    A latency is that of the network times the median ratio of both, timed in turn: the machine's other load
    affects them alike.

    Args:
        limit: The limit.
        network: The network before pruning.
        example: A batch that it takes, of one sample or more.

    Attributes:
        kind: The size.
        whole: Reading of the network, or of the one of which the limit is a share.
        most: The largest size.
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
        """Return what was aimed at, and what a network reaches."""
        return Target(self.name, self.most, self.whole, self.read(network))

    def is_met(self, reading: Reading) -> bool:
        """Return whether a network with this reading is small enough."""
        return reading.value <= self.most

    def out_of_reach(self, least: Reading) -> InputError:
        """Return the error that even the smallest network is larger than the limit."""
        share = least.value / self.whole.value
        return InputError(
            f"{self.most:,.4g} {self.kind.unit} cannot be reached, {least} are the fewest ({share:.2g} of "
            f"the whole): raise --target_{self.name}, or name more layers in --prune.layers"
        )
