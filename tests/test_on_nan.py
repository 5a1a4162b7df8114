"""Trainings that break down, and settings of the trainer that leave no checkpoint: one line each."""

import csv
from pathlib import Path

import pytest
import yaml
from command import call, done
from forked import run_python

from fer.studies.trials import read_trials

DATA = ["--data.num_train", "70", "--data.num_val", "35", "--data.num_test", "35", "--data.batch_size", "14"]
QUIET = [
    *(
        "--gradients.every_n_epochs",
        "0",
        "--distinctiveness.every_n_epochs",
        "0",
        "--stages.enabled",
        "false",
    ),
    *("--wandb.mode", "disabled", "--trainer.accelerator", "cpu", "--test", "false"),
]
ANN = ["--network", "ann", "--data.image_size", "8", *DATA, *QUIET]
BROKEN = [
    "--model.activation",
    "relu",
    "--model.lr",
    "1e30",
    "--model.optimizer",
    "sgd",
    "--model.schedule",
    "none",
]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["32-true", "bf16-true", "bf16-mixed"])
def test_a_training_that_breaks_down_is_an_error_without_a_checkpoint(precision):
    called = call("fit", *ANN, *BROKEN, "--trainer.precision", precision, "--run_name", "a")
    assert called.status == 2
    (line,) = called.err.splitlines()
    assert line.startswith("fer fit: error: epoch 1, batch ")
    assert "; the first layer whose outputs are not finite is fc" in line
    assert not list(Path("runs/a").rglob("*.ckpt"))


@pytest.mark.slow
def test_skip_counts_in_metrics_csv():
    done("fit", *ANN, "--trainer.max_epochs", "1", "--on_nan", "skip", "--run_name", "a")
    with Path("runs/a/metrics.csv").open(newline="") as file:
        assert [row["train/skipped"] for row in csv.DictReader(file) if row["train/skipped"]] == ["0.0"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--trainer.val_check_interval 1000", "trainer.val_check_interval is 1000, more than the batches"),
        ("--trainer.precision 16-true --model.optimizer sgd --model.lr 1e30", "at most 65504"),
    ],
)
def test_a_setting_that_the_start_of_training_refuses_is_named_in_one_line(words, named):
    called = call("fit", *ANN, "--trainer.max_epochs", "1", *words.split())
    assert called.status == 2
    assert named in called.err
    assert len(called.err.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:.*could not find the monitored key:UserWarning"
)  # Lightning's words for it
def test_a_training_that_ends_before_its_first_validation_says_what_is_missing():
    called = call("fit", *ANN, "--trainer.max_steps", "2", "--run_name", "a")
    assert called.status == 0
    assert "no best checkpoint: training ended before a validation" in called.err
    assert not Path("runs/a/checkpoints/best.ckpt").exists()


@pytest.mark.slow
def test_plateau_waits_for_validations():
    words = ["--model.schedule", "plateau", "--trainer.check_val_every_n_epoch", "2", "--run_name", "a"]
    done("fit", *ANN, *words, "--trainer.max_epochs", "4")
    assert Path("runs/a/checkpoints/best.ckpt").is_file()


@pytest.mark.slow
def test_a_sweep_records_the_trial_as_failed(tmp_path):
    sweep = {
        "program": "fer",
        "command": ["${env}", "${interpreter}", "-m", "fer", "fit", *ANN, "--config", "${args_json_file}"],
        "method": "grid",
        "metric": {"name": "val/acc_best", "goal": "maximize"},
        "parameters": {
            "model.lr": {"values": [0.01, 1.0e30]},
            "model.optimizer": {"value": "sgd"},
            "model.schedule": {"value": "none"},
            "model.activation": {"value": "relu"},
            "trainer.max_epochs": {"value": 1},
        },
    }
    Path("sweep.yaml").write_text(yaml.safe_dump(sweep))
    done("sweep", "sweep.yaml", "--run_name", "s")
    trials = {trial.point["model.lr"]: trial for trial in read_trials(Path("runs/s"))}
    assert trials[0.01].state == "finished"
    assert trials[1e30].state == "failed"
    assert "the loss is nan" in trials[1e30].reason


@pytest.mark.slow
@pytest.mark.parametrize("on_nan", ["stop", "skip"])
def test_two_processes_decide_alike(on_nan, tmp_path):
    """Only one of them meets NaN; both stop, or both skip, and none waits for the other."""
    program = f"""
import json, sys, torch
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from fer.callbacks.finite import FiniteCallback
from fer.errors import InputError

class Model(BoringModel):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)["loss"]
        return loss * float("nan") if (self.global_rank, batch_idx) == (1, 2) else loss

    def validation_step(self, batch, batch_idx):
        pass

def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n")  # in one piece: the other process writes, too
    sys.stdout.flush()

model = Model()
callback = FiniteCallback("{on_nan}")
trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, limit_train_batches=5,
    logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    callbacks=[callback])
try:
    trainer.fit(model)
except InputError as e:
    say("STOPPED", trainer.global_rank, trainer.global_step, e)
else:
    weights = model.layer.weight.sum().item()
    say("DONE", trainer.global_rank, callback.num_skipped, weights)
"""
    path = tmp_path / "two.py"
    path.write_text(program)
    ended = run_python(path, timeout=120)
    lines = sorted(
        line.split(maxsplit=3) for line in ended.stdout.splitlines() if line[:4] in ("STOP", "DONE")
    )
    assert len(lines) == 2, ended.stderr
    if on_nan == "stop":
        assert [line[:3] for line in lines] == [["STOPPED", "0", "2"], ["STOPPED", "1", "2"]]
        assert "the loss of another process is not finite" in lines[0][3]
        assert "epoch 1, batch 2: the loss is nan" in lines[1][3]
    else:
        assert [line[:3] for line in lines] == [["DONE", "0", "1"], ["DONE", "1", "1"]]
        assert lines[0][3] == lines[1][3]
