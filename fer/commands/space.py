"""Disk space that a training needs, estimated before it begins."""

import logging
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from lightning.pytorch import LightningModule

from fer.files import describe_size

Checkpoints = Literal["all", "last", "best"]
"""Which checkpoints a training keeps.

- ``all``: the best, the last, and the one before the last in case the last is damaged.
- ``last``: the best and the last.
- ``best``: only the best. A training that is stopped then restarts from its first epoch.
"""

NUM_CHECKPOINTS: Final[Mapping[Checkpoints, int]] = {"all": 3, "last": 2, "best": 1}

log = logging.getLogger("fer.commands")


def describe_space(
    task: LightningModule, layers: Mapping[str, str], config: Mapping[str, Any], folder: Path
) -> str:
    """Return how much disk space a training will use at most, and warn if less than that is free.

    A checkpoint holds the weights, their average if there is one, two optimizer states for each trainable
    weight (as in Adam), and the last angles and activations of the samples. Angles are counted without
    compression; those of all epochs are added if the number of epochs is known.

    Args:
        task: The task to train.
        layers: The hidden layers.
        config: Settings of the run.
        folder: Folder of the run.
    """
    kept: Checkpoints = config["checkpoints"]
    epochs = config["trainer"]["max_epochs"]
    settings = config["distinctiveness"]
    every, most = settings["every_n_epochs"], settings["keep_epochs"]
    is_measured = 0 not in (every, settings["every_n_steps"])
    widths = [
        len(next(task.network.get_submodule(name).parameters()))  # type: ignore[union-attr]
        for name in (layers if is_measured else ())
    ]
    angles = 4 * sum(width**2 for width in widths)
    rows = 4 * settings["num_samples"] * sum(widths)
    state = sum(value.nbytes for value in task.state_dict().values())
    trained = sum(value.nbytes for value in task.parameters() if value.requires_grad)
    checkpoint = state * (2 if config["ema"] else 1) + 2 * trained + angles + rows
    num = NUM_CHECKPOINTS[kept]
    parts = [f"{num} checkpoint{'s' if num > 1 else ''} of {describe_size(checkpoint)}"]
    total = (num + 1) * checkpoint  # one more for the draft of a new checkpoint
    if is_measured:
        measured = math.inf if epochs in (None, -1) else math.ceil(epochs / (every or 1))
        num_epochs = measured if most is None else min(measured, most)
        if num_epochs == math.inf:
            parts.append(f"angles {describe_size(angles)} an epoch")
        else:
            parts.append(f"angles {describe_size(angles * num_epochs)}")
            total += int(angles * num_epochs)
    free = shutil.disk_usage(folder).free
    if free < total:
        log.warning(
            "%s has %s free, and this run writes up to %s: free some space, or keep less with --checkpoints "
            "last (or best) and --distinctiveness.keep_epochs N",
            *(folder, describe_size(free), describe_size(total)),
        )
    return f"up to {describe_size(total)} ({', '.join(parts)}); {describe_size(free)} free"
