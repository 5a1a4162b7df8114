"""A residual network from scratch (He et al., 2016; Sutton, section III.B)."""

from typing import Any, Literal

from fer.models.resnet import ResNet
from fer.tasks.base import ClassificationTask


class ResnetTask(ClassificationTask):
    """A residual network from scratch (He et al., 2016; Sutton, section III.B).

    Args:
        depth: Weighted layers.
        stem: ``imagenet`` as published, ``small`` keeps the resolution (slower).
        dropout: Share of features dropped before the last layer.
        zero_init_residual: Whether each block starts as the identity.
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
        zero_init_residual: bool = True,
        channels: int = 1,
        image_size: int = 48,
        num_classes: int = 7,
        **kwargs: Any,
    ) -> None:
        network = ResNet(
            depth=depth,
            stem=stem,
            dropout=dropout,
            zero_init_residual=zero_init_residual,
            channels=channels,
            image_size=image_size,
            num_classes=num_classes,
        )
        super().__init__(network, num_classes=num_classes, **kwargs)
