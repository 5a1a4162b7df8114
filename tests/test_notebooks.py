"""The notebooks are kept with their outputs, define nothing, and run in a kernel from top to bottom."""

import ast
import json
import tempfile
from base64 import b64decode
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]-*.ipynb"))
OWN_MODULE = "4-any-lightning-training"
"""The notebook that defines a LightningModule, as people write theirs."""

MAX_BYTES = 400_000
"""A notebook that is larger takes long to load, and its diffs are hard to read."""

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(cell: NotebookNode) -> list[bytes]:
    """Return the images that a cell shows."""
    shown = [output.get("data", {}) for output in cell.outputs]
    return [b64decode(data["image/png"]) for data in shown if "image/png" in data]


def definitions(cell: NotebookNode) -> list[str]:
    code = TransformerManager().transform_cell(cell.source)
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
    return [type(node).__name__ for node in ast.walk(ast.parse(code)) if isinstance(node, kinds)]


def test_their_order_shows_in_names_and_titles() -> None:
    numbers = [path.stem.partition("-")[0] for path in NOTEBOOKS]

    assert len(NOTEBOOKS) >= 7
    assert len(set(numbers)) == len(numbers)
    for number, path in zip(numbers, NOTEBOOKS, strict=True):
        assert nbformat.read(path, as_version=4).cells[0].source.startswith(f"# {number}. ")


@each_notebook
def test_it_is_kept_with_its_outputs(path: Path) -> None:
    cells = code_cells(nbformat.read(path, as_version=4))

    assert path.stat().st_size < MAX_BYTES
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert any(map(pictures, cells))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert str(Path.home()) not in path.read_text()
    for folder in (tempfile.gettempdir(), "site-packages"):
        assert folder not in "".join(map(json.dumps, cells))


@each_notebook
def test_it_imports_fer_and_defines_nothing(path: Path) -> None:
    cells = code_cells(nbformat.read(path, as_version=4))
    found = [name for cell in cells for name in definitions(cell)]

    assert any("fer" in cell.source for cell in cells)
    assert set(found) <= ({"ClassDef", "FunctionDef"} if path.stem == OWN_MODULE else set())


@pytest.mark.slow
@each_notebook
def test_it_runs_and_shows_its_pictures(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))  # the package under test, wherever kernels run
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = sorted(FOLDER.iterdir())
    kept = nbformat.read(path, as_version=4)
    run = nbformat.read(path, as_version=4)
    client = NotebookClient(
        run, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    )

    client.execute()

    shown = [[image[:8] for image in pictures(cell)] for cell in code_cells(run)]
    assert [len(images) for images in shown] == [len(pictures(cell)) for cell in code_cells(kept)]
    assert {start for images in shown for start in images} == {b"\x89PNG\r\n\x1a\n"}
    assert not [out for cell in code_cells(run) for out in cell.outputs if out.output_type == "error"]
    assert sorted(FOLDER.iterdir()) == before


def test_every_result_has_what_makes_it_a_measurement() -> None:
    results = pd.read_csv(FOLDER / "results.csv", dtype=str, keep_default_na=False)

    for column in ("section", "result", "method", "figure", "unit", "commit", "machine", "command"):
        assert (results[column] != "").all(), column
    intervals = results[results.low != ""][["low", "figure", "high"]].astype(float)
    assert ((intervals.low <= intervals.figure) & (intervals.figure <= intervals.high)).all()
    assert (results[results.low != ""].n != "").all()
    assert not results.duplicated(["section", "result", "method"]).any()
