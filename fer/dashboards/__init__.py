"""Weights & Biases: the only subpackage that imports wandb. This module has the logger of a run."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from fer.dashboards.server import check_login, finish, is_logged_in, start_run
from fer.errors import InputError, did_you_mean
from fer.files import atomic_write
from fer.processes import process_rank

WandbMode = Literal["auto", "online", "offline", "disabled"]

__all__ = [
    "WandbMode",
    "apart_from_sweep",
    "finish",
    "is_logged_in",
    "log_again",
    "log_config",
    "wandb_logger",
]

MODES: Final = ("online", "offline", "disabled", "shared", "dryrun", "run")
"""Values of ``WANDB_MODE`` that W&B accepts."""

LEET_STATE: Final = ".wandb-leet.json"
"""File beside the runs in which ``wandb leet`` keeps its filter of the charts."""

CURVES: Final = "^(train|val)[/_]|^(loss|acc)"
"""Metrics that ``wandb leet`` shows first, a regular expression: it sorts by name, angles before losses."""

OFFLINE: Final = ("offline", "dryrun")
"""Modes that need no server."""


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
    resume: bool = False,
    stop: Callable[[], None] | None = None,
    is_shown: Callable[[str], bool] | None = None,
) -> WandbLogger | None:
    """Return the W&B logger of a run, or None if W&B is disabled.

    Args:
        run_dir: The run's folder; W&B's own files go to ``wandb`` in it.
        mode: ``auto`` follows ``WANDB_MODE``, else is online after ``wandb login`` and offline otherwise.
            ``disabled`` writes nothing. A run is also offline if the server does not answer within seconds.
        project: W&B project.
        entity: W&B user or team; null: the default of the account.
        name: Name of the run; null: that of the run's folder.
        group: Group of runs that belong together, such as the folds of a cross-validation.
        job_type: Kind of run, such as fit or test.
        tags: Tags of the run.
        notes: Description of the run.
        resume: Whether to resume the W&B run in the folder, if there is one.
        stop: Called, in another thread, when W&B stops the run; None: W&B interrupts the program.
        is_shown: Function that returns whether to log the metric of a key; None: log all.

    Raises:
        InputError: The run is to be online, and W&B has no key.
    """
    if mode == "disabled":
        return None
    of_environment = _mode_of_environment()
    chosen = of_environment if mode == "auto" else mode
    if chosen == "disabled":
        return None
    if process_rank() != 0:
        return WandbLogger(save_dir=run_dir)  # in other processes, its run does nothing
    problem = ""
    if chosen not in OFFLINE:
        has_key, problem = check_login()
        chosen = chosen or ("online" if has_key else "offline")
    # A sweep has a project already, and W&B warns of any other.
    is_trial = "WANDB_SWEEP_ID" in os.environ
    run = start_run(
        chosen,
        problem,
        dir=run_dir,
        project=None if is_trial else project,
        entity=None if is_trial else entity,
        name=name or run_dir.name,
        group=group,
        job_type=job_type,
        tags=list(tags) or None,
        notes=notes,
        **({"id": _id_in(run_dir), "resume": None if chosen in OFFLINE else "allow"} if resume else {}),
        settings={"console": "off", "stop_fn": stop},
    )
    if resume and run.offline:
        _set_aside(run_dir, Path(run.dir).parent)
    _open_leet_on_curves(run_dir / "wandb")
    run.define_metric("epoch")
    run.define_metric("*", step_metric="epoch")
    return _RunLogger(is_shown, save_dir=run_dir, experiment=run)


class _RunLogger(WandbLogger):
    """W&B's logger of a run, which can leave out metrics.

    Args:
        is_shown: Function that returns whether to log the metric of a key; None: log all.
        **kwargs: See Lightning's ``WandbLogger``.
    """

    def __init__(self, is_shown: Callable[[str], bool] | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.is_shown = is_shown

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log the metrics for which ``is_shown`` is true."""
        shown = {key: each for key, each in metrics.items() if self.is_shown is None or self.is_shown(key)}
        super().log_metrics(shown, step)


def _open_leet_on_curves(folder: Path) -> None:
    """Let ``wandb leet`` open on loss and accuracy; its status line names the filter and how to clear it.

    A filter that the user has set stays.
    """
    path = folder / LEET_STATE
    if not path.exists():
        with atomic_write(path) as file:
            file.write(json.dumps({"metrics_filter": {"query": CURVES}}).encode())


def _id_in(run_dir: Path) -> str | None:
    """Return the id of the newest W&B run in a folder; None if there is none."""
    folders = sorted(run_dir.glob("wandb/*run-*-*"), key=lambda folder: folder.name.split("run-")[-1])
    return folders[-1].name.rpartition("-")[2] if folders else None


def _set_aside(run_dir: Path, newest: Path) -> None:
    """Move earlier offline records into ``wandb/before``, since all of their content is recorded again.

    ``wandb sync`` could not read the files of a process that was killed.
    """
    for folder in run_dir.glob("wandb/offline-run-*"):
        if folder.resolve() != newest.resolve():
            aside = folder.parent / "before" / folder.name
            aside.parent.mkdir(exist_ok=True)
            folder.rename(aside)


def log_again(logger: WandbLogger, rows: Iterable[Mapping[str, Any]]) -> None:
    """Log the metrics of the epochs before a training was resumed, unless W&B's server has them.

    A client that is killed loses the metrics that it has not sent yet.

    Args:
        logger: Logger of the resumed run.
        rows: Rows of ``metrics.csv``, as text or numbers; empty text where there is no value.
    """
    run = logger.experiment
    rows = list(rows)
    logged = [(int(row["step"]), float(row["epoch"])) for row in rows]
    last = (run.summary.get("trainer/global_step", -1), run.summary.get("epoch"))
    # Several rows may have the same step: a measurement at the end of an epoch, and the epoch's own metrics.
    begin = logged.index(last) + 1 if last in logged else sum(step <= last[0] for step, _ in logged)
    for row in rows[begin:]:
        known = {key: float(value) for key, value in row.items() if key != "step" and value != ""}
        logger.log_metrics(known, step=int(row["step"]))


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
        os.environ["WANDB_MODE"] = mode  # W&B reads it again, and only accepts lower case
    return mode


@contextmanager
def apart_from_sweep() -> Iterator[None]:
    """Let this process start W&B runs of its own, besides the trial that a sweep's agent assigned to it.

    An agent passes the trial in environment variables; without this, every run would log to that trial and
    overwrite the previous run.
    """
    variables = ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_NAME", "WANDB_RUN_GROUP")
    import wandb

    hidden = {name: os.environ.pop(name) for name in variables if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
        wandb.teardown()  # so that the client reads the environment again


def log_config(logger: WandbLogger, settings: Mapping[str, Any]) -> None:
    """Log the settings of a run.

    The parameters of a sweep are already in W&B's config, and locked: W&B would warn if they were set again.

    Args:
        logger: The run's logger.
        settings: Settings by dotted name.
    """
    known = logger.experiment.config.keys()
    logger.log_hyperparams({name: value for name, value in settings.items() if name not in known})
