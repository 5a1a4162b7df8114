"""One convolution, one pool (Jain, Fig. 1)."""

from typing import Any

from fer.models.conv1 import Conv1Net
from fer.tasks.base import ClassificationTask


class Conv1Task(ClassificationTask):
    """One convolution, one pool (Jain, Fig. 1).

    Args:
        widths: Feature maps of the convolution.
        channels: Channels of an image; taken from the data on the command line.
        image_size: Height and width of an image; taken from the data on the command line.
        num_classes: Number of classes; taken from the data on the command line.
        **kwargs: How it is trained: see :class:`fer.tasks.base.ClassificationTask`.
    """

    def __init__(
        self,
        *,
        widths: tuple[int, ...] = (32,),
        channels: int = 3,
        image_size: int = 224,
        num_classes: int = 7,
        **kwargs: Any,
    ) -> None:
        network = Conv1Net(
            widths=widths,
            channels=channels,
            image_size=image_size,
            num_classes=num_classes,
        )
        super().__init__(network, num_classes=num_classes, **kwargs)
