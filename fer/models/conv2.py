"""Markou's convolutional network of two layers."""

from torch import nn

from fer.models._chain import Chain
from fer.models._checks import check_counts, check_image_size, check_widths


class Conv2Net(Chain):
    """Two convolutions with batch norm, ReLU and max pooling, then three linear layers.

    Layers: ``conv1`` (5x5), ``bn1``, ``relu1``, ``pool1``, ``conv2`` (3x3), ``bn2``, ``relu2``,
    ``pool2``, ``flatten``, ``fc1``, ``fc1_relu``, ``fc2``, ``fc2_relu``, ``fc3``. Inputs
    ``(N, channels, image_size, image_size)``, logits ``(N, num_classes)``. By default
    25,715,719 parameters, 99.9 % of them in ``fc1``.

    Args:
        widths: Number of feature maps of the two convolutions.
        hidden: Number of neurons of the two hidden linear layers.
        channels: Number of colour channels.
        image_size: Height and width of the images, at least 4.
        num_classes: Number of classes.

    Raises:
        InputError: A setting does not fit.

    Source: Markou, "Insights of the Hidden Neuron Functionality using Deep Learning Techniques
    for Facial Emotion Recognition", section 2.3, table 2. The LogSoftmax listed there is part of
    the loss here.
    """

    def __init__(
        self,
        *,
        widths: tuple[int, ...] = (32, 64),
        hidden: tuple[int, ...] = (128, 32),
        channels: int = 3,
        image_size: int = 224,
        num_classes: int = 7,
    ) -> None:
        check_widths("Conv2Net", "widths", widths, lengths=(2,))
        check_widths("Conv2Net", "hidden", hidden, lengths=(2,))
        check_counts("Conv2Net", channels=channels, num_classes=num_classes)
        check_image_size("Conv2Net", image_size, smallest=4)
        super().__init__(
            {
                "conv1": nn.Conv2d(channels, widths[0], kernel_size=5, padding=2),
                "bn1": nn.BatchNorm2d(widths[0]),
                "relu1": nn.ReLU(),
                "pool1": nn.MaxPool2d(2),
                "conv2": nn.Conv2d(widths[0], widths[1], kernel_size=3, padding=1),
                "bn2": nn.BatchNorm2d(widths[1]),
                "relu2": nn.ReLU(),
                "pool2": nn.MaxPool2d(2),
                "flatten": nn.Flatten(),
                "fc1": nn.Linear(widths[1] * (image_size // 4) ** 2, hidden[0]),
                "fc1_relu": nn.ReLU(),
                "fc2": nn.Linear(hidden[0], hidden[1]),
                "fc2_relu": nn.ReLU(),
                "fc3": nn.Linear(hidden[1], num_classes),
            }
        )
