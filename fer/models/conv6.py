"""Narayan and Ge's fully convolutional network of six layers."""

from torch import nn

from fer.models._chain import Chain
from fer.models._checks import check_counts, check_image_size, check_widths


class Conv6Net(Chain):
    """Five convolutions with batch norm, ReLU and max pooling; the sixth gives the logits.

    Layers, k from 1 to 5: ``conv<k>`` (3x3), ``bn<k>``, ``relu<k>``, ``pool<k>``; then
    ``conv6`` (3x3), ``bn6``, ``pool6`` (adaptive average), ``flatten``. Inputs
    ``(N, channels, image_size, image_size)``, logits ``(N, num_classes)``. With images of 32 to
    63 pixels, the feature maps of ``pool5`` have a single position.

    Args:
        widths: Number of feature maps of the first five convolutions.
        channels: Number of colour channels. The authors' images have 3.
        image_size: Height and width of the images, at least 32. The layers do not depend on it.
        num_classes: Number of classes.

    Raises:
        InputError: A setting does not fit.

    Source: Narayan and Ge, "Emotion Detection through Static Images using Pruned Convolutional
    Neural Networks", section 3.1. "Each" of the six modules has batch norm, hence ``bn6``. The
    paper names no activation; here it is ReLU after batch norm. Widths go "from 16 to 256"; here
    each is twice the one before.
    """

    def __init__(
        self,
        *,
        widths: tuple[int, ...] = (16, 32, 64, 128, 256),
        channels: int = 1,
        image_size: int = 48,
        num_classes: int = 7,
    ) -> None:
        check_widths("Conv6Net", "widths", widths, lengths=(5,))
        check_counts("Conv6Net", channels=channels, num_classes=num_classes)
        check_image_size("Conv6Net", image_size, smallest=32)
        layers: dict[str, nn.Module] = {}
        width_in = channels
        for k, width in enumerate(widths, start=1):
            layers[f"conv{k}"] = nn.Conv2d(width_in, width, kernel_size=3, padding=1)
            layers[f"bn{k}"] = nn.BatchNorm2d(width)
            layers[f"relu{k}"] = nn.ReLU()
            layers[f"pool{k}"] = nn.MaxPool2d(2)
            width_in = width
        layers["conv6"] = nn.Conv2d(width_in, num_classes, kernel_size=3, padding=1)
        layers["bn6"] = nn.BatchNorm2d(num_classes)
        layers["pool6"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        super().__init__(layers)
