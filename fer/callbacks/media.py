"""Where figures go: the run's folder, and the loggers that take pictures."""

from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure


def figures_dir(trainer: Trainer) -> Path:
    """Return the folder of the run's figures."""
    return Path(trainer.default_root_dir) / "figures"


@rank_zero_only
def save_figure(trainer: Trainer, name: str, figure: Figure) -> None:
    """Write a figure to the run's folder as PNG, and log it to W&B under the same name.

    Args:
        trainer: Whose run it is.
        name: Of the file, without its ending, and of the key.
        figure: What is drawn.
    """
    path = figures_dir(trainer) / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key=f"figures/{name}", images=[str(path)])
