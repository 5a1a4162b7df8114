"""What is left of a run: one JSON file, and images."""

import json
from unittest.mock import MagicMock

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from matplotlib.figure import Figure

from fer.callbacks import EvaluationCallback
from fer.callbacks.evaluation import accuracy_table
from fer.callbacks.media import save_figure
from fer.metrics import report
from fer.runs import Run
from fer.tasks import AnnTask


def _report(right, wrong):
    confusion = torch.zeros(7, 7, dtype=torch.int64)
    confusion[0, 0], confusion[0, 1] = right, wrong
    return report(confusion)


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        pytest.param({"test": _report(8, 2)}, "test   80.00 %  [49.02, 94.33]  n = 10", id="one split"),
        pytest.param(
            {"train": _report(1500, 0), "val": _report(0, 10)},
            "train  100.00 %  [99.74, 100.00]  n = 1,500\nval      0.00 %  [0.00, 27.75]  n = 10",
            id="aligned",
        ),
    ],
)
def test_accuracy_table(reports, expected):
    assert accuracy_table(reports) == expected


def test_a_run_leaves_results_and_figures(tiny_data, tiny_trainer, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")  # where seed_everything leaves it
    data, task = tiny_data(), AnnTask(in_features=64, hidden=5)
    trainer = tiny_trainer(
        callbacks=[EvaluationCallback()], max_epochs=2, logger=CSVLogger(tmp_path, name="", version="")
    )
    trainer.fit(task, datamodule=data)
    trainer.test(task, datamodule=data, verbose=False)

    results = json.loads((tmp_path / "results.json").read_text())
    num_parameters = 64 * 5 + 5 + 5 * 7 + 7
    assert results["network"] == "AnnNet"
    assert results["parameters"] == results["trainable_parameters"] == num_parameters
    assert (results["data"], results["protocol"]) == ("TinyData", "as shipped")
    assert (results["epochs"], results["seed"]) == (2, 5)
    assert results["fit_seconds"] > 0
    assert results["best_val_acc"] == pytest.approx(task.best_val_acc)
    assert {name: split["n"] for name, split in results["splits"].items()} == {
        "train": 28, "val": 14, "test": 14,
    }  # fmt: skip
    for name, split in results["splits"].items():
        assert split["confusion"] == task.reports[name].confusion.tolist()
        assert split["acc"] == task.reports[name].accuracy
        assert split["interval"] == list(task.reports[name].interval)

    names = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert names == {"curves", "predictions", "confusion-train", "confusion-val", "confusion-test"}
    shown = capsys.readouterr().out
    assert "n = 28" in shown
    assert "macro mean" in shown

    history = Run(tmp_path).read_metrics()
    assert [v for v in history["val/acc_best"] if v == v] == sorted(
        v for v in history["val/acc_best"] if v == v
    )
    assert len([v for v in history["train/loss"] if v == v]) == 2


def test_another_module_is_left_alone(tmp_path):
    callback = EvaluationCallback()
    callback.on_test_end(MagicMock(datamodule=None), LightningModule())
    assert not list(tmp_path.iterdir())


def test_no_history_without_a_csv_logger(tmp_path):
    assert Run(tmp_path).read_metrics() == {}


def test_save_figure_writes_a_image_and_logs_it(tmp_path):
    logger = MagicMock(spec=WandbLogger)
    trainer = MagicMock(default_root_dir=str(tmp_path), loggers=[CSVLogger(tmp_path), logger])
    save_figure(trainer, "one", Figure())
    path = tmp_path / "figures" / "one.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    logger.log_image.assert_called_once_with(key="figures/one", images=[str(path)])
