"""The file of a sweep, as W&B has it: read, checked with line numbers, and its command expanded."""

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from fer.errors import InputError, did_you_mean
from fer.studies.hyperband import Hyperband
from fer.studies.search import Impute, Method, check_method
from fer.studies.space import SettingError, Space, as_yaml, read_space

DEFAULT_COMMAND: Final = ("${env}", "${interpreter}", "${program}", "${args}")
"""What W&B's agent runs where a file says nothing."""

_ENVVAR: Final = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")
_EXPONENT_ONLY: Final = re.compile(r"[-+]?\d+[eE][-+]?\d+|[-+]?\d*\.\d*[eE]\d+")
"""What is a number to a person and text to YAML 1.1: it wants both a point and a sign, 1.0e-5."""

_KEYS: Final = {
    *(
        "program",
        "method",
        "metric",
        "parameters",
        "command",
        "early_terminate",
        "run_cap",
        "name",
        "project",
    ),
    *("entity", "description", "controller", "apiVersion", "kind"),
}
_REFUSED: Final = {
    "job": "launch needs W&B's server",
    "image_uri": "launch needs W&B's server",
    "scheduler": "wandb sweep-scheduler runs it, not this command",
    "metrics": "several metrics need wandb sweep-scheduler; give one, metric",
}


@dataclass(frozen=True)
class Metric:
    """What a sweep optimises.

    Attributes:
        name: As it is logged.
        maximize: Whether more is better.
        target: Once a trial is there, no other starts.
        impute: What bayes takes for a trial that failed: the worst value of all, its own best or its last.
        impute_while_running: The same for a trial that runs; None: nothing.
    """

    name: str
    maximize: bool
    target: float | None = None
    impute: Impute = "worst"
    impute_while_running: Impute | None = None

    def best(self, values: Sequence[float]) -> float:
        """Return the best of some values."""
        return max(values) if self.maximize else min(values)

    def worst(self, values: Sequence[float]) -> float:
        """Return the worst of some values."""
        return min(values) if self.maximize else max(values)

    def is_reached(self, value: float) -> bool:
        """Return whether a value is as good as the target."""
        return self.target is not None and self.best([value, self.target]) == value


@dataclass(frozen=True)
class SweepFile:
    """A sweep's file, checked.

    Attributes:
        path: Of the file.
        space: What may be chosen.
        method: How.
        metric: For what.
        command: What runs a trial, with W&B's macros.
        program: What ``${program}`` stands for.
        hyperband: The rule that ends trials early, if any.
        run_cap: The most points that are tried; None: it is not said.
        project: W&B's.
        content: All of it, as YAML gives it.
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

    def words(self, point: Mapping[str, Any], json_path: Path) -> list[str]:
        """Return the command of a point, as W&B's agent expands it.

        ``${interpreter}`` is the Python that runs now, where an agent takes the first on the path.

        Args:
            point: The parameters' values.
            json_path: A file that holds, or will hold, :func:`args_json` of the point.
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
    """Return the names of the variables of the environment that a command has.

    >>> envvars(["${envvar:RUN}/config.yaml", "${args}"])
    ['RUN']
    """
    return [name for word in command for name in _ENVVAR.findall(word)]


def read_sweep(path: Path, *, method: str | None = None, to_run: bool = True) -> SweepFile:
    """Read a sweep's file.

    Args:
        path: The file, YAML.
        method: Instead of the file's.
        to_run: Whether it must be fit to run here: with what its method needs, and its program.

    Raises:
        InputError: It cannot be read, or an entry cannot be used; the message names the line.
    """
    try:
        text = path.read_text()
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except OSError as e:
        msg = f"{path}: it cannot be read ({e.strerror}); give the file of a sweep, such as sweeps/NAME.yaml"
        raise InputError(msg) from e
    except (UnicodeDecodeError, yaml.YAMLError) as e:
        msg = f"{path}: it cannot be read as YAML: {e}"
        raise InputError(msg) from e
    if root is None or not isinstance(content, Mapping):
        msg = f"{path}: it holds no sweep: give method, parameters, metric and command"
        raise InputError(msg)
    try:
        _check_numbers(root, path)
        return _read(content if method is None else {**content, "method": method}, path, to_run=to_run)
    except SettingError as e:
        name = ".".join(e.path[1:]) if e.path[:1] == ("parameters",) else ""
        problem = f"{name}: {e.problem}" if name else e.problem
        raise InputError(located(path, e.path, problem, root)) from e


def located(path: Path, keys: Sequence[str], problem: str, root: yaml.Node | None = None) -> str:
    """Return a problem with the file and the line that it is about.

    Args:
        path: Of the file.
        keys: Lead to the entry; those below it that are not there are left out.
        problem: What is wrong.
        root: Of the file, if it is read already.
    """
    node = yaml.compose(path.read_text(), Loader=yaml.SafeLoader) if root is None else root
    line = None
    for key in keys:
        entries = _entries(node)
        if key not in entries and "parameters" in entries:  # a nested parameter's name leaves these out
            entries = _entries(entries["parameters"][1])
        if key not in entries:
            break
        name, node = entries[key]
        line = name.start_mark.line + 1
    return f"{path}: {problem}" if line is None else f"{path}, line {line}: {problem}"


def _entries(node: yaml.Node | None) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return {name.value: (name, value) for name, value in pairs}


def _check_numbers(root: yaml.Node, path: Path) -> None:
    """Refuse what looks like a number and is text to YAML, among the parameters.

    Raises:
        InputError: There is one.
    """
    for node in _scalars(root):
        is_text = node.tag == "tag:yaml.org,2002:str" and node.style is None
        if is_text and _EXPONENT_ONLY.fullmatch(node.value):
            msg = (
                f"{path}, line {node.start_mark.line + 1}: {node.value} is text to YAML; write "
                f'{as_yaml(float(node.value))}, or "{node.value}" if text is meant'
            )
            raise InputError(msg)


def _scalars(node: yaml.Node) -> Iterator[yaml.ScalarNode]:
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            yield from _scalars(each)
    elif isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield from _scalars(value)


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
    if not isinstance(command, list | tuple) or not command:
        raise SettingError(("command",), f"command {command}: give a list of words")
    sweep = SweepFile(
        path=path,
        space=space,
        method=method,
        metric=_read_metric(content.get("metric")),
        command=tuple(str(word) for word in command),
        program=content.get("program"),
        hyperband=_read_hyperband(content["early_terminate"]) if content.get("early_terminate") else None,
        run_cap=_positive(content, "run_cap"),
        project=content.get("project"),
        content=content,
    )
    sweep.words({}, Path())  # says which macro is unknown
    if "${program}" in sweep.command:
        if sweep.program is None:
            raise SettingError(("command",), "program is missing: the command has ${program}")
        if to_run and not Path(sweep.program).is_file():
            raise SettingError(("program",), f"program {sweep.program}: there is no such file")
    return sweep


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
    if target is not None and (not isinstance(target, int | float) or isinstance(target, bool)):
        raise SettingError(("metric", "target"), f"target {target} is not a number")
    # YAML's false as well as W&B's "false".
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
    if not isinstance(eta, int | float) or isinstance(eta, bool) or eta <= 1:
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
        msg = f"max_iter {max_iter} is below eta {eta}: no trial would ever be ended"
        raise SettingError(("early_terminate", "max_iter"), msg)
    return rule
