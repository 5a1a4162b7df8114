"""A frozen pretrained backbone with a new head (Markou, section 2.4; Jain, section 2.3)."""

from typing import Any

from fer.models.transfer import TransferNet
from fer.tasks.base import ClassificationTask


class TransferTask(ClassificationTask):
    """A frozen pretrained backbone with a new head (Markou, section 2.4; Jain, section 2.3).

    Args:
        backbone: Any timm model, or ``alexnet`` as Jain has it.
        pretrained: Whether timm's weights are downloaded.
        weights: A file of weights to load instead.
        unfreeze: How many of the last stages are trained.
        hidden: Logistic units between backbone and logits; null: a linear head.
        channels: Channels of an image; taken from the data on the command line.
        image_size: Height and width of an image; taken from the data on the command line.
        num_classes: Number of classes; taken from the data on the command line.
        **kwargs: How it is trained: see :class:`fer.tasks.base.ClassificationTask`.
    """

    def __init__(
        self,
        *,
        backbone: str = "resnet18",
        pretrained: bool = False,
        weights: str | None = None,
        unfreeze: int = 0,
        hidden: int | None = None,
        channels: int = 3,
        image_size: int = 224,
        num_classes: int = 7,
        **kwargs: Any,
    ) -> None:
        network = TransferNet(
            backbone=backbone,
            pretrained=pretrained,
            weights=weights,
            unfreeze=unfreeze,
            hidden=hidden,
            channels=channels,
            image_size=image_size,
            num_classes=num_classes,
        )
        super().__init__(network, num_classes=num_classes, **kwargs)
