"""Convolutional block attention module (CBAM), and a ResNet with it."""

from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, nn

from fer.models._checks import check_choice, check_counts
from fer.models.resnet import Depth, ResNet, Stem

Arrangement = Literal["serial", "parallel"]


class ChannelAttention(nn.Module):
    """Channel attention: a weight of 0 to 1 for each feature map, from its mean and its maximum.

    Mean and maximum pass through the same two layers; the outputs are added before the sigmoid.

    Args:
        width: Number of feature maps, C.
        reduction: Ratio of C to the size of the hidden layer, which has at least one neuron.

    Source: Woo et al., "CBAM: Convolutional Block Attention Module", 2018, equation 2.
    """

    def __init__(self, width: int, *, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, width // reduction)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.max = nn.AdaptiveMaxPool2d(1)
        self.fc1 = nn.Conv2d(width, hidden, kernel_size=1, bias=False)
        self.relu = nn.ReLU()
        self.fc2 = nn.Conv2d(hidden, width, kernel_size=1, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, maps: Tensor) -> Tensor:
        """Return the weights, shape ``(N, C, 1, 1)``, of maps of shape ``(N, C, H, W)``."""
        of_mean = self.fc2(self.relu(self.fc1(self.mean(maps))))
        of_max = self.fc2(self.relu(self.fc1(self.max(maps))))
        weights: Tensor = self.sigmoid(of_mean + of_max)
        return weights


class SpatialAttention(nn.Module):
    """Spatial attention: a weight of 0 to 1 for each position, from the mean and maximum over the maps.

    Args:
        kernel_size: Height and width of the convolution over mean and maximum; odd.

    Source: Woo et al., "CBAM: Convolutional Block Attention Module", 2018, equation 3.
    """

    def __init__(self, *, kernel_size: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size=kernel_size, padding=kernel_size // 2, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, maps: Tensor) -> Tensor:
        """Return the weights, shape ``(N, 1, H, W)``, of maps of shape ``(N, C, H, W)``."""
        means = maps.mean(dim=1, keepdim=True)
        maxima = maps.amax(dim=1, keepdim=True)
        weights: Tensor = self.sigmoid(self.conv(torch.cat([means, maxima], dim=1)))
        return weights


class Cbam(nn.Module):
    """Channel attention and spatial attention on feature maps.

    It has ``2 · C · (C // reduction) + 98`` parameters for C maps.

    Args:
        width: Number of feature maps, C.
        reduction: Ratio of C to the size of the channel attention's hidden layer.
        arrangement: ``"serial"`` weights the maps first, then the positions of the weighted maps
            (the paper's choice); ``"parallel"`` computes both weights from the unweighted maps.

    Raises:
        InputError: A setting does not fit.

    Source: Woo et al., "CBAM: Convolutional Block Attention Module", 2018, equations 1 to 3.
    As in these equations, no layer has a bias.
    """

    def __init__(self, width: int, *, reduction: int = 16, arrangement: Arrangement = "serial") -> None:
        check_counts("Cbam", width=width, reduction=reduction)
        check_choice("Cbam", "arrangement", arrangement, choices=("serial", "parallel"))
        super().__init__()
        self.arrangement = arrangement
        self.channel = ChannelAttention(width, reduction=reduction)
        self.spatial = SpatialAttention()

    def forward(self, maps: Tensor) -> Tensor:
        """Return the weighted maps.

        Args:
            maps: Feature maps, shape ``(N, C, H, W)``.

        Returns:
            Feature maps of the same shape.
        """
        weighed: Tensor = self.channel(maps) * maps
        by_position: Tensor = self.spatial(weighed if self.arrangement == "serial" else maps)
        return by_position * weighed


class CbamResNet(ResNet):
    """A residual network with attention after each residual block.

    Layers and state dict are those of :class:`fer.models.ResNet`, plus ``layer<k>.cbam<i>`` after
    each block ``layer<k>.<i>``. Inputs ``(N, channels, image_size, image_size)``, logits
    ``(N, num_classes)``.

    Args:
        depth: Number of layers.
        stem: ``"imagenet"``, ``"half"`` or ``"small"``; see :class:`fer.models.ResNet`.
        width: Number of feature maps of the stem and the first stage; each further stage has
            twice as many.
        dropout: Dropout probability before ``fc``.
        reduction: Ratio of the feature maps to the size of the channel attention's hidden layer.
        arrangement: ``"serial"`` or ``"parallel"``; see :class:`Cbam`.
        channels: Number of colour channels.
        image_size: Height and width of the images, at least 32 (16 with the half stem, 8 with
            the small one). The layers do not depend on it.
        num_classes: Number of classes.

    Raises:
        InputError: A setting does not fit.

    Source: Sutton, "Working with Facial Expression Recognition (FER-2013) Dataset", section V:
    "after each residual block", which means on the block's output; in Woo et al., 2018, figure 3,
    it is on the residual before the addition. Sutton names both arrangements, but not which one
    was used.
    """

    def __init__(
        self,
        *,
        depth: Depth = 34,
        stem: Stem = "imagenet",
        width: int = 64,
        dropout: float = 0.0,
        reduction: int = 16,
        arrangement: Arrangement = "serial",
        channels: int = 1,
        image_size: int = 48,
        num_classes: int = 7,
    ) -> None:
        # At initialisation, each Cbam multiplies by about 1/4. If the blocks were the identity, a
        # stage of six would multiply by 1/4000, too little for the next batch norm.
        super().__init__(
            depth=depth,
            stem=stem,
            width=width,
            dropout=dropout,
            zero_init_residual=False,
            channels=channels,
            image_size=image_size,
            num_classes=num_classes,
        )
        for k in range(1, 5):
            maps = 2 ** (k - 1) * width * (4 if depth == 50 else 1)
            stage = self.get_submodule(f"layer{k}")
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            for name, block in stage.named_children():
                layers[name] = block
                layers[f"cbam{name}"] = Cbam(maps, reduction=reduction, arrangement=arrangement)
            self.add_module(f"layer{k}", nn.Sequential(layers))

    def _block_output(self, name: str) -> str:
        stage, _, number = name.rpartition(".")
        return f"{stage}.cbam{number}"
