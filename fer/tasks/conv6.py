"""Six convolution modules (Narayan and Ge, section 3.1)."""

from typing import Any

from fer.models.conv6 import Conv6Net
from fer.tasks.base import ClassificationTask


class Conv6Task(ClassificationTask):
    """Six convolution modules (Narayan and Ge, section 3.1).

    Args:
        widths: Feature maps of the first five modules.
        channels: Channels of an image; taken from the data on the command line.
        image_size: Height and width of an image; taken from the data on the command line.
        num_classes: Number of classes; taken from the data on the command line.
        **kwargs: How it is trained: see :class:`fer.tasks.base.ClassificationTask`.
    """

    def __init__(
        self,
        *,
        widths: tuple[int, ...] = (16, 32, 64, 128, 256),
        channels: int = 1,
        image_size: int = 48,
        num_classes: int = 7,
        **kwargs: Any,
    ) -> None:
        network = Conv6Net(
            widths=widths,
            channels=channels,
            image_size=image_size,
            num_classes=num_classes,
        )
        super().__init__(network, num_classes=num_classes, **kwargs)
