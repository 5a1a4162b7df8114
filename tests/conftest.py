"""What every test shares: nothing leaks out of it, and nothing real is needed."""

import gc
import logging
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes share the cores; torch reads it once

gc.disable()  # until all is imported: nothing of it is garbage

LOGGERS = ("fer", "lightning.pytorch", "lightning.fabric")


def pytest_collection_finish() -> None:
    """Let the garbage collector skip what was imported: its full rounds take half a second otherwise."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Let all be collected at exit: extension modules write on stderr what they miss."""
    gc.unfreeze()


@contextmanager
def sandbox(folder: Path, *, drawn: bool = False) -> Iterator[None]:
    """Keep caches, runs and W&B inside a folder, and put back what a command sets for its whole process.

    Args:
        folder: The folder.
        drawn: Whether figures are drawn, not left blank.
    """
    # Imported here: xdist's first process runs no test.
    import torch
    from shortened import shorten

    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.handlers[:], logger.propagate, logger.level) for logger in loggers]
    states = torch.random.get_rng_state(), np.random.get_state(), random.getstate()
    modules = {*sys.modules}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", [*sys.path])  # commands add the working directory
        for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "WANDB_API_KEY", "FER_DATA_DIR"):
            patch.setenv(name, "")  # first set, so that it is put back even where the test sets it
            patch.delenv(name)
        # A process that a test starts would share this one's W&B service, which waits for its runs to end.
        patch.delenv("WANDB_SERVICE", raising=False)
        patch.setenv("FER_CACHE_DIR", str(folder / "cache"))
        patch.setenv("WANDB_MODE", "offline")
        # Lightning 2.6 calls what jsonargparse 5 removes: hence the upper bound in pyproject.toml.
        patch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        shorten(patch, drawn=drawn)
        yield
    for name in sys.modules.keys() - modules:  # a test's own modules are not the next one's
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(f"{folder}{os.sep}"):
            del sys.modules[name]
    torch.random.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish()
        pytest.fail("a W&B run was left open")


@pytest.fixture(scope="session")
def sandboxed():
    """The sandbox, for what is made once for many tests, which comes before :func:`isolated`."""
    return sandbox


@pytest.fixture(autouse=True)
def isolated(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Run each test in a folder of its own."""
    with sandbox(tmp_path, drawn=request.node.get_closest_marker("drawn") is not None):
        yield


@pytest.fixture
def tiny_data():
    """A maker of data modules: random images, each label as often in every split."""
    # Imported here, so that tests of pure code need not wait for Lightning.
    from fer.data.base import numbered
    from fer.data.images import ImageDataModule, ImageSplit

    class TinyData(ImageDataModule):
        def __init__(self, *, size=8, depth=1, num_train=28, num_val=14, labels=None, **kwargs):
            super().__init__(**{"image_size": size, "channels": depth, "batch_size": 7} | kwargs)
            self.size, self.depth, self.nums, self.train_labels = (
                size,
                depth,
                (num_train, num_val, 14),
                labels,
            )

        def load_splits(self):
            rng = np.random.default_rng(0)
            splits = {}
            for name, num in zip(("train", "val", "test"), self.nums, strict=True):
                shape = (num, self.size, self.size) if self.depth == 1 else (num, self.size, self.size, 3)
                splits[name] = ImageSplit(
                    images=rng.integers(256, size=shape, dtype=np.uint8),
                    labels=np.arange(num) % 7,
                    names=numbered(num),
                )
            if self.train_labels is not None:
                splits["train"] = replace(splits["train"], labels=np.array(self.train_labels))
            return splits

    return TinyData


@pytest.fixture(scope="session")
def make_images():
    """A maker of folders of classes, each with images of noise."""

    def make(root, *, num=0, names=None, class_names=None, size=(24, 18), seed=0):
        from PIL import Image

        from fer.labels import EXPRESSIONS

        rng = np.random.default_rng(seed)
        for class_name in class_names or EXPRESSIONS:
            (root / class_name).mkdir(parents=True)
            for name in names or [f"{i:03d}.png" for i in range(num)]:
                pixels = rng.integers(256, size=(size[1], size[0], 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / class_name / name)
        return root

    return make


@pytest.fixture
def tiny_trainer(tmp_path: Path):
    """A maker of silent trainers on the CPU, whose run's folder is the test's."""
    from lightning.pytorch import Trainer

    def make(**kwargs):
        quiet = {
            "accelerator": "cpu",
            "logger": False,
            "max_epochs": 1,
            "log_every_n_steps": 1,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": tmp_path,
        }
        return Trainer(**quiet | kwargs)

    return make
