"""Header lines on the origin of a command's network: the checkpoint that it resumes or evaluates."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule

from fer.tasks import ClassificationTask


def facts_of_start(checkpoint: str | None, epoch: int, *, is_resumed: bool) -> list[tuple[str, str]]:
    """Return where a training resumes; empty for a new one.

    Args:
        checkpoint: The checkpoint that it resumes from.
        epoch: Index of the epoch in which it resumes.
        is_resumed: Whether it resumes in its own folder.
    """
    if checkpoint is None:
        return [("resumes", "from the start, since the run has no checkpoint yet")] if is_resumed else []
    place = f"in epoch {epoch + 1}, from {checkpoint}"
    if not is_resumed:
        place += f", as a new run; {Path(checkpoint).parent.parent} is not changed"
    return [("resumes", place)]


def facts_of_teachers(model: ClassificationTask) -> list[tuple[str, str]]:
    """Return the networks whose answers a training learns; empty if it learns the labels."""
    if model.teachers is None:
        return []
    names = ", ".join(model.teachers.networks)
    what = "their mean probabilities replace the labels, and the training loss is the cross-entropy to them"
    return [("teachers", f"{names}: {what}; model.loss, label smoothing and class weights have no effect")]


def facts_of_checkpoint(model: ClassificationTask, data: LightningDataModule) -> list[tuple[str, str]]:
    """Return the data that an evaluated network was trained on, and the classes that do not match."""
    calibration = [("calibration", describe_calibration(model.calibration))]
    if model.trained_on is None:
        return calibration
    match = getattr(data, "match", None)
    remarks = [] if match is None else match.lines()
    return [("trained on", model.trained_on), *(("classes", each) for each in remarks), *calibration]


def describe_calibration(found: Mapping[str, Any] | None) -> str:
    """Return how the probabilities of a checkpoint are calibrated, in words.

    >>> describe_calibration(None)
    'none in the checkpoint: temperature 1'
    """
    if found is None:
        return "none in the checkpoint: temperature 1"
    before, after = (f"{100 * found[key]:.1f} %" for key in ("ece_before", "ece_after"))
    return (
        f"temperature {found['temperature']:.3f}, fitted on {found['split']} (n = {found['n']:,}): expected "
        f"calibration error {before} before, {after} after"
    )
