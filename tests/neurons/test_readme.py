"""The README of the room: its examples run, and its table names every public name."""

import doctest
import re
from pathlib import Path

import pytest

import fer
import fer.neurons

README = Path(fer.neurons.__file__).with_name("README.md")
ROWS = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| .* \| `([^|]+)` \|$", README.read_text(), re.MULTILINE)
EXAMPLES = {tuple(re.findall(r"\w+", names)): code for names, code in ROWS}


@pytest.fixture(scope="module")
def session():
    """Names that the examples in blocks leave behind."""
    test = doctest.DocTestParser().get_doctest(README.read_text(), {}, README.name, str(README), 0)
    assert len(test.examples) > 15
    output: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(test, out=output.append, clear_globs=False)
    assert runner.failures == 0, "".join(output)
    return {name: getattr(fer.neurons, name) for name in fer.neurons.__all__} | test.globs


def test_the_table_has_an_example_of_every_public_name():
    assert {name for names in EXAMPLES for name in names} == {*fer.neurons.__all__}
    for names, code in EXAMPLES.items():
        assert all(re.search(rf"\b{name}\b", code) for name in names)


def test_the_examples_of_the_table_run(session):
    for code in EXAMPLES.values():
        eval(code, session)
