"""Five 3x3 convolutions, three linear layers (Sutton, section III.A)."""

from typing import Any

from fer.models.alexnet import AlexNet
from fer.tasks.base import ClassificationTask


class AlexnetTask(ClassificationTask):
    """Five 3x3 convolutions, three linear layers (Sutton, section III.A).

    Args:
        widths: Feature maps of the convolutions.
        hidden: Neurons of the hidden linear layers.
        dropout: Share of neurons dropped before the linear layers.
        batch_norm: Whether batch norm follows each convolution.
        channels: Channels of an image; taken from the data on the command line.
        image_size: Height and width of an image; taken from the data on the command line.
        num_classes: Number of classes; taken from the data on the command line.
        **kwargs: How it is trained: see :class:`fer.tasks.base.ClassificationTask`.
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
        **kwargs: Any,
    ) -> None:
        network = AlexNet(
            widths=widths,
            hidden=hidden,
            dropout=dropout,
            batch_norm=batch_norm,
            channels=channels,
            image_size=image_size,
            num_classes=num_classes,
        )
        super().__init__(network, num_classes=num_classes, **kwargs)
