"""Names that are code elsewhere: tags in a page, formulas in a spreadsheet or in a figure."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from matplotlib.figure import Figure
from PIL import Image

from fer.crop import crop
from fer.dashboards import finish, wandb_logger
from fer.data.images import ImageDataModule, ImageSplit
from fer.figures.angles import histogram_figure, matrix_figure, pairs_figure
from fer.figures.confusion import confusion_figure
from fer.figures.curves import curves_figure
from fer.figures.gradients import gradient_figure
from fer.figures.images import image_grid, predictions_figure
from fer.figures.maps import feature_maps_figure
from fer.figures.style import new_figure
from fer.figures.sweep import importances_figure, parallel_figure, search_figure, slices_figure
from fer.predict.splits import write_predictions
from fer.report import write_report
from fer.studies.sweepfile import read_sweep
from fer.studies.trials import Trial, write_trials

pytestmark = pytest.mark.drawn

TAG = "<script>alert(1)</script>"
NAME = rf"$\frac{{{TAG}$ $x_$ & 'q' \""
FORMULA = "=cmd|'-C calc'!A0"


# In figures: neither a formula, which could be a wrong one, nor a tag


def degrees() -> np.ndarray:
    angles = np.random.default_rng(0).uniform(10, 170, (5, 5))
    angles = (angles + angles.T) / 2
    np.fill_diagonal(angles, 0)
    return angles


def grey() -> np.ndarray:
    return np.zeros((2, 8, 8), np.uint8)


POINTS = [{NAME: number * 10.0**-number, f"b{NAME}": f"${number}"} for number in range(1, 5)]
FIGURES: dict[str, Callable[[], Figure]] = {
    "matrix": lambda: matrix_figure({NAME: degrees()}, NAME),
    "histogram": lambda: histogram_figure({NAME: degrees()}, title=NAME),
    "pairs": lambda: pairs_figure({NAME: degrees()}, NAME),
    "confusion": lambda: confusion_figure(torch.tensor([[3, 1], [2, 4]]), [NAME, "$b"], title=NAME),
    "curves": lambda: curves_figure({"epoch": [0, 1], f"{NAME}/acc": [0.1, 0.2], "val/loss": [1, 2]}, NAME),
    "gradients": lambda: gradient_figure({NAME: [1e-3, 1e2]}, [0, 1], NAME),
    "grid": lambda: image_grid(grey(), [NAME] * 2, NAME),
    "predictions": lambda: predictions_figure(
        grey(), [0, 1], np.full((2, 2), 0.5, np.float32), [NAME, "$b"], NAME
    ),
    "maps": lambda: feature_maps_figure(grey()[0], {NAME: np.ones((4, 3, 3))}, NAME),
    "importances": lambda: importances_figure({NAME: (0.4, 0.2)}, 5, NAME),
    "parallel": lambda: parallel_figure(
        POINTS, [1, 2, 3, 4], NAME, best=3, maximize=True, log_scaled=[NAME], title=NAME
    ),
    "slices": lambda: slices_figure(POINTS, [1, 2, 3, 4], NAME, best=3, log_scaled=[NAME], title=NAME),
    "search": lambda: search_figure({NAME: [[1, 2], [2, 3]]}, NAME, maximize=True, title=NAME),
}


@pytest.mark.parametrize("name", FIGURES)
def test_names_are_drawn_as_they_are(name: str) -> None:
    file = io.BytesIO()
    FIGURES[name]().savefig(file, format="svg")
    assert TAG.encode() not in file.getvalue()


@pytest.mark.slow
def test_powers_at_the_ticks_are_still_formulas() -> None:
    figure = new_figure(3, 2)
    axes = figure.subplots()
    axes.plot([1, 1e6], [1, 2])
    axes.set_xscale("log")
    axes.set_title("$x$")
    figure.savefig(io.BytesIO(), format="png")
    labels = [label for label in axes.get_xticklabels() if label.get_text()]
    assert labels
    assert all(label.get_parse_math() for label in labels)
    assert not axes.title.get_parse_math()


# In a report page


def test_no_name_becomes_a_tag_of_the_page(tmp_path: Path) -> None:
    folder = tmp_path / f"{TAG.replace('/', '')} $x"
    folder.mkdir()
    config = {"network": "ann", "dataset": "sfew", "run_name": TAG, "wandb": {"project": TAG, "notes": TAG}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "metrics.csv").write_text(f'epoch,"{TAG}/acc","angles/{TAG}/median",train/loss\n0,1,2,3\n')
    results = {
        "network": TAG,
        "protocol": TAG,
        "class_names": [TAG, "b"],
        "splits": {TAG: {"confusion": [[3, 1], [2, 4]]}},
    }
    (folder / "results.json").write_text(json.dumps(results))
    interval = [{"stage": TAG, "reason": TAG, "first": 0, "last": 1}]
    (folder / "stages.json").write_text(json.dumps({TAG: {"final": interval, "live": interval}}))
    page = write_report(folder, tmp_path / "page.html", lambda *_: {}).read_text()
    assert "alert(1)" in page
    assert TAG not in page
    assert TAG.replace("/", "") not in page


def test_no_name_in_a_sweep_becomes_a_tag_of_the_page(tmp_path: Path) -> None:
    folder = tmp_path / TAG.replace("/", "")
    folder.mkdir()
    space = {"x": {"values": [TAG, "b"]}, "y": {"min": 0.0, "max": 1.0}}
    settings = {"method": "random", "metric": {"name": TAG, "goal": "maximize"}, "parameters": space}
    sweep = {**settings, "name": TAG, "project": TAG, "command": ["fer", "fit", TAG, "${args}"]}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    (folder / "study.json").write_text(json.dumps({**settings, "seed": 0, "key": TAG}))
    trials = [
        Trial(1, 1, {"x": TAG, "y": 0.5}, (0.1, 0.5), state="finished", values=[0.5], value=0.5),
        Trial(2, 2, {"x": "b", "y": 0.1}, (0.9, 0.1), state="failed", reason=TAG),
    ]
    write_trials(folder, trials, read_sweep(folder / "sweep.yaml", to_run=False).space, maximize=True)
    page = write_report(folder, tmp_path / "page.html", lambda *_: {}).read_text()
    assert "alert(1)" in page
    assert TAG not in page
    assert TAG.replace("/", "") not in page


# In W&B, whose pages show names of runs; here they must name no folder


@pytest.mark.slow
def test_a_name_in_wandb_is_no_path(tmp_path: Path) -> None:
    about = {"name": f"../../{TAG}", "group": TAG, "job_type": TAG, "notes": TAG, "tags": (TAG, FORMULA)}
    logger = wandb_logger(tmp_path / "run", mode="offline", **about)
    logger.log_metrics({f"{TAG}/acc": 0.5}, step=0)
    finish()
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert not list(tmp_path.rglob("*script*"))


# In a table


def test_a_crop_table_holds_no_formula_and_its_paths_still_name_files(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    for name in (f"{FORMULA}.png", "+1.png", "@a.png", "-a.png", "plain.png"):
        Image.new("L", (30, 20)).save(tmp_path / "src" / name)
    crop(tmp_path / "src", tmp_path / "dst", detector="none", size=8)
    with (tmp_path / "dst" / "crops.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    for row in rows:
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row.values())
        assert (tmp_path / "src" / row["path"]).is_file()
        assert (tmp_path / "dst" / row["crop"]).is_file()


class Formulas(ImageDataModule):
    """Two classes and images with names that a spreadsheet would run."""

    class_names = (FORMULA, "@b")

    def load_splits(self):
        labels, names = np.array([0, 1]), np.array([f"{FORMULA}.png", "a.png"])
        return {"test": ImageSplit(images=np.zeros((2, 8, 8), np.uint8), labels=labels, names=names)}


def test_a_table_of_predictions_holds_no_formula(tmp_path: Path) -> None:
    data = Formulas()
    data.splits = data.load_splits()
    write_predictions(tmp_path / "predictions.csv", data, [[torch.tensor([[0.9, 0.1], [0.2, 0.8]])]])
    table = pd.read_csv(tmp_path / "predictions.csv")
    cells = [*table.columns, *table["name"], *table["label"], *table["predicted"]]
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)
    assert table["name"].tolist() == [f"./{FORMULA}.png", "a.png"]
    assert table["label"].tolist() == [f"'{FORMULA}", "'@b"]
