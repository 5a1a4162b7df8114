"""Read YAML that others wrote: plain data of a limited size, or one line on why not."""

from typing import Any, Final

import yaml

MOST_CHARACTERS: Final = 500_000
"""Length that a file may have: PyYAML takes some seconds for it."""

MOST_VALUES: Final = 100_000
"""Values that a file may have, aliases replaced by what they stand for; a sweep has some hundred."""

MOST_LEVELS: Final = 100
"""Depth of nesting that a file may have, aliases replaced."""

_CONTRADICTED: Final = (AttributeError, LookupError, TypeError, OverflowError)
"""What PyYAML raises on a value that contradicts its tag, such as ``!!bool maybe``."""


def parse_yaml(text: str) -> Any:
    """Return the content of YAML: dicts, lists, texts, numbers, dates, booleans and None.

    No tag makes an object of a class. Aliases are counted as what they stand for, so that what is read can be
    walked, copied and written.

    Raises:
        ValueError: It is not YAML, contains itself, or is nested too deeply or too large. The message is one
            line.
    """
    check_length(text)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None:
            _measure(root, {})
        return yaml.safe_load(text)
    except RecursionError as e:
        msg = f"nested too deeply: {MOST_LEVELS} levels are the limit"
        raise ValueError(msg) from e
    except (ValueError, yaml.YAMLError) as e:
        raise ValueError(" ".join(str(e).split())) from e
    except _CONTRADICTED as e:
        msg = f"a value contradicts its tag ({' '.join(str(e).split())})"
        raise ValueError(msg) from e


def check_length(text: str) -> None:
    """Refuse YAML that PyYAML would read for minutes.

    Raises:
        ValueError: It is longer than :data:`MOST_CHARACTERS`.
    """
    if len(text) > MOST_CHARACTERS:
        msg = f"too large: {len(text):,} characters, and {MOST_CHARACTERS:,} are the limit"
        raise ValueError(msg)


def _measure(node: yaml.Node, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Return the number of values in a node and its depth, aliases replaced.

    Args:
        node: Where to begin.
        known: By a node's id what was found; None while it is measured.

    Raises:
        ValueError: It contains itself, or is beyond a limit.
    """
    if id(node) in known:
        found = known[id(node)]
        if found is None:
            msg = f"line {node.start_mark.line + 1} contains itself, by an alias of an anchor around it"
            raise ValueError(msg)
        return found
    known[id(node)] = None
    parts: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        parts = node.value
    elif isinstance(node, yaml.MappingNode):
        parts = [part for pair in node.value for part in pair]
    num, depth = 1, 0
    for part in parts:
        num_part, depth_part = _measure(part, known)
        num, depth = num + num_part, max(depth, depth_part + 1)
    if num > MOST_VALUES or depth > MOST_LEVELS:
        msg = (
            f"line {node.start_mark.line + 1} is too large with its aliases replaced: {MOST_VALUES:,} values "
            f"and {MOST_LEVELS} levels are the limit"
        )
        raise ValueError(msg)
    known[id(node)] = num, depth
    return num, depth
