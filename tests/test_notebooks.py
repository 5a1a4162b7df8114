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


def run_cells(stem: str) -> list[object]:
    """Run a notebook from top to bottom, and return what each cell shows."""
    [notebook] = [path for path in NOTEBOOKS if path.stem == stem]
    names: dict[str, object] = {}
    shown = []
    for cell in code_cells(notebook):
        *statements, last = ast.parse(cell).body
        assert isinstance(last, ast.Expr)
        exec(compile(ast.Module(statements, []), notebook.name, "exec"), names)
        shown.append(eval(compile(ast.Expression(last.value), notebook.name, "eval"), names))
    return shown


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_defines_nothing_and_keeps_no_output(notebook: Path) -> None:
    trees = [ast.parse(cell) for cell in code_cells(notebook)]
    outputs = [cell.get("outputs") for cell in json.loads(notebook.read_text())["cells"]]

    assert not [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    assert not any(outputs)


def test_look_at_a_run_draws_it() -> None:
    few = ["--data.num_train=70", "--data.num_val=35", "--data.num_test=35", "--trainer.max_epochs=1"]
    unwatched = ["--distinctiveness.every_n_epochs=0", "--stages.enabled=false"]
    assert main(["fit", *few, "--data.batch_size=16", "--trainer.accelerator=cpu", *unwatched]) == 0

    shown = run_cells("look-at-a-run")

    assert [type(value) for value in shown[2:]] == [Figure, Figure]


@pytest.mark.slow
def test_random_or_grouped_folds_compares_two_cross_validations(tmp_path, make_images) -> None:
    names = [f"S{subject}_{frame}.png" for subject in range(4) for frame in range(3)]
    root = make_images(tmp_path / "images", names=names)
    words = [
        *("crossval", "--network=ann", "--dataset=folder", "--folds=2", f"--data.root={root}"),
        *("--data.name_pattern=(?P<subject>S\\d)_.*", "--data.image_size=4", "--data.batch_size=8"),
        *("--data.val_share=0.3", "--trainer.max_epochs=1", "--trainer.accelerator=cpu"),
        *("--gradients.every_n_epochs=0", "--wandb.mode=disabled", "--stages.enabled=false"),
        "--distinctiveness.every_n_epochs=0",
    ]
    assert main([*words, "--run_name=ann-random"]) == 0
    assert main([*words, "--run_name=ann-film", "--data.group_by=subject"]) == 0

    _, table, figure = run_cells("random-or-grouped-folds")

    for protocol, folder in (("random folds", "ann-random"), ("by film", "ann-film")):
        kept = json.loads(Path("runs", folder, "crossval.json").read_text())
        assert table.loc[("ann", protocol), "test/pooled_acc"] == kept["test/pooled_acc"]
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
