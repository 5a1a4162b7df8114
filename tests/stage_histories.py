"""Synthetic histories of trainings whose stages begin at known times."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from fer.neurons.stages import Stage, StageLabel, label_stages, live_stages

NAN = math.nan

LENGTHS: Final = {8: 20, 15: 10, 30: 6, 50: 3, 200: 1}
"""By length of the run in epochs the number of measurements in an epoch."""


class History(NamedTuple):
    """One value a measurement of each quantity, and the time of each in epochs."""

    speed: list[float]
    train: list[float]
    val: list[float]
    ratio: list[float] | None = None
    times: list[float] | None = None


class Known(NamedTuple):
    """A history, and the times in epochs at which its stages begin."""

    history: History
    intermediate: float
    static: float


class Shape(NamedTuple):
    """How a schedule shapes a run; all times are shares of the run.

    Attributes:
        rate: Learning rate at some times, as a share of its highest, given when the stages begin.
        way: Share of the fall of the losses that is behind the network at some times.
        begin: First and last time at which *Intermediate* may begin.
        end: The same of the last stage.
    """

    rate: Callable[[Tensor, float, float], Tensor]
    way: Callable[[Tensor, float, float], Tensor]
    begin: tuple[float, float] = (0.04, 0.15)
    end: tuple[float, float] = (0.35, 0.7)


def _even(x: Tensor, begin: float, end: float) -> Tensor:
    return ((x - begin) / (end - begin)).clamp(0, 1)


def _cosine(x: Tensor) -> Tensor:
    return 0.5 + 0.5 * torch.cos(math.pi * x.clamp(0, 1))


def _one_cycle_way(x: Tensor, begin: float, end: float) -> Tensor:
    """Return a slow fall while the rate is high, and a fast one in the last third of the way."""
    way = _even(x, begin, end)
    return torch.where(way < 2 / 3, 0.6 * way, 0.4 + 1.8 * (way - 2 / 3))


def _steps(begin: float, end: float) -> tuple[float, float]:
    """Return when the rate falls to a tenth: the last drop of the losses takes 3 % of the run."""
    return begin + 0.6 * (end - begin), end - 0.03


def _steps_way(x: Tensor, begin: float, end: float) -> Tensor:
    first, second = _steps(begin, end)
    slow = 0.45 * _even(x, begin, first) + 0.1 * _even(x, first + 0.03, second)
    return slow + 0.3 * _even(x, first, first + 0.03) + 0.15 * _even(x, second, end)


def _restarts(x: Tensor) -> Tensor:
    """Return how much of each of three equally long cycles is over."""
    return (3 * x).clamp(max=2.999) % 1


def _restarts_way(x: Tensor, begin: float, end: float) -> Tensor:
    """Return a fall that each restart sets back by 0.15."""
    set_back = 0.15 * ((x >= 1 / 3).double() + (x >= 2 / 3).double())
    return 1.3 * _even(x, begin, end) - set_back


SHAPES: Final = {
    "plain": Shape(lambda x, _b, _e: torch.ones_like(x), _even),
    "warm-up": Shape(lambda x, begin, _e: (0.05 + x / begin).clamp(max=1), _even),
    "one-cycle": Shape(
        lambda x, _b, _e: torch.where(x < 0.3, 0.04 + 0.96 * x / 0.3, _cosine((x - 0.3) / 0.7)),
        _one_cycle_way,
        end=(0.75, 0.9),
    ),
    "steps": Shape(
        lambda x, begin, end: 0.2 ** sum((x >= step).double() for step in _steps(begin, end)),
        _steps_way,
        end=(0.6, 0.85),
    ),
    "restarts": Shape(lambda x, _b, _e: 0.03 + 0.97 * _cosine(_restarts(x)), _restarts_way, end=(0.8, 0.9)),
}
"""By name."""


def known(
    seed: int,
    *,
    noise: float,
    overfits: bool = False,
    num_epochs: int = 200,
    per_epoch: int = 1,
    shape: str = "plain",
    correlation: float = 0.0,
) -> Known:
    """Return a run that waits, falls and comes to rest, each at a known time.

    Args:
        seed: Of the times (in a plain run, Initial lasts for 4 to 15 % of it, and it is at rest after 35 to
            70 %) and the noise.
        noise: Of the train loss as a share of its fall; the validation loss has twice as much, the speed
            always 10 % of itself. With another rate than the highest, less.
        overfits: Whether the validation loss rises at the end, and the train loss goes on to fall.
        num_epochs: Length.
        per_epoch: Measurements in an epoch.
        shape: One of :data:`SHAPES`.
        correlation: Of the noise of one measurement with that of the next.
    """
    generator = torch.Generator().manual_seed(seed)
    rate, fall, begins, ends = SHAPES[shape]
    num = num_epochs * per_epoch

    def scatter(size: float) -> Tensor:
        drawn = torch.randn(num, generator=generator, dtype=torch.float64)
        for i in range(1, num if correlation else 0):
            drawn[i] = correlation * drawn[i - 1] + math.sqrt(1 - correlation**2) * drawn[i]
        return size * drawn

    def draw(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))

    begin, end = draw(*begins), draw(*ends)
    x = torch.arange(1, num + 1, dtype=torch.float64) / num
    rates, way = rate(x, begin, end), fall(x, begin, end)
    rest = (x - end).clamp(min=0) * overfits
    restless = 0.3 + 0.7 * rates
    speed = rates * torch.where(x < begin, 2.0, 1.1 - 0.8 * _even(x, begin, end)) * scatter(0.1).exp()
    speed[0] = NAN
    train = 2.0 - 1.4 * way - 0.4 * rest + scatter(1.4 * noise) * restless
    val = 2.0 - 1.1 * way + 2.0 * rest + scatter(2.8 * noise) * restless
    history = History(speed.tolist(), train.tolist(), val.tolist(), None, (x * num_epochs).tolist())
    return Known(history, begin * num_epochs, end * num_epochs)


class Outcome(NamedTuple):
    """How right the stages of one history are.

    Attributes:
        shape: Of the schedule.
        num_epochs: Length of the run.
        error: Mean distance of the two boundaries from the truth, as a share of the run.
        delay: The same for the live form.
        is_right: Whether the last stage is right.
        is_live_right: Whether the last live stage is right.
        has_false_plateau: Whether there is a live plateau while the losses still fall.
    """

    shape: str
    num_epochs: int
    error: float
    delay: float
    is_right: bool
    is_live_right: bool
    has_false_plateau: bool


def outcomes(seeds: Iterable[int], *, shape: str, num_epochs: int) -> Iterator[Outcome]:
    """Yield how right the stages are with little and much noise, by turns correlated and overfitting."""
    for seed in seeds:
        for noise in (0.005, 0.02):
            overfits = bool(seed // 2 % 2)
            history, *truth = known(
                seed,
                noise=noise,
                overfits=overfits,
                num_epochs=num_epochs,
                per_epoch=LENGTHS[num_epochs],
                shape=shape,
                correlation=0.6 * (seed % 2),
            )
            final, live = label_stages(*history), live_stages(*history)
            times = history.times or []
            right = Stage.PLATEAU if overfits else Stage.SOLUTION
            falling = [label.stage for label, time in zip(live, times, strict=True) if time < truth[1]]
            yield Outcome(
                shape,
                num_epochs,
                distance(begins(final, times), truth, num_epochs),
                distance(begins(live, times), truth, num_epochs),
                final[-1].stage == right,
                live[-1].stage == right,
                Stage.PLATEAU in falling,
            )


def begins(labels: Sequence[StageLabel], times: Sequence[float]) -> tuple[float, float]:
    """Return when Intermediate begins, and the last rest, to the end of the run; infinity: never."""
    is_at_rest = [label.stage in (Stage.PLATEAU, Stage.SOLUTION) for label in labels]
    has_begun = [label.stage != Stage.INITIAL for label in labels]
    first = has_begun.index(True) if any(has_begun) else len(labels)
    last = len(labels) - is_at_rest[::-1].index(False) if not all(is_at_rest) else 0
    return [*times, math.inf][first], [*times, math.inf][last]


def distance(found: Sequence[float], truth: Sequence[float], num_epochs: int) -> float:
    """Return the mean distance as a share of the run; a boundary that was not found is put at its end."""
    return (
        sum(abs(min(a, num_epochs) - b) for a, b in zip(found, truth, strict=True)) / len(truth) / num_epochs
    )
