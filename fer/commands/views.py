"""Test-time augmentation of a run: the views that it is tested with, and the temperature of each kind."""

import logging
from pathlib import Path

from lightning.pytorch import Trainer

from fer.checkpoints import read_any_checkpoint, write_checkpoint
from fer.tasks import ClassificationTask
from fer.views import Tta

log = logging.getLogger("fer.commands")


def choose_views_after_training(task: ClassificationTask, tta: Tta, *, is_kept: bool) -> None:
    """Choose the views that the best checkpoint is tested with after training.

    Temperatures are fitted for every kind of view, which takes ten views of each validation sample.

    Args:
        task: Task of the best checkpoint.
        tta: The setting ``--tta``.
        is_kept: Whether the features of a frozen part are cached; other views would need new features.
    """
    if is_kept and tta != "none":
        log.info(
            "the test after training is without --tta %s: features of the frozen layers are cached for plain "
            "images only; fer test applies it",
            tta,
        )
        tta = "none"
    task.calibrator.choose_views(tta, "none" if tta == "none" else "ten_crop")


def keep_calibration(trainer: Trainer, checkpoint: Path, task: ClassificationTask) -> None:
    """Store the temperatures of the views, which the test fitted, in the checkpoint that was tested.

    The checkpoint already has the temperature of plain images. If it cannot be rewritten, only those of the
    views are missing.
    """
    found = task.calibration
    if trainer.is_global_zero and found is not None and "views" in found:
        write_checkpoint(checkpoint, {**read_any_checkpoint(checkpoint), "calibration": dict(found)})
