"""Where to look next: a grid, chance, or what the trials so far suggest."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal

import numpy as np

from fer.errors import InputError
from fer.studies.space import Point, SettingError, Space

Method = Literal["grid", "random", "bayes"]
METHODS: Final = ("grid", "random", "bayes")
Impute = Literal["worst", "best", "latest"]

REDRAWS: Final = 100
"""How often bayes draws again where it was at a point before, as it can be among few choices."""


@dataclass(frozen=True)
class Tried:
    """What is known of a point that was suggested.

    Attributes:
        cube: Its place in the unit cube, a number for each searched parameter.
        point: Its values.
        value: The metric; None: there is none, or none yet.
        is_running: Whether the trial goes on; its value, if any, is one to go by meanwhile.
    """

    cube: tuple[float, ...]
    point: Point
    value: float | None = None
    is_running: bool = False


@dataclass(frozen=True)
class Suggestion:
    """A point to try, and its place in the unit cube, which is empty for a grid."""

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
    """Return the next point to try, or None where a grid has been gone through.

    The same trials and the same seed give the same point, whichever process asks.

    Args:
        space: What may be chosen.
        method: ``grid``, all points in order; ``random``, independent draws; ``bayes``, Optuna's Gaussian
            process in the unit cube (its TPE, where trials run side by side), to which each parameter's law
            is applied. It is not W&B's own Gaussian process, which differs in kernel and acquisition.
        tried: All points that were suggested before, in order.
        seed: Of the draws.
        maximize: Whether more of the metric is better.
        is_parallel: Whether other trials run meanwhile.

    Raises:
        InputError: bayes without Optuna.
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
    """Refuse parameters that a method cannot search.

    Raises:
        SettingError: There is one, or the method is unknown.
        InputError: bayes without Optuna.
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
        raise SettingError(("parameters",), f"all are constants: {method} has nothing to choose")
    if method == "bayes":
        for parameter in space.parameters:
            if parameter.probabilities:
                msg = "bayes cannot take probabilities; leave them out, or take method: random"
                raise SettingError(("parameters", *parameter.path), msg)
        _optuna()


def _drawn(space: Space, rng: np.random.Generator) -> Suggestion:
    cube = tuple(rng.random(len(space.searched)).tolist())
    return Suggestion(cube, space.point(cube))


def _suggest_bayes(
    space: Space, tried: Sequence[Tried], *, seed: int, maximize: bool, is_parallel: bool
) -> tuple[float, ...]:
    """Return a place in the unit cube, from a study that is built of what was tried."""
    optuna = _optuna()
    names = [parameter.name for parameter in space.searched]
    distributions = {name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what Optuna calls experimental
        sampler = (
            optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
            if is_parallel
            else optuna.samplers.GPSampler(seed=seed, deterministic_objective=False)
        )
        direction = "maximize" if maximize else "minimize"
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


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as e:
        msg = 'method: bayes needs Optuna: pip install "fer-neurons[sweep]", or take method: random'
        raise InputError(msg) from e
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
