"""What is neither an image nor a plain classifier: text, a GAN with manual optimisation, two inputs."""

import lightning as L
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

VOCABULARY, NUM_CLASSES, LENGTH = 60, 3, 12


class Sentences(Dataset):
    """Sentences as a tokenizer gives them; each class has words that it uses more often."""

    def __init__(self, num: int, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.arange(num) % NUM_CLASSES
        self.input_ids = torch.randint(1, VOCABULARY, (num, LENGTH), generator=generator)
        own = 1 + 5 * self.labels[:, None] + torch.randint(0, 5, (num, LENGTH), generator=generator)
        is_own = torch.rand(num, LENGTH, generator=generator) < 0.5
        self.input_ids[is_own] = own[is_own]
        lengths = torch.randint(4, LENGTH + 1, (num,), generator=generator)
        self.attention_mask = (torch.arange(LENGTH) < lengths[:, None]).long()
        self.input_ids *= self.attention_mask

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {
            "input_ids": self.input_ids[index],
            "attention_mask": self.attention_mask[index],
            "labels": self.labels[index],
        }


class SentencesDataModule(L.LightningDataModule):
    def train_dataloader(self):
        return DataLoader(Sentences(240), batch_size=40, shuffle=True)

    def val_dataloader(self):
        return DataLoader(Sentences(120, seed=1), batch_size=40)


class LSTMClassifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 16, padding_idx=0)
        self.lstm = nn.LSTM(16, 12, batch_first=True)
        self.dense = nn.Linear(12, 20)
        self.dense2 = nn.Linear(20, 16)
        self.classifier = nn.Linear(16, NUM_CLASSES)
        self.val_acc = MulticlassAccuracy(NUM_CLASSES, average="micro")

    def forward(self, input_ids, attention_mask):
        hidden, _ = self.lstm(self.embedding(input_ids))
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        return self.classifier(torch.relu(self.dense2(torch.relu(self.dense(pooled)))))

    def _loss(self, batch):
        logits = self(batch["input_ids"], batch["attention_mask"])
        return F.cross_entropy(logits, batch["labels"]), logits

    def training_step(self, batch, batch_idx):
        loss, _ = self._loss(batch)
        self.log("train_loss", loss, batch_size=len(batch["labels"]))
        return loss

    def validation_step(self, batch, batch_idx):
        loss, logits = self._loss(batch)
        self.val_acc.update(logits, batch["labels"])
        self.log("val_loss", loss)
        self.log("val_acc", self.val_acc)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.02)


class GAN(L.LightningModule):
    """Two networks, two optimisers and manual optimisation, as in Lightning's documentation."""

    def __init__(self, latent_dim: int = 8):
        super().__init__()
        self.automatic_optimization = False
        self.latent_dim = latent_dim
        self.generator = nn.Sequential(
            nn.Linear(latent_dim, 24), nn.LeakyReLU(0.2), nn.Linear(24, 64), nn.Sigmoid()
        )
        self.discriminator = nn.Sequential(
            nn.Linear(64, 24), nn.LeakyReLU(0.2), nn.Linear(24, 12), nn.LeakyReLU(0.2), nn.Linear(12, 1)
        )

    def forward(self, z):
        return self.generator(z)

    def training_step(self, batch, batch_idx):
        real = batch[0].flatten(1)
        opt_g, opt_d = self.optimizers()
        ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)
        fake = self(torch.randn(len(real), self.latent_dim))

        self.toggle_optimizer(opt_d)
        d_loss = F.binary_cross_entropy_with_logits(self.discriminator(real), ones)
        d_loss = d_loss + F.binary_cross_entropy_with_logits(self.discriminator(fake.detach()), zeros)
        opt_d.zero_grad()
        self.manual_backward(d_loss)
        opt_d.step()
        self.untoggle_optimizer(opt_d)

        self.toggle_optimizer(opt_g)
        g_loss = F.binary_cross_entropy_with_logits(self.discriminator(fake), ones)
        opt_g.zero_grad()
        self.manual_backward(g_loss)
        opt_g.step()
        self.untoggle_optimizer(opt_g)
        self.log_dict({"g_loss": g_loss, "d_loss": d_loss}, prog_bar=True)

    def configure_optimizers(self):
        opt_g = torch.optim.Adam(self.generator.parameters(), lr=1e-3)
        opt_d = torch.optim.Adam(self.discriminator.parameters(), lr=1e-3)
        return opt_g, opt_d


class TwoInputs(L.LightningModule):
    """Takes two tensors: which of two points is farther from the origin."""

    def __init__(self):
        super().__init__()
        self.left = nn.Linear(6, 10)
        self.right = nn.Linear(6, 10)
        self.mix = nn.Linear(20, 14)
        self.out = nn.Linear(14, 2)

    def forward(self, left, right):
        both = torch.cat([torch.relu(self.left(left)), torch.relu(self.right(right))], dim=1)
        return self.out(torch.relu(self.mix(both)))

    def training_step(self, batch, batch_idx):
        left, right, y = batch
        loss = F.cross_entropy(self(left, right), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        left, right, y = batch
        logits = self(left, right)
        self.log("val_loss", F.cross_entropy(logits, y))
        self.log("val_acc", (logits.argmax(1) == y).float().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class PairsDataModule(L.LightningDataModule):
    def _loader(self, num, seed, shuffle=False):
        generator = torch.Generator().manual_seed(seed)
        left, right = torch.randn(2, num, 6, generator=generator)
        farther = (right.norm(dim=1) > left.norm(dim=1)).long()
        return DataLoader(TensorDataset(left, right, farther), batch_size=32, shuffle=shuffle)

    def train_dataloader(self):
        return self._loader(128, seed=0, shuffle=True)

    def val_dataloader(self):
        return self._loader(96, seed=1)
