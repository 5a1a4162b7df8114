"""Search space of a sweep: the parameters of W&B's schema, each with W&B's distribution.

Each distribution is implemented as its quantile function (inverse distribution function) of u in [0, 1]. A
search therefore only has to place points in the unit cube.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final, TypeGuard

import numpy as np
from scipy.special import betaincinv, ndtri

from fer.errors import InputError, did_you_mean

Point = dict[str, Any]
"""Values by name; a parameter with nested ``parameters`` is a dictionary, as W&B passes it."""

EDGE: Final = 1e-9
"""Smallest distance of u from 0 and 1 for an unbounded distribution, which is infinite there."""

MOST_CHOICES: Final = 100_000
"""Largest number of values of one parameter in a grid."""

LARGEST_EXPONENT: Final = 700
"""Largest exponent of e: exp(700) is about 1e304, near the largest float."""

_BOUNDS: Final[dict[str, float | None]] = {"min": None, "max": None}
_BELL: Final[dict[str, float | None]] = {"mu": 0.0, "sigma": 1.0}
_BETA: Final[dict[str, float | None]] = {"a": 1, "b": 1}
_STEP: Final[dict[str, float | None]] = {"q": 1.0}
KEYS: Final[Mapping[str, Mapping[str, float | None]]] = {
    "constant": {},
    "categorical": {},
    "categorical_w_probabilities": {},
    "int_uniform": _BOUNDS,
    "uniform": _BOUNDS,
    "q_uniform": _BOUNDS | _STEP,
    "log_uniform": _BOUNDS,
    "log_uniform_values": _BOUNDS,
    "q_log_uniform": _BOUNDS | _STEP,
    "q_log_uniform_values": _BOUNDS | _STEP,
    "inv_log_uniform": _BOUNDS,
    "inv_log_uniform_values": _BOUNDS,
    "normal": _BELL,
    "q_normal": _BELL | _STEP,
    "log_normal": _BELL,
    "q_log_normal": _BELL | _STEP,
    "beta": _BETA,
    "q_beta": _BETA | _STEP,
}
"""Numbers that each distribution takes, with their defaults; None: the number is required.

Source: the schema of W&B's package ``sweeps`` 0.3.0.
"""

_LISTS: Final = {
    "constant": {"value"},
    "categorical": {"values"},
    "categorical_w_probabilities": {"values", "probabilities"},
}
GRID: Final = ("categorical", "int_uniform", "q_uniform")
"""Distributions that a grid can enumerate."""


class SettingError(InputError):
    """An invalid entry in a sweep file.

    Attributes:
        path: Keys that lead to the entry.
        problem: What is wrong, without the path.
    """

    def __init__(self, path: Sequence[str], problem: str) -> None:
        super().__init__(f"{': '.join(path)}: {problem}" if path else problem)
        self.path = tuple(path)
        self.problem = problem


@dataclass(frozen=True)
class Parameter:
    """One parameter and its distribution.

    Attributes:
        path: Name of the parameter, preceded by the names of the parameters that it is nested in.
        distribution: A key of :data:`KEYS`.
        numbers: Numbers of the distribution, such as min and max.
        values: Values of a categorical parameter, or the one value of a constant.
        probabilities: Probabilities of the values; empty: all are equally probable.
    """

    path: tuple[str, ...]
    distribution: str
    numbers: Mapping[str, float]
    values: tuple[Any, ...] = ()
    probabilities: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """The path, joined by dots."""
        return ".".join(self.path)

    @property
    def is_constant(self) -> bool:
        """Whether the parameter has one value only."""
        return self.distribution == "constant"

    def value(self, u: float) -> Any:
        """Return the quantile of the distribution at u.

        Args:
            u: 0 to 1.
        """
        if self.is_constant:
            return self.values[0]
        if self.probabilities:
            above = np.flatnonzero(u < np.cumsum(self.probabilities))
            return self.values[int(above[0])] if above.size else self.values[-1]
        if self.values:
            return self.values[_index(u, len(self.values))]
        if self.distribution == "int_uniform":
            low, high = int(self.numbers["min"]), int(self.numbers["max"])
            return low + _index(u, high - low + 1)
        number = _DISTRIBUTIONS[self.distribution.removeprefix("q_")](min(max(u, 0.0), 1.0), self.numbers)
        return number if (q := self.numbers.get("q")) is None else _round(number, q)

    def choices(self) -> tuple[Any, ...]:
        """Return the values for a grid; as in W&B, ``q_uniform`` leaves out ``max``.

        Raises:
            SettingError: There are more than :data:`MOST_CHOICES`, or a grid cannot enumerate the
                distribution.
        """
        if self.is_constant or self.distribution == "categorical":
            return self.values
        if self.distribution in ("int_uniform", "q_uniform"):
            low, high, step = (self.numbers.get(key, 1) for key in ("min", "max", "q"))
            if (high - low) / step > MOST_CHOICES:
                msg = f"a grid takes at most {MOST_CHOICES:,} values; use method: random"
                raise SettingError(self.path, msg)
            if self.distribution == "int_uniform":
                return tuple(range(int(low), int(high) + 1))
            return tuple(np.arange(low, high, step).tolist())
        msg = (
            f"a grid cannot enumerate {self.distribution}; give values, int_uniform or q_uniform, "
            "or use method: random"
        )
        raise SettingError(self.path, msg)


@dataclass(frozen=True)
class Space:
    """The parameters of a sweep, sorted by name as W&B does.

    Attributes:
        parameters: All parameters, constants included.
    """

    parameters: tuple[Parameter, ...]

    @property
    def searched(self) -> tuple[Parameter, ...]:
        """The parameters that are not constant."""
        return tuple(parameter for parameter in self.parameters if not parameter.is_constant)

    def point(self, cube: Sequence[float]) -> Point:
        """Return the point for a position in the unit cube.

        Args:
            cube: A number from 0 to 1 for each of :attr:`searched`.
        """
        values = iter(cube)
        return _nested({p.path: p.value(0.0 if p.is_constant else next(values)) for p in self.parameters})

    def grid(self) -> Iterator[Point]:
        """Yield all points; the last parameter changes fastest.

        Raises:
            SettingError: A parameter has no grid.
        """
        paths = [parameter.path for parameter in self.parameters]
        for values in product(*(parameter.choices() for parameter in self.parameters)):
            yield _nested(dict(zip(paths, values, strict=True)))

    def num_points(self) -> int:
        """Return the number of points of the grid.

        Raises:
            SettingError: A parameter has no grid.
        """
        return math.prod(len(parameter.choices()) for parameter in self.parameters)

    def flat(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of a point by dotted name."""
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            value: Any = point
            for key in parameter.path:
                value = value[key]
            values[parameter.name] = value
        return values


def read_space(parameters: object) -> Space:
    """Return the space of the entry ``parameters`` in a sweep's file.

    Args:
        parameters: The entry, as YAML gives it.

    Raises:
        SettingError: The entry does not follow W&B's schema.
    """
    found = tuple(_read_all(parameters, ()))
    names = [parameter.name for parameter in found]
    if twice := [parameter for parameter in found if names.count(parameter.name) > 1]:
        raise SettingError(twice[-1].path, "occurs twice, once with a dot and once nested; leave one out")
    return Space(found)


def _read_all(parameters: object, path: tuple[str, ...]) -> Iterator[Parameter]:
    if not isinstance(parameters, Mapping) or not parameters:
        raise SettingError(path, "no parameters; give at least one, NAME: {values: [...]}")
    for name, entry in sorted(parameters.items(), key=lambda item: str(item[0])):
        here = (*path, str(name))
        if not isinstance(entry, Mapping):
            raise SettingError(here, f"not a parameter; for a constant, write {{value: {entry}}}")
        if "parameters" in entry:
            if len(entry) > 1:
                other = next(key for key in entry if key != "parameters")
                raise SettingError(here, f"{other} cannot be given together with parameters")
            yield from _read_all(entry["parameters"], here)
        else:
            yield _read(entry, here)


def _read(entry: Mapping[str, Any], path: tuple[str, ...]) -> Parameter:
    distribution = str(entry.get("distribution") or _default(entry, path))
    if distribution not in KEYS:
        hint = did_you_mean(distribution, KEYS)
        raise SettingError(path, f"distribution {distribution}: unknown; {hint}there are {', '.join(KEYS)}")
    described = KEYS[distribution]
    known = {*described, *_LISTS.get(distribution, ()), "distribution"}
    if others := [str(key) for key in entry if key not in known]:
        takes = ", ".join(sorted(known - {"distribution"}))
        raise SettingError(path, f"{distribution} takes {takes}, not {others[0]}")
    needed = {*_LISTS.get(distribution, ()), *(key for key, default in described.items() if default is None)}
    if missing := sorted(needed - entry.keys()):
        raise SettingError(path, f"{distribution} needs {missing[0]}")
    numbers = {key: _number(entry.get(key, default), key, path) for key, default in described.items()}
    _check(distribution, numbers, path)
    if distribution == "constant":
        return Parameter(path, distribution, {}, (entry["value"],))
    if not described:
        return Parameter(path, distribution, {}, *_read_values(entry, path))
    return Parameter(path, distribution, numbers)


def _default(entry: Mapping[str, Any], path: tuple[str, ...]) -> str:
    """Return the default distribution of an entry."""
    if "value" in entry:
        return "constant"
    if "values" in entry:
        return "categorical_w_probabilities" if "probabilities" in entry else "categorical"
    if {"min", "max"} <= entry.keys():
        kinds = {type(_number(entry[key], key, path)) for key in ("min", "max")}
        if len(kinds) > 1:
            msg = (
                f"min {entry['min']} and max {entry['max']}: one is whole, the other is not; write both with "
                "a decimal point, or give a distribution"
            )
            raise SettingError(path, msg)
        return "int_uniform" if kinds == {int} else "uniform"
    raise SettingError(path, "give value, values, min and max, a distribution, or parameters")


def _number(value: object, key: str, path: tuple[str, ...]) -> float:
    if is_finite(value):
        return value
    if isinstance(value, str):
        try:
            meant = float(value)
        except ValueError:
            pass
        else:
            msg = f"{key} {value} is text to YAML; write {as_yaml(meant)}"
            raise SettingError((*path, key), msg)
    raise SettingError((*path, key), f"{key} {value} is not a number")


def is_finite(value: object) -> TypeGuard[float]:
    """Return whether a value is a finite number, and not a Boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def as_yaml(number: float) -> str:
    """Return a number as text that YAML 1.1 parses as a number.

    >>> as_yaml(1e-5), as_yaml(300.0)
    ('1.0e-05', '300.0')
    """
    text = repr(number)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


def _check(distribution: str, numbers: Mapping[str, float], path: tuple[str, ...]) -> None:
    """Refuse numbers that the distribution does not allow."""
    if "min" in numbers and numbers["min"] >= numbers["max"]:
        raise SettingError(path, f"min {numbers['min']} is not less than max {numbers['max']}")
    if "min" in numbers and not is_finite(numbers["max"] - numbers["min"]):
        raise SettingError(path, f"min {numbers['min']} and max {numbers['max']} are too far apart")
    if distribution == "int_uniform" and not all(isinstance(number, int) for number in numbers.values()):
        raise SettingError(path, "int_uniform needs whole numbers for min and max")
    if distribution.endswith("_values") and numbers["min"] <= 0:
        raise SettingError((*path, "min"), f"min {numbers['min']}: {distribution} needs a min above 0")
    if "log_uniform" in distribution and not distribution.endswith("_values"):
        for key in ("min", "max"):
            if abs(numbers[key]) > LARGEST_EXPONENT:
                msg = f"{key} {numbers[key]} is an exponent of e; {distribution}_values takes values"
                raise SettingError((*path, key), msg)
    if "log_normal" in distribution and abs(numbers["mu"]) + 6 * numbers["sigma"] > LARGEST_EXPONENT:
        msg = f"mu {numbers['mu']} and sigma {numbers['sigma']} are exponents of e, and too large"
        raise SettingError(path, msg)
    if numbers.get("q", 1) <= 0:
        raise SettingError((*path, "q"), f"q {numbers['q']} is not above 0")
    if numbers.get("sigma", 1) < 0:
        raise SettingError((*path, "sigma"), f"sigma {numbers['sigma']} is below 0")
    for key in ("a", "b"):
        if numbers.get(key, 1) <= 0:
            raise SettingError((*path, key), f"{key} {numbers[key]} is not above 0")


def _read_values(
    entry: Mapping[str, Any], path: tuple[str, ...]
) -> tuple[tuple[Any, ...], tuple[float, ...]]:
    values = entry["values"]
    if not isinstance(values, list) or not values:
        raise SettingError((*path, "values"), f"values {values}: give a list of at least one")
    if "probabilities" not in entry:
        return tuple(values), ()
    given = entry["probabilities"]
    if not isinstance(given, list) or len(given) != len(values):
        raise SettingError((*path, "probabilities"), f"give a list of {len(values)}, one for each value")
    probabilities = tuple(_number(each, "probabilities", path) for each in given)
    if min(probabilities) < 0 or not math.isclose(sum(probabilities), 1, abs_tol=1e-8, rel_tol=1e-5):
        raise SettingError((*path, "probabilities"), f"{given}: give numbers of at least 0 with a sum of 1")
    return tuple(values), probabilities


def _nested(values: Mapping[tuple[str, ...], Any]) -> Point:
    point: Point = {}
    for path, value in values.items():
        place = point
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = value
    return point


def _index(u: float, num: int) -> int:
    """Return the index of the one of num equal intervals that u falls into."""
    return min(max(math.ceil(u * num) - 1, 0), num - 1)


def _round(number: float, q: float) -> float:
    """Return the nearest multiple of q, as an int if q is an int."""
    if not is_finite(number / q):
        return number
    rounded = round(number / q) * q
    return int(rounded) if isinstance(q, int) else float(rounded)


def _uniform(u: float, numbers: Mapping[str, float]) -> float:
    return float(numbers["min"] + u * (numbers["max"] - numbers["min"]))


def _log_values(u: float, numbers: Mapping[str, float]) -> float:
    low, high = math.log(numbers["min"]), math.log(numbers["max"])
    return math.exp(low + u * (high - low))


def _normal(u: float, numbers: Mapping[str, float]) -> float:
    z = float(ndtri(min(max(u, EDGE), 1 - EDGE)))
    return numbers["mu"] + numbers["sigma"] * z


def _inverse_log(u: float, numbers: Mapping[str, float]) -> float:
    """Log-uniform in 1/x; min and max are exponents of e."""
    return math.exp(-(numbers["min"] + (1 - u) * (numbers["max"] - numbers["min"])))


def _beta(u: float, numbers: Mapping[str, float]) -> float:
    return float(betaincinv(numbers["a"], numbers["b"], u))


_DISTRIBUTIONS: Final[Mapping[str, Callable[[float, Mapping[str, float]], float]]] = {
    "uniform": _uniform,
    "log_uniform": lambda u, numbers: math.exp(_uniform(u, numbers)),
    "log_uniform_values": _log_values,
    "inv_log_uniform": _inverse_log,
    "inv_log_uniform_values": _log_values,
    "normal": _normal,
    "log_normal": lambda u, numbers: math.exp(_normal(u, numbers)),
    "beta": _beta,
}
"""Quantile functions of the distributions, without rounding."""
