"""VGG with batch norm for small grey images, a common network in public code for FER2013."""

from torch import nn

from fer.models._chain import Chain
from fer.models._checks import check_counts, check_dropout, check_image_size, check_widths


class VggNet(Chain):
    """Stages of 3x3 convolutions with batch norm and ReLU, each followed by max pooling; one linear layer.

    Layers, for convolution j of stage k: ``conv<k>_<j>``, ``bn<k>_<j>``, ``relu<k>_<j>``; after each stage
    ``pool<k>``; then ``avgpool``, ``flatten``, ``dropout``, ``fc``. Inputs
    ``(N, channels, image_size, image_size)``, logits ``(N, num_classes)``. With four stages, an image
    of 48x48 has 3x3 positions at the end, which ``avgpool`` averages.

    Args:
        widths: Number of feature maps of each stage; 3 to 5 stages.
        depths: Number of convolutions of each stage.
        dropout: Dropout probability before ``fc``.
        channels: Number of colour channels.
        image_size: Height and width of the images, at least 16 with four stages. The layers do
            not depend on it.
        num_classes: Number of classes.

    Raises:
        InputError: A setting does not fit.

    Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
    Recognition", 2015. Four stages of two convolutions on FER2013: Khaireddin and Chen, "Facial
    Emotion Recognition: State of the Art Performance on FER2013", 2021, but with three linear
    layers. Five stages with ``depths=(2, 2, 4, 4, 4)`` and one linear layer are the VGG19 of
    WuJie1010's Facial-Expression-Recognition.Pytorch.
    """

    def __init__(
        self,
        *,
        widths: tuple[int, ...] = (64, 128, 256, 512),
        depths: tuple[int, ...] = (2, 2, 2, 2),
        dropout: float = 0.5,
        channels: int = 1,
        image_size: int = 48,
        num_classes: int = 7,
    ) -> None:
        check_widths("VggNet", "widths", widths, lengths=(3, 4, 5))
        check_widths("VggNet", "depths", depths, lengths=(len(widths),))
        check_dropout("VggNet", dropout)
        check_counts("VggNet", channels=channels, num_classes=num_classes)
        check_image_size("VggNet", image_size, smallest=2 ** len(widths))
        layers: dict[str, nn.Module] = {}
        width_in = channels
        for k, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
            for j in range(1, depth + 1):
                layers[f"conv{k}_{j}"] = nn.Conv2d(width_in, width, kernel_size=3, padding=1, bias=False)
                layers[f"bn{k}_{j}"] = nn.BatchNorm2d(width)
                layers[f"relu{k}_{j}"] = nn.ReLU()
                width_in = width
            layers[f"pool{k}"] = nn.MaxPool2d(2)
        layers["avgpool"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        layers["dropout"] = nn.Dropout(dropout)
        layers["fc"] = nn.Linear(width_in, num_classes)
        super().__init__(layers)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
