"""The views of test-time augmentation that a run evaluates, and the temperatures that are fitted for them."""

import logging
from pathlib import Path

from lightning.pytorch import Trainer

from fer.checkpoints import read_any_checkpoint, write_checkpoint
from fer.tasks import ClassificationTask
from fer.views import Tta

log = logging.getLogger("fer.commands")


def choose_views_after_training(task: ClassificationTask, tta: Tta, *, is_kept: bool) -> None:
    """Choose the views with which the best checkpoint of a training is tested.

    Temperatures are fitted for all views, which takes ten of each sample of val.

    Args:
        task: Of the best checkpoint.
        tta: As it is set.
        is_kept: Whether features of a frozen part were kept, which new views would need once more.
    """
    if is_kept and tta != "none":
        log.info(
            "--tta %s is left out of the test: the frozen part computes each image once; fer test has it", tta
        )
        tta = "none"
    task.calibrator.choose_views(tta, "none" if tta == "none" else "ten_crop")


def keep_calibration(trainer: Trainer, checkpoint: Path, task: ClassificationTask) -> None:
    """Store the temperatures that a test fitted for views in the checkpoint that was tested.

    Its own temperature is in it since it was saved: one that is not rewritten lacks only those of views.
    """
    found = task.calibration
    if trainer.is_global_zero and found is not None and "views" in found:
        write_checkpoint(checkpoint, {**read_any_checkpoint(checkpoint), "calibration": dict(found)})
