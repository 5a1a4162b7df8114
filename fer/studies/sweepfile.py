"""Read W&B's sweep file, check it with line numbers, and expand its command."""

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fer.errors import InputError, did_you_mean
from fer.studies.hyperband import Hyperband
from fer.studies.search import Impute, Method, check_method
from fer.studies.space import SettingError, Space, is_finite, read_space
from fer.studies.sweepyaml import load, located

DEFAULT_COMMAND: Final = ("${env}", "${interpreter}", "${program}", "${args}")
"""The command that W&B's agent uses if the file has none."""

_ENVVAR: Final = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")
_KEYS: Final = {
    *("program", "method", "metric", "parameters", "command", "early_terminate", "run_cap"),
    *("name", "project", "entity", "description", "controller", "apiVersion", "kind"),
}
_REFUSED: Final = {
    "job": "launch needs W&B's server",
    "image_uri": "launch needs W&B's server",
    "scheduler": "wandb sweep-scheduler runs it, not this command",
    "metrics": "several metrics need wandb sweep-scheduler; give one, metric",
}


@dataclass(frozen=True)
class Metric:
    """The metric that a sweep optimises.

    Attributes:
        name: Name under which it is logged.
        maximize: Whether larger is better.
        target: No trial starts once one has reached this value.
        impute: Value that bayes uses for a failed trial: the worst of all, its own best or its latest.
        impute_while_running: The same for a running trial; None: no value.
    """

    name: str
    maximize: bool
    target: float | None = None
    impute: Impute = "worst"
    impute_while_running: Impute | None = None

    def best(self, values: Sequence[float]) -> float:
        """Return the best of at least one value."""
        return max(values) if self.maximize else min(values)

    def worst(self, values: Sequence[float]) -> float:
        """Return the worst of at least one value."""
        return min(values) if self.maximize else max(values)

    def is_reached(self, value: float) -> bool:
        """Return whether a value is at least as good as the target."""
        return self.target is not None and self.best([value, self.target]) == value


@dataclass(frozen=True)
class SweepFile:
    """A valid sweep file.

    Attributes:
        path: The file.
        space: The parameters.
        method: The search method.
        metric: The metric to optimise.
        command: Command of a trial, with W&B's macros.
        program: Value of ``${program}``.
        hyperband: Rule that ends trials early; None: no such rule.
        run_cap: Largest number of points; None: no limit.
        project: W&B project.
        content: The whole file, as YAML gives it.
    """

    path: Path
    space: Space
    method: Method
    metric: Metric
    command: tuple[str, ...]
    program: str | None
    hyperband: Hyperband | None
    run_cap: int | None
    project: str | None
    content: Mapping[str, Any]

    def num_points(self, count: int | None = None) -> int | None:
        """Return the limit on points: the count or else run_cap, at most the grid's size; None: no limit."""
        grid = self.space.num_points() if self.method == "grid" else None
        return min((each for each in (count or self.run_cap, grid) if each is not None), default=None)

    def words(self, point: Mapping[str, Any], json_path: Path) -> list[str]:
        """Return the command for a point, expanded as W&B's agent does.

        ``${interpreter}`` is the running Python; W&B's agent takes the first one on the path.

        Args:
            point: Values of the parameters.
            json_path: File for the :func:`args_json` of the point.
        """
        pairs = {name: f"{name}={value}" for name, value in point.items()}
        macros: dict[str, list[str]] = {
            "env": [] if sys.platform == "win32" else ["/usr/bin/env"],
            "interpreter": [sys.executable],
            "program": [self.program or ""],
            "args": [f"--{pair}" for pair in pairs.values()],
            "args_no_hyphens": list(pairs.values()),
            "args_no_equals": [word for name in point for word in (f"--{name}", str(point[name]))],
            "args_no_boolean_flags": [
                f"--{name}" if value is True else f"--{pairs[name]}"
                for name, value in point.items()
                if value is not False
            ],
            "args_json": [args_json(point)],
            "args_json_file": [str(json_path)],
            "args_append_hydra": [f"+{pair}" for pair in pairs.values()],
            "args_override_hydra": [f"++{pair}" for pair in pairs.values()],
        }
        words: list[str] = []
        for word in self.command:
            expanded = _ENVVAR.sub(lambda match: os.environ.get(match[1], match[1]), word)
            name = expanded[2:-1] if expanded.startswith("${") and expanded.endswith("}") else None
            if name is not None and name not in macros:
                hint = did_you_mean(name, macros)
                there_are = ", ".join((*macros, "envvar:NAME"))
                raise SettingError(("command",), f"{word}: unknown; {hint}there are {there_are}")
            words += [expanded] if name is None else macros[name]
        return words


def args_json(point: Mapping[str, Any]) -> str:
    """Return a point as the JSON that ``${args_json}`` and ``${args_json_file}`` pass."""
    return json.dumps(point)


def envvars(command: Sequence[str]) -> list[str]:
    """Return the names of the environment variables in a command.

    >>> envvars(["${envvar:RUN}/config.yaml", "${args}"])
    ['RUN']
    """
    return [name for word in command for name in _ENVVAR.findall(word)]


def read_sweep(path: Path, *, method: str | None = None, to_run: bool = True) -> SweepFile:
    """Read a sweep file.

    Args:
        path: The YAML file.
        method: Search method; None: the file's.
        to_run: Whether to check that the sweep can run here: that the method can search the parameters, and
            that the program exists.

    Raises:
        InputError: The file cannot be read, or an entry cannot be used; the message names the line.
    """
    root, content = load(path)
    try:
        return _read(content if method is None else {**content, "method": method}, path, to_run=to_run)
    except SettingError as e:
        name = ".".join(e.path[1:]) if e.path[:1] == ("parameters",) else ""
        problem = f"{name}: {e.problem}" if name else e.problem
        raise InputError(located(path, e.path, problem, root)) from e


def _read(content: Mapping[str, Any], path: Path, *, to_run: bool) -> SweepFile:
    for key in content:
        if key in _REFUSED:
            raise SettingError((key,), f"{key}: {_REFUSED[key]}")
        if key not in _KEYS:
            hint = did_you_mean(str(key), _KEYS)
            raise SettingError((str(key),), f"{key}: unknown; {hint}there are {', '.join(sorted(_KEYS))}")
    for key in ("method", "parameters"):
        if key not in content:
            raise SettingError((), f"{key} is missing")
    try:
        space = read_space(content["parameters"])
    except SettingError as e:
        raise SettingError(("parameters", *e.path), e.problem) from e
    method = content["method"]
    if to_run:
        check_method(space, method)
    command = content.get("command", DEFAULT_COMMAND)
    is_plain = isinstance(command, list | tuple) and not any(isinstance(w, list | dict) for w in command)
    if not is_plain or not command:
        raise SettingError(("command",), f"command {command}: give a list of words")
    sweep = SweepFile(
        path=path,
        space=space,
        method=method,
        metric=_read_metric(content.get("metric")),
        command=tuple(str(word) for word in command),
        program=_text(content, "program"),
        hyperband=_read_hyperband(content["early_terminate"]) if content.get("early_terminate") else None,
        run_cap=_positive(content, "run_cap"),
        project=_text(content, "project"),
        content=content,
    )
    sweep.words({}, Path())  # refuses unknown macros
    if "${program}" in sweep.command:
        if sweep.program is None:
            raise SettingError(("command",), "program is missing: the command has ${program}")
        if to_run and not Path(sweep.program).is_file():
            raise SettingError(("program",), f"program {sweep.program}: no such file")
    return sweep


def _text(content: Mapping[str, Any], key: str) -> str | None:
    value = content.get(key)
    if value is not None and not isinstance(value, str):
        raise SettingError((key,), f"{key} {value}: give text, in quotes if it is a number")
    return value


def _positive(content: Mapping[str, Any], key: str) -> int | None:
    value = content.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SettingError((key,), f"{key} {value}: give a whole number above 0")
    return value


def _read_metric(entry: object) -> Metric:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        msg = "metric is missing or has no name; give metric: {name: val/acc_best, goal: maximize}"
        raise SettingError(("metric",), msg)
    known = {"name", "goal", "target", "impute", "impute_while_running"}
    if others := [str(key) for key in entry if key not in known]:
        hint = did_you_mean(others[0], known)
        raise SettingError(
            ("metric", others[0]), f"metric takes {', '.join(sorted(known))}, not {others[0]}; {hint}"
        )
    name = entry["name"]
    if "goal" not in entry and re.search(r"acc|f1|precision|recall", name):
        msg = f"goal is missing, which W&B reads as minimize; give goal: maximize for {name}"
        raise SettingError(("metric",), msg)
    goal = _one_of(entry, "goal", ("minimize", "maximize"), "minimize")
    target = entry.get("target")
    if target is not None and not is_finite(target):
        raise SettingError(("metric", "target"), f"target {target} is not a number")
    # Accept both YAML's false and W&B's "false".
    running = _one_of(
        {"impute_while_running": entry.get("impute_while_running") or "false"},
        "impute_while_running",
        ("worst", "best", "latest", "false"),
        "false",
    )
    return Metric(
        name=name,
        maximize=goal == "maximize",
        target=target,
        impute=_one_of(entry, "impute", ("worst", "best", "latest"), "worst"),
        impute_while_running=None if running == "false" else running,
    )


def _one_of(entry: Mapping[str, Any], key: str, choices: Sequence[str], default: str) -> Any:
    value = entry.get(key, default)
    if value not in choices:
        raise SettingError(("metric", key), f"{key} {value}: there are {', '.join(choices)}")
    return value


def _read_hyperband(entry: object) -> Hyperband:
    if not isinstance(entry, Mapping) or entry.get("type") != "hyperband":
        msg = "early_terminate: give {type: hyperband, min_iter: 3}; there is no other type"
        raise SettingError(("early_terminate",), msg)
    known = {"type", "min_iter", "max_iter", "s", "eta", "strict"}
    if others := [str(key) for key in entry if key not in known]:
        raise SettingError(
            ("early_terminate", others[0]), f"hyperband takes {', '.join(sorted(known))}, not {others[0]}"
        )
    eta, strict = entry.get("eta", 3), entry.get("strict", True)
    if not is_finite(eta) or eta <= 1:
        raise SettingError(("early_terminate", "eta"), f"eta {eta}: give a number above 1")
    if not isinstance(strict, bool):
        raise SettingError(("early_terminate", "strict"), f"strict {strict}: give true or false")
    try:
        min_iter, max_iter, s = (_positive(entry, key) for key in ("min_iter", "max_iter", "s"))
    except SettingError as e:
        raise SettingError(("early_terminate", *e.path), e.problem) from e
    if max_iter is not None and s is not None:
        rule = Hyperband.from_max_iter(max_iter, s, eta, strict=strict)
    elif min_iter is not None:
        rule = Hyperband.from_min_iter(min_iter, eta, strict=strict)
    else:
        raise SettingError(("early_terminate",), "hyperband needs min_iter, or max_iter and s")
    if not rule.bands:
        key, value = ("max_iter", max_iter) if max_iter and s else ("min_iter", min_iter)
        reason = f"is below eta {eta}" if key == "max_iter" else "is longer than any training"
        msg = f"{key} {value} {reason}: no trial would ever be ended"
        raise SettingError(("early_terminate", key), msg)
    return rule
