"""Fit modules that know nothing of this package, as their authors would."""

import logging

import lightning as L
import pytest
from lightning.pytorch import seed_everything
from torch import nn

QUIET = [
    # What Lightning says of modules as small as these.
    "ignore:The number of training batches",
    "ignore:You defined a `validation_step` but have no",
    "ignore:You passed in a `val_dataloader` but have no",
    "ignore:Your `val_dataloader`'s sampler has shuffling enabled",
    "ignore:Checkpoint directory .* exists and is not empty",
]


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "foreign":
            for each in QUIET:
                item.add_marker(pytest.mark.filterwarnings(each))


@pytest.fixture
def fit(tmp_path):
    """Fit a module, or one of a class that is made after seeding, with callbacks; return the trainer."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    def fit(module, data=None, callbacks=(), *, seed=0, val=None, ckpt_path=None, **settings):
        seed_everything(seed, verbose=False)
        if not isinstance(module, nn.Module):
            module = module()
        defaults = {
            "accelerator": "cpu",
            "max_epochs": 2,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
            "default_root_dir": tmp_path,
        }
        trainer = L.Trainer(callbacks=list(callbacks), **defaults | settings)
        if isinstance(data, L.LightningDataModule):
            trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=False)
        else:
            trainer.fit(module, data, val)
        return trainer

    return fit


@pytest.fixture
def warned(caplog):
    """The warnings of this package so far, in order."""
    caplog.set_level(logging.WARNING, "fer")

    def warned():
        mine = [record for record in caplog.records if record.name.split(".")[0] == "fer"]
        return [record.getMessage() for record in mine if record.levelno >= logging.WARNING]

    return warned
