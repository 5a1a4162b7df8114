"""One thin LightningModule for each network: its settings, and the shared training loop."""

from pathlib import Path
from typing import Any, Final

from fer.checkpoints import read_checkpoint
from fer.errors import InputError
from fer.tasks.alexnet import AlexnetTask
from fer.tasks.ann import AnnTask
from fer.tasks.base import ClassificationTask
from fer.tasks.cbam import CbamTask
from fer.tasks.conv1 import Conv1Task
from fer.tasks.conv2 import Conv2Task
from fer.tasks.conv4 import Conv4Task
from fer.tasks.conv6 import Conv6Task
from fer.tasks.resnet import ResnetTask
from fer.tasks.transfer import TransferTask

TASKS: Final[dict[str, type[ClassificationTask]]] = {
    "ann": AnnTask,
    "conv1": Conv1Task,
    "conv2": Conv2Task,
    "conv4": Conv4Task,
    "conv6": Conv6Task,
    "alexnet": AlexnetTask,
    "resnet": ResnetTask,
    "cbam": CbamTask,
    "transfer": TransferTask,
}
"""The networks by the name that configs, make targets and sweeps share."""


def load(checkpoint: str | Path) -> ClassificationTask:
    """Rebuild a trained network from its checkpoint alone.

    Args:
        checkpoint: A file that training wrote, such as ``runs/…/checkpoints/best.ckpt``.

    Returns:
        The task in eval mode, on the CPU.

    Raises:
        InputError: The file is missing, cannot be read, or is no checkpoint of this package.
    """
    content = read_checkpoint(checkpoint)
    by_class = {task.__name__: task for task in TASKS.values()}
    name = content["task"]
    if name not in by_class:
        msg = f"{checkpoint}: this checkpoint holds none of fer's networks ({', '.join(TASKS)})"
        raise InputError(msg)
    # The checkpoint has all weights: those that training started from need not be found again.
    start: dict[str, Any] = {"weights": None, "pretrained": False}
    overrides = {key: value for key, value in start.items() if key in content["hyper_parameters"]}
    task = by_class[name].load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True, **overrides)
    return task.eval()


__all__ = [
    "TASKS",
    "AlexnetTask",
    "AnnTask",
    "CbamTask",
    "ClassificationTask",
    "Conv1Task",
    "Conv2Task",
    "Conv4Task",
    "Conv6Task",
    "ResnetTask",
    "TransferTask",
    "load",
]
