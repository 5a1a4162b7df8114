"""Image classifiers of torchvision and timm, and images of noise in which a class is a bright corner."""

import lightning as L
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.functional import accuracy


def noise_with_corners(num: int, size: int, seed: int = 0) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(num, 3, size, size, generator=generator)
    labels = torch.arange(num) % 4
    half = size // 2
    for image, label in zip(images, labels.tolist(), strict=True):
        top, left = half * (label // 2), half * (label % 2)
        image[:, top : top + half, left : left + half] += 1.5
    return TensorDataset(images, labels)


class CornersDataModule(L.LightningDataModule):
    def __init__(self, size: int = 16, num_train: int = 64, num_val: int = 64, batch_size: int = 32):
        super().__init__()
        self.save_hyperparameters()

    def train_dataloader(self):
        data = noise_with_corners(self.hparams.num_train, self.hparams.size, seed=0)
        return DataLoader(data, batch_size=self.hparams.batch_size, shuffle=True)

    def val_dataloader(self):
        data = noise_with_corners(self.hparams.num_val, self.hparams.size, seed=1)
        return DataLoader(data, batch_size=self.hparams.batch_size)


class ImageClassifier(L.LightningModule):
    def __init__(self, lr: float = 0.01):
        super().__init__()
        self.lr = lr
        self.criterion = nn.CrossEntropyLoss()
        self.create_model()

    def create_model(self) -> None:
        raise NotImplementedError

    def forward(self, x):
        return self.model(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = self.criterion(self(x), y)
        self.log("train_loss", loss, on_epoch=True, on_step=False)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        acc = accuracy(logits, y, task="multiclass", num_classes=4)
        self.log_dict({"val_loss": self.criterion(logits, y), "val_acc": acc}, prog_bar=True)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9, weight_decay=5e-4)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


class LitResnet(ImageClassifier):
    """A ResNet-18 of torchvision with the stem for small images, as in Lightning's CIFAR10 tutorial."""

    def create_model(self):
        model = torchvision.models.resnet18(weights=None, num_classes=4)
        model.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=2, padding=1, bias=False)
        model.maxpool = nn.Identity()
        self.model = model


class LitTimmResnet(ImageClassifier):
    def create_model(self):
        self.model = timm.create_model("resnet10t", num_classes=4, channels=(8, 12, 16, 24), stem_width=8)


class LitMobileNet(ImageClassifier):
    """Depthwise convolutions, and factors on channels (squeeze and excitation)."""

    def create_model(self):
        self.model = timm.create_model("mobilenetv3_small_050", num_classes=4)


class LitTransfer(ImageClassifier):
    """A backbone and a head, as in transfer learning."""

    def create_model(self):
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(48, 16),
            nn.ReLU(),
            nn.Linear(16, 12),
        )
        self.head = nn.Linear(12, 4)

    def forward(self, x):
        return self.head(torch.relu(self.backbone(x)))


class Autoencoder(L.LightningModule):
    """A convolutional autoencoder; there are no classes, and the labels of a batch are ignored."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.GELU(), nn.Conv2d(8, 6, 3, stride=2, padding=1)
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(6, 8, 2, stride=2), nn.GELU(), nn.ConvTranspose2d(8, 3, 2, stride=2)
        )

    def forward(self, x):
        return self.decoder(self.encoder(x))

    def _reconstruction_loss(self, batch):
        x = batch[0] if isinstance(batch, list | tuple) else batch
        return F.mse_loss(self(x), x)

    def training_step(self, batch, batch_idx):
        loss = self._reconstruction_loss(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self._reconstruction_loss(batch))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


class ConvNet(nn.Module):
    """The convolutions of a small fully convolutional network."""

    def __init__(self):
        super().__init__()
        self.down1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.down2 = nn.Conv2d(8, 12, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(12)
        self.up = nn.Upsample(scale_factor=2)
        self.classifier = nn.Conv2d(12, 2, 1)

    def forward(self, x):
        x = F.max_pool2d(torch.relu(self.bn1(self.down1(x))), 2)
        x = torch.relu(self.bn2(self.down2(x)))
        return self.classifier(self.up(x))


class DictConvNet(ConvNet):
    """Returns a dict, as the segmentation networks of torchvision do."""

    def __init__(self):
        super().__init__()
        self.aux_classifier = nn.Conv2d(12, 2, 1)

    def forward(self, x):
        size = x.shape[-2:]
        x = F.max_pool2d(torch.relu(self.bn1(self.down1(x))), 2)
        x = torch.relu(self.bn2(self.down2(x)))
        return {
            "out": F.interpolate(self.classifier(x), size=size, mode="bilinear"),
            "aux": F.interpolate(self.aux_classifier(x), size=size, mode="bilinear"),
        }


class Segmenter(L.LightningModule):
    """Which pixels are bright: a class for each of them."""

    def __init__(self, net: nn.Module | None = None):
        super().__init__()
        self.net = net or ConvNet()

    def forward(self, x):
        return self.net(x)

    def _loss(self, batch):
        x, _ = batch
        out = self(x)
        out = out["out"] if isinstance(out, dict) else out
        mask = (x.mean(dim=1) > 0.7).long()
        return F.cross_entropy(out, mask), (out.argmax(dim=1) == mask).float().mean()

    def training_step(self, batch, batch_idx):
        loss, _ = self._loss(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        loss, acc = self._loss(batch)
        self.log_dict({"val_loss": loss, "val_acc": acc})

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)
