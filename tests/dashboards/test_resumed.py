"""A run that goes on is one run in W&B, whole although its client was killed."""

import os
import signal
from types import SimpleNamespace

import pytest
from forked import run_python
from loopback import Loopback

from fer.dashboards import finish, log_again, wandb_logger

FIT = [
    *("fit", "--network", "ann", "--data.image_size", "8", "--trainer.max_epochs", "4", "--run_name", "a"),
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
    *(
        "--distinctiveness.every_n_epochs",
        "0",
        "--stages.enabled",
        "false",
        "--gradients.every_n_epochs",
        "0",
    ),
]
KILL = """\
import os, sys
from fer.__main__ import main
from fer.callbacks import BestCallback
batches = []
def kill(*_):
    batches.append(None)
    if len(batches) == 3:  # one an epoch
        os.kill(os.getpid(), 9)
BestCallback.on_train_batch_end = kill
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_offline_it_is_one_folder_with_all_epochs(tmp_path):
    rows = [{"epoch": "0", "step": "1", "val/acc": "0.5", "lr": ""}, {"epoch": 1, "step": 3, "val/acc": 0.6}]
    first = wandb_logger(tmp_path, mode="offline").experiment
    finish()
    logger = wandb_logger(tmp_path, mode="offline", resume=True)
    assert logger.experiment.id == first.id
    logged = []
    logger.log_metrics = lambda metrics, step: logged.append((metrics, step))
    log_again(logger, rows)
    assert logged == [({"epoch": 0.0, "val/acc": 0.5}, 1), ({"epoch": 1.0, "val/acc": 0.6}, 3)]
    logger.experiment.summary["epoch"] = 0  # as a server that has the first row says
    logger.experiment.summary["trainer/global_step"] = 1
    log_again(logger, rows)
    assert [metrics["epoch"] for metrics, _ in logged] == [0.0, 1.0, 1.0]
    finish()
    (newest,) = tmp_path.glob("wandb/offline-run-*")
    (before,) = tmp_path.glob("wandb/before/offline-run-*")
    assert first.id in newest.name
    assert first.id in before.name


@pytest.mark.parametrize(
    ("step", "epoch", "begin"),
    [
        pytest.param(None, None, 0, id="nothing"),
        pytest.param(1, 0.5, 1, id="within an epoch"),
        pytest.param(2, 1.0, 2, id="measured, but not what the epoch ends with"),
        pytest.param(2, 0, 3, id="an epoch"),
        pytest.param(9, 4, 4, id="more than the training goes on from"),
    ],
)
def test_rows_are_logged_again_from_the_last_one_that_the_server_has(step, epoch, begin):
    rows = [
        {"epoch": "0.5", "step": "1", "rank/fc/effective": "3.0"},
        {"epoch": "1.0", "step": "2", "rank/fc/effective": "4.0"},
        {"epoch": "0", "step": "2", "val/acc": "0.5"},
        {"epoch": "1.5", "step": "3", "rank/fc/effective": "5.0"},
    ]
    summary = {} if step is None else {"trainer/global_step": step, "epoch": epoch}
    logged = []
    logger = SimpleNamespace(
        experiment=SimpleNamespace(summary=summary),
        log_metrics=lambda metrics, step: logged.append((metrics["epoch"], step)),
    )
    log_again(logger, rows)
    assert logged == [(float(row["epoch"]), int(row["step"])) for row in rows[begin:]]


def test_a_folder_without_a_run_gets_a_new_one(tmp_path):
    assert wandb_logger(tmp_path, mode="offline", resume=True).experiment.id
    finish()


@pytest.mark.slow
def test_online_the_server_has_one_run_with_all_epochs(tmp_path):
    with Loopback() as server:
        environment = os.environ | server.environment(tmp_path) | {"OMP_NUM_THREADS": "1"}
        environment.pop("WANDB_MODE")

        def run(*words):
            return run_python(*words, cwd=tmp_path, env=environment).returncode

        assert run("-c", KILL, *FIT) == -signal.SIGKILL
        assert run("-m", "fer", "fit", "--resume", "runs/a") == 0
        (known,) = server.runs.values()
    assert known.state == "finished"
    assert [row["epoch"] for row in known.history if "val/acc" in row] == [0, 1, 2, 3]
