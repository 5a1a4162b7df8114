"""Parse the YAML of a sweep file, check it node by node, and locate errors by line."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from fer.errors import InputError
from fer.files import read_text
from fer.studies.space import as_yaml
from fer.yamltext import check_length, parse_yaml

MOST_LEVELS: Final = 30
"""Largest depth of nesting in a file."""

MOST_DIGITS: Final = 18
"""Most digits of a whole number: more than any setting needs, and it fits into 64 bits."""

_TAG: Final = "tag:yaml.org,2002:"
_KINDS: Final = ("str", "int", "float", "bool", "null")
_EXPONENT_ONLY: Final = re.compile(r"[-+]?\d+[eE][-+]?\d+|[-+]?\d*\.\d*[eE]\d+")
"""Numbers with an exponent that YAML 1.1 takes for text: it needs a point and a signed exponent, 1.0e-5."""


def load(path: Path) -> tuple[yaml.Node, Mapping[str, Any]]:
    """Return the nodes of a sweep file, and its content.

    Raises:
        InputError: The file cannot be read or is not valid: it is not a mapping, or has a repeated key, a key
            that is not text, a list inside itself, a date, or a number with an exponent that YAML takes for
            text. The message names the line.
    """
    try:
        text = read_text(path)
        check_length(text)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as e:
        msg = f"{path}: it cannot be read ({e.strerror}); give the file of a sweep, such as sweeps/NAME.yaml"
        raise InputError(msg) from e
    except RecursionError as e:
        msg = f"{path}: it is nested too deeply; a sweep has at most {MOST_LEVELS} levels"
        raise InputError(msg) from e
    except (ValueError, yaml.YAMLError) as e:
        raise _unreadable(path, e) from e
    if not isinstance(root, yaml.MappingNode) or not root.value:
        msg = f"{path}: it holds no sweep: give method, parameters, metric and command"
        raise InputError(msg)
    for node, problem in _problems(root, (), set()):
        raise InputError(f"{path}, line {node.start_mark.line + 1}: {problem}")
    try:
        content: Mapping[str, Any] = parse_yaml(text)
    except ValueError as e:
        raise _unreadable(path, e) from e
    return root, content


def _unreadable(path: Path, error: Exception) -> InputError:
    mark = getattr(error, "problem_mark", None)
    place = "" if mark is None else f", line {mark.line + 1}"
    problem = " ".join(str(getattr(error, "problem", None) or error).split())
    return InputError(f"{path}{place}: it cannot be read as YAML: {problem}")


def located(path: Path, keys: Sequence[str], problem: str, root: yaml.Node | None = None) -> str:
    """Return a message with the file and line of a problem.

    Args:
        path: The file.
        keys: Keys that lead to the entry; the line is that of the last key that exists.
        problem: What is wrong.
        root: The file's nodes; None: read them.
    """
    node = yaml.compose(path.read_text(), Loader=yaml.SafeLoader) if root is None else root
    line = None
    for key in keys:
        entries = _entries(node)
        if key not in entries and "parameters" in entries:  # a nested parameter's path leaves out this key
            entries = _entries(entries["parameters"][1])
        if key not in entries:
            break
        name, node = entries[key]
        line = name.start_mark.line + 1
    return f"{path}: {problem}" if line is None else f"{path}, line {line}: {problem}"


def _entries(node: yaml.Node | None) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return {name.value: (name, value) for name, value in pairs if isinstance(name, yaml.ScalarNode)}


def _problems(
    node: yaml.Node, above: tuple[yaml.Node, ...], checked: set[int]
) -> Iterator[tuple[yaml.Node, str]]:
    """Yield the problems of a node and its descendants, each with the node that has it.

    Args:
        node: Where to begin.
        above: The nodes that contain it.
        checked: Ids of checked nodes, which an alias need not check again.
    """
    if any(node is each for each in above):
        yield node, "a list or mapping contains itself (an alias of an anchor inside it); write it out"
        return
    if len(above) >= MOST_LEVELS:
        yield node, f"nested too deeply; a sweep has at most {MOST_LEVELS} levels"
        return
    if id(node) in checked:
        return
    if isinstance(node, yaml.ScalarNode):
        if problem := _scalar_problem(node):
            yield node, problem
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            yield from _problems(each, (*above, node), checked)
    elif isinstance(node, yaml.MappingNode):
        names: set[str] = set()
        for name, value in node.value:
            if name.tag not in (f"{_TAG}str", f"{_TAG}merge"):
                text = name.value if isinstance(name, yaml.ScalarNode) else "a list or mapping"
                yield name, f'the key {text} is not text to YAML; write "{text}" if a name is meant'
            elif name.value in names:
                yield name, f"{name.value} occurs twice; leave one out"
            names.add(str(name.value))
            yield from _problems(value, (*above, node), checked)
    checked.add(id(node))


def _scalar_problem(node: yaml.ScalarNode) -> str:
    """Return what is wrong with a value; empty if it is valid."""
    kind = node.tag.removeprefix(_TAG)
    if kind == "timestamp":
        return f'{node.value} is a date to YAML; write "{node.value}" if text is meant'
    if kind not in _KINDS:
        return f"{node.tag} is a type that a sweep cannot use; give text, a number, true, false or null"
    if kind == "int" and len(node.value) > MOST_DIGITS:
        return f"{node.value[:MOST_DIGITS]}… has more than {MOST_DIGITS} digits; write 1.0e+20, with a point"
    if kind == "str" and node.style is None and _EXPONENT_ONLY.fullmatch(node.value):
        meant = as_yaml(float(node.value))
        return f'{node.value} is text to YAML; write {meant}, or "{node.value}" if text is meant'
    return ""
