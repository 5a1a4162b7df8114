"""Four convolution blocks, two dense blocks (Onghena and Belo, section 3.2)."""

from typing import Any

from fer.models.conv4 import Conv4Net
from fer.tasks.base import ClassificationTask


class Conv4Task(ClassificationTask):
    """Four convolution blocks, two dense blocks (Onghena and Belo, section 3.2).

    Args:
        widths: Feature maps of the blocks; three for the paper's first version.
        hidden: Neurons of the dense blocks.
        dropout: Share of outputs dropped after each block.
        channels: Channels of an image; taken from the data on the command line.
        image_size: Height and width of an image; taken from the data on the command line.
        num_classes: Number of classes; taken from the data on the command line.
        **kwargs: How it is trained: see :class:`fer.tasks.base.ClassificationTask`.
    """

    def __init__(
        self,
        *,
        widths: tuple[int, ...] = (64, 128, 1024, 512),
        hidden: tuple[int, ...] = (256, 512),
        dropout: float = 0.25,
        channels: int = 1,
        image_size: int = 48,
        num_classes: int = 7,
        **kwargs: Any,
    ) -> None:
        network = Conv4Net(
            widths=widths,
            hidden=hidden,
            dropout=dropout,
            channels=channels,
            image_size=image_size,
            num_classes=num_classes,
        )
        super().__init__(network, num_classes=num_classes, **kwargs)
