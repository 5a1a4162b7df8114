"""Sutton's small AlexNet for images of 32x32 pixels."""

from typing import Final

from torch import nn

from fer.models._chain import Chain
from fer.models._checks import check_counts, check_dropout, check_image_size, check_widths

_POOLED: Final = (1, 2, 5)
"""Convolutions followed by max pooling (Krizhevsky et al., 2012, section 3.5)."""


class AlexNet(Chain):
    """Five 3x3 convolutions and three linear layers, ReLU after each but the last.

    Layers, k from 1 to 5: ``conv<k>``, ``bn<k>`` (with ``batch_norm``), ``relu<k>``, and
    ``pool<k>`` after 1, 2 and 5; ``flatten``; k from 1 to 2: ``fc<k>``, ``fc<k>_relu``,
    ``fc<k>_dropout``; ``fc3``. Inputs ``(N, channels, image_size, image_size)``, logits
    ``(N, num_classes)``. With images of 32x32, ``fc1`` has 256 · 4 · 4 = 4096 inputs.

    Args:
        widths: Number of feature maps of the five convolutions.
        hidden: Number of neurons of the two hidden linear layers.
        dropout: Dropout probability after the hidden linear layers.
        batch_norm: Whether to add batch norm between each convolution and its ReLU.
        channels: Number of colour channels.
        image_size: Height and width of the images, at least 8.
        num_classes: Number of classes.

    Raises:
        InputError: A setting does not fit.

    Source: Sutton, "Working with Facial Expression Recognition (FER-2013) Dataset", section
    III.A. It states the widths 96 and 256 of the second and fifth convolution; the others are
    half of AlexNet's (Krizhevsky et al., 2012), to which it compares them. The positions of
    pooling and the dropout of .5 are AlexNet's too, since they are not listed as changes. Weights
    are initialised as in He et al., 2015: with PyTorch's default, the logits of eight layers
    without batch norm would be nearly constant at first.
    """

    def __init__(
        self,
        *,
        widths: tuple[int, ...] = (48, 96, 192, 192, 256),
        hidden: tuple[int, ...] = (512, 256),
        dropout: float = 0.5,
        batch_norm: bool = False,
        channels: int = 1,
        image_size: int = 32,
        num_classes: int = 7,
    ) -> None:
        check_widths("AlexNet", "widths", widths, lengths=(5,))
        check_widths("AlexNet", "hidden", hidden, lengths=(2,))
        check_dropout("AlexNet", dropout)
        check_counts("AlexNet", channels=channels, num_classes=num_classes)
        check_image_size("AlexNet", image_size, smallest=2 ** len(_POOLED))
        layers: dict[str, nn.Module] = {}
        width_in = channels
        for k, width in enumerate(widths, start=1):
            layers[f"conv{k}"] = nn.Conv2d(width_in, width, kernel_size=3, padding=1)
            if batch_norm:
                layers[f"bn{k}"] = nn.BatchNorm2d(width)
            layers[f"relu{k}"] = nn.ReLU()
            if k in _POOLED:
                layers[f"pool{k}"] = nn.MaxPool2d(2)
            width_in = width
        layers["flatten"] = nn.Flatten()
        width_in *= (image_size // 2 ** len(_POOLED)) ** 2
        for k, width in enumerate(hidden, start=1):
            layers[f"fc{k}"] = nn.Linear(width_in, width)
            layers[f"fc{k}_relu"] = nn.ReLU()
            layers[f"fc{k}_dropout"] = nn.Dropout(dropout)
            width_in = width
        layers["fc3"] = nn.Linear(width_in, num_classes)
        super().__init__(layers)
        for name, layer in layers.items():
            if isinstance(layer, nn.Conv2d | nn.Linear) and name != "fc3":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
