"""Residual networks for small grey images, with torchvision's layers and names."""

from itertools import pairwise
from typing import Any, Final, Literal

from torch import Tensor, nn
from torchvision.models import resnet as published

from fer.models._checks import check_choice, check_counts, check_dropout, check_image_size

Depth = Literal[18, 34, 50]
Stem = Literal["imagenet", "half", "small"]

_BLOCKS: Final[dict[int, tuple[Any, list[int]]]] = {
    18: (published.BasicBlock, [2, 2, 2, 2]),
    34: (published.BasicBlock, [3, 4, 6, 3]),
    50: (published.Bottleneck, [3, 4, 6, 3]),
}
"""Kind and number of blocks of the four stages (He et al., 2016, table 1)."""

_WIDTH: Final = 64
"""Feature maps of the published first stage."""

_STRIDE: Final = {"imagenet": 32, "half": 16, "small": 8}
"""Pixels of the image for a position of the last stage, in either direction."""


class ResNet(published.ResNet):  # type: ignore[misc]  # torchvision has no types
    """A residual network of 18, 34 or 50 layers, from scratch.

    Layers and state dict are those of :class:`torchvision.models.ResNet`: ``conv1``, ``bn1``,
    ``relu``, ``maxpool``, ``layer1`` to ``layer4``, ``avgpool``, ``fc``; besides, without
    parameters, ``flatten`` and ``dropout`` before ``fc``. Inputs
    ``(N, channels, image_size, image_size)``, logits ``(N, num_classes)``.

    Args:
        depth: Number of layers.
        stem: ``"imagenet"`` is the published one, 7x7 with stride 2 and max pooling;
            ``"small"`` is 3x3 with stride 1 and none, which leaves an image of 48x48 with
            6x6 positions at the end instead of 2x2, at some sixteen times the cost; ``"half"``
            is 3x3 with stride 2 and none, with 3x3 positions at four times the cost.
        width: Number of feature maps of the stem and the first stage; each further stage has
            twice as many. Half of the published 64 takes a quarter of the parameters.
        dropout: Probability of a feature to be left out in training, before ``fc``.
        zero_init_residual: Whether each block begins as the identity.
        channels: Number of colour channels.
        image_size: Height and width of the images, at least 32 (16 with the half stem, 8 with
            the small one). The layers do not depend on it.
        num_classes: Number of classes.

    Raises:
        InputError: A setting does not fit.

    Source: He et al., "Deep Residual Learning for Image Recognition", 2016; 34 layers on
    FER2013: Sutton, "Working with Facial Expression Recognition (FER-2013) Dataset", section
    III.B. The small stem is He et al.'s for CIFAR-10, section 4.2.
    """

    def __init__(
        self,
        *,
        depth: Depth = 34,
        stem: Stem = "imagenet",
        width: int = 64,
        dropout: float = 0.0,
        zero_init_residual: bool = True,
        channels: int = 1,
        image_size: int = 48,
        num_classes: int = 7,
    ) -> None:
        network = type(self).__name__
        check_choice(network, "depth", depth, choices=tuple(_BLOCKS))
        check_choice(network, "stem", stem, choices=tuple(_STRIDE))
        check_dropout(network, dropout)
        check_counts(network, width=width, channels=channels, num_classes=num_classes)
        check_image_size(network, image_size, smallest=_STRIDE[stem])
        block, num_blocks = _BLOCKS[depth]
        self.width = width
        super().__init__(block, num_blocks, num_classes=num_classes, zero_init_residual=zero_init_residual)
        if width != _WIDTH:
            self.bn1 = nn.BatchNorm2d(width)
            self.fc = nn.Linear(8 * width * block.expansion, num_classes)
        if stem == "imagenet":
            self.conv1 = nn.Conv2d(channels, width, kernel_size=7, stride=2, padding=3, bias=False)
        else:
            stride = 1 if stem == "small" else 2
            self.conv1 = nn.Conv2d(channels, width, kernel_size=3, stride=stride, padding=1, bias=False)
            self.maxpool = nn.Identity()
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)

    def _make_layer(
        self, block: Any, planes: int, blocks: int, stride: int = 1, dilate: bool = False
    ) -> nn.Sequential:
        """Return a stage, narrower or wider than torchvision asks for by the width of the first one."""
        if planes == _WIDTH:
            self.inplanes = self.width
        stage: nn.Sequential = super()._make_layer(
            block, planes * self.width // _WIDTH, blocks, stride, dilate
        )
        return stage

    @property
    def neuron_layers(self) -> dict[str, str]:
        """Where the feature maps of the stem, inside of each block and after it are seen by their consumer.

        By the layer that makes them. Inside of a block they are known by what the next convolution is given
        (``layer1.0.conv2:input``), since a block calls its one activation again and again; after the last
        block by their means, which ``fc`` sees.
        """
        places = {"conv1": "maxpool"}
        for k in range(1, 5):
            blocks = [
                (f"layer{k}.{name}", block)
                for name, block in self.get_submodule(f"layer{k}").named_children()
                if isinstance(block, published.BasicBlock | published.Bottleneck)
            ]
            for name, block in blocks:
                inner = [layer for layer, _ in block.named_children() if layer.startswith("conv")]
                places |= {f"{name}.{one}": f"{name}.{consumer}:input" for one, consumer in pairwise(inner)}
                places[name] = self._block_output(name)
        places[name] = "avgpool"
        return places

    def _block_output(self, name: str) -> str:
        """Return the layer that puts out what a block gives to the next."""
        return name

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of a batch.

        Args:
            inputs: Images, shape ``(N, channels, image_size, image_size)``.

        Returns:
            Logits, shape ``(N, num_classes)``.
        """
        maps: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(inputs))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            maps = stage(maps)
        logits: Tensor = self.fc(self.dropout(self.flatten(self.avgpool(maps))))
        return logits
