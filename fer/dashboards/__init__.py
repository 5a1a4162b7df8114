"""Weights & Biases: the only package that imports wandb. This file: the logger of a run."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from lightning.pytorch.loggers import WandbLogger

from fer.errors import InputError, did_you_mean
from fer.processes import process_rank

WandbMode = Literal["auto", "online", "offline", "disabled"]

MODES: Final = ("online", "offline", "disabled", "shared", "dryrun", "run")
"""Values of ``WANDB_MODE`` that W&B takes."""

log = logging.getLogger("fer.dashboards")


def wandb_logger(
    run_dir: Path,
    *,
    mode: WandbMode = "auto",
    project: str = "fer",
    entity: str | None = None,
    name: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    tags: Sequence[str] = (),
    notes: str | None = None,
    stop: Callable[[], None] | None = None,
) -> WandbLogger | None:
    """Return the W&B logger of a run, or None if W&B is disabled.

    Args:
        run_dir: The run's folder; W&B's own files go to ``wandb`` in it.
        mode: ``auto`` follows ``WANDB_MODE``, else is online after ``wandb login`` and offline otherwise.
            ``disabled`` writes nothing.
        project: W&B project.
        entity: W&B user or team; null: the default of the account.
        name: Name of the run; null: that of the run's folder.
        group: Group of runs that belong together, such as the folds of a cross-validation.
        job_type: Kind of run, such as fit or test.
        tags: Tags of the run.
        notes: Description of the run.
        stop: Called, in another thread, when W&B stops the run; None: W&B interrupts the program.

    Raises:
        InputError: The run cannot be online.
    """
    import wandb

    chosen: str = mode
    if mode == "auto":
        chosen = _mode_of_environment() or ("online" if is_logged_in() else "offline")
    if chosen == "disabled":
        return None
    if process_rank() != 0:
        return WandbLogger(save_dir=run_dir)  # Lightning gives other processes a run that does nothing
    # The client says much; an offline run's only news is where it is, which `fer` says at the end.
    settings = wandb.Settings(silent=chosen == "offline", console="off", stop_fn=stop)
    # A sweep has a project already, and W&B warns of any other.
    is_trial = "WANDB_SWEEP_ID" in os.environ
    try:
        run = wandb.init(
            dir=run_dir,
            project=None if is_trial else project,
            entity=None if is_trial else entity,
            name=name or run_dir.name,
            group=group,
            job_type=job_type,
            tags=list(tags) or None,
            notes=notes,
            mode=chosen,  # type: ignore[arg-type]
            settings=settings,
        )
    except wandb.Error as e:
        msg = f"W&B cannot start a run ({e}): log in with `wandb login`, or use --wandb.mode offline"
        raise InputError(msg) from e
    run.define_metric("epoch")
    run.define_metric("*", step_metric="epoch")
    return WandbLogger(save_dir=run_dir, experiment=run)


def _mode_of_environment() -> str:
    """Return the mode that ``WANDB_MODE`` sets, in lower case; empty if it is not set.

    Raises:
        InputError: W&B has no such mode.
    """
    mode = os.environ.get("WANDB_MODE", "").lower()
    if mode and mode not in MODES:
        problem = f"WANDB_MODE={os.environ['WANDB_MODE']}: {did_you_mean(mode, MODES)}"
        msg = f"{problem}it must be one of {', '.join(MODES)}"
        raise InputError(msg)
    if mode:
        os.environ["WANDB_MODE"] = mode  # W&B reads it again, and takes lower case only
    return mode


@contextmanager
def apart_from_sweep() -> Iterator[None]:
    """Let this process start runs other than the trial that a sweep's agent gave it.

    An agent names the trial in environment variables; without this, every run would be that trial and
    overwrite the previous run.
    """
    variables = ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_NAME", "WANDB_RUN_GROUP")
    import wandb

    hidden = {name: os.environ.pop(name) for name in variables if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
        wandb.teardown()  # the client read the environment when the first run started, and must again


def log_config(logger: WandbLogger, settings: Mapping[str, Any]) -> None:
    """Log the settings of a run.

    Settings of a sweep are in W&B's config already and locked; W&B warns when they are set again.

    Args:
        logger: The run's logger.
        settings: Settings by dotted name.
    """
    known = logger.experiment.config.keys()
    logger.log_hyperparams({name: value for name, value in settings.items() if name not in known})


def finish(*, failed: bool = False) -> None:
    """Close the process's W&B run, if there is one.

    Args:
        failed: Whether W&B shows the run as failed.
    """
    import wandb

    if wandb.run is not None:
        wandb.finish(exit_code=1 if failed else 0)


def is_logged_in() -> bool:
    """Return whether W&B accepts the stored key; never prompts, never raises."""
    import wandb

    try:
        return bool(wandb.login(prompt=False))
    except (wandb.Error, OSError) as e:
        log.info("W&B is offline: %s", e)
        return False
