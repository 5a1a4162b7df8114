"""Any number of classes, from the command line: a network of three classes, of eight, and on other data."""

import json

import pytest
import torch

from fer.labels import EXPRESSIONS
from fer.runs import Run
from fer.tasks import load
from tests.command import call, done

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:multiprocessing")

SMALL = (
    *("--network", "conv1", "--data.image_size", "16", "--data.channels", "1", "--data.batch_size", "8"),
    *("--trainer.max_epochs", "2", "--wandb.mode", "disabled", "--gradients.every_n_epochs", "0"),
    *("--stages.enabled", "false", "--distinctiveness.every_n_epochs", "0"),
)
ANIMALS = ("bird", "cat", "dog")

AFFECTNET = '''"""AffectNet: folders train and val of numbered classes; val is the test, as papers have it."""

from typing import Any

from fer.data import FaceFolderDataModule


class AffectNetDataModule(FaceFolderDataModule):
    """AffectNet with eight classes."""

    def __init__(self, root: str | None = None, **kwargs: Any) -> None:
        super().__init__(root, classes="affectnet", test_on="val", **kwargs)
'''


@pytest.fixture(scope="module")
def animals(tmp_path_factory, sandboxed, make_images):
    """A run of three classes that are no expressions."""
    folder = tmp_path_factory.mktemp("animals")
    with sandboxed(folder):
        root = make_images(folder / "data", num=30, class_names=ANIMALS)
        words = ("--dataset", "folder", "--data.root", root, "--data.classes", "folders")
        out = done("fit", *SMALL, *words, "--run_name", "a", "--monitor", "val/balanced_acc")
        yield folder, out


def _results(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.mark.slow
def test_three_classes_are_trained_and_tested(animals):
    folder, out = animals
    run = Run(folder / "runs" / "a")
    results = _results(run.folder)
    assert results["class_names"] == list(ANIMALS)
    assert torch.tensor(results["splits"]["test"]["confusion"]).shape == (3, 3)
    assert results["trained_on"] == "FaceFolder (data), 80/10/10, random"
    task = load(run.best_checkpoint)
    assert task.class_names == ANIMALS
    assert task.network(torch.zeros(1, 1, 16, 16)).shape == (1, 3)
    assert "macro mean" in out
    assert all(name in out for name in ANIMALS)


@pytest.mark.slow
def test_the_monitored_metric_selects_the_checkpoint_and_has_a_best(animals):
    folder, _ = animals
    metrics = Run(folder / "runs" / "a").read_metrics()
    values = [value for value in metrics["val/balanced_acc"] if value == value]
    bests = [value for value in metrics["val/balanced_acc_best"] if value == value]
    assert bests == [max(values[: i + 1]) for i in range(2)]
    assert {"val/recall/cat", "val/recall/dog"} <= metrics.keys()


@pytest.mark.slow
def test_a_network_of_three_classes_is_pruned_and_reported(animals, monkeypatch):
    folder, _ = animals
    monkeypatch.chdir(folder)
    settings = ("--prune.similar_below", "60", "--wandb.mode", "disabled", "--run_name", "p")
    assert call("prune", "runs/a/checkpoints/best.ckpt", *settings).status == 0
    assert load(folder / "runs" / "p" / "checkpoints" / "pruned.ckpt").class_names == ANIMALS
    assert call("report", "runs/a", "--out", "page.html").status == 0
    page = (folder / "page.html").read_text()
    assert all(name in page for name in ANIMALS)
    assert "surprise" not in page


@pytest.mark.slow
def test_a_checkpoint_is_tested_on_other_data_by_class_names(animals, make_images, tmp_path, monkeypatch):
    """Labels of the new data become the network's; what does not match is said, dropped and counted."""
    folder, _ = animals
    root = make_images(tmp_path / "zoo", num=20, class_names=("dog", "Cat", "eel"), seed=1)
    monkeypatch.chdir(folder)
    words = ("--data.root", root, "--data.classes", "folders", "--wandb.mode", "disabled", "--run_name", "t")
    called = call("test", "--ckpt_path", "runs/a/checkpoints/best.ckpt", *words)
    assert called.status == 0, called.err
    assert "trained on   FaceFolder (data), 80/10/10, random" in called.out
    assert "classes      not known to the network, left out: eel" in called.out
    assert "classes      not in the data, wrong if predicted: bird" in called.out
    results = _results(folder / "runs" / "t")
    assert results["class_names"] == list(ANIMALS)
    assert results["trained_on"] == "FaceFolder (data), 80/10/10, random"
    support = torch.tensor(results["splits"]["test"]["confusion"]).sum(dim=1)
    assert support.tolist() == [0, 2, 2]


def test_training_does_not_resume_on_other_classes(animals, make_images, tmp_path, monkeypatch):
    folder, _ = animals
    root = make_images(tmp_path / "zoo", num=20, class_names=("dog", "cat", "eel"))
    monkeypatch.chdir(folder)
    words = ("--dataset", "folder", "--data.root", root, "--data.classes", "folders", *SMALL)
    called = call("fit", *words, "--start_from", "runs/a/checkpoints/best.ckpt")
    assert called.status == 2
    assert "has other classes (bird, cat, dog) than the data (cat, dog, eel)" in called.err


@pytest.mark.slow
def test_a_metric_that_is_not_logged_cannot_select(make_images, tmp_path):
    root = make_images(tmp_path / "data", num=20, class_names=ANIMALS)
    words = ("--dataset", "folder", "--data.root", root, "--data.classes", "folders", *SMALL)
    called = call("fit", *words, "--monitor", "val/recall/cta")
    assert called.status == 2
    assert "--monitor val/recall/cta: no such metric; did you mean 'val/recall/cat'?" in called.err


@pytest.mark.slow
def test_affectnet_is_a_subclass_of_a_few_lines(make_images, tmp_path, monkeypatch):
    """Eight classes, by a class of one's own, through fit and test."""
    (tmp_path / "affectnet.py").write_text(AFFECTNET)
    assert len(AFFECTNET.splitlines()) <= 12
    monkeypatch.syspath_prepend(tmp_path)
    for name, num in (("train", 20), ("val", 5)):
        make_images(tmp_path / "AffectNet" / name, num=num, class_names=map(str, range(8)))
    words = ("--dataset", "affectnet.AffectNetDataModule", "--data.root", tmp_path / "AffectNet")
    out = done("fit", *SMALL, *words, "--run_name", "a")
    results = _results(tmp_path / "runs" / "a")
    assert results["class_names"] == [*EXPRESSIONS, "contempt"]
    assert results["splits"]["test"]["n"] == 40
    assert "tested on val, val 10% of train" in out
