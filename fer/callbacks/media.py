"""Save figures to the run's folder and show them in every logger that takes images."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, Literal
from weakref import WeakKeyDictionary

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure

from fer.figures import style
from fer.figures.style import DPI, drawing, write_figure
from fer.metrics.keys import is_summary
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
    """Return whether a trainer only tries a few batches (``fast_dev_run``) and writes no files."""
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]


_MISSING: Final[WeakKeyDictionary[Trainer, dict[str, str]]] = WeakKeyDictionary()


def missing_figures(trainer: Trainer) -> dict[str, str]:
    """Return by name the figures of a run that could not be drawn or written, and why."""
    return _MISSING.setdefault(trainer, {})


_LATER: Final[WeakKeyDictionary[Trainer, list[Callable[[], None]]]] = WeakKeyDictionary()
"""By trainer what is to be drawn at the end of :func:`draw_later`."""


@contextmanager
def draw_later(trainer: Trainer) -> Iterator[None]:
    """Put off what :func:`save_figure` is given meanwhile until the results are printed, or to the end.

    After an error or a signal nothing is drawn: a training that is resumed draws everything.
    """
    _LATER[trainer] = []
    try:
        yield
        draw_now(trainer)
    finally:
        del _LATER[trainer]


def draw_now(trainer: Trainer) -> None:
    """Draw the figures that were put off."""
    figures = _LATER.get(trainer, [])
    while figures:
        figures.pop(0)()


Logged = Literal["summary", "all"]
"""Which numbers W&B gets: those of the whole network, or those of each layer and each class, too."""


def is_shown(key: str, which: Logged) -> bool:
    """Return whether W&B gets the number of a key.

    >>> [is_shown("val/recall/fear", which) for which in ("summary", "all")]
    [False, True]
    """
    return which == "all" or is_summary(key)


@rank_zero_only
def log_numbers(
    trainer: Trainer,
    numbers: Mapping[str, float],
    time: float,
    *,
    which: Logged,
    always: Collection[str] = (),
) -> None:
    """Log measurements: all of them to files and TensorBoard, and those that are shown to W&B.

    Args:
        trainer: The run's trainer.
        numbers: By key.
        time: Of the measurement, in epochs trained.
        which: Which numbers W&B gets; see :func:`is_shown`.
        always: Keys that W&B always gets.
    """
    for logger in trainer.loggers:
        of_logger = which if isinstance(logger, WandbLogger) else "all"
        shown = {key: value for key, value in numbers.items() if key in always or is_shown(key, of_logger)}
        logger.log_metrics({**shown, "epoch": time}, step=trainer.global_step)


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
    draw = partial(_save, trainer, name, figure, formats, run_of_trainer(trainer, network))
    if trainer in _LATER:
        _LATER[trainer].append(draw)
    else:
        draw()


def _save(
    trainer: Trainer, name: str, figure: Figure | Callable[[], Figure], formats: Sequence[str], run: Run
) -> None:
    """Draw, write and log a figure."""
    name += run.suffix
    with drawing(name, missing_figures(trainer)):
        drawn = style.built(figure)
        paths = [run.figures_dir / f"{name}.{ending}" for ending in formats]
        for each in paths:
            write_figure(drawn, each, DPI)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image(key=f"figures/{name}", images=[str(paths[0])])
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_figure(f"figures/{name}", drawn, trainer.global_step, close=False)
