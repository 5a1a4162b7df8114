"""``fer fit`` goes on where it was stopped: ``--resume``, ``--on_sigterm requeue``, ``--ckpt_path``."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from command import call, done
from lightning.pytorch.callbacks import EarlyStopping

from fer.callbacks import BestCallback
from fer.callbacks.stop import TRY_AGAIN
from fer.runs import Run

FIT = [
    *(
        "fit",
        "--network",
        "ann",
        "--data.image_size",
        "8",
        "--wandb.mode",
        "disabled",
        "--data.batch_size",
        "16",
    ),
    *(
        "--data.num_train",
        "70",
        "--data.num_val",
        "35",
        "--data.num_test",
        "35",
        "--trainer.accelerator",
        "cpu",
    ),
    *("--trainer.max_epochs", "3", "--distinctiveness.every_n_epochs", "0", "--stages.enabled", "false"),
]


class At:
    """Do something when a hook of the best score's callback is called for the n-th time."""

    def __init__(self, monkeypatch, hook, number, action):
        self.calls, before = 0, getattr(BestCallback, hook)

        def act(callback, trainer, *args):
            self.calls += 1
            if self.calls == number:
                action(trainer)
            return before(callback, trainer, *args)

        monkeypatch.setattr(BestCallback, hook, act)


def stop(_):
    raise SystemExit(9)


def preempt(_):
    os.kill(os.getpid(), signal.SIGTERM)


def fit_until(hook, number, *words, action=stop):
    """Run a fit in which something happens; return what the command returned."""
    with pytest.MonkeyPatch.context() as patch:
        At(patch, hook, number, action)
        return call(*FIT, *words)


def state(name):
    """Return what a run leaves, but times."""
    run = Run(Path("runs") / name)
    results = json.loads(run.results_path.read_text())
    del results["fit_seconds"]
    weights = {
        path.stem: torch.load(path, weights_only=True)["state_dict"]
        for path in (run.best_checkpoint, run.last_checkpoint)
    }
    calibration = torch.load(run.best_checkpoint, weights_only=True)["calibration"]
    return run.metrics_path.read_text(), results, calibration, weights


def assert_equal(name, other):
    (*mine, weights), (*others, other_weights) = state(name), state(other)
    assert mine == others
    for checkpoint, tensors in weights.items():
        for key, tensor in tensors.items():
            assert torch.equal(tensor, other_weights[checkpoint][key]), (checkpoint, key)


@pytest.fixture
def whole():
    done(*FIT, "--run_name", "whole")
    return "whole"


@pytest.mark.parametrize(
    ("hook", "number"),
    [
        pytest.param("on_train_batch_end", 3, id="first epoch"),
        pytest.param("on_train_batch_end", 12, id="last epoch"),
        pytest.param("on_train_epoch_end", 2, id="validated"),
        pytest.param("on_fit_end", 1, id="figures"),
        pytest.param("on_test_start", 1, id="test"),
    ],
)
@pytest.mark.slow
def test_a_run_that_was_killed_is_completed_in_its_folder(hook, number, whole):
    assert fit_until(hook, number, "--run_name", "cut").status == 9
    assert not Run(Path("runs/cut")).results_path.exists()
    out = done("fit", "--resume", "runs/latest")
    assert "resumes" in out
    assert_equal("cut", whole)
    again = call("fit", "--resume", "runs/cut")
    assert again.status == 2
    assert "this run is complete" in again.err


@pytest.mark.slow
def test_a_folder_that_was_moved_keeps_its_best_checkpoint():
    words = ["--model.lr", "0", "--run_name", "cut"]  # the first epoch stays the best
    fit_until("on_train_epoch_end", 3, *words)
    shutil.move("runs/cut", "moved")
    done("fit", "--resume", "moved")
    assert torch.load("moved/checkpoints/best.ckpt", weights_only=True)["epoch"] == 0


@pytest.mark.slow
def test_a_torn_checkpoint_is_passed_over(whole):
    fit_until("on_train_batch_end", 12, "--run_name", "cut")
    last = Path("runs/cut/checkpoints/last.ckpt")
    last.write_bytes(last.read_bytes()[:1000])
    called = call("fit", "--resume", "runs/cut")
    assert called.status == 0
    assert str(last) in called.err
    assert "previous.ckpt" in called.out
    assert_equal("cut", whole)


@pytest.mark.slow
def test_a_training_that_ended_early_is_only_tested(monkeypatch):
    words = ["--early_stopping", "1", "--model.lr", "0", "--trainer.max_epochs", "9"]
    done(*FIT, *words, "--run_name", "whole")
    fit_until("on_test_start", 1, *words, "--run_name", "cut")
    monkeypatch.setattr(
        EarlyStopping, "on_train_epoch_end", lambda *_: pytest.fail("an epoch is trained"), raising=False
    )
    done("fit", "--resume", "runs/cut")
    assert_equal("cut", "whole")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["--model.lr", "0.5"], r"--model.lr 0.5: runs/a has 0.003", id="a setting"),
        pytest.param(["--trainer.max_epochs", "2"], "can only become longer", id="fewer epochs"),
        pytest.param(["--trainer.max_epochs", "5"], "--model.schedule none", id="a schedule that ended"),
        pytest.param(["--run_name", "b"], "leave out --run_name", id="another run"),
    ],
)
@pytest.mark.slow
def test_other_settings_are_refused_by_name(words, said):
    fit_until(
        "on_train_batch_end", 6, "--run_name", "a", "--model.schedule", "onecycle", "--model.lr", "0.003"
    )
    called = call("fit", "--resume", "runs/a", *words)
    assert called.status == 2
    assert called.err.count("\n") == 1
    assert said in called.err


@pytest.mark.slow
def test_a_complete_run_becomes_longer_at_its_last_rate(whole):
    done("fit", "--resume", "runs/whole", "--trainer.max_epochs", "5", "--model.schedule", "none")
    epochs = Run(Path("runs/whole")).read_metrics()
    assert sorted({int(epoch) for epoch in epochs["epoch"]})[-3:-1] == [3, 4]
    rates = [rate for rate in epochs["lr"] if rate == rate]
    assert len(rates) == 5
    assert rates[3] <= rates[2]
    assert rates[4] == rates[3]


def test_a_folder_without_a_run_is_named():
    called = call("fit", "--resume", "runs/none")
    assert called.status == 2
    assert "runs/none" in called.err


@pytest.mark.parametrize("more", [[], ["--ema", "true"]], ids=["weights", "averaged weights"])
@pytest.mark.slow
def test_a_preempted_training_goes_on_with_the_same_command(more):
    done(*FIT, *more, "--run_name", "whole")
    words = [*more, "--run_name", "cut", "--on_sigterm", "requeue"]
    for hook, number in (
        ("on_train_batch_end", 2),
        ("on_validation_batch_end", 4),
        ("on_train_batch_end", 1),
    ):
        assert fit_until(hook, number, *words, action=preempt).status == TRY_AGAIN
    assert call(*FIT, *words).status == 0
    assert_equal("cut", "whole")
    called = call(*FIT, *words)
    assert (called.status, "is complete" in called.out + called.err) == (0, True)


@pytest.mark.parametrize("option", ["--start_from", "--teachers"])
@pytest.mark.slow
def test_the_same_command_may_name_other_runs_by_their_folders(option):
    done(*FIT, "--run_name", "other")
    words = [option, "runs/other", "--run_name", "cut", "--on_sigterm", "requeue"]
    assert fit_until("on_train_batch_end", 2, *words, action=preempt).status == TRY_AGAIN
    assert call(*FIT, *words).status == 0
    called = call(*FIT, *words)
    assert (called.status, "is complete" in called.out + called.err) == (0, True)


@pytest.mark.slow
def test_a_preemption_costs_at_most_the_current_batch():
    words = ["--run_name", "cut", "--on_sigterm", "requeue"]
    fit_until("on_train_batch_end", 7, *words, action=preempt)
    with pytest.MonkeyPatch.context() as patch:
        batches = At(patch, "on_train_batch_end", 0, stop)
        call(*FIT, *words)
    assert batches.calls == 3 * 4 - 7


@pytest.mark.slow
def test_slurm_names_the_run_and_starts_the_job_again(monkeypatch, tmp_path):
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert fit_until("on_train_batch_end", 2, action=preempt).status == TRY_AGAIN
    assert (tmp_path / "asked").read_text() == "requeue 17\n"
    assert call(*FIT).status == 0
    assert call(*FIT, "--seed_everything", "1").status == 0
    names = sorted(path.name for path in Path("runs").iterdir() if not path.is_symlink())
    assert names == ["ann-synthetic-job17", "ann-synthetic-job17-2"]


@pytest.mark.slow
def test_another_run_that_goes_on_keeps_the_best_checkpoint_so_far():
    words = ["--model.lr", "0", "--run_name"]
    done(*FIT, *words, "a", "--model.schedule", "none")
    out = done(
        *FIT, *words, "b", "--model.schedule", "none", "--trainer.max_epochs", "4", "--ckpt_path", "runs/a"
    )
    assert "as a new run; runs/a is not changed" in out
    assert torch.load("runs/b/checkpoints/best.ckpt", weights_only=True)["epoch"] == 0


@pytest.mark.parametrize("schedule", ["onecycle", "cosine"])
@pytest.mark.slow
def test_no_schedule_is_gone_on_with_beyond_its_end(schedule):
    done(*FIT, "--model.schedule", schedule, "--run_name", "a")
    called = call(*FIT, "--model.schedule", schedule, "--trainer.max_epochs", "6", "--ckpt_path", "runs/a")
    assert called.status == 2
    assert called.err.count("\n") == 1
    assert "has 0 steps left, but the training has 12" in called.err


@pytest.mark.slow
def test_a_run_keeps_the_pipeline_that_auto_chose(monkeypatch):
    """Of --resume and of the same command again, on a machine where another one would be chosen."""
    words = ["--run_name", "kept", "--on_sigterm", "requeue"]
    assert fit_until("on_train_batch_end", 5, *words, action=preempt).status == TRY_AGAIN
    monkeypatch.setattr("fer.data.images.MAX_CPU_BYTES", 0)
    called = call(*FIT, *words)
    assert (called.status, "pipeline     device" in called.out) == (0, True)
    assert Run(Path("runs/kept")).read_config()["data"]["pipeline"] == "device"
    assert "pipeline     loader" in done(*FIT, "--run_name", "other")
    assert Run(Path("runs/other")).read_config()["data"]["pipeline"] == "loader"
