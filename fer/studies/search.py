"""Search methods of a sweep: grid, random, bayes."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.study import StudyDirection

from fer.studies.space import Point, SettingError, Space

Method = Literal["grid", "random", "bayes"]
METHODS: Final = ("grid", "random", "bayes")
Impute = Literal["worst", "best", "latest"]

REDRAWS: Final = 100
"""Most random draws to replace a point that bayes repeats, which is common if there are few choices."""


@dataclass(frozen=True)
class Tried:
    """A point that was suggested before, with its result.

    Attributes:
        cube: Position in the unit cube, one number per searched parameter.
        point: Values of the parameters.
        value: Value of the metric; None: no value, or none yet.
        is_running: Whether the trial is running; its value, if any, is preliminary.
    """

    cube: tuple[float, ...]
    point: Point
    value: float | None = None
    is_running: bool = False


@dataclass(frozen=True)
class Suggestion:
    """A point to try, and its position in the unit cube, which is empty for a grid."""

    cube: tuple[float, ...]
    point: Point


def suggest(
    space: Space,
    method: Method,
    tried: Sequence[Tried],
    *,
    seed: int,
    maximize: bool,
    is_parallel: bool = False,
) -> Suggestion | None:
    """Return the next point to try, or None at the end of a grid.

    The same trials and the same seed give the same point in every process.

    Args:
        space: The search space.
        method: ``grid``: all points in order. ``random``: independent draws. ``bayes``: Optuna's Gaussian
            process (TPE for parallel trials) in the unit cube, which each parameter's distribution maps to
            values. W&B's own Gaussian process differs in kernel and acquisition function.
        tried: All points that were suggested before, in order.
        seed: Seed of the draws.
        maximize: Whether a larger metric is better.
        is_parallel: Whether other trials are running.

    """
    number = len(tried)
    if method == "grid":
        point = next(islice(space.grid(), number, None), None)
        return None if point is None else Suggestion((), point)
    rng = np.random.default_rng((seed, number))
    if method == "random":
        return _drawn(space, rng)
    cube = _suggest_bayes(space, tried, seed=seed + number, maximize=maximize, is_parallel=is_parallel)
    suggestion = Suggestion(cube, space.point(cube))
    before = [each.point for each in tried]
    for _ in range(REDRAWS):
        if suggestion.point not in before:
            break
        suggestion = _drawn(space, rng)
    return suggestion


def check_method(space: Space, method: str) -> None:
    """Refuse an unknown method, and parameters that a method cannot search.

    Raises:
        SettingError: The method is unknown or cannot search a parameter.
    """
    if method not in METHODS:
        raise SettingError(("method",), f"{method}: there are {', '.join(METHODS)}")
    if method == "grid":
        try:
            space.num_points()
        except SettingError as e:
            raise SettingError(("parameters", *e.path), e.problem) from e
        return
    if not space.searched:
        raise SettingError(("parameters",), f"all parameters are constants: {method} has nothing to search")
    if method == "bayes":
        for parameter in space.parameters:
            if parameter.probabilities:
                msg = "bayes cannot use probabilities; leave them out, or use method: random"
                raise SettingError(("parameters", *parameter.path), msg)


def _drawn(space: Space, rng: np.random.Generator) -> Suggestion:
    cube = tuple(rng.random(len(space.searched)).tolist())
    return Suggestion(cube, space.point(cube))


def _suggest_bayes(
    space: Space, tried: Sequence[Tried], *, seed: int, maximize: bool, is_parallel: bool
) -> tuple[float, ...]:
    """Return a position in the unit cube, from an Optuna study of the points that were tried."""
    names = [parameter.name for parameter in space.searched]
    distributions: dict[str, BaseDistribution] = {name: FloatDistribution(0.0, 1.0) for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns about experimental features
        sampler = (
            optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
            if is_parallel
            else optuna.samplers.GPSampler(seed=seed, deterministic_objective=False)
        )
        direction = StudyDirection.MAXIMIZE if maximize else StudyDirection.MINIMIZE
        study = optuna.create_study(sampler=sampler, direction=direction)
        states = optuna.trial.TrialState
        for each in tried:
            if each.value is None and not each.is_running:
                continue
            study.add_trial(
                optuna.trial.create_trial(
                    params=dict(zip(names, each.cube, strict=True)),
                    distributions=distributions,
                    value=each.value,
                    state=states.RUNNING if each.value is None else states.COMPLETE,
                )
            )
        trial = study.ask(distributions)
    return tuple(float(trial.params[name]) for name in names)
