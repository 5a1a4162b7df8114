"""A LightningModule and data as anyone writes them, who knows nothing of this package."""

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class SmallModule(L.LightningModule):
    """Two hidden layers; logs ``train_loss``, ``val_loss``, ``val_acc`` and ``test_loss``."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(*(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch))
        self.log("val_acc", (self(batch[0]).argmax(dim=1) == batch[1]).float().mean())

    def test_step(self, batch, batch_idx):
        self.log("test_loss", self.loss(batch))

    def loss(self, batch):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def small_loader(num=48, seed=0):
    """Return batches of 16 samples of three classes."""
    inputs = torch.randn(num, 6, generator=torch.Generator().manual_seed(seed))
    return DataLoader(TensorDataset(inputs, inputs[:, :3].argmax(dim=1)), batch_size=16)
