"""Save figures to the run's folder and show them in every logger that takes images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure

from fer.figures.style import DPI, drawing, write_figure
from fer.runs import Run


def run_of_trainer(trainer: Trainer, network: str | None = None) -> Run:
    """Return the folder of the run: where ``checkpoints/`` is, else the logger's, else the default root.

    It can be called in one process alone.

    Args:
        trainer: The run's trainer.
        network: The network that a callback was told to work on; see :class:`fer.runs.Run`.
    """
    return Run(_folder(trainer), network or "")


def _folder(trainer: Trainer) -> Path:
    dirpath = getattr(trainer.checkpoint_callback, "dirpath", None)
    if dirpath and Path(dirpath).name == "checkpoints":
        return Path(dirpath).parent
    for logger in trainer.loggers[:1]:
        folder = getattr(logger, "log_dir", None) or logger.save_dir
        if folder:
            return Path(folder)
    return Path(trainer.default_root_dir)


def is_dry_run(trainer: Trainer) -> bool:
    """Return whether the run is to leave no files: it has ``fast_dev_run``."""
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]


_MISSING: Final[WeakKeyDictionary[Trainer, dict[str, str]]] = WeakKeyDictionary()


def missing_figures(trainer: Trainer) -> dict[str, str]:
    """Return by name the figures of a run that could not be drawn or written, and why."""
    return _MISSING.setdefault(trainer, {})


@rank_zero_only
def save_figure(
    trainer: Trainer,
    name: str,
    figure: Figure | Callable[[], Figure],
    *,
    formats: Sequence[str] = ("png",),
    network: str | None = None,
) -> None:
    """Write a figure to the run's folder and log it to W&B and TensorBoard under the same name.

    A figure that cannot be drawn or written does not end the run; see :func:`missing_figures`. With
    ``fast_dev_run`` nothing is written.

    Args:
        trainer: The run's trainer.
        name: File name without suffix, and key in the loggers.
        figure: The figure, or what draws it.
        formats: File suffixes; W&B gets the first.
        network: The network that a callback was told to work on: it follows the name.
    """
    if is_dry_run(trainer):
        return
    run = run_of_trainer(trainer, network)
    name += run.suffix
    with drawing(name, missing_figures(trainer)):
        drawn = figure if isinstance(figure, Figure) else figure()
        paths = [run.figures_dir / f"{name}.{ending}" for ending in formats]
        for each in paths:
            write_figure(drawn, each, DPI)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image(key=f"figures/{name}", images=[str(paths[0])])
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_figure(f"figures/{name}", drawn, trainer.global_step, close=False)
