"""Save figures to the run's folder and log them to W&B."""

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure

from fer.runs import Run


def figures_dir(trainer: Trainer) -> Path:
    """Return the folder of the run's figures."""
    return Run(Path(trainer.default_root_dir)).figures_dir


@rank_zero_only
def save_figure(trainer: Trainer, name: str, figure: Figure, *, formats: Sequence[str] = ("png",)) -> None:
    """Write a figure to the run's folder and log it to W&B under the same name.

    Args:
        trainer: The run's trainer.
        name: File name without suffix, and key in W&B.
        figure: The figure.
        formats: File suffixes; W&B gets the first.
    """
    path, *others = (figures_dir(trainer) / f"{name}.{ending}" for ending in formats)
    path.parent.mkdir(parents=True, exist_ok=True)
    for each in (path, *others):
        figure.savefig(each, dpi=150)
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key=f"figures/{name}", images=[str(path)])
