"""What is left of a run: one JSON file, and images."""

import json
import re

import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from small_module import SmallModule, small_loader

from fer.callbacks import BestCallback, EpochLineCallback, EvaluationCallback
from fer.callbacks.evaluation import accuracy_table
from fer.figures import curves_figure
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


@pytest.mark.slow
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
    assert names == {
        *("curves", "predictions", "confusion-train", "confusion-val", "confusion-test"),
        *("reliability-val", "reliability-test"),
    }
    assert results["calibration"] == task.calibration
    assert results["splits"]["test"]["calibration"]["n"] == 14
    assert Run(tmp_path).model_card_path.read_text().startswith("# Model card: ")
    shown = capsys.readouterr().out
    assert "n = 28" in shown
    assert "macro mean" in shown

    history = Run(tmp_path).read_metrics()
    assert [v for v in history["val/acc_best"] if v == v] == sorted(
        v for v in history["val/acc_best"] if v == v
    )
    assert len([v for v in history["train/loss"] if v == v]) == 2


@pytest.fixture
def drawn(monkeypatch):
    """The histories that were drawn."""
    found = []

    def draw(history, **settings):
        found.append(history)
        return curves_figure(history, **settings)

    monkeypatch.setattr("fer.callbacks.evaluation.curves_figure", draw)
    return found


def test_any_module_leaves_curves_and_results(tiny_trainer, tmp_path, drawn):
    checkpoint = ModelCheckpoint(monitor="val_loss")
    trainer = tiny_trainer(
        callbacks=[EvaluationCallback(), checkpoint], enable_checkpointing=True, max_epochs=3
    )
    module = SmallModule()
    trainer.fit(module, small_loader(), small_loader(seed=1))
    (tested,) = trainer.test(module, small_loader(seed=2), verbose=False)

    (history,) = drawn
    assert history["epoch"] == [0, 1, 2]
    assert {key: len(column) for key, column in history.items()} == dict.fromkeys(
        ("epoch", "train_loss", "val_loss", "val_acc"), 3
    )
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["network"] == "SmallModule"
    assert results["parameters"] == (6 * 12 + 12) + (12 * 8 + 8) + (8 * 3 + 3)
    assert (results["data"], results["protocol"], results["epochs"]) == ("TensorDataset", "TensorDataset", 3)
    assert results["metrics"] == {"test_loss": pytest.approx(tested["test_loss"])}
    assert results["best"] == {"val_loss": pytest.approx(float(checkpoint.best_model_score))}
    assert results["best"]["val_loss"] == pytest.approx(min(history["val_loss"]))
    assert not {"splits", "class_names", "best_val_acc"} & results.keys()
    assert re.fullmatch(r".+, \d+ cores?, \d+ threads?, 32-true", results["machine"])
    assert results["commit"] is None or re.fullmatch(r"[0-9a-f]{40}", results["commit"])
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["curves.png"]


def test_the_files_are_beside_the_checkpoints_of_a_logger(tiny_trainer, tmp_path):
    trainer = tiny_trainer(
        callbacks=[EvaluationCallback()], enable_checkpointing=True, logger=CSVLogger(tmp_path / "logs")
    )
    module = SmallModule()
    trainer.fit(module, small_loader(), small_loader())
    trainer.test(module, small_loader(), verbose=False)

    run = tmp_path / "logs" / "lightning_logs" / "version_0"
    assert {path.name for path in run.iterdir()} >= {"checkpoints", "results.json", "figures", "metrics.csv"}


def test_a_metric_that_is_no_number_leaves_valid_json(tiny_trainer, tmp_path):
    class Diverged(SmallModule):
        def test_step(self, batch, batch_idx):
            self.log("test_loss", torch.tensor(float("nan")))

    tiny_trainer(callbacks=[EvaluationCallback()]).test(Diverged(), small_loader(), verbose=False)

    results = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert results["metrics"] == {"test_loss": None}


def test_a_metric_of_every_second_epoch_is_not_repeated(tiny_trainer, drawn):
    trainer = tiny_trainer(callbacks=[EvaluationCallback()], max_epochs=4, check_val_every_n_epoch=2)
    trainer.fit(SmallModule(), small_loader(), small_loader(seed=1))

    (history,) = drawn
    assert [value == value for value in history["val_loss"]] == [False, True, False, True]
    assert all(value == value for value in history["train_loss"])


class LogsLate(SmallModule):
    """Logs when an epoch has ended, as many modules do."""

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def on_train_epoch_end(self):
        self.log("train_loss", float(self.current_epoch))


def test_what_is_logged_when_an_epoch_ends_belongs_to_it(tiny_trainer, drawn):
    trainer = tiny_trainer(callbacks=[EvaluationCallback()], max_epochs=3)
    trainer.fit(LogsLate(), small_loader(), small_loader(seed=1))

    assert drawn[0]["train_loss"] == drawn[0]["epoch"] == [0, 1, 2]


def test_a_learning_rate_logged_when_an_epoch_starts_belongs_to_it(tiny_trainer, drawn, tmp_path):
    class Halves(SmallModule):
        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
            return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]

    callbacks = [LearningRateMonitor("epoch"), EvaluationCallback()]
    trainer = tiny_trainer(callbacks=callbacks, max_epochs=3, logger=CSVLogger(tmp_path))
    trainer.fit(Halves(), small_loader(), small_loader())

    assert drawn[0]["lr-SGD"] == [1.0, 0.5, 0.25]


def test_a_resumed_run_draws_all_epochs(tiny_trainer, drawn, tmp_path):
    first = tiny_trainer(callbacks=[EvaluationCallback()], max_epochs=2)
    first.fit(SmallModule(), small_loader(), small_loader(seed=1))
    first.save_checkpoint(tmp_path / "last.ckpt")
    second = tiny_trainer(callbacks=[EvaluationCallback()], max_epochs=3)
    second.fit(SmallModule(), small_loader(), small_loader(seed=1), ckpt_path=tmp_path / "last.ckpt")

    before, after = drawn
    assert after["epoch"] == [0, 1, 2]
    assert after["val_loss"][:2] == before["val_loss"]


def test_a_second_training_begins_a_history_anew(tiny_trainer, drawn):
    callback = EvaluationCallback()
    tiny_trainer(callbacks=[callback], max_epochs=3).fit(SmallModule(), small_loader(), small_loader())
    tiny_trainer(callbacks=[callback], max_epochs=2).fit(SmallModule(), small_loader(), small_loader())

    assert [history["epoch"] for history in drawn] == [[0, 1, 2], [0, 1]]


def test_a_module_that_logs_nothing_is_told_so(tiny_trainer, tmp_path, caplog):
    class Silent(SmallModule):
        def training_step(self, batch, batch_idx):
            return self.loss(batch)

        def validation_step(self, batch, batch_idx):
            pass

    tiny_trainer(callbacks=[EvaluationCallback()]).fit(Silent(), small_loader(), small_loader())

    assert [record.getMessage() for record in caplog.records if record.name == "fer.callbacks"] == [
        'no curves are drawn: no loss or metric was logged; call self.log("train_loss", loss)'
    ]
    assert not (tmp_path / "figures").exists()


def test_a_dry_run_writes_nothing(tiny_trainer, tmp_path):
    trainer = tiny_trainer(callbacks=[EvaluationCallback()], fast_dev_run=True)
    module = SmallModule()
    trainer.fit(module, small_loader(), small_loader())
    trainer.test(module, small_loader(), verbose=False)

    assert list(tmp_path.iterdir()) == []


def test_without_epochs_nothing_is_drawn(tiny_trainer, tmp_path, caplog):
    tiny_trainer(callbacks=[EvaluationCallback()], max_epochs=0).fit(
        SmallModule(), small_loader(), small_loader()
    )

    assert not (tmp_path / "figures").exists()
    assert [record for record in caplog.records if record.name == "fer.callbacks"] == []


@pytest.mark.parametrize(
    ("monitor", "best"),
    [pytest.param("val_loss", min, id="a loss"), pytest.param("val_acc", max, id="an accuracy")],
)
def test_best_and_epoch_lines_of_any_module(monitor, best, tiny_trainer, drawn, capsys):
    callbacks = [BestCallback(monitor), EpochLineCallback(monitor), EvaluationCallback()]
    trainer = tiny_trainer(callbacks=callbacks, max_epochs=3)
    trainer.fit(SmallModule(), small_loader(), small_loader(seed=1))

    (history,) = drawn
    assert float(trainer.callback_metrics[f"{monitor}_best"]) == pytest.approx(best(history[monitor]))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    values = zip(*(history[key] for key in ("train_loss", "val_loss", "val_acc")), strict=True)
    for line, (train, val, acc) in zip(lines, values, strict=True):
        assert f"train loss {train:.4f}  val loss {val:.4f} acc {100 * acc:.2f} %" in line
