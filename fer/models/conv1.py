"""Jain's convolutional network of one layer."""

from torch import nn

from fer.models._chain import Chain
from fer.models._checks import check_counts, check_image_size, check_widths


class Conv1Net(Chain):
    """One convolution with ReLU and max pooling, then a linear layer.

    Layers: ``conv1`` (5x5), ``relu1``, ``pool1``, ``flatten``, ``fc1``. Inputs
    ``(N, channels, image_size, image_size)``, logits ``(N, num_classes)``.

    Args:
        widths: Number of feature maps, a tuple of one.
        channels: Number of colour channels.
        image_size: Height and width of the images, at least 2.
        num_classes: Number of classes.

    Raises:
        InputError: A setting does not fit.

    Source: Jain, "Network Reduction Technique Based on Neuron Distinctiveness for Classifying
    Faces-Emotion via Transfer Learning", figure 1, which says "only 1 convolutional layer and
    pooling". Width and kernel are not stated; here they are those of the first layer of
    :class:`fer.models.Conv2Net`.
    """

    def __init__(
        self,
        *,
        widths: tuple[int, ...] = (32,),
        channels: int = 3,
        image_size: int = 224,
        num_classes: int = 7,
    ) -> None:
        check_widths("Conv1Net", "widths", widths, lengths=(1,))
        check_counts("Conv1Net", channels=channels, num_classes=num_classes)
        check_image_size("Conv1Net", image_size, smallest=2)
        super().__init__(
            {
                "conv1": nn.Conv2d(channels, widths[0], kernel_size=5, padding=2),
                "relu1": nn.ReLU(),
                "pool1": nn.MaxPool2d(2),
                "flatten": nn.Flatten(),
                "fc1": nn.Linear(widths[0] * (image_size // 2) ** 2, num_classes),
            }
        )
