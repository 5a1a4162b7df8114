"""Strategies of Hypothesis: input that is mostly valid."""

from typing import Any

from hypothesis import strategies as st

AWKWARD: list[Any] = [
    *(None, True, False, 0, -1, 7, 10**30, -(10**30), 0.5, -0.5, 1e300, float("nan"), float("inf")),
    *("", "x", "ann", "1", "$x$", "<b>", "é\udc80", "a" * 1000, [], [[]], {}, {"a": {}}, [None, [1, "x"]]),
]
"""Values that are seldom thought of."""

awkward = st.sampled_from(AWKWARD)


@st.composite
def mutated(draw: st.DrawFn, content: bytes, most: int = 4) -> bytes:
    """Draw bytes with some changed, put in, taken out or doubled."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(0, most))):
        place = draw(st.integers(0, max(0, len(changed) - 1)))
        match draw(st.sampled_from(["change", "insert", "delete", "cut", "double"])):
            case "change":
                changed[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
            case "insert":
                changed[place:place] = draw(st.binary(max_size=8))
            case "delete":
                del changed[place : place + draw(st.integers(1, 40))]
            case "cut":
                del changed[place:]
            case "double":
                changed[place:place] = changed[place : place + draw(st.integers(1, 200))]
    return bytes(changed)


@st.composite
def altered(draw: st.DrawFn, content: Any, most: int = 3) -> Any:
    """Draw plain data with some parts replaced, renamed or left out."""
    for _ in range(draw(st.integers(0, most))):
        content = _alter(draw, content)
    return content


def _alter(draw: st.DrawFn, content: Any) -> Any:
    if not isinstance(content, dict | list) or not content or draw(st.integers(0, 5)) == 0:
        return draw(awkward)
    if isinstance(content, list):
        place = draw(st.integers(0, len(content) - 1))
        match draw(st.sampled_from(["go on", "go on", "delete", "double"])):
            case "delete":
                return content[:place] + content[place + 1 :]
            case "double":
                return [*content[:place], content[place], *content[place:]]
        return [*content[:place], _alter(draw, content[place]), *content[place + 1 :]]
    key = draw(st.sampled_from(sorted(content, key=str)))
    match draw(st.sampled_from(["go on", "go on", "go on", "delete", "rename", "add"])):
        case "delete":
            return {name: value for name, value in content.items() if name != key}
        case "rename":
            new = draw(st.sampled_from(["", "x", f"{key}2", str(key).upper()]))
            return {new if name == key else name: value for name, value in content.items()}
        case "add":
            return content | {draw(st.sampled_from(["x", "extra", ""])): draw(awkward)}
    return content | {key: _alter(draw, content[key])}
