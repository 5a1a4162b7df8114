"""An MLP on scikit-learn's digits, after Lightning's MNIST example, and its data module."""

import lightning as L
import torch
import torch.nn.functional as F
import torchmetrics
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class LitDigits(L.LightningModule):
    def __init__(self, hidden: int = 48, lr: float = 1e-2, dropout: float = 0.2):
        super().__init__()
        self.save_hyperparameters()
        self.layer_1 = nn.Linear(64, hidden)
        self.bn = nn.BatchNorm1d(hidden)
        self.layer_2 = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        self.layer_3 = nn.Linear(hidden, 10)
        self.accuracy = torchmetrics.Accuracy(task="multiclass", num_classes=10)

    def forward(self, x):
        x = x.view(x.size(0), -1)
        x = torch.relu(self.bn(self.layer_1(x)))
        x = self.dropout(torch.relu(self.layer_2(x)))
        return self.layer_3(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        x, y = batch
        logits = self(x)
        self.accuracy(logits, y)
        self.log("val_loss", F.cross_entropy(logits, y), prog_bar=True)
        self.log("val_acc", self.accuracy, prog_bar=True)

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.log("test_loss", F.cross_entropy(self(x), y))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


class StepAndEpoch(LitDigits):
    """Logs its loss at each step and for the epoch."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        return loss


class LogsAtEpochEnd(LitDigits):
    """Adds its losses up and logs their mean when the epoch ends."""

    def on_train_epoch_start(self):
        self.losses = []

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.losses.append(loss.detach())
        return loss

    def on_train_epoch_end(self):
        self.log("train_loss", torch.stack(self.losses).mean())


class DigitsDataModule(L.LightningDataModule):
    def __init__(self, batch_size: int = 64, num_train: int = 512, num_val: int = 256):
        super().__init__()
        self.batch_size, self.num_train, self.num_val = batch_size, num_train, num_val

    def setup(self, stage):
        x, y = load_digits(return_X_y=True)
        digits = TensorDataset(torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(y))
        sizes = [self.num_train, self.num_val, len(digits) - self.num_train - self.num_val]
        self.train, self.val, self.rest = random_split(digits, sizes, torch.Generator().manual_seed(42))

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=self.batch_size)

    def test_dataloader(self):
        return DataLoader(self.rest, batch_size=self.batch_size)
