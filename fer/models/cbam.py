"""The convolutional block attention module, and a residual network with it."""

from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, nn

from fer.models._checks import check_choice, check_counts
from fer.models.resnet import Depth, ResNet, Stem

Arrangement = Literal["serial", "parallel"]


class ChannelAttention(nn.Module):
    """A weight of 0 to 1 for each feature map, from its mean and its maximum.

    The two go through the same two layers, whose outputs are added before the sigmoid.

    Args:
        width: Number of feature maps, C.
        reduction: How many times smaller the hidden layer is; at least one neuron is left.

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
    """A weight of 0 to 1 for each position, from the mean and the maximum over the maps.

    Args:
        kernel_size: Height and width of the convolution over the two; odd.

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

    Adds ``2 · C · (C // reduction) + 98`` parameters, for C maps.

    Args:
        width: Number of feature maps, C.
        reduction: How many times smaller the channel attention's hidden layer is.
        arrangement: ``"serial"`` weighs the maps first, then the positions of the weighed maps
            (the paper's choice); ``"parallel"`` takes both weights from the maps as they come.

    Raises:
        InputError: A setting does not fit.

    Source: Woo et al., "CBAM: Convolutional Block Attention Module", 2018, equations 1 to 3.
    Like them, no layer has a bias.
    """

    def __init__(self, width: int, *, reduction: int = 16, arrangement: Arrangement = "serial") -> None:
        check_counts("Cbam", width=width, reduction=reduction)
        check_choice("Cbam", "arrangement", arrangement, choices=("serial", "parallel"))
        super().__init__()
        self.arrangement = arrangement
        self.channel = ChannelAttention(width, reduction=reduction)
        self.spatial = SpatialAttention()

    def forward(self, maps: Tensor) -> Tensor:
        """Return the weighed maps.

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

    Layers and state dict are those of :class:`fer.models.ResNet`; besides, after each block
    ``layer<k>.<i>`` stands ``layer<k>.cbam<i>``. Inputs
    ``(N, channels, image_size, image_size)``, logits ``(N, num_classes)``.

    Args:
        depth: Number of layers.
        stem: See :class:`fer.models.ResNet`.
        width: See :class:`fer.models.ResNet`.
        dropout: Probability of a feature to be left out in training, before ``fc``.
        reduction: See :class:`Cbam`.
        arrangement: See :class:`Cbam`.
        channels: Number of colour channels.
        image_size: Height and width of the images, at least 32 (16 with the half stem, 8 with
            the small one). The layers do not depend on it.
        num_classes: Number of classes.

    Raises:
        InputError: A setting does not fit.

    Source: Sutton, "Working with Facial Expression Recognition (FER-2013) Dataset", section V:
    "after each residual block", that is on the block's output, where Woo et al., 2018, figure
    3, have it on the residual before the addition. Both arrangements are named; which one was
    used is not.
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
        # At the start each Cbam multiplies by about 1/4. Were the blocks the identity, a
        # stage of six would multiply by 1/4000 and leave the next batch norm nothing to see.
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
