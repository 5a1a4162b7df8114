"""The notebooks run from top to bottom. Those that read runs define nothing and keep no output."""

import ast
import base64
import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from fer.__main__ import main

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
SHOWN = "any-lightning-training"
"""The notebook that needs no run: it defines a module, and is kept with its outputs, to be read as it is."""
PAPERS = "7-papers"
"""The notebook of kept outcomes, which is kept with its outputs as well."""


def code_cells(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.fixture(autouse=True)
def this_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let kernels import the package under test, wherever they run."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))


def run_cells(stem: str) -> list[dict[str, str]]:
    """Run a notebook in a kernel, and return by MIME type what each code cell shows."""
    [path] = [path for path in NOTEBOOKS if path.stem == stem]
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [{k: v for each in cell.outputs for k, v in each.get("data", {}).items()} for cell in cells]


@pytest.mark.parametrize(
    "notebook", [path for path in NOTEBOOKS if path.stem not in (SHOWN, PAPERS)], ids=lambda path: path.stem
)
def test_notebook_defines_nothing_and_keeps_no_output(notebook: Path) -> None:
    trees = [ast.parse(cell) for cell in code_cells(notebook)]
    outputs = [cell.get("outputs") for cell in json.loads(notebook.read_text())["cells"]]

    assert not [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    assert not any(outputs)


def test_papers_defines_nothing_and_is_kept_with_its_pictures() -> None:
    (path,) = [path for path in NOTEBOOKS if path.stem == PAPERS]
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]

    defined = ast.FunctionDef | ast.ClassDef | ast.Lambda
    assert not [n for cell in code_cells(path) for n in ast.walk(ast.parse(cell)) if isinstance(n, defined)]
    assert path.stat().st_size < 300_000
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 5
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert str(Path.home()) not in path.read_text()


@pytest.mark.slow
def test_papers_shows_its_pictures() -> None:
    shown = run_cells(PAPERS)

    assert sum("image/png" in each for each in shown) == 2  # a matrix, and the last of many figures
    assert "O12" in shown[1]["text/html"]


def test_any_lightning_training_is_kept_with_its_outputs() -> None:
    (path,) = [path for path in NOTEBOOKS if path.stem == SHOWN]
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]

    assert path.stat().st_size < 300_000
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert sum("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"]) == 2
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    assert str(Path.home()) not in path.read_text()
    assert "fer" not in "".join(next(c["source"] for c in cells if "class Digits" in "".join(c["source"])))


@pytest.mark.slow
def test_any_lightning_training_prunes_half_of_the_neurons(monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    shown = run_cells(SHOWN)

    figures = [each["image/png"] for each in shown if "image/png" in each]
    assert [base64.b64decode(each).startswith(b"\x89PNG") for each in figures] == [True, True]
    small, _ = [each["text/plain"] for each in shown if "out_features=10" in each.get("text/plain", "")]
    assert small.count("out_features=32") == 2
    assert (
        json.loads(Path("runs/lightning_logs/version_0/prune.json").read_text())["after"]["metrics"][
            "val_acc"
        ]
        > 0.9
    )


@pytest.mark.slow
def test_look_at_a_run_draws_it() -> None:
    few = ["--data.num_train=70", "--data.num_val=35", "--data.num_test=35", "--trainer.max_epochs=1"]
    unwatched = ["--distinctiveness.every_n_epochs=0", "--stages.enabled=false"]
    assert main(["fit", *few, "--data.batch_size=16", "--trainer.accelerator=cpu", *unwatched]) == 0

    shown = run_cells("look-at-a-run")

    assert "acc" in shown[1]["text/html"]
    for figure in shown[2:]:
        assert base64.b64decode(figure["image/png"]).startswith(b"\x89PNG")


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

    for folder in ("ann-random", "ann-film"):
        kept = json.loads(Path("runs", folder, "crossval.json").read_text())
        assert f"{kept['test/pooled_acc']:.6f}" in table["text/html"]
    assert base64.b64decode(figure["image/png"]).startswith(b"\x89PNG")
