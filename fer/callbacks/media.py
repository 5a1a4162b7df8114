"""Save figures to the run's folder and log them to W&B."""

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure

from fer.runs import Run


def run_of_trainer(trainer: Trainer) -> Run:
    """Return the folder of the run: where ``checkpoints/`` is, else the logger's, else the default root.

    It can be called in one process alone.
    """
    dirpath = getattr(trainer.checkpoint_callback, "dirpath", None)
    if dirpath and Path(dirpath).name == "checkpoints":
        return Run(Path(dirpath).parent)
    for logger in trainer.loggers[:1]:
        folder = getattr(logger, "log_dir", None) or logger.save_dir
        if folder:
            return Run(Path(folder))
    return Run(Path(trainer.default_root_dir))


@rank_zero_only
def save_figure(trainer: Trainer, name: str, figure: Figure, *, formats: Sequence[str] = ("png",)) -> None:
    """Write a figure to the run's folder and log it to W&B under the same name.

    Args:
        trainer: The run's trainer.
        name: File name without suffix, and key in W&B.
        figure: The figure.
        formats: File suffixes; W&B gets the first.
    """
    path, *others = (run_of_trainer(trainer).figures_dir / f"{name}.{ending}" for ending in formats)
    path.parent.mkdir(parents=True, exist_ok=True)
    for each in (path, *others):
        figure.savefig(each, dpi=150)
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key=f"figures/{name}", images=[str(path)])
