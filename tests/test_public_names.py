"""Names of the package itself: imported when they are first used, and known to type checkers."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import fer
import fer.neurons

NAMES = [name for name in fer.__all__ if name != "__version__"]


def in_new_process(code):
    """Return what Python prints that starts anew."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(fer.__file__).parents[1],
    ).stdout.strip()


def test_importing_the_package_is_fast_and_imports_no_torch():
    code = (
        "import sys, time; start = time.perf_counter(); import fer; seconds = time.perf_counter() - start; "
        "print(seconds, *({'torch', 'lightning', 'numpy', 'matplotlib'} & {*sys.modules}))"
    )
    seconds, *heavy = in_new_process(code).split()
    assert heavy == []
    assert float(seconds) < 0.3


def test_the_names_are_those_of_the_rooms():
    from fer import angles, distinctness, label_stages, load, measure, prune
    from fer.tasks import load as load_task

    expected = [
        fer.neurons.angles,
        fer.neurons.distinctness,
        fer.neurons.label_stages,
        load_task,
        fer.neurons.measure,
        fer.neurons.prune,
    ]
    assert [angles, distinctness, label_stages, load, measure, prune] == expected
    assert {*NAMES} <= {*dir(fer)}


def test_a_name_that_is_unknown_is_no_attribute():
    with pytest.raises(AttributeError, match="module 'fer' has no attribute 'mesure'"):
        _ = fer.mesure
    with pytest.raises(ImportError, match="cannot import name 'mesure'"):
        from fer import mesure  # noqa: F401


def test_type_checkers_see_the_same_names():
    """They read what is imported under TYPE_CHECKING, not what __getattr__ does."""
    tree = ast.parse(inspect.getsource(fer))
    (seen,) = (
        {alias.name for line in node.body if isinstance(line, ast.ImportFrom) for alias in line.names}
        for node in tree.body
        if isinstance(node, ast.If)
    )
    assert seen == {*NAMES} == {*fer._ROOMS}


@pytest.mark.parametrize("name", fer.neurons.__all__)
def test_every_public_name_has_types_and_a_docstring(name):
    value = getattr(fer.neurons, name)
    if inspect.isclass(value):
        assert not value.__doc__.startswith(f"{name}(")  # its own, not that of a dataclass
    if not inspect.isfunction(value):
        return
    signature = inspect.signature(value)
    missing = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.annotation is inspect.Parameter.empty
    ]
    assert missing == []
    assert signature.return_annotation is not inspect.Signature.empty
    assert "Args:" in value.__doc__
