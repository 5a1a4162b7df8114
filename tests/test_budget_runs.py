"""``fer fit`` keeps what it has decided about measuring: in its config, when it is repeated or goes on."""

from pathlib import Path

import pytest
import torch
import yaml
from command import call, done
from test_resume import At, preempt

from fer.callbacks import DistinctivenessCallback
from fer.callbacks.stop import TRY_AGAIN
from fer.runs import Run

FIT = [
    *("fit", "--network", "ann", "--data.image_size", "8", "--wandb.mode", "disabled"),
    *("--data.batch_size", "16", "--data.num_train", "70", "--data.num_val", "35", "--data.num_test", "35"),
    *("--trainer.accelerator", "cpu", "--trainer.max_epochs", "18", "--stages.enabled", "false"),
    *("--gradients.every_n_epochs", "0", "--test", "false", "--distinctiveness.budget", "0.5"),
]


def settings(name):
    config = yaml.safe_load((Path("runs") / name / "config.yaml").read_text())["distinctiveness"]
    return {key: config[key] for key in ("every_n_steps", "every_n_epochs", "num_samples", "first_step")}


def measured(name):
    run = Run(Path("runs") / name)
    state = torch.load(run.last_checkpoint, weights_only=True)["callbacks"]["DistinctivenessCallback"]
    angles = [
        {layer: matrix.tolist() for layer, matrix in run.read_angles(epoch).items()}
        for epoch in run.measured_epochs()
    ]
    return str((state["history"], state["losses"], state["collapse"], angles, run.metrics_path.read_text()))


@pytest.mark.slow
def test_a_run_is_repeated_by_its_config_and_goes_on_with_the_same_command():
    words = [*FIT, "--run_name", "whole", "--on_sigterm", "requeue"]
    with pytest.MonkeyPatch.context() as patch:
        At(patch, "on_train_batch_end", 43, preempt)
        assert call(*words).status == TRY_AGAIN
    decided = settings("whole")
    assert decided["first_step"] == 12
    assert (decided["every_n_steps"] is None) != (decided["every_n_epochs"] is None)
    with pytest.MonkeyPatch.context() as patch:  # any other decision would show
        patch.setattr(DistinctivenessCallback, "_decide", lambda *_: pytest.fail("it was decided again"))
        assert call(*words).status == 0  # the same command, without these settings
        assert settings("whole") == decided
        done("fit", "--config", "runs/whole/config.yaml", "--run_name", "again", "--on_sigterm", "stop")
    assert settings("again") == decided
    assert measured("again") == measured("whole")


@pytest.mark.slow
def test_a_run_with_other_settings_is_another_run():
    fast = [*FIT, "--trainer.max_epochs", "2"]
    done(*fast, "--run_name", "a", "--distinctiveness.every_n_epochs", "1")
    called = call(
        "fit", "--resume", "runs/a", "--distinctiveness.every_n_steps", "2", "--trainer.max_epochs", "3"
    )
    assert called.status == 2
    assert "every_n_steps" in called.err
