"""A W&B server that is slow, refuses or is gone: trainings start, go on and end, and say how to upload."""

import os
import re
import signal
import time
from pathlib import Path

import pytest
import wandb
from fake_wandb import FaultyServer, environment_of, run_with
from forked import run_python

from fer.dashboards import finish, server, wandb_logger
from fer.errors import InputError


@pytest.fixture
def logged_in(monkeypatch):
    """Let W&B's login succeed, and its start of an online run fail as a test wants."""
    monkeypatch.setattr(server, "check_login", lambda: (True, ""))
    monkeypatch.setattr("fer.dashboards.check_login", lambda: (True, ""))
    monkeypatch.delenv("WANDB_MODE")
    started, start = [], wandb.init

    def fail(error):
        def init(*, mode, **others):
            started.append(mode)
            if mode == "online":
                raise error
            return start(mode=mode, **others)

        monkeypatch.setattr(wandb, "init", init)
        return started

    return fail


def test_a_run_that_cannot_start_online_is_offline_and_says_so(logged_in, tmp_path, caplog):
    error = wandb.errors.CommError("timed out.\nConsider increasing the init_timeout setting:\n  init()")
    started = logged_in(error)
    wandb_logger(tmp_path / "a")
    folder = Path(wandb.run.dir).parent.relative_to(tmp_path)
    finish()
    assert started == ["online", "offline"]
    assert [record.getMessage() for record in caplog.records if record.name == "fer.dashboards"] == [
        f"W&B cannot start a run online (timed out): it is recorded offline, in {folder}"
    ]


def test_a_missing_key_is_an_error(logged_in, tmp_path):
    logged_in(wandb.errors.UsageError("No API key configured."))
    with pytest.raises(InputError, match=r"^W&B cannot start a run \(No API key configured\): log in with"):
        wandb_logger(tmp_path / "a", mode="online")


class Ending:
    """A run that ends as a test wants."""

    def __init__(self, folder, error=None, *, offline=False):
        self.dir, self.error, self.offline = str(folder / "files"), error, offline

    def finish(self, exit_code):
        self.exit_code = exit_code
        if self.error is not None:
            raise self.error


GIVEN_UP = '{"time":"2026-11-27T01:15:23Z","level":"ERROR+4","msg":"filestream: fatal error: 401"}\n'
REPEATED = '{"time":"2026-11-27T01:15:23Z","level":"ERROR","msg":"api: HTTP error"}\n'


@pytest.mark.parametrize(
    ("error", "log", "offline", "is_said"),
    [
        pytest.param(None, "", False, False, id="whole"),
        pytest.param(None, REPEATED, False, False, id="repeated"),
        pytest.param(None, GIVEN_UP, False, True, id="given up"),
        pytest.param(TimeoutError("Timed out finishing run."), "", False, True, id="too slow"),
        pytest.param(None, GIVEN_UP, True, False, id="offline"),
    ],
)
def test_what_is_not_uploaded_is_said_once(error, log, offline, is_said, monkeypatch, tmp_path, caplog):
    (tmp_path / "run" / "logs").mkdir(parents=True)
    (tmp_path / "run" / "logs" / "debug-internal.log").write_text(log)
    run = Ending(tmp_path / "run", error, offline=offline)
    monkeypatch.setattr(wandb, "run", run)
    finish(failed=True)
    assert run.exit_code == 1
    said = ["W&B did not receive all of the run; upload it later: wandb sync --include-online run"]
    assert caplog.messages == (said if is_said else [])


@pytest.mark.slow
def test_a_service_process_that_hangs_is_killed(monkeypatch, tmp_path, caplog):
    """Its client would wait for it without a limit."""
    monkeypatch.setattr(server, "END_SECONDS", 1)
    monkeypatch.setattr(server, "PATIENCE", 1)
    wandb_logger(tmp_path / "a", mode="offline")
    os.kill(wandb.setup()._connection._proc._process.pid, signal.SIGSTOP)
    began = time.monotonic()
    finish()
    assert time.monotonic() - began < 20
    assert "wandb sync --include-online a/wandb/offline-run-" in caplog.text
    wandb.teardown()  # as when Python ends: there is nothing left to fail


def check(outcome, *, mode):
    """Check what the training may expect of a server in any state."""
    assert outcome.status == 0, outcome.said
    assert outcome.mode == mode
    assert outcome.started <= 10
    assert outcome.ended <= 30
    assert outcome.synced == 8


@pytest.mark.slow
def test_a_server_that_works_takes_the_run(tmp_path):
    outcome = run_with(None, "start", tmp_path)
    check(outcome, mode="online")
    assert "wandb sync" not in outcome.said


@pytest.mark.slow
def test_a_fault_at_the_start(tmp_path):
    outcome = run_with("slow", "start", tmp_path)
    check(outcome, mode="offline")
    assert len(re.findall(r"it is recorded offline, in runs/a/wandb/offline-run-", outcome.said)) == 1


@pytest.mark.slow
def test_a_fault_later(tmp_path):
    outcome = run_with("unreachable", "middle", tmp_path)
    check(outcome, mode="online")
    assert (
        len(re.findall(r"upload it later: wandb sync --include-online runs/a/wandb/run-", outcome.said)) == 1
    )


@pytest.mark.slow
def test_a_training_without_its_server_is_whole(tmp_path):
    """The command itself: figures, artifacts and the test, with a server that is gone after an epoch."""
    words = ["--network", "ann", "--data.image_size", "8", "--data.num_train", "70", "--data.num_val", "35"]
    words += ["--data.num_test", "35", "--data.batch_size", "14", "--distinctiveness.every_n_epochs", "0"]
    words += ["--stages.enabled", "false", "--gradients.every_n_epochs", "0", "--trainer.max_epochs", "12"]
    with FaultyServer("unreachable", "middle") as faulty:
        environment = environment_of(faulty, tmp_path)
        ended = run_python("-m", "fer", "fit", *words, "--run_name", "a", cwd=tmp_path, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "runs" / "a" / "results.json").is_file()
    assert ended.stderr.count("wandb sync --include-online runs/a/wandb/run-") == 1
