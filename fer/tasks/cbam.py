"""A residual network with attention after each block (Woo et al., 2018; Sutton, section V)."""

from typing import Any, Literal

from fer.models.cbam import CbamResNet
from fer.tasks.base import ClassificationTask


class CbamTask(ClassificationTask):
    """A residual network with attention after each block (Woo et al., 2018; Sutton, section V).

    Args:
        depth: Weighted layers.
        stem: ``imagenet`` as published, ``small`` keeps the resolution (slower).
        dropout: Share of features dropped before the last layer.
        reduction: How much narrower the channel attention's hidden layer is.
        arrangement: Channel before spatial attention, or both side by side.
        channels: Channels of an image; taken from the data on the command line.
        image_size: Height and width of an image; taken from the data on the command line.
        num_classes: Number of classes; taken from the data on the command line.
        **kwargs: How it is trained: see :class:`fer.tasks.base.ClassificationTask`.
    """

    def __init__(
        self,
        *,
        depth: Literal[18, 34, 50] = 34,
        stem: Literal["imagenet", "small"] = "imagenet",
        dropout: float = 0.0,
        reduction: int = 16,
        arrangement: Literal["serial", "parallel"] = "serial",
        channels: int = 1,
        image_size: int = 48,
        num_classes: int = 7,
        **kwargs: Any,
    ) -> None:
        network = CbamResNet(
            depth=depth,
            stem=stem,
            dropout=dropout,
            reduction=reduction,
            arrangement=arrangement,
            channels=channels,
            image_size=image_size,
            num_classes=num_classes,
        )
        super().__init__(network, num_classes=num_classes, **kwargs)
