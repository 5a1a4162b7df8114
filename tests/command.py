"""The command line in this process, for tests: what it returns and writes."""

import io
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

from fer.__main__ import main


class Called(NamedTuple):
    status: int
    out: str
    err: str


def call(*words: object) -> Called:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = main([str(word) for word in words])
        except SystemExit as e:
            status = e.code
    return Called(status, out.getvalue(), err.getvalue())


def done_on_few(*words: object) -> str:
    """Run a command that must work, and may warn of nothing but a split that is small."""
    called = call(*words)
    assert called.status == 0, called.err
    assert_warns_of_few_at_most(called.err)
    return called.out


def assert_warns_of_few_at_most(err: str) -> None:
    """Check that a training said nothing, or once that it has fewer samples than neurons."""
    lines = err.splitlines()
    assert len(lines) <= 1, err
    assert all("fewer samples than neurons" in line for line in lines), err


def done(*words: object) -> str:
    """Run a command that must work, and return what it wrote."""
    called = call(*words)
    assert (called.status, called.err) == (0, "")
    return called.out
