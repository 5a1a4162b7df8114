"""What ``python`` does with its arguments, in a process of :mod:`forked`: run a module, code, or a file."""

import os
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest
from shortened import VARIABLE, shorten


def main(words: list[str]) -> None:
    """Run what the words after ``python`` name."""
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    others = [path for path in sys.path[1:] if path not in (*paths, str(Path(__file__).parent))]
    if VARIABLE in os.environ:
        shorten(pytest.MonkeyPatch())
    sys.path[:] = [str(Path.cwd()), *paths, *others]
    match words:
        case ["-m", module, *arguments]:
            sys.argv = [module, *arguments]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case ["-c", code, *arguments]:
            sys.argv = ["-c", *arguments]
            sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(code, "<string>", "exec"), vars(sys.modules["__main__"]))
        case [file, *arguments]:
            sys.argv = [file, *arguments]
            sys.path[0] = str(Path(file).absolute().parent)
            runpy.run_path(file, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
