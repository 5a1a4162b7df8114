"""Read untrusted YAML: only plain data of a limited size, with one-line errors."""

from typing import Any, Final

import yaml

MOST_CHARACTERS: Final = 500_000
"""Largest length of a file, which PyYAML parses in some seconds."""

MOST_VALUES: Final = 100_000
"""Largest number of values in a file, with aliases expanded; a sweep has some hundred."""

MOST_LEVELS: Final = 100
"""Largest depth of nesting in a file, with aliases expanded."""

_CONTRADICTED: Final = (AttributeError, LookupError, TypeError, OverflowError)
"""Exceptions of PyYAML on a value that contradicts its tag, such as ``!!bool maybe``."""


def parse_yaml(text: str) -> Any:
    """Return the content of YAML: dicts, lists, texts, numbers, dates, booleans and None.

    Tags cannot create objects of other classes. The limits apply to the content with aliases expanded, so
    that it can be traversed, copied and written.

    Raises:
        ValueError: The text is not YAML, contains itself, or is nested too deeply or too large. The message
            is one line.
    """
    check_length(text)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None:
            _measure(root, {})
        return yaml.safe_load(text)
    except RecursionError as e:
        msg = f"nested too deeply: the limit is {MOST_LEVELS} levels"
        raise ValueError(msg) from e
    except (ValueError, yaml.YAMLError) as e:
        raise ValueError(" ".join(str(e).split())) from e
    except _CONTRADICTED as e:
        msg = f"a value contradicts its tag ({' '.join(str(e).split())})"
        raise ValueError(msg) from e


def check_length(text: str) -> None:
    """Refuse YAML that PyYAML would take minutes to parse.

    Raises:
        ValueError: It is longer than :data:`MOST_CHARACTERS`.
    """
    if len(text) > MOST_CHARACTERS:
        msg = f"too large: {len(text):,} characters; the limit is {MOST_CHARACTERS:,}"
        raise ValueError(msg)


def _measure(node: yaml.Node, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Return the number of values in a node and its depth, with aliases expanded.

    Args:
        node: Node to measure.
        known: Results by the id of a node; None while a node is being measured.

    Raises:
        ValueError: The node contains itself, or is beyond a limit.
    """
    if id(node) in known:
        found = known[id(node)]
        if found is None:
            msg = (
                f"line {node.start_mark.line + 1} contains itself, by an alias of an anchor that encloses it"
            )
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
            f"line {node.start_mark.line + 1} is too large with its aliases expanded: the limit is "
            f"{MOST_VALUES:,} values and {MOST_LEVELS} levels"
        )
        raise ValueError(msg)
    known[id(node)] = num, depth
    return num, depth
