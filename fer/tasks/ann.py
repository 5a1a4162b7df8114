"""One hidden layer on ten features (Markou, section 2.2; Jain, section 2.1)."""

from typing import Any, Literal

from fer.models.ann import AnnNet
from fer.tasks.base import ClassificationTask


class AnnTask(ClassificationTask):
    """One hidden layer on ten features (Markou, section 2.2; Jain, section 2.1).

    Args:
        in_features: Features of a sample.
        hidden: Hidden neurons.
        activation: Of the hidden neurons.
        num_classes: Number of classes; taken from the data on the command line.
        **kwargs: How it is trained: see :class:`fer.tasks.base.ClassificationTask`.
    """

    def __init__(
        self,
        *,
        in_features: int = 10,
        hidden: int = 50,
        activation: Literal["sigmoid", "relu", "tanh"] = "sigmoid",
        num_classes: int = 7,
        **kwargs: Any,
    ) -> None:
        network = AnnNet(
            in_features=in_features,
            hidden=hidden,
            activation=activation,
            num_classes=num_classes,
        )
        super().__init__(network, num_classes=num_classes, **kwargs)
