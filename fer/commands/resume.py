"""Resume a run in its own folder: its settings, those that may differ, and its newest intact checkpoint."""

import argparse
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from jsonargparse import Namespace

from fer.callbacks.stop import OnSigterm
from fer.callbacks.timetable import DECIDED
from fer.checkpoints import read_any_checkpoint
from fer.commands.precision import AUTO, PRECISION
from fer.configs import flatten
from fer.errors import InputError
from fer.lookup import without_link
from fer.processes import process_rank
from fer.runs import Run

MAY_DIFFER: Final = (
    *("ckpt_path", "config", "on_sigterm", "resume", "run_name", "runs_dir", "test", "wandb"),
    *("checkpoints", "data.num_workers", "distinctiveness.keep_epochs", "trainer.enable_progress_bar"),
)
"""Settings, or groups of settings, that do not affect what a training computes."""

FIRST_MEASURED: Final = "distinctiveness.first_step"
"""Setting that is above 0 in a run that has chosen its own measurement interval."""

BY_BUDGET: Final = tuple(f"distinctiveness.{name}" for name in DECIDED if name != "num_samples")
"""Settings that such a run writes into its config, besides the number of samples."""

PIPELINE: Final = "data.pipeline"
"""Setting that a run decides if it is ``auto``."""

SLURM_JOB: Final = "SLURM_JOB_ID"
"""Environment variable with the id of a SLURM job, which stays the same when the job is started again."""

BEGIN_ANOTHER: Final = ("--config", "-c", "--ckpt_path", "--start_from", "--run_name", "--runs_dir")
"""Options that cannot be combined with ``--resume``."""

LENGTH: Final = "trainer.max_epochs"

SCHEDULE: Final = "model.schedule"

SCHEDULES_WITH_AN_END: Final = ("cosine", "onecycle")
"""Schedules that are planned for a number of epochs."""

SWEEP_VARIABLES: Final = ("WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH")
"""Environment variables that only a trial of a sweep has."""

log = logging.getLogger("fer.commands")


def take_resume(words: Sequence[str]) -> tuple[Run | None, list[str]]:
    """Return the run that ``--resume`` names, and the arguments with its config instead of the option.

    Args:
        words: The arguments after ``fit``.

    Raises:
        InputError: The folder holds no training, the run is complete, or there are options that begin
            another run.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--resume")
    try:
        given, others = parser.parse_known_args(list(words))
    except argparse.ArgumentError as e:
        msg = f"--resume: {e}; give the folder of a run, such as runs/latest"
        raise InputError(msg) from e
    if given.resume in (None, "null", "None"):
        return None, others
    run = find_run(given.resume)
    if begun := [word for word in others if word.partition("=")[0] in BEGIN_ANOTHER]:
        msg = f"--resume {given.resume} continues that run: leave out {begun[0]}"
        raise InputError(msg)
    is_longer = any(word.partition("=")[0] == f"--{LENGTH}" for word in others)
    if run.results_path.is_file() and not is_longer:
        msg = f"--resume {given.resume}: this run is complete; --{LENGTH} N makes it longer"
        raise InputError(msg)
    return run, ["--config", str(run.config_path), *others]


def find_run(path: str) -> Run:
    """Return the run that ``--resume`` names.

    Raises:
        InputError: The folder holds no training.
    """
    run = Run(without_link(Path(path).expanduser()))
    if not run.config_path.is_file():
        msg = f"--resume {path}: no training to resume (looked for {run.config_path}); give runs/NAME"
        raise InputError(msg)
    return run


def newest_whole_checkpoint(run: Run) -> Path | None:
    """Return the newest intact checkpoint to resume training from; None if there is none yet.

    A damaged checkpoint is reported in a warning, and the one before it is used.

    Raises:
        InputError: All checkpoints are damaged.
    """
    candidates = [path for path in (run.last_checkpoint, run.previous_checkpoint) if path.is_file()]
    for path in candidates:
        try:
            read_any_checkpoint(path)
        except InputError as error:
            log.warning("%s", error)
        else:
            return path
    if candidates:
        msg = (
            f"{run.folder}: all checkpoints to resume from are damaged: start a new run with --config "
            f"{run.config_path}"
        )
        raise InputError(msg)
    return None


def begun_before(folder: Path, settings: Mapping[str, Any], *, is_named: bool) -> Run | None:
    """Return the run that the same command began before it was preempted; None if there is none.

    Args:
        folder: Folder of the run.
        settings: The settings by dotted name.
        is_named: Whether the user has named the folder. If not, runs that the same job began with other
            settings are skipped: their names differ by the number at the end.

    Raises:
        SystemExit: The run is complete: there is nothing left to do.
    """
    number = 1
    while not is_named and _differing(settings, Run(folder)):
        number += 1
        folder = folder.with_name(f"{folder.name.removesuffix(f'-{number - 1}')}-{number}")
    run = Run(folder)
    if run.results_path.is_file() and not _differing(settings, run):
        log.info("%s is complete: there is nothing left to do", folder)
        sys.exit(0)
    return run if folder.is_dir() else None


def _differing(settings: Mapping[str, Any], run: Run) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ from a run's, with both values; empty for a run without a config.

    A value that the run has chosen itself does not differ from a setting that left it the choice.
    """
    before = flatten(run.read_config())
    is_decided = before.get(FIRST_MEASURED) and not any(settings.get(name) for name in BY_BUDGET)
    same = {*MAY_DIFFER, *(BY_BUDGET if is_decided else ())}
    if settings.get(PRECISION) == AUTO:
        same.add(PRECISION)
    if is_decided and before["distinctiveness.num_samples"] <= settings.get("distinctiveness.num_samples", 0):
        same.add("distinctiveness.num_samples")
    if settings.get(PIPELINE) == "auto":
        same.add(PIPELINE)
    return {
        name: (settings.get(name), before.get(name))
        for name in sorted(settings.keys() | before.keys())
        if before and settings.get(name) != before.get(name)
        if not {name, name.partition(".")[0]} & same
    }


def check_resumed(settings: Mapping[str, Any], run: Run) -> None:
    """Refuse to resume a run with other settings.

    More epochs are allowed, unless the learning rate schedule was planned for fewer: then the error names the
    choices.

    Args:
        settings: The settings by dotted name.
        run: The run.

    Raises:
        InputError: A setting differs.
    """
    differing = _differing(settings, run)
    epochs = differing.pop(LENGTH, None)
    if epochs is not None and not _is_longer(*epochs):
        msg = (
            f"--{LENGTH} {epochs[0]}: {run.folder} was planned for {epochs[1]} epochs, and a resumed run "
            "can only become longer"
        )
        raise InputError(msg)
    if epochs is not None and differing.get(SCHEDULE, ("",))[0] == "none":
        del differing[SCHEDULE]
    for name, (new, old) in differing.items():
        msg = (
            f"--{name} {new}: {run.folder} has {old}, and a resumed run keeps its settings; leave it out, or "
            f"start a new run: --config {run.config_path} --start_from {run.folder}"
        )
        raise InputError(msg)
    schedule = settings.get(SCHEDULE)
    if epochs is not None and schedule in SCHEDULES_WITH_AN_END:
        msg = (
            f"--{LENGTH} {epochs[0]}: the schedule {schedule} of {run.folder} ends after {epochs[1]} epochs. "
            f"Add --{SCHEDULE} none to continue at its last learning rate, or start a new cycle from its "
            f"weights: fer fit --config {run.config_path} --start_from {run.folder}"
        )
        raise InputError(msg)


def keep_pipeline(config: Namespace, run: Run) -> None:
    """Use the pipeline that a run has chosen, if the settings leave it open."""
    if config.data.get("pipeline") == "auto":
        # A run without this setting is older than the setting.
        config.data.pipeline = flatten(run.read_config()).get(PIPELINE, "loader")


def usual_on_sigterm() -> OnSigterm:
    """Return the default of ``--on_sigterm``: requeue under SLURM, which may preempt the job, else stop."""
    is_trial = any(name in os.environ for name in SWEEP_VARIABLES)  # an agent stops its trial for good
    return "requeue" if SLURM_JOB in os.environ and not is_trial else "stop"


def started_as() -> str:
    """Return the part of a run's default name that makes it unique: SLURM's job, else the time."""
    job = os.environ.get(SLURM_JOB)
    return f"job{job}" if job else time.strftime("%Y%m%d-%H%M%S")


def requeue() -> None:
    """Ask SLURM to start this job again; elsewhere the exit status asks for it."""
    job, scontrol = os.environ.get(SLURM_JOB), shutil.which("scontrol")
    if job is None or scontrol is None or process_rank() != 0:
        return
    asked = subprocess.run([scontrol, "requeue", job], capture_output=True, text=True, check=False)
    if asked.returncode:  # SLURM itself requeues a job that it preempts, and then refuses
        log.info("scontrol requeue %s: %s", job, " ".join(asked.stderr.split()))


def _is_longer(new: Any, old: Any) -> bool:
    """Return whether a number of epochs is larger; -1 means no limit.

    >>> _is_longer(30, 20), _is_longer(-1, 20), _is_longer(10, 20)
    (True, True, False)
    """
    return new == -1 or (isinstance(new, int) and isinstance(old, int) and old != -1 and new > old)
