"""Onghena and Belo's convolutional network of four layers."""

from torch import nn

from fer.models._chain import Chain
from fer.models._checks import check_counts, check_dropout, check_image_size, check_widths


class Conv4Net(Chain):
    """Four convolution blocks and two dense blocks, each with batch norm, ReLU and dropout.

    Layers, k from 1 to 4: ``conv<k>`` (3x3), ``bn<k>``, ``relu<k>``, ``pool<k>``,
    ``dropout<k>``; ``flatten``; k from 1 to 2: ``fc<k>``, ``fc<k>_bn``, ``fc<k>_relu``,
    ``fc<k>_dropout``; ``fc3``. Inputs ``(N, channels, image_size, image_size)``, logits
    ``(N, num_classes)``.

    Args:
        widths: Number of feature maps of each convolution. With three widths, it is the authors'
            first version, which has no fourth block.
        hidden: Number of neurons of the two dense blocks.
        dropout: Dropout probability after every block.
        channels: Number of colour channels.
        image_size: Height and width of the images, at least 16 (8 with three widths).
        num_classes: Number of classes.

    Raises:
        InputError: A setting does not fit.

    Source: Onghena and Belo, "Deep Learning: Computer Vision" (emotion recognition on FER2013),
    section 3. The default widths are those of their best sweep, where 1024 is printed as 1028.
    The dense widths are not stated; here they are those of the code that the authors built on.
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
    ) -> None:
        check_widths("Conv4Net", "widths", widths, lengths=(3, 4))
        check_widths("Conv4Net", "hidden", hidden, lengths=(2,))
        check_dropout("Conv4Net", dropout)
        check_counts("Conv4Net", channels=channels, num_classes=num_classes)
        check_image_size("Conv4Net", image_size, smallest=2 ** len(widths))
        layers: dict[str, nn.Module] = {}
        width_in = channels
        for k, width in enumerate(widths, start=1):
            layers[f"conv{k}"] = nn.Conv2d(width_in, width, kernel_size=3, padding=1)
            layers[f"bn{k}"] = nn.BatchNorm2d(width)
            layers[f"relu{k}"] = nn.ReLU()
            layers[f"pool{k}"] = nn.MaxPool2d(2)
            layers[f"dropout{k}"] = nn.Dropout(dropout)
            width_in = width
        layers["flatten"] = nn.Flatten()
        width_in *= (image_size // 2 ** len(widths)) ** 2
        for k, width in enumerate(hidden, start=1):
            layers[f"fc{k}"] = nn.Linear(width_in, width)
            layers[f"fc{k}_bn"] = nn.BatchNorm1d(width)
            layers[f"fc{k}_relu"] = nn.ReLU()
            layers[f"fc{k}_dropout"] = nn.Dropout(dropout)
            width_in = width
        layers["fc3"] = nn.Linear(width_in, num_classes)
        super().__init__(layers)
