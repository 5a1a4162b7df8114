"""ResNets for small grey images, with torchvision's layers and names."""

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
"""Type of block, and number of blocks of each of the four stages (He et al., 2016, table 1)."""

_WIDTH: Final = 64
"""Feature maps of the first stage in the paper."""

_STRIDE: Final = {"imagenet": 32, "half": 16, "small": 8}
"""Total stride of the network, in pixels, by stem."""


class ResNet(published.ResNet):  # type: ignore[misc]  # torchvision has no types
    """A ResNet of 18, 34 or 50 layers, randomly initialised.

    Layers and state dict are those of :class:`torchvision.models.ResNet`: ``conv1``, ``bn1``,
    ``relu``, ``maxpool``, ``layer1`` to ``layer4``, ``avgpool``, ``fc``; plus, without
    parameters, ``flatten`` and ``dropout`` before ``fc``. Inputs
    ``(N, channels, image_size, image_size)``, logits ``(N, num_classes)``.

    Args:
        depth: Number of layers.
        stem: First layers. ``"imagenet"`` is the stem of the paper, a 7x7 convolution with stride 2
            and max pooling. ``"half"`` is a 3x3 convolution with stride 2 and no pooling: an image of
            48x48 has 3x3 positions after the last stage instead of 2x2, at four times the cost.
            ``"small"`` is a 3x3 convolution with stride 1 and no pooling: 6x6 positions at about
            sixteen times the cost.
        width: Number of feature maps of the stem and the first stage; each further stage has
            twice as many. With half of the paper's 64, the network has a quarter of the parameters.
        dropout: Dropout probability before ``fc``.
        zero_init_residual: Whether to initialise each block as the identity.
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
        """Return a stage whose number of feature maps is scaled by ``width``."""
        if planes == _WIDTH:
            self.inplanes = self.width
        stage: nn.Sequential = super()._make_layer(
            block, planes * self.width // _WIDTH, blocks, stride, dilate
        )
        return stage

    @property
    def neuron_layers(self) -> dict[str, str]:
        """Hidden layers, each with the place where its output is recorded as the next layer gets it.

        The layers are the stem, the convolutions in each block but the last one, and each block. In a block,
        the input of the next convolution is recorded (``layer1.0.conv2:input``), since a block calls its
        single activation several times. For the last block, it is the output of ``avgpool``, the input of
        ``fc``.
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
        """Return the layer whose output is the input of the next block."""
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
