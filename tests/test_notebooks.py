"""The notebooks run from top to bottom, and define nothing."""

import ast
import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from fer.__main__ import main

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def code_cells(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_defines_nothing_and_keeps_no_output(notebook: Path) -> None:
    trees = [ast.parse(cell) for cell in code_cells(notebook)]
    outputs = [cell.get("outputs") for cell in json.loads(notebook.read_text())["cells"]]

    assert not [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    assert not any(outputs)


def test_look_at_a_run_draws_it() -> None:
    few = ["--data.num_train=70", "--data.num_val=35", "--data.num_test=35", "--trainer.max_epochs=1"]
    assert main(["fit", *few, "--data.batch_size=16", "--trainer.accelerator=cpu"]) == 0
    [notebook] = [path for path in NOTEBOOKS if path.stem == "look-at-a-run"]
    names: dict[str, object] = {}
    shown = []

    for cell in code_cells(notebook):
        *statements, last = ast.parse(cell).body
        assert isinstance(last, ast.Expr)
        exec(compile(ast.Module(statements, []), notebook.name, "exec"), names)
        shown.append(eval(compile(ast.Expression(last.value), notebook.name, "eval"), names))

    assert [type(value) for value in shown[2:]] == [Figure, Figure]
