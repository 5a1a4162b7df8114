"""Weights & Biases: the only room that imports wandb. This file: a run's logger."""

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
    """Return the run's W&B logger, or None where it is disabled.

    Args:
        run_dir: The run's folder; W&B's own files go to ``wandb`` in it.
        mode: ``auto`` is online for a user who is logged in (``wandb login``), else offline; it heeds
            ``WANDB_MODE``. ``disabled`` writes nothing.
        project: W&B's project.
        entity: W&B's user or team; null: the default of the account.
        name: Of the run; null: the run's folder.
        group: Of runs that belong together, such as the folds of a cross-validation.
        job_type: What the run does, such as fit or test.
        tags: Words to find the run by.
        notes: A sentence about the run.
        stop: Called, in another thread, when W&B wants the run to stop; None: W&B interrupts the program.

    Raises:
        InputError: The run was to be online and cannot be.
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
        msg = f"W&B cannot start a run ({e}): log in with `wandb login`, or go on with --wandb.mode offline"
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
    """Let runs be started that are not the one which a sweep's agent gave this process.

    An agent says by variables of the environment which run, and of which sweep, the process is; every
    run it starts would be that one, and write over the last.
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
    """Log a run's settings, each once.

    What a sweep has set is in W&B's config already, under the same name; it is locked, and W&B warns of
    every attempt to set it.

    Args:
        logger: Of the run.
        settings: By dotted name, as a sweep names them.
    """
    known = logger.experiment.config.keys()
    logger.log_hyperparams({name: value for name, value in settings.items() if name not in known})


def finish(*, failed: bool = False) -> None:
    """Close the process's W&B run, if there is one.

    Args:
        failed: Whether the run is to be shown as one that failed.
    """
    import wandb

    if wandb.run is not None:
        wandb.finish(exit_code=1 if failed else 0)


def is_logged_in() -> bool:
    """Return whether there is a key that W&B accepts, without a prompt and without a crash."""
    import wandb

    try:
        return bool(wandb.login(prompt=False))
    except (wandb.Error, OSError) as e:
        log.info("W&B is offline: %s", e)
        return False
