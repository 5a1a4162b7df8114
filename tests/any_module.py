"""A LightningModule and data as anybody writes them, for tests of callbacks on networks that are not ours."""

import random

import lightning as L
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

NUM, FEATURES, CLASSES = 48, 6, 3


class AnyModule(L.LightningModule):
    """Two hidden layers, dropout and batch norm; each step draws from every random state."""

    def __init__(self, schedule=False, **names):
        super().__init__()
        self.schedule = schedule
        self.names = {"train": "train_loss", "val": "val_loss"} | names
        self.body = nn.Sequential(
            nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 5), nn.ReLU()
        )
        self.head = nn.Linear(5, CLASSES)

    def forward(self, inputs):
        return self.head(self.body(inputs))

    def training_step(self, batch, batch_idx):
        inputs, labels = batch
        noise = random.random() + np.random.rand() + torch.rand(())
        loss = F.cross_entropy(self(inputs + noise), labels)
        self.log(self.names["train"], loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        inputs, labels = batch
        self.log(self.names["val"], F.cross_entropy(self(inputs), labels))

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        if self.schedule:
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]
        return optimizer


def any_data(num=NUM, shape=(FEATURES,)):
    """Random samples with labels, the same each time."""
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.rand(num, *shape, generator=generator), torch.arange(num) % CLASSES)


def any_loader(*, shuffle=False, batch_size=16, **kwargs):
    """A loader with a random state of its own, from which it draws even if it does not shuffle."""
    generator = torch.Generator().manual_seed(1)
    return DataLoader(any_data(**kwargs), batch_size=batch_size, shuffle=shuffle, generator=generator)


def any_fit(make_trainer, callbacks, module=None, *, val=True, train=None, **settings):
    """Train a module from the same seed, and return its trainer."""
    L.seed_everything(3, verbose=False)
    module = AnyModule() if module is None else module
    trainer = make_trainer(callbacks=callbacks, **settings)
    train = any_loader(shuffle=True) if train is None else train
    trainer.fit(module, train, any_loader() if val is True else val)
    return trainer
